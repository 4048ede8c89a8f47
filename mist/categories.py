"""Unordered categories as indicator columns, the same for every relabelling of the levels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

__all__ = ["MAX_LEVELS", "category_codes", "encode_category", "level_order", "pool_rare_levels"]

MAX_LEVELS = 32


def category_codes(values: NDArray[Any]) -> NDArray[np.float64]:
    """Codes 0, 1, ... of a column of labels of any kind; NaN where the label is missing (None or NaN)."""
    labels = np.asarray(values).tolist()
    codes: dict[Any, int] = {}
    missing = [label is None or label != label or type(label).__name__ == "NAType" for label in labels]
    return np.array(
        [np.nan if gone else codes.setdefault(label, len(codes)) for label, gone in zip(labels, missing)],
        dtype=np.float64,
    )


def level_order(codes: NDArray[np.int64], others: list[tuple[NDArray[np.float64], bool]]) -> NDArray[np.int64]:
    """Levels from the commonest to the rarest: (K,) codes.

    Neither the labels nor the order of the points decide between equally common levels, but where their points lie
    among the other columns (`others`: values and whether they are codes): the squared centred rank, which rising and
    falling maps leave alone, or the size of the point's level there. Only levels that tie in that, too, stand in
    the order of their codes.
    """
    levels, inverse, counts = np.unique(codes, return_inverse=True, return_counts=True)
    place = np.zeros(len(codes))
    for values, is_category in others:
        if is_category:
            _, level, sizes = np.unique(values, return_inverse=True, return_counts=True)
            place += sizes[level].astype(np.float64)
        else:
            place += (rankdata(values) - (len(values) + 1) / 2) ** 2
    mean_place = np.bincount(inverse, weights=place) / counts
    return levels[np.lexsort((mean_place, -counts))]


def pool_rare_levels(
    codes: NDArray[np.int64], order: NDArray[np.int64], name: str, max_levels: int = MAX_LEVELS
) -> tuple[NDArray[np.int64], str | None]:
    """Codes renumbered by `order`, all past the first `max_levels - 1` becoming one level, and a warning if so."""
    position = np.empty(int(order.max()) + 1, dtype=np.int64)
    position[order] = np.arange(len(order))
    ranked = position[codes]
    if len(order) <= max_levels:
        return ranked, None
    pooled = int((ranked >= max_levels - 1).sum())
    message = (
        f"{name} has {len(order)} levels: the {len(order) - max_levels + 1} rarest, {pooled} points, "
        f"were pooled into one (at most {max_levels} are told apart)"
    )
    return np.minimum(ranked, max_levels - 1), message


def encode_category(codes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Indicator columns (n, K) of codes 0...K-1; two levels need one column, since either order says the same."""
    num_levels = int(codes.max()) + 1
    if num_levels == 2:
        return codes[:, None].astype(np.float64)
    return (codes[:, None] == np.arange(num_levels)).astype(np.float64)
