"""Levels of tied variables, and the closed-form estimates of MI between two discrete sides.

Shapes: B data sets, D coordinates, N points. A level is a set of points that agree in every coordinate of a side.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mist.scores import argsort_last, mix, rows_where

__all__ = ["Levels", "joint_levels", "miller_madow", "plug_in", "side_levels", "tied_share"]

# A side counts as discrete when its levels hold three points on average and a tenth of all points at most are alone in
# theirs: the latter is about the chance that a new point shows a new level (Good 1953), high in zero-inflated columns.
_LEAST_POINTS, _MOST_ALONE = 3, 10


@dataclass(frozen=True)
class Levels:
    """Every point's level."""

    index: Tensor  # (..., N) int64, which level
    size: Tensor  # (..., N) int64, points in it

    @property
    def count(self) -> Tensor:
        """Number of levels that occur, (...,) float64."""
        return self.size.double().reciprocal().sum(-1).round()

    @property
    def discrete(self) -> Tensor:
        """Whether levels hold enough points to be counted, (...,) bool."""
        num_points = self.size.shape[-1]
        return (self.count * _LEAST_POINTS <= num_points) & ((self.size == 1).sum(-1) * _MOST_ALONE <= num_points)


def _levels(codes: Tensor) -> Levels:
    """Points of equal code, (..., N) int64, share a level."""
    order = argsort_last(codes)
    ordered = codes.gather(-1, order)
    starts = torch.nn.functional.pad(ordered[..., 1:] != ordered[..., :-1], (1, 0))
    run = starts.long().cumsum(-1)
    size = torch.zeros_like(run).scatter_add_(-1, run, torch.ones_like(run)).gather(-1, run)
    back = torch.empty_like(order)
    return Levels(back.scatter(-1, order, run), back.scatter(-1, order, size))


def side_levels(ranks: Tensor) -> Levels:
    """Levels of a side from its double ranks, (B, D, N) -> (B, N) each."""
    column = torch.arange(ranks.shape[-2], device=ranks.device) * (2 * ranks.shape[-1] + 1)
    return _levels(mix(ranks + column.unsqueeze(-1) + 1).sum(-2))  # a 64-bit hash of the row


def joint_levels(x: Levels, y: Levels) -> Levels:
    """Levels of both sides together."""
    return _levels(x.index * (y.index.shape[-1] + 1) + y.index)


def tied_share(ranks: Tensor) -> Tensor:
    """Share of pairs of points that tie in a column, (..., N) double ranks -> (...,) float64 in [0, 1]."""
    num_points = ranks.shape[-1]
    columns = ranks.reshape(-1, num_points)
    share = torch.zeros(len(columns), dtype=torch.float64, device=ranks.device)
    spread = columns.double().square().sum(-1)  # of distinct ranks the largest there is, exact in float64
    rows = rows_where(spread < num_points * (num_points - 1) * (2 * num_points - 1) / 1.5)
    if len(rows):
        tied = columns[rows]
        counts = torch.zeros(len(rows), 2 * num_points - 1, dtype=torch.int64, device=ranks.device)
        counts.scatter_add_(-1, tied, torch.ones_like(tied))
        pairs = counts.square().sum(-1).double() - num_points
        share = share.index_copy(0, rows, pairs / (num_points * (num_points - 1)))
    return share.view(ranks.shape[:-1])


def plug_in(x: Levels, y: Levels, joint: Levels) -> Tensor:
    """MI of the empirical law of two discrete sides, nats, (B,) float64."""
    logs = [levels.size.double().log().mean(-1) for levels in (joint, x, y)]
    return math.log(x.size.shape[-1]) + logs[0] - logs[1] - logs[2]


def miller_madow(x: Levels, y: Levels, joint: Levels) -> Tensor:
    """The plug-in MI less its first-order bias by the levels seen (Miller 1955; Paninski 2003, Eq. 4), nats, (B,)."""
    return plug_in(x, y, joint) + (x.count + y.count - joint.count - 1) / (2 * x.size.shape[-1])
