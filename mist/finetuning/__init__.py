"""Fine-tuning for a modality known by unlabelled samples: `mist.finetune`. Needs the extra "train"."""

from mist.finetuning.report import FinetuneReport
from mist.finetuning.run import FinetunedEstimator, finetune

__all__ = ["FinetuneReport", "FinetunedEstimator", "finetune"]
