"""Ensembles of dispersion matrices for elliptical joints, B at a time, float64.

Every ensemble is drawn from continuous laws and returns (B, D, D), x first, unit diagonal up to the mixing done later.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from data_gen.streams import Streams

__all__ = ["ENSEMBLES", "attenuate", "draw_dispersion", "latent_variable_dispersion"]


def _to_correlation(covariance: Tensor) -> Tensor:
    scale = covariance.diagonal(dim1=-2, dim2=-1).rsqrt()
    return covariance * scale.unsqueeze(-1) * scale.unsqueeze(-2)


def _ramp(value: Tensor, length: int) -> Tensor:
    """(B,) counts -> (B, length) booleans, true in the first `value` places."""
    return torch.arange(length) < value.unsqueeze(-1)


def latent_variable_dispersion(
    dim_x: int,
    dim_y: int,
    num_pairs: Tensor,
    alpha: Tensor,
    strength: Tensor,
    beta_x: Tensor,
    beta_y: Tensor,
    eta: Tensor,
) -> Tensor:
    """Correlation of the Gaussian latent-variable model of Czyż et al. (2023), Appendix, generalised.

    X_m = E_m + α U + β_x U_x + λ_m V_m for m <= num_pairs, and + η V'_m for the others; Y likewise with the
    same U and V. num_pairs, alpha, beta_x, beta_y, eta are (B,), strength λ is (B, min(Dx, Dy)); returns (B, D, D).
    """
    batch, shared = strength.shape[0], min(dim_x, dim_y)
    paired = _ramp(num_pairs, shared)
    signal = torch.where(paired, strength**2, 0.0)  # (B, min(Dx, Dy))
    covariance = (alpha**2).view(-1, 1, 1).expand(batch, dim_x + dim_y, dim_x + dim_y).clone()
    covariance[:, :dim_x, :dim_x] += (beta_x**2).view(-1, 1, 1)
    covariance[:, dim_x:, dim_x:] += (beta_y**2).view(-1, 1, 1)
    diagonal = covariance.diagonal(dim1=-2, dim2=-1)
    own = (1 + eta**2).unsqueeze(-1)
    for start, dim in ((0, dim_x), (dim_x, dim_y)):
        diagonal[:, start : start + shared] += torch.where(paired, 1 + signal, own)
        diagonal[:, start + shared : start + dim] += own
    index = torch.arange(shared)
    covariance[:, index, dim_x + index] += signal
    covariance[:, dim_x + index, index] += signal
    return _to_correlation(covariance)


def _num_pairs(shared: int, random: Streams) -> Tensor:
    """Uniform on 1…shared three times in four, else log-uniform: few pairs are common at every dim."""
    uniform = random.integers(1, shared, 1).squeeze(-1)
    few = random.log_uniform(1, low=1.0, high=shared + 1.0).squeeze(-1).long().clamp(1, shared)
    return torch.where(random.bernoulli(0.75, 1).squeeze(-1), uniform, few)


def _strengths(shared: int, high: float, random: Streams) -> Tensor:
    """One strength for all pairs two times in three, else a spread around it; (B, shared)."""
    common = random.uniform(1, low=0.05, high=high)
    spread = (random.uniform(1, low=0.0, high=1.0) * random.normal(shared)).exp()
    equal = random.bernoulli(2 / 3, 1)
    return torch.where(equal, common, (common * spread).clamp(max=high)).expand(-1, shared)


def _zeros(random: Streams) -> Tensor:
    return torch.zeros(len(random), dtype=torch.float64)


def _dense(dim_x: int, dim_y: int, random: Streams) -> Tensor:
    """All correlations equal, r mostly moderate, up to 0.95."""
    r = 0.95 * random.uniform(1) ** 1.5
    dim = dim_x + dim_y
    return r.unsqueeze(-1) + (1 - r).unsqueeze(-1) * torch.eye(dim, dtype=torch.float64)


def _sparse(dim_x: int, dim_y: int, random: Streams) -> Tensor:
    """num_pairs interacting pairs; everything else independent."""
    shared = min(dim_x, dim_y)
    zeros = _zeros(random)
    strengths = _strengths(shared, 5.5, random)
    pairs = _num_pairs(shared, random)
    return latent_variable_dispersion(dim_x, dim_y, pairs, zeros, strengths, zeros, zeros, zeros)


def _latent_variable(dim_x: int, dim_y: int, random: Streams) -> Tensor:
    """Interacting pairs, a cause common to both sides and one common to each side."""
    shared = min(dim_x, dim_y)
    alpha, beta, beta_other, eta = random.uniform(4).unbind(-1)
    beta_other = torch.where(random.bernoulli(0.5, 1).squeeze(-1), beta, beta_other)
    strengths = _strengths(shared, 3.3, random)
    pairs = _num_pairs(shared, random)
    return latent_variable_dispersion(
        dim_x, dim_y, pairs, 1.1 * alpha, strengths, 1.65 * beta, 1.65 * beta_other, 0.1 + 5.2 * eta
    )


def _factor(dim_x: int, dim_y: int, random: Streams) -> Tensor:
    """Normal loadings on k latent factors, each with a scale of its own, plus own noise."""
    dim = dim_x + dim_y
    num_factors = random.log_uniform(1, low=1.0, high=min(dim, 12) + 1.0).squeeze(-1).long()
    factors = min(dim, 12)
    scale = random.log_uniform(1, low=0.1, high=3.0) * _ramp(num_factors, factors)  # (B, k)
    loadings = random.normal(dim, factors) * (scale / num_factors.unsqueeze(-1).sqrt()).unsqueeze(-2)
    noise = random.log_uniform(dim, low=0.5, high=1.5)
    return _to_correlation(loadings @ loadings.mT + torch.diag_embed(noise))


def _canonical(dim_x: int, dim_y: int, random: Streams) -> Tensor:
    """Random canonical correlations between white sides; each side turned by a random rotation and scaled."""
    shared = min(dim_x, dim_y)
    top = random.uniform(1) ** 0.5
    decay = random.log_uniform(1, low=0.05, high=20.0)
    rank = torch.linspace(0, 1, shared, dtype=torch.float64)
    rho = 0.995 * top * torch.exp(-decay * rank) * random.uniform(shared) ** random.uniform(1)
    rho = torch.where(_ramp(_num_pairs(shared, random), shared), rho, 0.0)
    return _white_sides(dim_x, dim_y, rho, random)


def _white_sides(dim_x: int, dim_y: int, rho: Tensor, random: Streams) -> Tensor:
    """White sides of the given canonical correlations (B, min(Dx, Dy)), each turned at random."""
    shared = rho.shape[-1]
    dispersion = torch.eye(dim_x + dim_y, dtype=torch.float64).repeat(len(random), 1, 1)
    left, right = random.orthogonal(dim_x)[:, :, :shared], random.orthogonal(dim_y)[:, :, :shared]
    cross = (left * rho.unsqueeze(-2)) @ right.mT
    dispersion[:, :dim_x, dim_x:] = cross
    dispersion[:, dim_x:, :dim_x] = cross.mT
    return dispersion


def _toeplitz(dim_x: int, dim_y: int, random: Streams) -> Tensor:
    """A stationary series, damped and often oscillating, whose times are dealt to the sides at random."""
    dim = dim_x + dim_y
    damping = 0.98 * random.uniform(1) ** 0.5
    frequency = torch.where(random.bernoulli(0.5, 1), torch.pi * random.uniform(1), 0.0)
    time = random.uniform(dim).argsort(-1).double()
    lag = (time.unsqueeze(-1) - time.unsqueeze(-2)).abs()  # (B, D, D)
    return damping.unsqueeze(-1) ** lag * torch.cos(frequency.unsqueeze(-1) * lag)


def _block(dim_x: int, dim_y: int, random: Streams) -> Tensor:
    """Groups of coordinates of both sides, equally correlated inside a group and independent across groups."""
    dim = dim_x + dim_y
    num_groups = random.log_uniform(1, low=1.0, high=dim + 1.0).long()
    group = (random.uniform(dim) * num_groups).long()  # (B, D)
    r = 0.97 * random.uniform(dim) ** 1.5  # of every group
    same = group.unsqueeze(-1) == group.unsqueeze(-2)
    dispersion = torch.where(same, r.gather(-1, group).unsqueeze(-1), 0.0)
    dispersion.diagonal(dim1=-2, dim2=-1).fill_(1)
    return dispersion


def _wishart(dim_x: int, dim_y: int, random: Streams) -> Tensor:
    """Sample covariances of white noise from a tenth more points than dims up to eight times as many."""
    dim = dim_x + dim_y
    most = 8 * dim + 2
    points = (dim + random.log_uniform(1, low=0.1 * dim + 2, high=7.0 * dim + 3)).long()
    noise = random.normal(dim, most) * _ramp(points.squeeze(-1), most).unsqueeze(-2)
    return _to_correlation(noise @ noise.mT)


def _strong(dim_x: int, dim_y: int, random: Streams) -> Tensor:
    """Few canonical pairs of up to 7 nats each, between white sides that are turned at random: nearly deterministic."""
    shared = min(dim_x, dim_y)
    number = random.log_uniform(1, low=1.0, high=min(shared, 16) + 1.0).floor()
    total = random.uniform(1, low=0.1, high=1.0) * torch.minimum(7 * number, torch.full_like(number, 35.0))
    part = random.uniform(shared) ** random.uniform(1, high=2.0) * _ramp(number.squeeze(-1), shared)
    information = (total * part / part.sum(-1, keepdim=True).clamp(min=1e-9)).clamp(max=7.0)
    rho = torch.sqrt(-torch.expm1(-2 * information))
    return _white_sides(dim_x, dim_y, rho, random)


ENSEMBLES: dict[str, Callable[[int, int, Streams], Tensor]] = {
    "dense": _dense,
    "sparse": _sparse,
    "latent_variable": _latent_variable,
    "factor": _factor,
    "canonical": _canonical,
    "toeplitz": _toeplitz,
    "block": _block,
    "wishart": _wishart,
    "strong": _strong,
}


def attenuate(dispersion: Tensor, dim_x: int, factor: Tensor) -> Tensor:
    """Scale the dependence *between* the sides by a factor (B,) in [0, 1]; positive definiteness is kept."""
    out = dispersion.clone()
    out[:, :dim_x, dim_x:] *= factor.view(-1, 1, 1)
    out[:, dim_x:, :dim_x] *= factor.view(-1, 1, 1)
    return out


def draw_dispersion(ensemble: str, dim_x: int, dim_y: int, weak_probability: float, random: Streams) -> Tensor:
    """B dispersions of one ensemble; with `weak_probability` the cross-dependence is scaled down, log-uniformly."""
    dispersion = ENSEMBLES[ensemble](dim_x, dim_y, random)
    weak = random.bernoulli(weak_probability, 1).squeeze(-1)
    factor = random.log_uniform(1, low=0.02, high=1.0).squeeze(-1)
    return attenuate(dispersion, dim_x, torch.where(weak, factor, 1.0))
