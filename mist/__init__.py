"""MIST: mutual information from paired samples by one forward pass of a learned estimator, with an interval."""

from mist.errors import (
    CheckpointError,
    CheckpointFormatError,
    CheckpointNotFoundError,
    CorruptCheckpointError,
    EmptyInputError,
    InputError,
    LengthMismatchError,
    MISTError,
    MISTWarning,
    NonFiniteError,
    NonNumericError,
    ShapeError,
    TooFewPointsError,
    TrainedRangeError,
)
from mist.inference import Estimator, estimate, load
from mist.result import MIEstimate
from mist.version import __version__

__all__ = [
    "CheckpointError",
    "CheckpointFormatError",
    "CheckpointNotFoundError",
    "CorruptCheckpointError",
    "EmptyInputError",
    "Estimator",
    "InputError",
    "LengthMismatchError",
    "MIEstimate",
    "MISTError",
    "MISTWarning",
    "NonFiniteError",
    "NonNumericError",
    "ShapeError",
    "TooFewPointsError",
    "TrainedRangeError",
    "__version__",
    "estimate",
    "load",
]
