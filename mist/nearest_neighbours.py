"""The KSG estimator of mutual information, for the base panel where the dimension is small."""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

__all__ = ["ksg_mutual_information"]

_CHUNK = 1 << 24  # distances held at once on an accelerator
_MOST_PAIRED = 20_000  # points past which an accelerator, too, leaves it to the tree
_INSIDE = 1 - 1e-9  # ranks make exactly equal distances; a count inside a radius must not hang on their rounding


def ksg_mutual_information(x: Tensor, y: Tensor, num_neighbours: int = 3) -> Tensor:
    """KSG estimate (algorithm 1 of Kraskov et al. 2004), nats; (B, Dx, N), (B, Dy, N) -> (B,) float64.

    Maximum norms. A tree search on the CPU; on an accelerator all pairs in chunks while the points are not
    too many for it. The answers are equal.
    """
    by_tree = x.device.type == "cpu" or x.shape[-1] > _MOST_PAIRED
    counts_x, counts_y = (_counts_by_tree if by_tree else _counts_by_pairs)(x, y, num_neighbours)
    digamma = torch.special.digamma(counts_x.double() + 1) + torch.special.digamma(counts_y.double() + 1)
    num_points = torch.tensor([num_neighbours, x.shape[-1]], dtype=torch.float64, device=x.device)
    return torch.special.digamma(num_points).sum() - digamma.mean(-1)


def _counts_by_tree(x: Tensor, y: Tensor, num_neighbours: int) -> tuple[Tensor, Tensor]:
    counts = np.empty((2, x.shape[0], x.shape[-1]))
    for i, sides in enumerate(zip(x.mT.double().cpu().numpy(), y.mT.double().cpu().numpy(), strict=True)):
        joint = np.concatenate(sides, axis=-1)
        radius = cKDTree(joint).query(joint, k=[num_neighbours + 1], p=np.inf)[0][:, 0]
        for j, side in enumerate(sides):
            counts[j, i] = np.where(radius > 0, _counts_within(side, radius * _INSIDE), 0)
    inside = torch.from_numpy(counts).clamp(min=0).to(x.device)
    return inside[0], inside[1]


def _counts_within(side: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """Other points within `radius` of each."""
    if side.shape[1] == 1:
        ordered = np.sort(side[:, 0])
        upper = np.searchsorted(ordered, side[:, 0] + radius, side="right")
        return upper - np.searchsorted(ordered, side[:, 0] - radius, side="left") - 1
    return cKDTree(side).query_ball_point(side, radius, p=np.inf, return_length=True) - 1


def _counts_by_pairs(x: Tensor, y: Tensor, num_neighbours: int) -> tuple[Tensor, Tensor]:
    batch, _, num_points = x.shape
    step = max(1, _CHUNK // (batch * num_points))
    counts: tuple[list[Tensor], list[Tensor]] = ([], [])
    for start in range(0, num_points, step):
        distances = [
            (side.double()[..., start : start + step, None] - side.double()[..., None, :]).abs().amax(1)
            for side in (x, y)
        ]  # each (B, step, N)
        radius = torch.maximum(*distances).kthvalue(num_neighbours + 1, dim=-1, keepdim=True).values
        for out, distance in zip(counts, distances, strict=True):
            out.append(((distance < radius * _INSIDE).sum(-1) - 1).clamp(min=0))
    return torch.cat(counts[0], -1), torch.cat(counts[1], -1)
