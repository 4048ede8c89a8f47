"""The samples that a user hands over: checked, reduced where they are too wide, and halved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mist.columns import to_columns
from mist.errors import InputError, NonFiniteError, TooFewPointsError
from mist.reduction import column_scores, leading_components

__all__ = ["LEAST_SAMPLES", "Samples", "read_samples"]

LEAST_SAMPLES, _LEAST_PER_COLUMN = 100, 4
_TIED = 1e-3  # share of pairs of samples that are equal, past which a column counts as discrete


@dataclass(frozen=True)
class Samples:
    """Columns of one side to learn from, in two halves, and what they were made of."""

    halves: tuple[Tensor, Tensor]  # (N, D) float64 each
    num_columns: int  # as given
    dropped: tuple[int, ...]  # numbers of constant columns
    tied: int
    components: Tensor | None  # (columns as given, D), where they were reduced
    variance: float  # share of the variance of the scores that the components hold

    @property
    def num_samples(self) -> int:
        """Of both halves."""
        return sum(map(len, self.halves))

    @property
    def dim(self) -> int:
        """Columns to learn from."""
        return self.halves[0].shape[1]

    @property
    def read(self) -> tuple[tuple[int, ...], int]:
        """Which columns these are of those that an estimator is given, or of their components, and of how many."""
        if self.components is not None:
            return tuple(range(self.dim)), self.dim
        return tuple(k for k in range(self.num_columns) if k not in self.dropped), self.num_columns


def read_samples(data: Any, label: str, widest: int, max_columns: int | None, seed: int) -> Samples:
    """Check the samples of one side, and halve them at random.

    Past `widest` columns that vary they are read through `max_columns` principal components, whose axes come from the
    first half. Raises an `InputError` subclass.
    """
    columns, _ = to_columns(data, label, None)
    if categories := [column.name for column in columns if column.is_category]:
        raise InputError(
            f"got unordered categories in {', '.join(categories[:3])}, expected numbers: a flow cannot learn them; "
            "leave them out"
        )
    values: NDArray[np.float64] = np.stack([column.values for column in columns], axis=1)
    if not np.isfinite(values).all():
        raise NonFiniteError(
            f"got {int((~np.isfinite(values)).any(1).sum()):,} of {len(values):,} {label} with NaN or infinity, "
            "expected finite numbers; drop these rows"
        )
    if len(values) < LEAST_SAMPLES:
        raise TooFewPointsError(
            f"got {len(values)} {label}, expected at least {LEAST_SAMPLES}: half of them must teach a flow what the "
            "modality looks like; give more, they need no partners"
        )
    order = np.random.default_rng(seed).permutation(len(values))
    first, second = np.array_split(values[order], 2)
    varies = np.ptp(values, axis=0) > 0
    if not varies.any():
        raise InputError(f"got {label} without a column that varies, expected at least one")
    dropped = tuple(np.flatnonzero(~varies).tolist())
    num_columns, components, share = values.shape[1], None, 1.0
    tied = sum(_share_of_ties(column) > _TIED for column in values.T[varies])
    if varies.sum() <= widest:
        halves = first[:, varies], second[:, varies]
    elif max_columns is None:
        raise InputError(
            f"got {label} of {int(varies.sum())} columns that vary, expected at most {widest}, what the estimator was "
            f"trained on; max_columns={min(widest, 32)} reads them through as many principal components, and sees no "
            "information outside these"
        )
    else:
        components, share = leading_components(first, max_columns)
        halves = column_scores(first) @ components.numpy(), column_scores(second) @ components.numpy()
        tied = 0
    dim = halves[0].shape[1]
    if len(values) < _LEAST_PER_COLUMN * dim:
        raise TooFewPointsError(
            f"got {len(values)} {label} of {dim} columns, expected at least {_LEAST_PER_COLUMN} for each column; give "
            "more, they need no partners, or fewer columns"
        )
    first, second = (np.ascontiguousarray(half) for half in halves)
    return Samples((torch.from_numpy(first), torch.from_numpy(second)), num_columns, dropped, tied, components, share)


def _share_of_ties(column: NDArray[np.float64]) -> float:
    """The share of pairs of samples that are equal."""
    counts = np.unique(column, return_counts=True)[1].astype(float)
    return float((counts * (counts - 1)).sum() / (len(column) * (len(column) - 1)))
