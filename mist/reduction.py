"""Many columns read through a few: what an estimator that was fine-tuned on wide samples does first.

Shapes: N points, D columns as they are given, K components.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mist.columns import Column
from mist.errors import Notice
from mist.scores import double_ranks, gaussian_scores

__all__ = ["Reduction", "column_scores", "leading_components"]

Array = NDArray[np.float64]

_NAMES = "reduction.x", "reduction.y"
_LEAST_VARIANCE = 1e-6  # of an axis, of the largest


def column_scores(values: Array) -> Array:
    """Normal scores of the ranks of columns (N, D), 0 for a constant column; (N, D)."""
    return gaussian_scores(double_ranks(torch.from_numpy(np.ascontiguousarray(values.T)))).T.numpy()


def leading_components(values: Array, count: int) -> tuple[Tensor, float]:
    """Leading principal axes of the scores of columns (N, D), (D, K) float64, and their share of the variance.

    K is `count`, or fewer where so many columns do not vary apart from others.
    """
    spectrum, axes = np.linalg.eigh(np.cov(column_scores(values).T))
    count = min(count, int((spectrum > _LEAST_VARIANCE * spectrum[-1]).sum()))
    share = float(spectrum[-count:].sum() / spectrum.sum())
    return torch.from_numpy(np.ascontiguousarray(axes[:, ::-1][:, :count])), share


@dataclass(frozen=True)
class Reduction:
    """Components of the scores of X's columns and of Y's, (D, K) each, None for a side that is read as it is.

    A side is reduced where it has as many columns as the samples had. Components are functions of the columns, so that
    they hold at most the MI that these hold (data processing).
    """

    x: Tensor | None
    y: Tensor | None

    def __post_init__(self) -> None:
        for side in (self.x, self.y):
            if side is not None and (side.ndim != 2 or not 1 <= side.shape[1] <= side.shape[0]):
                raise ValueError(f"got components of shape {tuple(side.shape)}, expected (columns, fewer components)")

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> Reduction | None:
        """From the tensors of a checkpoint; None where they hold no reduction."""
        x, y = (state.get(name) for name in _NAMES)
        return None if x is None and y is None else cls(x, y)

    def state(self) -> dict[str, Tensor]:
        """As tensors for a checkpoint."""
        return {name: value for name, value in zip(_NAMES, (self.x, self.y), strict=True) if value is not None}

    def apply(self, columns: list[Column], side: Literal["x", "y"]) -> tuple[list[Column], tuple[Notice, ...]]:
        """Components of one side's finite columns, (N,) each, and a notice; the columns themselves where there are not
        as many as the samples had."""
        own, other = (self.x, self.y) if side == "x" else (self.y, self.x)
        numbers = not any(column.is_category for column in columns)
        if own is None or len(columns) != len(own) or not numbers:
            if other is None or len(columns) != len(other) or not numbers:
                return columns, ()
            partner = "y" if side == "x" else "x"
            told = f"{side} has as many columns as the {partner} that the checkpoint was fine-tuned on: swap the sides"
            return columns, (Notice(told, "reduced"),)
        scores = column_scores(np.stack([column.values for column in columns], axis=1)) @ own.numpy()
        told = f"{side}: {own.shape[1]} principal components of its {len(own)} columns' scores were read"
        components = [Column(f"{side} component {k}", values, False) for k, values in enumerate(scores.T)]
        return components, (Notice(told, "reduced"),)
