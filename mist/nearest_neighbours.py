"""Nearest-neighbour estimators of mutual information, for the base panel where the dimension is small."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from mist.box_counts import count_within
from mist.discrete import Levels

__all__ = ["ksg_change", "ksg_mutual_information", "ross_mutual_information"]

_CHUNK = 1 << 24  # distances held at once on an accelerator
_MOST_PAIRED = 20_000  # points past which an accelerator, too, leaves it to the tree
_MOST_BITS = 300_000  # points past which a tree counts in boxes of three coordinates as fast as bits do
_MOVING = 10, 20  # neighbours whose radii a gradient is taken at: of fewer it is rough
_BLUR = 0.2  # of a radius: how smoothly points enter it
_FAR = 2.0  # radii: further away than that, no small move brings a point within one
_MOST_ANCHORS = 1_000  # points whose radii and counts are looked at
_ALWAYS = 0.1  # counts besides: where all neighbours leave, the logarithm stays finite
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


def ksg_change(start: Tensor, end: Tensor, dim_x: int, order: Tensor) -> Tensor:
    """What a move of scores changes in the KSG estimate, smoothly, nats; (B, D, N), (B, D, N) -> (B,).

    Differentiable in `end`, unlike KSG, whose counts do not move. Every point, of many the first 1,000 in an order
    (B, N), keeps its radius, the distance of its 10th neighbour at the start, and another time of its 20th, of which
    the mean is taken; what moves is how many points lie within it, of X, of Y and of both, where each counts for the
    product over coordinates of σ((1 - |d|/radius) / 0.2), d their distance. Such as lie further than two radii at the
    start are left out. Every column is taken to keep its law, as scores do: a side of one has as many as before. Points
    with a radius of 0, as ties make, change nothing. Memory for some N pairs of each of these points.
    """
    if not end.requires_grad and torch.equal(start, end):  # nothing moved, and nothing is asked of it
        return end.new_zeros(len(end))
    anchors = order[:, :_MOST_ANCHORS]
    return torch.stack([_ksg_change(*sides, dim_x) for sides in zip(start, end, anchors, strict=True)])


def _ksg_change(start: Tensor, end: Tensor, anchors: Tensor, dim_x: int) -> Tensor:
    """Of one data set, (D, N), (D, N), (A,) -> ()."""
    start = start.detach()
    nearest = np.unique(np.minimum(_MOVING, start.shape[1] - 1) + 1)
    radii = torch.from_numpy(_distances(start.T.cpu().numpy(), nearest).T).to(start)[:, anchors]  # (K, A)
    change = end.new_zeros(len(anchors))
    for columns, sign in ((slice(None), 1), (slice(None, dim_x), -1), (slice(dim_x, None), -1)):
        if len(start[columns]) == 1:
            continue
        before, after = start[columns], end[columns]
        distances = (before[:, anchors].unsqueeze(-1) - before.unsqueeze(-2)).abs().amax(0)  # (A, N)
        distances[torch.arange(len(anchors)), anchors] = torch.inf  # from itself
        for radius in radii:
            reach = torch.where(radius > 0, _FAR * radius, -1.0).unsqueeze(-1)
            one, other = (distances <= reach).nonzero().T
            counts = [
                _smooth_counts((points[:, anchors[one]] - points[:, other]).abs(), one, radius)
                for points in (before, after)
            ]
            change = change + sign * (counts[1].log() - counts[0].log())
    return change.mean() / len(radii)


def _smooth_counts(distances: Tensor, one: Tensor, radius: Tensor) -> Tensor:
    """Distances by coordinate (D, P) from points of these numbers (P,), whose radii are (A,) -> (A,)."""
    inside = torch.sigmoid((1 - distances / radius[one]) / _BLUR).prod(0)
    return torch.full_like(radius, _ALWAYS).index_add(0, one, inside)


def _tree(points: np.ndarray, leafsize: int = 16) -> Any:
    """A k-d tree, (N, D); scipy's, which is dear to import, when one is needed."""
    from scipy.spatial import cKDTree

    return cKDTree(points, leafsize=leafsize)


def _distances(points: np.ndarray, nearest: np.ndarray) -> np.ndarray:
    """From each point to its nearest ones by number, itself the first, (N, D) -> (N, K); maximum norms."""
    tree = _tree(points, leafsize=10)
    order = tree.indices  # neighbours one after another read the same leaves
    distances = np.empty((len(points), len(nearest)))
    distances[order] = tree.query(points[order], k=nearest, p=np.inf)[0]
    return distances


def _counts_by_tree(x: Tensor, y: Tensor, num_neighbours: int) -> tuple[Tensor, Tensor]:
    joint = torch.cat([x, y], dim=1).mT.double().cpu().numpy()
    nearest = np.array([num_neighbours + 1])
    radius = torch.from_numpy(np.stack([_distances(points, nearest)[:, 0] for points in joint])).to(x.device)
    counts = [(_counts_within(side.double(), radius * _INSIDE) - 1) * (radius > 0) for side in (x, y)]
    return counts[0], counts[1]


def _counts_within(side: Tensor, radius: Tensor) -> Tensor:
    """Points within `radius` of each, itself among them, (B, D, N), (B, N) -> (B, N)."""
    if side.shape[1] <= 2 or side.shape[-1] <= _MOST_BITS:
        return count_within(side, radius)
    trees = [_tree(points, leafsize=32) for points in side.mT.cpu().numpy()]
    every = np.ones(side.shape[-1], dtype=bool)
    counts = [_counts_in_balls(tree, reach, every) for tree, reach in zip(trees, radius.cpu().numpy(), strict=True)]
    return torch.from_numpy(np.stack(counts)).to(side.device)


def _counts_in_balls(tree: Any, radius: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Points of a tree no further than its radius (N,) from each that is wanted, (N,) bool, itself among them, 0 of the
    others; maximum norms.

    Leaves of 32 count a quarter quicker than those of 16.
    """
    order = tree.indices[wanted[tree.indices]]
    counts = np.zeros(len(radius), dtype=np.int64)
    counts[order] = tree.query_ball_point(tree.data[order], radius[order], p=np.inf, return_length=True)
    return counts


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


def ross_mutual_information(levels: Levels, values: Tensor, which: Tensor, num_neighbours: int = 3) -> Tensor:
    """MI of a discrete side with a continuous one (Ross 2014, Eq. 2), nats, (B,) float64.

    levels of the discrete side (B, N), values (B, D, N) of the other; which (B,) says for which data sets it is wanted,
    0 elsewhere. Maximum norms. Levels of one point are left out. Neighbours at exactly the radius count on both sides
    of the difference, so that ties of the values make no information (after Gao et al. 2017).
    """
    by_tree = values.device.type == "cpu" or values.shape[-1] > _MOST_PAIRED
    within, near = (_level_counts_by_tree if by_tree else _level_counts_by_pairs)(levels, values, which, num_neighbours)
    kept = levels.size > 1
    terms = torch.special.digamma(near.double()) - torch.special.digamma(within.double())
    terms = torch.where(kept, terms - torch.special.digamma(levels.size.double()), 0.0)
    num_kept = kept.sum(-1).clamp(min=1).double()
    return torch.where(which & kept.any(-1), torch.special.digamma(num_kept) + terms.sum(-1) / num_kept, 0.0)


def _level_counts_by_tree(levels: Levels, values: Tensor, which: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Per point: others of any level, and of its own, no further than the `most`-th nearest of its own level."""
    index, size, sides = levels.index.cpu().numpy(), levels.size.cpu().numpy(), values.mT.double().cpu().numpy()
    within, near = np.ones_like(size), np.ones_like(size)
    for i in which.nonzero().flatten().tolist():
        kept = size[i] > 1
        if not kept.any():
            continue
        side, own = sides[i][kept], size[i][kept]
        far = 4 * np.abs(side).max() + 1  # further apart than any two points of a level
        joint = np.concatenate([side, far * index[i][kept][:, None]], axis=1)
        distance, others = _distances(joint, np.arange(2, most + 3)), np.minimum(own - 1, most)
        row = np.arange(len(own))
        radius = distance[row, others - 1] / _INSIDE
        tied = distance[row, others] <= radius
        if tied.any():  # else the neighbours looked for are all that lie so near
            others[tied] = _counts_in_balls(_tree(joint, leafsize=32), radius, tied)[tied] - 1
        near[i, kept] = others
        within[i, kept] = _counts_within(torch.from_numpy(side.T)[None], torch.from_numpy(radius)[None])[0] - 1
    return torch.from_numpy(within).to(values.device), torch.from_numpy(near).to(values.device)


def _level_counts_by_pairs(levels: Levels, values: Tensor, which: Tensor, most: int) -> tuple[Tensor, Tensor]:
    batch, _, num_points = values.shape
    step = max(1, _CHUNK // (batch * num_points))
    found: tuple[list[Tensor], list[Tensor]] = ([], [])
    for start in range(0, num_points, step):
        rows = slice(start, start + step)
        distance = (values.double()[..., rows, None] - values.double()[..., None, :]).abs().amax(1)  # (B, step, N)
        distance = distance.masked_fill((levels.size == 1).unsqueeze(-2), torch.inf)
        own = distance.masked_fill(levels.index[:, rows, None] != levels.index[:, None, :], torch.inf)
        nearest = own.topk(min(most + 1, num_points), largest=False).values
        radius = nearest.gather(-1, (levels.size[:, rows] - 1).clamp(1, most).unsqueeze(-1)) / _INSIDE
        for out, distances in zip(found, (distance, own), strict=True):
            out.append(((distances <= radius).sum(-1) - 1).clamp(min=1))
    return torch.cat(found[0], -1), torch.cat(found[1], -1)
