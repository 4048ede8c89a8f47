"""The relation graph: what every pair of coordinates says about its dependence, at one matrix product of cost.

Shapes: B data sets, D = Dx + Dy coordinates, N points, K relation features.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["INFORMATION", "NUM_RELATIONS", "STRENGTH", "hermite", "kendall_correlation", "relation_features"]

NUM_RELATIONS = 20
INFORMATION = 14  # the relation 2 · ½ log 1/(1 - r²), nats
STRENGTH = 0  # the relation that says how strong a pair is: |r|


def hermite(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Second and third Hermite polynomial of the scores, centred and of unit variance: float64 and float32."""
    square = scores * scores
    return _standardise(square), _standardise(scores.float() * (square.float() - 3))


def _standardise(values: Tensor) -> Tensor:
    values = values - values.mean(-1, keepdim=True)
    scale = torch.linalg.vector_norm(values, dim=-1, keepdim=True) / math.sqrt(values.shape[-1])
    return values.div_(scale.clamp(min=1e-6))


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


def relation_features(
    gram: Tensor, cubic: Tensor, kendall: Tensor, same_side: Tensor, same_group: Tensor, tied: Tensor, num_points: int
) -> Tensor:
    """Edge features that no falling map moves: even functions and products of odd covariances.

    gram (B, 2D, 2D) covariances of Hermite 1-2, cubic (B, 3D, D) those of Hermite 1-3 with Hermite 3, kendall (B, D, D);
    masks same_side and same_group (D, D), tied (B, D). Returns (B, K, D, D) float32, channels first: they are written
    contiguously and read by matrix products.
    """
    dim = kendall.shape[-1]
    gram, tau = gram.float(), kendall.float()
    r, c12, c22 = gram[:, :dim, :dim], gram[:, :dim, dim:], gram[:, dim:, dim:]
    c13, c23, c33 = cubic[:, :dim], cubic[:, dim : 2 * dim], cubic[:, 2 * dim :]
    r_times_c13, c12_times_c32 = r * c13, c12 * c23.mT
    noise = math.sqrt(num_points)
    flat = torch.stack([torch.eye(dim, device=r.device), same_side.float(), same_group.float()]).expand(len(r), -1, -1, -1)
    features = [
        r.abs(),
        tau.abs(),
        r * tau,
        c22,
        c33.abs(),
        r_times_c13,
        r_times_c13.mT,
        r * c33,
        c12.abs(),
        c12.abs().mT,
        c12_times_c32,
        c12_times_c32.mT,
        (r.abs() * noise).clamp(max=12) / 4,
        (c22 * noise).clamp(-12, 12) / 4,
        2 * _information(r),
        2 * _information(tau),
        (tied.unsqueeze(-1) | tied.unsqueeze(-2)).float(),
    ]
    assert len(features) + flat.shape[1] == NUM_RELATIONS
    return torch.cat([torch.stack(features, dim=1), flat], dim=1)
