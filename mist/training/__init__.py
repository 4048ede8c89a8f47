"""Training an estimator: needs the `train` extra (lightning, hydra)."""

from mist.training.config import TrainingConfig
from mist.training.data import StreamDataModule
from mist.training.module import EstimatorModule

__all__ = ["EstimatorModule", "StreamDataModule", "TrainingConfig"]
