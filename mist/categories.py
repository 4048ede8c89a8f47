"""Unordered categories as indicator columns; up to `MAX_LEVELS` levels every relabelling gives the same."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mist.errors import NonNumericError, Notice

__all__ = ["MAX_LEVELS", "category_codes", "encode_category", "is_missing", "level_order", "pool_rare_levels"]

MAX_LEVELS = 32


def is_missing(value: Any) -> bool:
    """None, NaN and the missing values of pandas."""
    return (
        value is None or type(value).__name__ in ("NAType", "NaTType") or (isinstance(value, float) and value != value)
    )


def category_codes(values: NDArray[Any]) -> NDArray[np.float64]:
    """Codes 0, 1, ... of a column of labels of any kind, in the order of their text; NaN where the label is missing."""
    labels = np.asarray(values).tolist()
    if strange := [label for label in labels if not isinstance(label, Hashable)]:
        raise NonNumericError(
            f"got a label {strange[0]!r}, expected labels that can be told apart: text, numbers, tuples"
        )
    known = sorted(
        {label for label in labels if not is_missing(label)}, key=lambda label: (str(label), str(type(label)))
    )
    codes = {label: code for code, label in enumerate(known)}
    return np.array([np.nan if is_missing(label) else codes[label] for label in labels], dtype=np.float64)


def level_order(codes: NDArray[np.int64], others: Sequence[tuple[NDArray[np.float64], bool]] = ()) -> NDArray[np.int64]:
    """Levels from the commonest to the rarest: (K,) codes.

    Of equally common levels those come first that lie closer to the middle of the other columns (`others`: values and
    whether they are codes), whatever the labels: the squared centred rank, which rising and falling maps leave alone,
    or the size of the point's level there. But where some levels are to be pooled only their codes decide: were it
    other columns, those of the other side among them, the choice would make information where there is none.
    """
    from scipy.stats import rankdata  # dear to import: when it is needed

    levels, inverse, counts = np.unique(codes, return_inverse=True, return_counts=True)
    place = np.zeros(len(codes))
    for values, is_category in others if len(levels) <= MAX_LEVELS else ():
        if is_category:
            _, level, sizes = np.unique(values, return_inverse=True, return_counts=True)
            place += sizes[level].astype(np.float64)
        else:
            place += (rankdata(values) - (len(values) + 1) / 2) ** 2
    mean_place = np.bincount(inverse, weights=place) / counts
    return levels[np.lexsort((levels, mean_place, -counts))]


def pool_rare_levels(
    codes: NDArray[np.int64], order: NDArray[np.int64], name: str, max_levels: int = MAX_LEVELS
) -> tuple[NDArray[np.int64], Notice | None]:
    """Codes renumbered by `order`, all past the first `max_levels - 1` becoming one level, and a warning if so."""
    position = np.empty(int(order.max()) + 1, dtype=np.int64)
    position[order] = np.arange(len(order))
    ranked = position[codes]
    if len(order) <= max_levels:
        return ranked, None
    pooled = int((ranked >= max_levels - 1).sum())
    message = Notice(
        f"{name} has {len(order)} levels: the {len(order) - max_levels + 1} rarest, {pooled} points, "
        f"were pooled into one (at most {max_levels} are told apart)",
        "rare levels",
    )
    return np.minimum(ranked, max_levels - 1), message


def encode_category(codes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Indicator columns (n, K) of codes 0...K-1; two levels need one column, since either order says the same."""
    num_levels = int(codes.max()) + 1
    if num_levels == 2:
        return codes[:, None].astype(np.float64)
    return (codes[:, None] == np.arange(num_levels)).astype(np.float64)
