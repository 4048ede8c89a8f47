"""Every configuration composes with Hydra and builds a TrainingConfig; unknown keys are refused at any depth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from data_gen.meta_distribution import MetaDistribution
from data_gen.shards import Plan, make_shards
from mist.checkpoint import load_checkpoint, save_checkpoint
from mist.features import FeatureConfig
from mist.network import MISTNetwork, NetworkConfig
from mist.training.config import OptimizationConfig, TrainerConfig, TrainingConfig, ValidationConfig
from mist.training.run import _same_weights, _start_from, build_logger, train

CONF = Path(__file__).resolve().parents[3] / "conf"


def options(group: str) -> list[str]:
    found = sorted(path.stem for path in (CONF / group).glob("*.yaml"))
    assert found
    return found


def composed(*overrides: str) -> dict[str, Any]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        values = OmegaConf.to_container(compose("train", list(overrides)), resolve=True)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def built(*overrides: str) -> TrainingConfig:
    values = composed(*overrides)
    values.pop("logger")
    return TrainingConfig.from_dict(values)


@pytest.mark.parametrize("name", sorted(set(options("experiment")) - {"finetune"}))
def test_every_experiment_builds(name: str) -> None:
    config = built(f"experiment={name}")
    assert isinstance(config.model, NetworkConfig) and isinstance(config.meta_distribution, MetaDistribution)
    assert config.trainer.max_steps > 0 and config.output_dir == f"outputs/{config.name}"


@pytest.mark.parametrize("name", options("experiment"))
def test_every_experiment_starts_with_its_command(name: str) -> None:
    first = (CONF / "experiment" / f"{name}.yaml").read_text(encoding="utf-8").splitlines()[:3]
    assert any(line.startswith("#") and f"python train.py experiment={name}" in line for line in first)


@pytest.mark.parametrize("group", ["model", "meta_distribution", "trainer"])
def test_every_option_of_every_group_builds(group: str) -> None:
    for name in options(group):
        assert isinstance(built(f"{group}={name}"), TrainingConfig)


@pytest.mark.parametrize("name", options("logger"))
def test_every_logger_is_known(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mist.training.run.WandbLogger", lambda **options: options)
    monkeypatch.setattr("mist.training.run.TensorBoardLogger", lambda **options: options)
    assert build_logger(composed(f"logger={name}")["logger"], tmp_path) is not None
    with pytest.raises(ValueError, match="got logger kind 'abacus', expected csv, tensorboard, wandb or none"):
        build_logger({"kind": "abacus"}, tmp_path)


def test_yaml_and_the_dataclasses_have_the_same_defaults() -> None:
    assert built() == TrainingConfig(output_dir="outputs/mist")


def test_every_setting_can_be_seen_and_changed_in_yaml() -> None:
    values = composed()
    for key, kind in (
        ("optimization", OptimizationConfig),
        ("trainer", TrainerConfig),
        ("validation", ValidationConfig),
        ("meta_distribution", MetaDistribution),
        ("model", NetworkConfig),
    ):
        assert set(values[key]) == set(kind.__dataclass_fields__), key
    assert built("trainer.max_steps=7", "model.num_levels=8").trainer.max_steps == 7


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"sed": 1}, r"got unknown TrainingConfig keys \['sed'\], expected some of .*'seed'"),
        ({"trainer": {"steps": 1}}, r"got unknown TrainerConfig keys \['steps'\], expected some of .*'max_steps'"),
        ({"optimization": {"lr": 1}}, r"got unknown OptimizationConfig keys \['lr'\], expected .*'learning_rate'"),
        ({"validation": {"size": 1}}, r"got unknown ValidationConfig keys \['size'\]"),
        ({"model": {"width": 1}}, r"got unknown NetworkConfig keys \['width'\]"),
        ({"model": {"features": {"pairs": 1}}}, r"got unknown FeatureConfig keys \['pairs'\]"),
        ({"meta_distribution": {"n": 1}}, r"got unknown meta-distribution keys \['n'\]"),
    ],
)
def test_unknown_keys_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TrainingConfig.from_dict(values)


def test_marking_ties_keeps_the_weights_of_a_parent_without() -> None:
    config = NetworkConfig(trunk_width=64)
    assert _same_weights(config, NetworkConfig(trunk_width=64, features=FeatureConfig(ties=True)))
    assert not _same_weights(config, NetworkConfig(trunk_width=64, features=FeatureConfig(num_shifts=3)))
    assert not _same_weights(config, NetworkConfig(trunk_width=32))


def test_init_from_wakes_candidates_that_the_parent_did_not_know(
    tiny_checkpoint: Path, tiny_arguments: dict[str, Any]
) -> None:
    parent = load_checkpoint(tiny_checkpoint).network
    with torch.random.fork_rng(devices=[]):
        network = MISTNetwork(parent.config)
    parent.members[0].head.weights.bias[-3:] = -30.0
    save_checkpoint(tiny_checkpoint, parent, **tiny_arguments)
    _start_from(network, str(tiny_checkpoint))
    bias = network.members[0].head.weights.bias.detach()
    assert float(bias[-3:].logsumexp(0)) == pytest.approx(-1.5, abs=1e-5) and float(bias[-3:].std()) < 1e-6
    assert torch.equal(bias[:-3], parent.members[0].head.weights.bias[:-3])
    _start_from(network, str(tiny_checkpoint), wake_candidates=False)
    assert torch.equal(network.members[0].head.weights.bias, parent.members[0].head.weights.bias)


@pytest.mark.parametrize("wake", [True, False])
def test_a_run_hands_on_whether_candidates_wake(
    wake: bool, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(network: MISTNetwork, init_from: str, wake_candidates: bool = True) -> None:
        raise ValueError(f"begun from {init_from}, wake_candidates={wake_candidates}")

    monkeypatch.setattr("mist.training.run._start_from", start)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    threads = torch.get_num_threads()
    config = TrainingConfig(
        init_from=str(tiny_checkpoint),
        wake_candidates=wake,
        output_dir=str(tmp_path),
        trainer=TrainerConfig(max_steps=1, processes=1),
    )
    try:
        with pytest.raises(ValueError, match=f"begun from .*, wake_candidates={wake}"):
            train(config, {"kind": "none"})
    finally:
        torch.set_num_threads(threads)


def test_init_from_another_architecture(tiny_checkpoint: Path, tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    config = TrainingConfig(
        init_from=str(tiny_checkpoint),
        output_dir=str(tmp_path),
        model=NetworkConfig(trunk_width=64),
        trainer=TrainerConfig(max_steps=1, processes=1),
    )
    try:
        with pytest.raises(ValueError, match="choose the model= of the parent"):
            train(config, {"kind": "none"})
    finally:
        torch.set_num_threads(threads)


def test_marks_of_ties_need_a_law_that_draws_some() -> None:
    with pytest.raises(ValueError, match=r"got model.features.ties=True and a meta-distribution without ties"):
        built("model.features.ties=true", "meta_distribution=elliptical")
    assert built().model.features.ties and built("experiment=base").model.features.ties
    assert not built("meta_distribution=narrow").model.features.ties
    assert not built("model.features.ties=false").model.features.ties
    late = TrainingConfig.from_dict({"shards": "data/broad", "model": {"features": {"ties": True}}})
    with pytest.raises(ValueError, match="shards in data/broad without ties, expected some: .* choose other shards"):
        late.with_law(MetaDistribution())


def test_ties_are_marked_where_the_shards_hold_some(tmp_path: Path) -> None:
    law = MetaDistribution(families={"contingency": 1.0}, max_num_points=20, num_points=(10, 20))
    for _ in make_shards(Plan(law, seed=0, num_datasets=8, batches_per_shard=1), tmp_path):
        pass
    values = {"shards": str(tmp_path), "model": {"features": {"ties": "auto"}}}
    assert TrainingConfig.from_dict(values).model.features.ties
    assert TrainingConfig.from_dict({**values, "meta_distribution": MetaDistribution().to_dict()}).model.features.ties
    elliptical = TrainingConfig.from_dict({**values, "shards": "gone"}, MetaDistribution())  # as the run's state has it
    assert not elliptical.model.features.ties


def test_too_small_a_calibration_is_refused_before_the_run() -> None:
    with pytest.raises(
        ValueError, match="got 100 dependent data sets to calibrate 257 weights, expected at least 1024"
    ):
        built("optimization.calibration_datasets=100")
