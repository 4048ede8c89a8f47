"""The KSG estimator of mutual information, for the base panel where the dimension is small."""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import Tensor

__all__ = ["ksg_mutual_information"]

_CHUNK = 1 << 24  # distances held at once on an accelerator


def ksg_mutual_information(x: Tensor, y: Tensor, num_neighbours: int = 3) -> Tensor:
    """KSG estimate (algorithm 1 of Kraskov, Stögbauer & Grassberger 2004), nats; (B, Dx, N), (B, Dy, N) -> (B,) float64.

    Distances are maximum norms. A tree search on the CPU, all pairs in chunks elsewhere; the answers are equal.
    """
    search = _counts_by_tree if x.device.type == "cpu" else _counts_by_pairs
    counts_x, counts_y = search(x, y, num_neighbours)
    digamma = torch.special.digamma(counts_x.double() + 1) + torch.special.digamma(counts_y.double() + 1)
    num_points = torch.tensor([num_neighbours, x.shape[-1]], dtype=torch.float64, device=x.device)
    return torch.special.digamma(num_points).sum() - digamma.mean(-1)


def _counts_by_tree(x: Tensor, y: Tensor, num_neighbours: int) -> tuple[Tensor, Tensor]:
    counts = np.empty((2, x.shape[0], x.shape[-1]))
    for i, sides in enumerate(zip(x.mT.double().numpy(), y.mT.double().numpy(), strict=True)):
        joint = np.concatenate(sides, axis=-1)
        radius = cKDTree(joint).query(joint, k=[num_neighbours + 1], p=np.inf)[0][:, 0]
        for j, side in enumerate(sides):
            counts[j, i] = np.where(radius > 0, _strict_counts(side, np.nextafter(radius, 0)), 0)
    inside = torch.from_numpy(counts).clamp(min=0)
    return inside[0], inside[1]


def _strict_counts(side: np.ndarray, radius: np.ndarray) -> np.ndarray:
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
            out.append(((distance < radius).sum(-1) - 1).clamp(min=0))
    return torch.cat(counts[0], -1), torch.cat(counts[1], -1)
