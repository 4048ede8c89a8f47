"""MIST: mutual information from paired samples by one forward pass of a learned estimator, with an interval."""

from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from mist.finetuning import finetune as finetune

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


def __getattr__(name: str) -> Any:
    """`mist.finetune`, which needs more than estimating does, when it is first asked for."""
    if name != "finetune":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from mist.finetuning import finetune
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"mist.finetune needs {error.name}, which is not installed: pip install 'mist-mi[train]'", name=error.name
        ) from error
    return finetune
