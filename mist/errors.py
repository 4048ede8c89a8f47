"""Errors and the warning category: each message says what came, what was expected and the way out."""

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
    "ShapeError",
    "TooFewPointsError",
    "TrainedRangeError",
]


class MISTWarning(UserWarning):
    """The estimate stands, but read it with the message in mind; also stored in `MIEstimate.warnings`."""


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
