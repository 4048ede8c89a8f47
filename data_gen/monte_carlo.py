"""Labels that need Monte Carlo: the mean log density ratio, with as many points as its standard error asks for."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["mean_log_ratio"]

_ROUND, _MOST_ROUNDS = 2048, 96


def mean_log_ratio(
    log_ratio: Callable[[Tensor, int], Tensor], num_rows: int, *, relative: float = 0.02
) -> tuple[Tensor, Tensor]:
    """E log p(x, y)/p(x)p(y) of every row in nats and its standard error, (R,) float64 each.

    `log_ratio(rows, M)` draws M fresh points of the joints at `rows` (R',) and returns the ratios (R', M). Points are
    added until the error is at most `relative`·(mi + 0.05), at most `_ROUND · _MOST_ROUNDS`. No control variate: that
    exp(-ratio) has mean 1 holds for a sample only where it reaches all that the product of the margins reaches.
    """
    total, squares = torch.zeros(num_rows, dtype=torch.float64), torch.zeros(num_rows, dtype=torch.float64)
    count = torch.zeros(num_rows, dtype=torch.float64)
    rows = torch.arange(num_rows)
    for _ in range(_MOST_ROUNDS):
        ratio = log_ratio(rows, _ROUND)
        total[rows] += ratio.sum(-1)
        squares[rows] += ratio.square().sum(-1)
        count[rows] += _ROUND
        value, error = _moments(total[rows], squares[rows], count[rows])
        rows = rows[error > relative * (value + 0.05)]
        if len(rows) == 0:
            break
    value, error = _moments(total, squares, count)
    return value.clamp(min=0), error


def _moments(total: Tensor, squares: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and its standard error."""
    mean = total / count
    return mean, ((squares / count - mean.square()).clamp(min=0) / count).sqrt()
