"""The relation graph: what every pair of coordinates says about its dependence, at one matrix product of cost.

Shapes: B data sets, D = Dx + Dy coordinates, N points, K relation features.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["INFORMATION", "NUM_RELATIONS", "STRENGTH", "hermite", "kendall_correlation", "relation_features"]

NUM_RELATIONS = 22
INFORMATION = 14  # the relation 2 · ½ log 1/(1 - r²), nats
STRENGTH = 0  # the relation that says how strong a pair is: |r|


def hermite(scores: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Second and third Hermite polynomial of the scores, centred and of unit variance, (B, D, N) float64 each, and the
    standard deviations (B, D, 1) that they had."""
    square = scores * scores
    second, scale_second = _standardise(square)
    third, scale_third = _standardise(scores * (square - 3))
    return second, third, scale_second, scale_third


def _standardise(values: Tensor) -> tuple[Tensor, Tensor]:
    values = values - values.mean(-1, keepdim=True)
    scale = torch.linalg.vector_norm(values, dim=-1, keepdim=True) / math.sqrt(values.shape[-1])
    scale = scale.clamp(min=1e-6)
    return values.div_(scale), scale


def kendall_correlation(scores: Tensor, order: Tensor, num_shifts: int) -> Tensor:
    """sin(πτ/2) with Kendall's τ-b over cyclic differences of the points in a given order; (B, D, N) -> (B, D, D).

    Exact in the limit for every continuous elliptical copula (Lindskog, McNeil & Schmock 2003); float32 counts of signs
    are exact integers.
    """
    arranged = scores.float().gather(-1, order.unsqueeze(-2).expand_as(scores))
    counts = torch.zeros(*scores.shape[:-1], scores.shape[-2], device=scores.device)
    for shift in range(1, min(num_shifts, scores.shape[-1] - 1) + 1):
        signs = (arranged - arranged.roll(shift, dims=-1)).sign_()
        counts = torch.baddbmm(counts, signs, signs.mT)
    scale = counts.diagonal(dim1=-2, dim2=-1).clamp(min=1).rsqrt()
    tau = (counts * scale.unsqueeze(-1) * scale.unsqueeze(-2)).clamp(-1, 1)
    return torch.sin(0.5 * math.pi * tau)


def _information(correlation: Tensor) -> Tensor:
    """½ log 1/(1 - r²) in nats, finite at |r| = 1."""
    return -0.5 * torch.log1p(-correlation.square().clamp(max=1 - 1e-7))


def _residual_kurtosis(r: Tensor, c22: Tensor, c13: Tensor, scale_second: Tensor, scale_third: Tensor) -> Tensor:
    """Excess kurtosis of z_i - r z_j, the residual of coordinate i on j, clipped to ±3; all float64, (B, D, D).

    It is 0 for a Gaussian pair whatever r, negative where the noise has bounded support, positive under heavy tails.
    """
    fourth = scale_second.square() + 1  # E z⁴, (B, D, 1)
    m22 = scale_second * scale_second.mT * c22 + 1
    m13 = scale_third.mT * c13 + 3 * r  # E z_i z_j³
    square = r * r
    moment = fourth - 4 * r * m13.mT + 6 * square * m22 - 4 * r * square * m13 + square * square * fourth.mT
    return (moment / (1 - square).square().clamp(min=1e-4) - 3).clamp(-3, 3)


def relation_features(
    gram: Tensor,
    cubic: Tensor,
    scale_second: Tensor,
    scale_third: Tensor,
    kendall: Tensor,
    same_side: Tensor,
    same_group: Tensor,
    tied: Tensor,
    num_points: int,
) -> Tensor:
    """Edge features that no falling map moves: even functions and products of odd covariances.

    gram (B, 2D, 2D) covariances of Hermite 1-2, cubic (B, 3D, D) those of Hermite 1-3 with Hermite 3, float64, of the
    polynomials that had standard deviations scale_second and scale_third (B, D, 1); kendall (B, D, D); masks same_side
    and same_group (D, D), tied (B, D) in [0, 1]. What a Gaussian pair of the same r would show is subtracted, so that
    departures stand out. Returns (B, K, D, D) float32, channels first: they are written contiguously and read by
    matrix products.
    """
    dim = kendall.shape[-1]
    kurtosis = _residual_kurtosis(gram[:, :dim, :dim], gram[:, dim:, dim:], cubic[:, :dim], scale_second, scale_third)
    gram, cubic, tau, kurtosis = gram.float(), cubic.float(), kendall.float(), kurtosis.float()
    r, c12, c22 = gram[:, :dim, :dim], gram[:, :dim, dim:], gram[:, dim:, dim:]
    c13, c23, c33 = cubic[:, :dim], cubic[:, dim : 2 * dim], cubic[:, 2 * dim :]
    square, r_times_c13, c12_times_c32 = r * r, 4 * r * c13, c12 * c23.mT
    noise = math.sqrt(num_points)
    flat = torch.stack([torch.eye(dim, device=r.device), same_side.float(), same_group.float()])
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
    ]
    assert len(features) + len(flat) == NUM_RELATIONS
    return torch.cat([torch.stack(features, dim=1), flat.expand(len(r), -1, -1, -1)], dim=1)
