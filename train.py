"""Train an estimator: `python train.py experiment=base`; every setting is in conf/ and can be overridden."""

from __future__ import annotations

import hydra
from omegaconf import DictConfig, OmegaConf

from mist.training.config import TrainingConfig
from mist.training.run import train


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(config: DictConfig) -> None:
    """Compose, build, fit, evaluate, export."""
    values = OmegaConf.to_container(config, resolve=True)
    assert isinstance(values, dict)
    logger = values.pop("logger")
    train(TrainingConfig.from_dict({str(key): value for key, value in values.items()}), logger)


if __name__ == "__main__":
    main()
