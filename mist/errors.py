"""Errors and warnings: each message says what came, what was expected and the way out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

__all__ = [
    "CheckpointError",
    "CheckpointFormatError",
    "CheckpointNotFoundError",
    "CorruptCheckpointError",
    "EmptyInputError",
    "InputError",
    "LengthMismatchError",
    "MISTError",
    "MISTWarning",
    "NonFiniteError",
    "NonNumericError",
    "Notice",
    "NoticeKind",
    "ShapeError",
    "TooFewPointsError",
    "TrainedRangeError",
    "plain_notices",
]


NoticeKind = Literal[
    "missing",  # points with missing values were left out
    "subsampled",  # some of the points were used
    "constant",  # columns that carry no information
    "ties",  # discrete values where continuous ones were trained on
    "rare levels",  # levels of a category that were pooled
    "collinear",  # columns of a side that nearly repeat one another
    "range",  # n or dims outside the trained range
    "categories",  # categories where none were trained on
    "few points",  # pairs of columns without enough points in common
    "deterministic",  # columns of both sides that are functions of each other
    "saturation",  # at the largest MI that was trained on
    "novelty",  # unlike the data sets of training
    "reduced",  # columns read through fewer components, as in fine-tuning
    "unrecognised",  # columns unlike the samples of fine-tuning
]


class Notice(str):
    """One thing to know before believing a number: the message, which it is, and its `kind` (`NoticeKind`)."""

    kind: NoticeKind

    def __new__(cls, message: str, kind: NoticeKind) -> Notice:
        notice = super().__new__(cls, message)
        notice.kind = kind
        return notice

    def __getnewargs__(self) -> tuple[Any, ...]:
        return str(self), self.kind


def plain_notices(notices: Iterable[Notice]) -> dict[str, list[str]]:
    """Messages and kinds, fit for JSON."""
    notices = tuple(notices)
    return {
        "warnings": [str(notice) for notice in notices],
        "warning_kinds": [notice.kind for notice in notices],
    }


class MISTWarning(UserWarning):
    """The estimate stands, but read it with the message in mind; also stored in `MIEstimate.warnings`.

    Its only argument is a `Notice`: `warning.args[0].kind` says what it is about.
    """


class MISTError(Exception):
    """Base of every error that the library raises on purpose."""


class InputError(MISTError, ValueError):
    """The arrays or options cannot be used as they came."""


class EmptyInputError(InputError):
    """No points, or no columns."""


class ShapeError(InputError):
    """Neither (n,) nor (n, d)."""


class LengthMismatchError(InputError):
    """x and y hold different numbers of points."""


class TooFewPointsError(InputError):
    """Fewer points than the features need."""


class NonNumericError(InputError):
    """A column holds text, dates or other things without a numeric value."""


class NonFiniteError(InputError):
    """A column holds NaN or infinity."""


class TrainedRangeError(InputError):
    """Number of points or dimensions outside what the checkpoint was trained on, with `on_limit="raise"`."""


class CheckpointError(MISTError, ValueError):
    """A checkpoint cannot be used."""


class CheckpointNotFoundError(CheckpointError, FileNotFoundError):
    """No checkpoint of that name or path, or one of its files is missing."""


class CheckpointFormatError(CheckpointError):
    """config.json is of another format version, or its keys are not the expected ones."""


class CorruptCheckpointError(CheckpointError):
    """The files are there, but damaged: unreadable, truncated, or weights that do not match config.json."""
