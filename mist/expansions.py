"""Gaussian MI of non-linear functions of each side, for dependence that no correlation of coordinates shows.

Shapes: B data sets, N points, Dx, Dy, D = Dx + Dy coordinates. Matrices are float64; the caller keeps autocast off.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["EXPANSION_MAX_DIM", "as_correlation", "radial_covariance"]

EXPANSION_MAX_DIM = 64  # coordinates in all; past it the functions are too many for the points that people have


def radial_covariance(scores: Tensor, dim_x: int) -> Tensor:
    """Covariances of every coordinate times 1, s and s² - 1, s the standardised norm of its side; coordinates of X
    first, X's three kinds before Y's, (B, D, N) -> (B, 3D, 3D).

    To second order in the angle, these span the inverse of every map that turns the side's planes by an angle which
    depends on the norm, as the spiral of Czyż et al. (2023) does: the Gaussian MI of the two spans is then that
    before the turn.
    """
    parts = []
    for side in (scores[:, :dim_x], scores[:, dim_x:]):
        norm = side.square().mean(-2, keepdim=True).clamp(min=1e-24).sqrt()  # a slope at 0, too
        norm = norm - norm.mean(-1, keepdim=True)
        norm = norm / norm.square().mean(-1, keepdim=True).clamp(min=1e-12).sqrt()
        parts += [side, side * norm, side * (norm.square() - 1)]
    functions = torch.cat(parts, dim=-2)
    mean = functions.mean(-1, keepdim=True)  # taken off the products, not off the points: it is small beside the spread
    return torch.baddbmm(mean @ mean.mT, functions, functions.mT, beta=-1, alpha=1 / functions.shape[-1])


def as_correlation(covariance: Tensor) -> Tensor:
    """Scaled to a unit diagonal, (B, D, D); what does not vary is independent of all else."""
    variance = covariance.diagonal(dim1=-2, dim2=-1)
    scale = torch.where(variance > 1e-9, variance, torch.inf).rsqrt()  # (B, D)
    correlation = covariance * scale.unsqueeze(-1) * scale.unsqueeze(-2)
    eye = torch.eye(covariance.shape[-1], dtype=covariance.dtype, device=covariance.device)
    return torch.where(eye.bool(), 1.0, correlation)
