"""Elliptical scale mixtures beyond Student-t: a normal vector times the square root of one random variance per point.

With X = √W·Z, Z ~ N(0, Σ), the marginal of p coordinates is the same mixture in p dimensions, so the MI is the Gaussian
one plus h(Dx) + h(Dy) - h(Dx + Dy), where h(p) is the entropy of the spherical mixture (Fang, Kotz & Ng 1990, §2.6).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from scipy import special
from torch import Tensor

from data_gen.elliptical import Gaussian
from data_gen.streams import Streams
from data_gen.tables import Array, Table

__all__ = ["MIXING_LAWS", "ContaminatedNormal", "MixingLaw", "ScaleMixture", "contaminated_excess"]

_DEGREE = 40
_TAIL = 1e-13
_WIDEST = 1e4  # variance of a contamination


def _slash_log_density(square: Array, q: Array, dim: int) -> Array:
    """log density at squared norm t of Z/U^{1/q} (Rogers & Tukey 1972), through the lower incomplete gamma function."""
    shape = (q + dim) / 2
    half = square / 2
    with np.errstate(divide="ignore", under="ignore"):
        log_gamma_p = np.log(special.gammainc(shape, half))
    start = shape * np.log(half) - special.gammaln(shape + 1) - half + np.log1p(half / (shape + 1))  # of its series
    log_gamma_p = np.where(log_gamma_p > -600, log_gamma_p, start)
    constant = -0.5 * dim * np.log(2 * np.pi) + np.log(q / 2) + special.gammaln(shape)
    return constant - shape * np.log(half) + log_gamma_p


def _variance_gamma_log_density(square: Array, shape: Array, dim: int) -> Array:
    """log density at squared norm t, W ~ Gamma(λ, rate λ); λ = 1 is Laplace (Kotz, Kozubowski & Podgórski 2001)."""
    order = shape - dim / 2
    argument = np.sqrt(2 * shape * square)
    with np.errstate(over="ignore", divide="ignore"):
        log_bessel = np.log(special.kve(order, argument)) - argument
    positive = np.abs(order).clip(1e-3)
    near_zero = special.gammaln(positive) - np.log(2) + positive * np.log(2 / argument)  # Abramowitz & Stegun 9.6.9
    log_bessel = np.where(np.isfinite(log_bessel), log_bessel, near_zero)
    constant = np.log(2) + shape * np.log(shape) - special.gammaln(shape) - 0.5 * dim * np.log(2 * np.pi)
    return constant + 0.5 * order * np.log(square / (2 * shape)) + log_bessel


@dataclass(frozen=True)
class MixingLaw:
    """A law of the variance W with one parameter."""

    low: float
    high: float
    log_density: Callable[[Array, Array, int], Array]  # of the mixture at a squared norm, by parameter and dims
    log_range: Callable[[Array], tuple[Array, Array]]  # of log W, but for tails of negligible weight
    draw: Callable[[Tensor, int, Streams], Tensor]  # (B,) parameters, N -> W of every point, (B, N)


def _draw_slash(q: Tensor, num_points: int, random: Streams) -> Tensor:
    return (1 - random.uniform(num_points)) ** (-2 / q.unsqueeze(-1))


def _draw_gamma(shape: Tensor, num_points: int, random: Streams) -> Tensor:
    return random.gamma(shape, num_points).clamp(min=1e-30) / shape.unsqueeze(-1)


MIXING_LAWS = {
    "slash": MixingLaw(
        1.0, 12.0, _slash_log_density, lambda q: (np.zeros_like(q), -2 * np.log(_TAIL) / q), _draw_slash
    ),
    "variance_gamma": MixingLaw(
        0.4,
        12.0,
        _variance_gamma_log_density,
        lambda shape: (
            np.log(special.gammaincinv(shape, _TAIL).clip(1e-290)) - np.log(shape),
            np.log(special.gammainccinv(shape, _TAIL)) - np.log(shape),
        ),
        _draw_gamma,
    ),
}


def _entropy(law: MixingLaw, parameter: float, dim: int) -> float:
    """h(p) of the spherical mixture in nats: a trapezoid over the logarithm of the squared norm."""
    low, high = law.log_range(np.array(parameter))
    low = float(low) + np.log(special.gammaincinv(dim / 2, 1e-12) * 2)
    high = float(high) + np.log(special.gammainccinv(dim / 2, 1e-12) * 2)
    step = min(0.2, 0.4 * np.sqrt(2 / dim))
    log_square = np.arange(low, high + step, step)
    log_density = law.log_density(np.exp(log_square), np.array(parameter), dim)
    surface = 0.5 * dim * np.log(np.pi) - special.gammaln(dim / 2)
    mass = np.exp(log_density + surface + 0.5 * dim * log_square) * step
    return float(-(mass * log_density).sum() / mass.sum())


@cache
def _entropy_table(law: str, dim: int) -> Table:
    mixing = MIXING_LAWS[law]
    return Table(
        lambda log_parameter: np.array([_entropy(mixing, p, dim) for p in np.exp(log_parameter)]),
        np.log(mixing.low),
        np.log(mixing.high),
        degree=_DEGREE,
    )


class ScaleMixture(Gaussian):
    """√W times a normal vector; law "slash" (W = U^{-2/q}) or "variance_gamma" (W ~ Gamma(λ, rate λ)).

    `dispersion` (B, D, D), `parameter` (B,): q on [1, 12] or λ on [0.4, 12].
    """

    def __init__(self, dispersion: Tensor, law: str, parameter: Tensor, dim_x: int) -> None:
        if law not in MIXING_LAWS:
            raise ValueError(f"got unknown mixing law {law!r}, expected one of {sorted(MIXING_LAWS)}")
        super().__init__(dispersion, dim_x)
        self.law = law
        self.parameter = parameter.double()

    @property
    def mutual_information(self) -> Tensor:
        """True MI in nats, (B,) float64."""
        log_parameter = self.parameter.log()
        x, y, both = (
            _entropy_table(self.law, dim)(log_parameter) for dim in (self.dim_x, self.dim_y, self.dim_x + self.dim_y)
        )
        return super().mutual_information + (x + y - both).clamp(min=0)

    def sample(self, num_points: int, random: Streams) -> tuple[Tensor, Tensor]:
        """N points of each: x (B, N, Dx), y (B, N, Dy)."""
        x, y = super().sample(num_points, random)
        scale = MIXING_LAWS[self.law].draw(self.parameter, num_points, random).sqrt().float().unsqueeze(-1)
        return x * scale, y * scale


def contaminated_excess(share: Tensor, variance: Tensor, dim_x: int, dim_y: int) -> Tensor:
    """What the MI of (1 - ε)·N(0, Σ) + ε·N(0, kΣ) exceeds its Gaussian part by, nats; ε and k (B,) -> (B,)."""
    if float(variance.max()) > _WIDEST:
        raise ValueError(f"got a contamination of variance {float(variance.max()):.4g}, expected at most {_WIDEST:g}")
    h = [_contaminated_entropy(share.double(), variance.double(), dim) for dim in (dim_x, dim_y, dim_x + dim_y)]
    return (h[0] + h[1] - h[2]).clamp(min=0)


def _contaminated_entropy(share: Tensor, variance: Tensor, dim: int) -> Tensor:
    chi = torch.tensor([special.gammaincinv(dim / 2, 1e-12), special.gammainccinv(dim / 2, 1e-12)]).log()
    low = chi[0].expand_as(share)
    high = chi[1] + variance.clamp(min=1).log()
    span = float(chi[1] - chi[0]) + np.log(_WIDEST)
    num_nodes = int(span / min(0.2, 0.4 * (2 / dim) ** 0.5)) + 2  # a label must not depend on its neighbours
    log_half = low.unsqueeze(-1) + (high - low).unsqueeze(-1) * torch.linspace(0, 1, num_nodes, dtype=torch.float64)
    log_variance = variance.log().unsqueeze(-1)
    parts = [
        torch.log1p(-share).unsqueeze(-1) - log_half.exp(),
        share.log().unsqueeze(-1) - 0.5 * dim * log_variance - (log_half - log_variance).exp(),
    ]
    log_density = torch.logsumexp(torch.stack(parts), dim=0) - 0.5 * dim * float(np.log(2 * np.pi))
    log_mass = log_density + 0.5 * dim * log_half
    mass = (log_mass - log_mass.amax(-1, keepdim=True)).exp()
    return -(mass * log_density).sum(-1) / mass.sum(-1)


class ContaminatedNormal(Gaussian):
    """(1 - ε)·N(0, Σ) + ε·N(0, kΣ) (Tukey 1960); `share` ε in (0, 1) and `variance` k > 0 are (B,)."""

    def __init__(self, dispersion: Tensor, share: Tensor, variance: Tensor, dim_x: int) -> None:
        super().__init__(dispersion, dim_x)
        self.share = share.double()
        self.variance = variance.double()

    @property
    def mutual_information(self) -> Tensor:
        """True MI in nats, (B,) float64."""
        return super().mutual_information + contaminated_excess(self.share, self.variance, self.dim_x, self.dim_y)

    def sample(self, num_points: int, random: Streams) -> tuple[Tensor, Tensor]:
        """N points of each: x (B, N, Dx), y (B, N, Dy)."""
        x, y = super().sample(num_points, random)
        wide = random.uniform(num_points) < self.share.unsqueeze(-1)
        scale = torch.where(wide, self.variance.sqrt().unsqueeze(-1), 1.0).float().unsqueeze(-1)
        return x * scale, y * scale
