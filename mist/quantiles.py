"""Quantiles of the predicted MI: grid of levels, interpolation, pinball loss and the compressed scale.

Shapes: B data sets, Q levels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

__all__ = [
    "OFFSET",
    "compress",
    "expand",
    "interpolate_levels",
    "interpolate_quantiles",
    "level_grid",
    "pinball",
    "precision_weight",
    "quantile_distance",
    "quantile_loss",
]

OFFSET = 0.05  # nats: the compressed scale log(mi + OFFSET) is linear below it and logarithmic above

_RELATIVE_FLOORS = 0.005, 1.0  # a label from a Monte Carlo mean is not better known than the lower
_TYPICAL_FLOOR = 0.1


def level_grid(num_levels: int) -> tuple[float, ...]:
    """Midpoints (i + ½)/Q: the mean over the grid is the midpoint rule for the mean of the distribution."""
    return tuple((i + 0.5) / num_levels for i in range(num_levels))


def compress(mi: Tensor) -> Tensor:
    """nats -> log(mi + OFFSET)."""
    return (mi + OFFSET).log()


def expand(compressed: Tensor) -> Tensor:
    """Inverse of `compress`, cut at 0 nats."""
    return (compressed.exp() - OFFSET).clamp(min=0)


def interpolate_quantiles(levels: Sequence[float], values: ArrayLike, tau: ArrayLike) -> NDArray[np.float64]:
    """Quantiles at any level inside the grid by monotone (piecewise linear) interpolation.

    values (..., Q) at increasing `levels` (Q,); tau (...) of any shape; returns values.shape[:-1] + tau.shape.
    Raises ValueError for a level outside the grid.
    """
    grid, table, wanted = np.asarray(levels, float), np.asarray(values, float), np.asarray(tau, float)
    inside = (wanted >= grid[0] - 1e-12) & (wanted <= grid[-1] + 1e-12)
    if not inside.all():
        raise ValueError(
            f"got level {float(wanted[~inside].flat[0]):g}, expected a level inside the grid "
            f"[{grid[0]:g}, {grid[-1]:g}]; choose a less extreme level"
        )
    right = np.clip(np.searchsorted(grid, wanted), 1, len(grid) - 1)
    weight = np.clip((wanted - grid[right - 1]) / (grid[right] - grid[right - 1]), 0, 1)
    return table[..., right - 1] * (1 - weight) + table[..., right] * weight


def interpolate_levels(levels: Tensor, values: Tensor, wanted: Sequence[float]) -> Tensor:
    """`interpolate_quantiles` for tensors on any device, (Q,), (B, Q), T levels inside the grid -> (B, T)."""
    tau = torch.tensor(wanted, dtype=levels.dtype, device=levels.device)
    right = torch.searchsorted(levels, tau).clamp(1, len(levels) - 1)
    weight = ((tau - levels[right - 1]) / (levels[right] - levels[right - 1])).clamp(0, 1)
    return values[..., right - 1] * (1 - weight) + values[..., right] * weight


def pinball(predicted: Tensor, target: Tensor, levels: Tensor) -> Tensor:
    """Pinball loss of each quantile, (B, Q), (B,), (Q,) -> (B, Q); its mean over the grid is half the CRPS."""
    error = target.unsqueeze(-1) - predicted
    return torch.maximum(levels * error, (levels - 1) * error)


def quantile_loss(compressed: Tensor, mi: Tensor, levels: Tensor, weight: Tensor, root_weight: float) -> Tensor:
    """Mean pinball loss on the compressed scale plus `root_weight` times that on the scale 2√(mi + OFFSET).

    Both are proper for the same quantiles, since quantiles commute with monotone maps; the root lets large MI count for
    more. Independent data are satisfied by any value at or below 0 nats, so that their quantiles can be exactly 0.
    """
    target = compress(mi.to(compressed.dtype))
    zero = (mi <= 0).unsqueeze(-1)
    floor = compress(target.new_zeros(()))
    predicted = torch.where(zero, torch.maximum(compressed, floor), compressed)
    loss = pinball(predicted, target, levels)
    if root_weight:
        loss = loss + root_weight * pinball(2 * (predicted / 2).exp(), 2 * (target / 2).exp(), levels)
    return (loss.mean(-1) * weight).mean()  # not over the kept weight: ranks must average to the whole batch's loss


def quantile_distance(compressed: Tensor, target: Tensor, weight: Tensor, root_weight: float) -> Tensor:
    """Mean distance of quantiles to others of the same levels, (B, Q) each on the compressed scale, on the scales of
    `quantile_loss`: of what is predicted there, the 1-Wasserstein distance. Values below 0 nats are all 0 nats."""
    floor = compress(compressed.new_zeros(()))
    compressed, target = compressed.clamp(min=floor), target.clamp(min=floor)
    distance = (compressed - target).abs()
    if root_weight:
        distance = distance + root_weight * (2 * (compressed / 2).exp() - 2 * (target / 2).exp()).abs()
    return (distance.mean(-1) * weight).mean()


def precision_weight(relative_floor: Tensor, exponent: float) -> Tensor:
    """What a data set counts for in the loss, 1 where the known floor of its error is a tenth of mi + OFFSET, (B,).

    The loss grows with what cannot be known, so that small and high-dimensional data sets drown those that could be
    read precisely; dividing by a power of the floor gives these their say. It depends on the data, not on the true MI,
    and so leaves the quantiles that are best for each data set where they were.
    """
    return (relative_floor.clamp(*_RELATIVE_FLOORS) / _TYPICAL_FLOOR) ** -exponent
