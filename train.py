"""Train an estimator: `python train.py experiment=base`; every setting is in conf/ and can be overridden."""

from __future__ import annotations

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from mist.training.config import TrainingConfig
from mist.training.run import train


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(config: DictConfig) -> None:
    """Compose, build, fit, evaluate, export."""
    composed = OmegaConf.to_container(config, resolve=True)
    assert isinstance(composed, dict)
    values = {str(key): value for key, value in composed.items()}
    logger = values.pop("logger")
    if "finetuning" in values:
        from mist.finetuning.command import FinetuneConfig, finetune_files  # imports normflows, which few runs need

        finetune_files(FinetuneConfig.from_dict(values, HydraConfig.get().overrides.task))
    else:
        train(TrainingConfig.from_dict(values), logger)


if __name__ == "__main__":
    main()
