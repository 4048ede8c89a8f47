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
    Notice,
    ShapeError,
    TooFewPointsError,
    TrainedRangeError,
)
from mist.independence import IndependenceTest
from mist.inference import Estimator, estimate, load
from mist.reliability import Check, Reliability
from mist.result import InformationEstimate, MIEstimate
from mist.screening import PairwiseMI, RelevanceMI
from mist.version import __version__

__all__ = [
    "Check",
    "CheckpointError",
    "CheckpointFormatError",
    "CheckpointNotFoundError",
    "CorruptCheckpointError",
    "EmptyInputError",
    "Estimator",
    "IndependenceTest",
    "InformationEstimate",
    "InputError",
    "LengthMismatchError",
    "MIEstimate",
    "MISTError",
    "MISTWarning",
    "NonFiniteError",
    "NonNumericError",
    "Notice",
    "PairwiseMI",
    "RelevanceMI",
    "Reliability",
    "ShapeError",
    "TooFewPointsError",
    "TrainedRangeError",
    "__version__",
    "estimate",
    "load",
]
