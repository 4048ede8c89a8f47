"""The named families: for each, the law of its parameters, continuous so that no benchmark's task is singled out.

A name is a kind ("noise") or a kind and a variant ("student-sparse"). Every drawer returns B joints of one shape.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from data_gen.additive_noise import NOISE_LAWS, AdditiveNoise, UniformAdditiveNoise
from data_gen.composition import BlockProduct
from data_gen.copula_mixtures import COPULA_MIXTURES, CopulaMixture, copula_mixture_pool
from data_gen.copulas import COPULAS, BivariateCopulas
from data_gen.covariance import ENSEMBLES, draw_dispersion
from data_gen.discrete import (
    Classes,
    Contingency,
    CutNormal,
    GammaPoisson,
    ZeroInflated,
    draw_num_levels,
    draw_shares,
)
from data_gen.elliptical import Gaussian, StudentT
from data_gen.functional import CURVES, Functional, draw_curve
from data_gen.independence import IndependentCoordinates
from data_gen.joint import Joint
from data_gen.loops import Loop, loop_pool
from data_gen.mixtures import MAX_MIXTURE_DIM, MIXTURES, draw_mixture, mixture_pool
from data_gen.normal_mixtures import NORMAL_MIXTURES, NormalMixture, normal_mixture_pool
from data_gen.pools import Pool
from data_gen.scale_mixtures import MIXING_LAWS, ContaminatedNormal, ScaleMixture
from data_gen.streams import Streams

__all__ = [
    "ELLIPTICAL_KINDS",
    "FAMILIES",
    "KINDS",
    "POOLED_KINDS",
    "TIED_KINDS",
    "ParameterLaw",
    "draw_family",
    "every_pool",
    "resolve",
]


@dataclass(frozen=True)
class ParameterLaw:
    """What a meta-distribution fixes of the families' parameters."""

    weak_probability: float = 0.15  # of scaled-down dependence between the sides of an elliptical joint
    df: tuple[float, float] = (1.0, 30.0)
    chunk: int = 0  # of the pools (`data_gen.pools`) that a group of data sets draws from


_Draw = Callable[[str, int, int, ParameterLaw, Streams], Joint]  # variant, dims, law, randomness


@dataclass(frozen=True)
class _Kind:
    draw: _Draw
    variants: tuple[str, ...] = ()
    tied: bool = False
    pooled: bool = False  # its parameters and labels come from a pool


def _per_data_set(values: Tensor) -> Tensor:
    return values.squeeze(-1)


def _levels(pairs: int, random: Streams) -> Tensor:
    """Strengths on [0, 1] of every pair: independent, or spread around a level of the whole data set; (B, P)."""
    apart = random.uniform(pairs)
    around = random.uniform(1) + random.uniform(1, high=0.25) * random.normal(pairs)
    around = 1 - (1 - around.abs()).abs()  # reflected at both ends, so that no level is an atom
    return torch.where(random.bernoulli(0.4, 1), apart, around.clamp(0, 1))


def _gaussian(variant: str, dim_x: int, dim_y: int, law: ParameterLaw, random: Streams) -> Joint:
    return Gaussian(draw_dispersion(variant, dim_x, dim_y, law.weak_probability, random), dim_x)


def _student(variant: str, dim_x: int, dim_y: int, law: ParameterLaw, random: Streams) -> Joint:
    df = _per_data_set(random.log_uniform(1, low=law.df[0], high=law.df[1]))
    return StudentT(draw_dispersion(variant, dim_x, dim_y, law.weak_probability, random), df, dim_x)


def _scale_mixture(name: str) -> _Draw:
    def draw(variant: str, dim_x: int, dim_y: int, law: ParameterLaw, random: Streams) -> Joint:
        mixing = MIXING_LAWS[name]
        parameter = _per_data_set(random.log_uniform(1, low=mixing.low, high=mixing.high))
        dispersion = draw_dispersion(variant, dim_x, dim_y, law.weak_probability, random)
        return ScaleMixture(dispersion, name, parameter.clamp(mixing.low, mixing.high), dim_x)

    return draw


def _contaminated(variant: str, dim_x: int, dim_y: int, law: ParameterLaw, random: Streams) -> Joint:
    share = _per_data_set(random.log_uniform(1, low=0.01, high=0.5))
    variance = _per_data_set(random.log_uniform(1, low=2.0, high=200.0))
    dispersion = draw_dispersion(variant, dim_x, dim_y, law.weak_probability, random)
    return ContaminatedNormal(dispersion, share, variance, dim_x)


def _additive(variant: str, dim_x: int, dim_y: int, law: ParameterLaw, random: Streams) -> Joint:
    """Noise strengths of their own per coordinate: uniform, or spread around a level of the whole data set."""
    pairs = min(dim_x, dim_y)
    uniform = random.uniform(pairs, low=0.05, high=2.2)
    level = random.log_uniform(1, low=0.05, high=10.0)
    spread = (random.uniform(1, low=0.0, high=0.8) * random.normal(pairs)).exp()
    epsilon = torch.where(random.bernoulli(0.6, 1), uniform, (level * spread).clamp(min=0.03))
    return UniformAdditiveNoise(epsilon, dim_x, dim_y)


def _additive_noise(variant: str, dim_x: int, dim_y: int, law: ParameterLaw, random: Streams) -> Joint:
    """Signal-to-noise ratios log-uniform from 1/20 to 20 in standard deviations."""
    law_x, law_noise = variant.split("_")
    ratio = 0.05 * 400 ** _levels(max(dim_x, dim_y), random)
    return AdditiveNoise(law_x, law_noise, ratio, dim_x, dim_y)


def _copula(variant: str, dim_x: int, dim_y: int, law: ParameterLaw, random: Streams) -> Joint:
    """Uniform on the scale on which the copula's MI is smooth; every rotation."""
    copula, pairs = COPULAS[variant], max(dim_x, dim_y)
    low, high = copula.coordinate(np.array([copula.low, copula.high]))
    coordinate = low + (high - low) * _levels(pairs, random)
    theta = torch.from_numpy(copula.parameter(coordinate.numpy())).clamp(copula.low, copula.high)
    return BivariateCopulas(variant, theta, dim_x, dim_y, random.bernoulli(0.5, pairs), random.bernoulli(0.5, pairs))


def _contingency(variant: str, dim_x: int, dim_y: int, law: ParameterLaw, random: Streams) -> Joint:
    """Log-linear association of normal coefficients, from hardly any to almost a function."""
    most, pairs = 8, max(dim_x, dim_y)
    margin_x, margin_y = (draw_shares(most, pairs, random) for _ in range(2))
    strength = (0.05 * 120 ** _levels(pairs, random)).view(-1, pairs, 1, 1)
    table = margin_x.unsqueeze(-1) * margin_y.unsqueeze(-2) * (strength * random.normal(pairs, most, most)).exp()
    return Contingency(table / table.sum((-2, -1), keepdim=True), dim_x, dim_y)


def _cuts(pairs: int, random: Streams) -> Tensor:
    """One to seven cuts at normal places; those past the last lie where no point is."""
    most = 8
    drawn = random.normal(pairs, most - 1)
    unused = torch.arange(most - 1) >= draw_num_levels(most, pairs, random).unsqueeze(-1) - 1
    far = 8 + torch.arange(most - 1, dtype=torch.float64) / 64
    return torch.where(unused, far, drawn).sort(-1).values


def _cut_normal(variant: str, dim_x: int, dim_y: int, law: ParameterLaw, random: Streams) -> Joint:
    pairs = max(dim_x, dim_y)
    sign = 1 - 2 * random.bernoulli(0.5, pairs).double()
    rho = 0.98 * sign * _levels(pairs, random)
    cuts_x = _cuts(pairs, random)
    return CutNormal(rho, cuts_x, _cuts(pairs, random) if variant == "both" else None, dim_x, dim_y)


def _classes(variant: str, dim_x: int, dim_y: int, law: ParameterLaw, random: Streams) -> Joint:
    """Class means up to several standard deviations apart, standard deviations within a factor of 4."""
    most, pairs = 6, max(dim_x, dim_y)
    share = draw_shares(most, pairs, random)
    spread = (0.05 * 200 ** _levels(pairs, random)).unsqueeze(-1)
    scale = 2 ** random.uniform(pairs, most, low=-1.0, high=1.0)
    scale = torch.where(random.bernoulli(0.5, 1, 1), scale, 1.0)
    return Classes(share, spread * random.normal(pairs, most), scale, dim_x, dim_y, swap=variant == "y")


def _gamma_poisson(variant: str, dim_x: int, dim_y: int, law: ParameterLaw, random: Streams) -> Joint:
    pairs = max(dim_x, dim_y)
    shape = random.log_uniform(pairs, low=0.3, high=6.0)
    return GammaPoisson(shape, 0.05 * 160 ** _levels(pairs, random), dim_x, dim_y, swap=variant == "y")


def _zero_inflated(variant: str, dim_x: int, dim_y: int, law: ParameterLaw, random: Streams) -> Joint:
    """Zeros that may go together; what is not zero correlates."""
    pairs = max(dim_x, dim_y)
    rho = 0.99 * (1 - 2 * random.bernoulli(0.5, pairs).double()) * _levels(pairs, random)
    weight = (random.uniform(1, 1, 1, high=2.0) * random.normal(pairs, 2, 2)).exp()
    return ZeroInflated(rho, weight / weight.sum((-2, -1), keepdim=True), dim_x, dim_y)


def _normal_mixture(variant: str, dim_x: int, dim_y: int, law: ParameterLaw, random: Streams) -> Joint:
    rows = normal_mixture_pool(variant).rows(law.chunk, _levels(max(dim_x, dim_y), random))
    return NormalMixture(rows["share"], rows["mean"], rows["scale"], rows["rho"], dim_x, dim_y, rows["mi"])


def _copula_mixture(variant: str, dim_x: int, dim_y: int, law: ParameterLaw, random: Streams) -> Joint:
    first, second = variant.split("_")
    rows = copula_mixture_pool(variant).rows(law.chunk, _levels(max(dim_x, dim_y), random))
    share, theta, reflect_x, reflect_y = (rows[name] for name in ("share", "theta", "reflect_x", "reflect_y"))
    error = rows["standard_error"]
    return CopulaMixture((first, second), share, theta, reflect_x, reflect_y, dim_x, dim_y, rows["mi"], error)


def _loop(variant: str, dim_x: int, dim_y: int, law: ParameterLaw, random: Streams) -> Joint:
    rows = loop_pool().rows(law.chunk, _levels(max(dim_x, dim_y), random))
    return Loop(rows["frequency"], rows["phase"], rows["noise"], dim_x, dim_y, rows["mi"])


def _mixture(variant: str, dim_x: int, dim_y: int, law: ParameterLaw, random: Streams) -> Joint:
    """Up to MAX_MIXTURE_DIM coordinates of each side; those past them are noise."""
    inner_x, inner_y = min(dim_x, MAX_MIXTURE_DIM), min(dim_y, MAX_MIXTURE_DIM)
    joint: Joint = draw_mixture(variant, inner_x, inner_y, law.chunk, random)
    if (inner_x, inner_y) == (dim_x, dim_y):
        return joint
    return BlockProduct([joint, _noise("", dim_x - inner_x, dim_y - inner_y, law, random)])


def _functional(variant: str, dim_x: int, dim_y: int, law: ParameterLaw, random: Streams) -> Joint:
    """One coordinate of either side a function of one, a few or all of the other's; the rest is noise."""
    curve = draw_curve(variant, random)
    swap = dim_y > dim_x or (dim_x == dim_y and variant in ("steps", "polynomial"))
    inputs = dim_y if swap else dim_x
    weight = random.normal(inputs)
    most = random.log_uniform(1, low=1.0, high=inputs + 1.0).floor()  # coordinates that matter, in a random order
    weight = torch.where(random.uniform(inputs).argsort(-1) < most, weight, 0.0)
    weight = weight / torch.linalg.vector_norm(weight, dim=-1, keepdim=True).clamp(min=1e-12)
    noise = random.log_uniform(1, low=0.03, high=8.0).squeeze(-1)
    joint: Joint = Functional(curve, weight, noise, swap=swap)
    others = (dim_x if swap else dim_y) - 1
    if others == 0:
        return joint
    return BlockProduct([joint, _noise("", others * swap, others * (not swap), law, random)])


def _noise(variant: str, dim_x: int, dim_y: int, law: ParameterLaw, random: Streams) -> Joint:
    skew = 0.5 * random.normal(dim_x + dim_y)
    tail = random.log_uniform(dim_x + dim_y, low=0.5, high=2.0)
    return IndependentCoordinates(skew, tail, dim_x)


_ELLIPTICAL = tuple(ENSEMBLES)
KINDS: dict[str, _Kind] = {
    "gaussian": _Kind(_gaussian, _ELLIPTICAL),
    "student": _Kind(_student, _ELLIPTICAL),
    "slash": _Kind(_scale_mixture("slash"), _ELLIPTICAL),
    "variance_gamma": _Kind(_scale_mixture("variance_gamma"), _ELLIPTICAL),
    "contaminated": _Kind(_contaminated, _ELLIPTICAL),
    "additive": _Kind(_additive),
    "additive_noise": _Kind(_additive_noise, tuple(f"{x}_{noise}" for x in NOISE_LAWS for noise in NOISE_LAWS)),
    "copula": _Kind(_copula, tuple(COPULAS)),
    "copula_mixture": _Kind(_copula_mixture, COPULA_MIXTURES, pooled=True),
    "normal_mixture": _Kind(_normal_mixture, NORMAL_MIXTURES, pooled=True),
    "mixture": _Kind(_mixture, MIXTURES, pooled=True),
    "loop": _Kind(_loop, pooled=True),
    "functional": _Kind(_functional, CURVES),
    "contingency": _Kind(_contingency, tied=True),
    "cut_normal": _Kind(_cut_normal, ("one", "both"), tied=True),
    "classes": _Kind(_classes, ("x", "y"), tied=True),
    "gamma_poisson": _Kind(_gamma_poisson, ("x", "y"), tied=True),
    "zero_inflated": _Kind(_zero_inflated, tied=True),
    "noise": _Kind(_noise),
}
FAMILIES = tuple(name for kind, entry in KINDS.items() for name in ([f"{kind}-{v}" for v in entry.variants] or [kind]))
ELLIPTICAL_KINDS = frozenset(name for name, kind in KINDS.items() if kind.variants == _ELLIPTICAL) | {"noise"}
TIED_KINDS = tuple(name for name, kind in KINDS.items() if kind.tied)
POOLED_KINDS = tuple(name for name, kind in KINDS.items() if kind.pooled)


def resolve(name: str, generator: np.random.Generator) -> str:
    """The name itself, or that of one of its variants, uniformly, where it is a kind that has some."""
    variants = KINDS[name].variants if name in KINDS else ()
    return f"{name}-{generator.choice(variants)}" if variants else name


def draw_family(name: str, dim_x: int, dim_y: int, law: ParameterLaw, random: Streams) -> Joint:
    """B joints of a family by its full name."""
    assert name in FAMILIES, name
    kind, _, variant = name.partition("-")
    return KINDS[kind].draw(variant, dim_x, dim_y, law, random)


def every_pool() -> list[Pool]:
    """All pools that the families draw from."""
    dims = [(x, y) for x in range(1, MAX_MIXTURE_DIM + 1) for y in range(1, x + 1)]
    return [
        loop_pool(),
        *map(normal_mixture_pool, NORMAL_MIXTURES),
        *map(copula_mixture_pool, COPULA_MIXTURES),
        *(mixture_pool(variant, dim_x, dim_y) for variant in MIXTURES for dim_x, dim_y in dims),
    ]


for _pool in every_pool():
    _ = _pool.key  # of the code as it is imported, whatever is edited later
