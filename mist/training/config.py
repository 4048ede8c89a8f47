"""Frozen training configuration, built from plain YAML by one function that refuses unknown keys."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from data_gen.default_law import default_law
from data_gen.meta_distribution import MetaDistribution
from data_gen.shards import ShardedBatches
from mist.features import FeatureConfig
from mist.network import NetworkConfig
from mist.training.calibration import check_num_datasets

__all__ = ["OptimizationConfig", "TrainerConfig", "TrainingConfig", "ValidationConfig"]


@dataclass(frozen=True)
class OptimizationConfig:
    """AdamW with linear warm-up, a constant stretch and a linear decay to zero."""

    learning_rate: float = 1.5e-3
    weight_decay: float = 0.01
    warmup_steps: int = 200
    decay_fraction: float = 1.0  # share of max_steps, at the end, in which the rate falls to 0
    gradient_clip: float = 1.0
    ema_decay: float = 0.998
    calibration_datasets: int = 0  # dependent ones to recalibrate on at the end, and for novelty; 0: neither
    root_weight: float = 0.5  # weight of the pinball loss on the square-root scale beside the logarithmic one
    precision_exponent: float = 0.0  # data sets weigh as their relative floor of the error to minus this power


@dataclass(frozen=True)
class TrainerConfig:
    """How long and on what."""

    max_steps: int = 20_000
    accumulate: int = 1  # batches (of different shapes) per step
    processes: int | str = "auto"  # of a node: one per core on a CPU, one per GPU else
    num_nodes: int = 1
    ranks_per_batch: int = 8  # most processes that share a batch; more of them take batches of their own
    accelerator: str = "auto"
    precision: str = "auto"
    val_every: int = 1000  # steps
    save_every: int = 500  # steps
    log_every: int = 20  # steps
    progress_bar: bool = True
    num_workers: int = 0


@dataclass(frozen=True)
class ValidationConfig:
    """A fixed, seeded validation set."""

    seed: int = 1_000_003
    num_batches: int = 48
    datasets_per_batch: int = 32


@dataclass(frozen=True)
class TrainingConfig:
    """One training run."""

    name: str = "mist"
    seed: int = 0
    output_dir: str = "outputs"
    export_dir: str | None = None  # default: <output_dir>/checkpoint
    ckpt_path: str | None = None  # resume a run from its training state
    init_from: str | None = None  # start from the weights of an exported checkpoint folder
    wake_candidates: bool = True  # candidates without weight there are given some; or never get any
    shards: str | None = None  # learn from a meta-dataset on disk, over and over; its law replaces meta_distribution
    preliminary: bool = True
    evaluation_datasets: int = 600
    model: NetworkConfig = field(default_factory=lambda: NetworkConfig(features=FeatureConfig(ties=True)))
    meta_distribution: MetaDistribution = field(default_factory=default_law)
    optimization: OptimizationConfig = field(default_factory=OptimizationConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)

    def __post_init__(self) -> None:
        if self.optimization.calibration_datasets:  # now, not after hours of training
            check_num_datasets(self.optimization.calibration_datasets, self.model.trunk_width)
        if self.shards is None:
            self._check_ties()

    def with_law(self, law: MetaDistribution) -> TrainingConfig:
        """The same run on another law, that of its shards."""
        config = dataclasses.replace(self, meta_distribution=law)
        config._check_ties()
        return config

    def _check_ties(self) -> None:
        if self.model.features.ties and not self.meta_distribution.has_ties:
            where = f"shards in {self.shards}" if self.shards else "a meta-distribution"
            raise ValueError(
                f"got model.features.ties=True and {where} without ties, expected some: a network cannot learn to read "
                f"marks it never sees; choose {'other shards' if self.shards else 'another meta_distribution='}, or "
                "model.features.ties=false"
            )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], law: MetaDistribution | None = None) -> TrainingConfig:
        """Build from plain YAML; unknown keys at any depth are refused with ValueError.

        `model.features.ties: auto` marks ties where the law draws some: the law of the shards, read from their folder
        unless it is given here, else meta_distribution.
        """
        values = dict(values)
        nested: dict[str, Any] = {}
        if "meta_distribution" in values:
            nested["meta_distribution"] = MetaDistribution.from_dict(values.pop("meta_distribution"))
        if "model" in values:
            model = dict(values.pop("model"))
            features = dict(model.get("features", {}))
            if features.get("ties") == "auto":
                if law is None and values.get("shards") is not None:
                    law = ShardedBatches(values["shards"]).meta
                features["ties"] = (law or nested.get("meta_distribution") or default_law()).has_ties
            nested["model"] = NetworkConfig.from_dict({**model, "features": features})
        for key, plain in (
            ("optimization", OptimizationConfig),
            ("trainer", TrainerConfig),
            ("validation", ValidationConfig),
        ):
            if key in values:
                nested[key] = _strict(plain, values.pop(key))
        return _strict(cls, {**values, **nested})


def _strict(kind: type[Any], values: Mapping[str, Any]) -> Any:
    known = {f.name for f in dataclasses.fields(kind)}
    if unknown := set(values) - known:
        raise ValueError(f"got unknown {kind.__name__} keys {sorted(unknown)}, expected some of {sorted(known)}")
    return kind(**values)
