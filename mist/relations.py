"""The relation graph: what every pair of coordinates says about its dependence, at one matrix product of cost.

Shapes: B data sets, D = Dx + Dy coordinates, N points, K relation features.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = [
    "INFORMATION",
    "NUM_RELATIONS",
    "STRENGTH",
    "Covariances",
    "covariances",
    "hermite",
    "kendall_change",
    "kendall_correlation",
    "relation_features",
]

NUM_RELATIONS = 22
INFORMATION = 14  # the relation 2 · ½ log 1/(1 - r²), nats
_BLUR = 0.2  # of a score: differences smaller than this count for less
STRENGTH = 0  # the relation that says how strong a pair is: |r|


def hermite(scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The scores and their second and third Hermite polynomial, centred and of unit variance, (B, D, N) -> (B, 3D, N)
    float64, and the standard deviations (B, D, 1) that the second and third had."""
    if scores.requires_grad:  # nothing in place, for the graph
        second, scale_second = _standardised(scores.square())
        third, scale_third = _standardised(scores * (scores.square() - 3))
        return torch.cat([scores, second, third], dim=1), scale_second, scale_third
    batch, dim, num_points = scores.shape
    stacked = torch.empty(batch, 3 * dim, num_points, dtype=scores.dtype, device=scores.device)
    first, second, third = stacked.split(dim, dim=1)
    first.copy_(scores)
    torch.mul(scores, scores, out=second)
    torch.mul(scores, second - 3, out=third)
    return stacked, _standardise(second), _standardise(third)


@dataclass(frozen=True)
class Covariances:
    """Covariances over the points of the Hermite polynomials of every two coordinates, (B, D, D) each: cjk is that of
    the j-th of the row with the k-th of the column. What enters differences that nearly cancel is float64."""

    c11: Tensor  # float64
    c12: Tensor  # float64
    c22: Tensor  # float64
    c13: Tensor  # float64
    c23: Tensor  # float32
    c33: Tensor  # float32
    scale_second: Tensor  # (B, D, 1) float64, standard deviation before standardising
    scale_third: Tensor

    def expanded(self) -> Tensor:
        """Of the scores and their second polynomial together, (B, 2D, 2D)."""
        upper = torch.cat([self.c11, self.c12], dim=-1)
        return torch.cat([upper, torch.cat([self.c12.mT, self.c22], dim=-1)], dim=-2)


def covariances(polynomials: Tensor, scale_second: Tensor, scale_third: Tensor) -> Covariances:
    """Covariances of what `hermite` returns."""
    num_points, dim = polynomials.shape[-1], polynomials.shape[-2] // 3
    first, second = polynomials[:, :dim], polynomials[:, dim : 2 * dim]
    single = polynomials[:, dim:].float()
    c11, c12, c13 = (first @ polynomials.mT / num_points).split(dim, dim=-1)
    c23, c33 = (single @ single[:, dim:].mT / num_points).split(dim, dim=-2)
    return Covariances(c11, c12, second @ second.mT / num_points, c13, c23, c33, scale_second, scale_third)


def _standardise(values: Tensor) -> Tensor:
    """Centre and scale in place; returns the standard deviations."""
    values -= values.mean(-1, keepdim=True)
    scale = torch.linalg.vector_norm(values, dim=-1, keepdim=True) / math.sqrt(values.shape[-1])
    scale = scale.clamp(min=1e-6)
    values /= scale
    return scale


def _standardised(values: Tensor) -> tuple[Tensor, Tensor]:
    """As `_standardise`, of a copy."""
    values = values - values.mean(-1, keepdim=True)
    scale = values.square().mean(-1, keepdim=True).clamp(min=1e-12).sqrt()
    return values / scale, scale


def kendall_correlation(scores: Tensor, order: Tensor, num_shifts: int) -> Tensor:
    """sin(πτ/2) with Kendall's τ-b over cyclic differences of the points in a given order; (B, D, N) -> (B, D, D).

    Exact in the limit for every continuous elliptical copula (Lindskog, McNeil & Schmock 2003); float32 counts of signs
    are exact integers.
    """
    arranged = scores.float().gather(-1, order.unsqueeze(-2).expand_as(scores))
    counts = torch.zeros(*scores.shape[:-1], scores.shape[-2], device=scores.device)
    num_points = scores.shape[-1]
    num_shifts = min(num_shifts, num_points - 1)
    arranged = torch.cat([arranged, arranged[..., :num_shifts]], dim=-1)
    for shift in range(1, num_shifts + 1):
        signs = (arranged[..., shift : shift + num_points] - arranged[..., :num_points]).sign_()
        counts.baddbmm_(signs, signs.mT)
    scale = counts.diagonal(dim1=-2, dim2=-1).clamp(min=1).rsqrt()
    tau = (counts * scale.unsqueeze(-1) * scale.unsqueeze(-2)).clamp(-1, 1)
    return torch.sin(0.5 * math.pi * tau)


def kendall_change(start: Tensor, end: Tensor, order: Tensor, num_shifts: int) -> Tensor:
    """What a move of scores changes in `kendall_correlation`, smoothly, (B, D, N), (B, D, N) -> (B, D, D) float64: as
    signs count tanh(d / 0.2), d the differences of scores. Differentiable in `end`."""
    before, after = (_smooth_kendall(scores, order, num_shifts) for scores in (start, end))
    return after - before


def _smooth_kendall(scores: Tensor, order: Tensor, num_shifts: int) -> Tensor:
    arranged = scores.double().gather(-1, order.unsqueeze(-2).expand_as(scores))
    counts = scores.new_zeros(*scores.shape[:-1], scores.shape[-2], dtype=torch.float64)
    for shift in range(1, min(num_shifts, scores.shape[-1] - 1) + 1):
        signs = torch.tanh((arranged.roll(-shift, -1) - arranged) / _BLUR)
        counts = counts + signs @ signs.mT
    scale = counts.diagonal(dim1=-2, dim2=-1).clamp(min=1).rsqrt()
    tau = (counts * scale.unsqueeze(-1) * scale.unsqueeze(-2)).clamp(-1, 1)
    return torch.sin(0.5 * math.pi * tau)


def _information(correlation: Tensor) -> Tensor:
    """½ log 1/(1 - r²) in nats, finite at |r| = 1."""
    return -0.5 * torch.log1p(-correlation.square().clamp(max=1 - 1e-7))


def _residual_kurtosis(moments: Covariances) -> Tensor:
    """Excess kurtosis of z_i - r z_j, the residual of coordinate i on j, clipped to ±3; float64, (B, D, D).

    It is 0 for a Gaussian pair whatever r, negative where the noise has bounded support, positive under heavy tails.
    """
    r, scale_second, scale_third = moments.c11, moments.scale_second, moments.scale_third
    fourth = scale_second.square() + 1  # E z⁴, (B, D, 1)
    m22 = scale_second * scale_second.mT * moments.c22 + 1
    m13 = scale_third.mT * moments.c13 + 3 * r  # E z_i z_j³
    square = r * r
    moment = fourth - 4 * r * m13.mT + 6 * square * m22 - 4 * r * square * m13 + square * square * fourth.mT
    return (moment / (1 - square).square().clamp(min=1e-4) - 3).clamp(-3, 3)


def relation_features(
    moments: Covariances, kendall: Tensor, same_side: Tensor, same_group: Tensor, tied: Tensor, num_points: int
) -> Tensor:
    """Edge features that no falling map moves: even functions and products of odd covariances.

    kendall (B, D, D); masks same_side and same_group (D, D), tied (B, D) in [0, 1]. What a Gaussian pair of the same r
    would show is subtracted, so that departures stand out. Returns (B, K, D, D) float32, channels first: they are
    written contiguously and read by matrix products.
    """
    kurtosis = _residual_kurtosis(moments).float()
    r, c12, c22, c13 = (values.float() for values in (moments.c11, moments.c12, moments.c22, moments.c13))
    c23, c33, tau = moments.c23, moments.c33, kendall.float()
    square, r_times_c13, c12_times_c32 = r * r, 4 * r * c13, c12 * c23.mT
    noise = math.sqrt(num_points)
    flat = [torch.eye(r.shape[-1], device=r.device), same_side.float(), same_group.float()]
    features = [
        r.abs(),
        tau.abs(),
        8 * (r * tau - square),
        4 * (c22 - square),
        c33.abs(),
        r_times_c13,
        r_times_c13.mT,
        4 * (r * c33 - square * square),
        c12.abs(),
        c12.abs().mT,
        c12_times_c32,
        c12_times_c32.mT,
        (r.abs() * noise).clamp(max=12) / 4,
        (c22 * noise).clamp(-12, 12) / 4,
        2 * _information(r),
        2 * _information(tau),
        torch.maximum(tied.unsqueeze(-1), tied.unsqueeze(-2)).float(),
        kurtosis,
        kurtosis.mT,
        *(marks.expand_as(r) for marks in flat),
    ]
    assert len(features) == NUM_RELATIONS
    return torch.stack(features, dim=1)
