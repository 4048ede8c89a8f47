"""What to know before believing an estimate, as data: a message each, and the kind of thing that it is about."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mist.checkpoint import Checkpoint
from mist.errors import MISTWarning, Notice
from mist.novelty import LIMIT

__all__ = [
    "emit",
    "novelty_notice",
    "pairs_notice",
    "range_notices",
    "saturated",
    "saturation_notice",
    "untrained_categories",
]

_SATURATED = 0.9  # share of the largest label of training


def range_notices(checkpoint: Checkpoint, num_points: int, dim_x: int, dim_y: int) -> list[Notice]:
    """What of n and the dims lies outside the ranges that the checkpoint was trained on, a sentence each."""
    quantities = {
        "n": (num_points, checkpoint.trained_points(dim_x, dim_y)),
        "dim_x": (dim_x, checkpoint.trained_range("dim_x")),
        "dim_y": (dim_y, checkpoint.trained_range("dim_y")),
    }
    return [
        Notice(
            f"{name}={got} is outside the range that checkpoint {checkpoint.label} was trained on: "
            f"expected {low:g} to {high:g}",
            "range",
        )
        for name, (got, (low, high)) in quantities.items()
        if not low <= got <= high
    ]


def untrained_categories(checkpoint: Checkpoint) -> Notice:
    """What to tell of categories of more than two levels where the training held none."""
    return Notice(
        f"checkpoint {checkpoint.label} was not trained on unordered categories: with three levels or more its numbers "
        "may be nonsense; load one that was, such as 'default', or code the levels as ordered numbers",
        "categories",
    )


def saturated(checkpoint: Checkpoint, quantiles: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Where half of a predicted distribution, (..., Q) in nats, lies at the largest label of training or near it."""
    return np.asarray(np.median(quantiles, axis=-1) >= _SATURATED * checkpoint.trained_range("mi")[1])


def saturation_notice(checkpoint: Checkpoint, subject: str = "the estimate saturates") -> Notice:
    """Of estimates that are `saturated`."""
    return Notice(
        f"{subject}: checkpoint {checkpoint.label} was trained on up to {checkpoint.trained_range('mi')[1]:g} nats, "
        "and the truth may be more; one side may all but determine the other",
        "saturation",
    )


def novelty_notice(checkpoint: Checkpoint, share: float | None) -> tuple[Notice, ...]:
    """Of a data set that looks unlike those of training, nothing of any other."""
    if share is None or share <= LIMIT:
        return ()
    message = (
        f"this data set looks unlike those that checkpoint {checkpoint.label} was trained on (novelty "
        f"{share:.3f}: of these, {share:.1%} look less unusual): its interval may be too narrow"
    )
    return (Notice(message, "novelty"),)


def pairs_notice(count: int, num_pairs: int, message: str, kind: Any) -> tuple[Notice, ...]:
    """Of some pairs out of many, nothing of none: "3 of 10 pairs" before the message."""
    return (Notice(f"{count:,} of {num_pairs:,} pairs {message}", kind),) if count else ()


def emit(notices: Iterable[str]) -> None:
    """Warn in the name of the line that called into the module which calls this."""
    frame, level = sys._getframe(1), 2
    caller = frame.f_globals.get("__name__")
    while frame.f_globals.get("__name__") == caller and frame.f_back is not None:
        frame, level = frame.f_back, level + 1
    for notice in notices:
        warnings.warn(MISTWarning(notice), stacklevel=level)
