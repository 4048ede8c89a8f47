"""Novelty: shares are those of the reference data, foreign trunks are found, and it travels with a checkpoint."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

import mist
from mist.checkpoint import load_checkpoint, save_checkpoint
from mist.errors import CorruptCheckpointError, MISTWarning
from mist.features import extract_features
from mist.inference import Estimator
from mist.network import MISTNetwork, joined_trunks
from mist.novelty import LIMIT, Novelty

pytestmark = pytest.mark.usefixtures("unmoved_global_state")


def trunks(num_datasets: int, seed: int, width: int = 40) -> Tensor:
    """Correlated, of very unequal variances along directions that are no axes."""
    random = torch.Generator().manual_seed(seed)
    mixing = torch.randn(width, width, generator=torch.Generator().manual_seed(99))
    scale = torch.logspace(0, -2, width)
    return (torch.randn(num_datasets, width, generator=random) * scale) @ mixing + 3


def test_shares_are_those_of_data_sets_like_the_reference() -> None:
    novelty = Novelty.fit(trunks(4000, 0), trunks(4000, 1), num_axes=12)
    shares = novelty(trunks(20_000, 2))
    for share in (0.1, 0.5, 0.9, LIMIT):
        alarms = float((shares > share).double().mean())
        assert alarms == pytest.approx(1 - share, abs=4 * (share * (1 - share) / 4000) ** 0.5)
    assert 0 <= float(shares.min()) and float(shares.max()) < 0.9991


@pytest.mark.parametrize("direction", [24, 28, 39])
def test_a_foreign_trunk_is_found(direction: int) -> None:
    """Ten standard deviations off along the strongest axis, the weakest, and a direction that the axes leave."""
    novelty = Novelty.fit(trunks(4000, 0), trunks(4000, 1), num_axes=12)
    values, vectors = torch.linalg.eigh(trunks(4000, 0).mT.cov())
    usual = trunks(500, 3)
    foreign = usual + 10 * values[direction].sqrt() * vectors[:, direction]
    assert float((novelty(usual) > LIMIT).double().mean()) < 0.05
    assert float((novelty(foreign) > LIMIT).double().mean()) > 0.5


def test_the_score_is_the_distance_by_hand() -> None:
    sample = trunks(3000, 0)
    novelty = Novelty.fit(sample, sample, num_axes=12)
    centred = (sample - sample.mean(0)).double()
    values, vectors = torch.linalg.eigh(centred.mT.cov())
    square = (centred @ vectors).square()
    expected = (square[:, -12:] / values[-12:]).mean(-1) + square[:, :-12].sum(-1) / values[:-12].sum()
    torch.testing.assert_close(novelty.score(sample).double(), expected, rtol=1e-3, atol=1e-3)


@pytest.fixture
def network(tiny_network: MISTNetwork) -> MISTNetwork:
    made = copy.deepcopy(tiny_network)
    random = torch.Generator().manual_seed(0)
    made.novelty = Novelty.fit(*(0.01 * torch.randn(2, 2000, made.config.trunk_width, generator=random)))
    return made


def test_estimates_carry_it_and_warn(network: MISTNetwork, tiny_arguments: dict[str, Any], tmp_path: Path) -> None:
    """The tiny network's trunk is nothing like a normal one, so that all data are new to it."""
    folder = save_checkpoint(tmp_path / "made", network, **tiny_arguments)
    estimator = mist.load(str(folder))
    assert estimator.network.novelty is not None
    x, y = torch.randn(2, 50, 2, generator=torch.Generator().manual_seed(1))
    with pytest.warns(MISTWarning, match=r"looks unlike those that checkpoint made@.* was trained on \(novelty 0\.99"):
        found = estimator.estimate(x, y)
    assert found.novelty is not None and LIMIT < found.novelty < 0.9991
    assert found.to_dict()["novelty"] == found.novelty and [notice.kind for notice in found.warnings] == ["novelty"]
    with pytest.warns(MISTWarning, match="data set 1: .* unlike"):
        many = estimator.estimate_many([(x, y), (x[:30], y[:30])])
    assert many[0].novelty == pytest.approx(found.novelty, abs=1e-4)


def test_usual_data_do_not_warn(network: MISTNetwork, tiny_arguments: dict[str, Any], tmp_path: Path) -> None:
    x, y = torch.randn(2, 1000, 50, 1, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        trunk = joined_trunks(network.head_parts(network_features(network, x, y)))
        network.novelty = Novelty.fit(trunk[:500], trunk[500:])
    estimator = Estimator(load_checkpoint(save_checkpoint(tmp_path / "made", network, **tiny_arguments)))
    fresh = torch.randn(2, 50, 1, generator=torch.Generator().manual_seed(2))
    found = estimator.estimate(*fresh)
    assert found.novelty is not None and found.novelty < LIMIT and found.warnings == ()


def network_features(network: MISTNetwork, x: Tensor, y: Tensor) -> Any:
    return extract_features(x, y, network.config.features)


def test_a_checkpoint_without_it_knows_nothing(tiny_estimator: Estimator) -> None:
    x, y = torch.randn(2, 50, 1, generator=torch.Generator().manual_seed(1))
    found = tiny_estimator.estimate(x, y)
    assert found.novelty is None and dataclasses.asdict(found)["novelty"] is None


@pytest.mark.parametrize(
    ("name", "damaged"),
    [("axes", torch.zeros(5, 48)), ("axes", torch.zeros(3)), ("table", torch.zeros(())), ("mean", torch.zeros(7))],
)
def test_damaged_tensors_are_refused(
    network: MISTNetwork, tiny_arguments: dict[str, Any], tmp_path: Path, name: str, damaged: Tensor
) -> None:
    folder = save_checkpoint(tmp_path / "made", network, **tiny_arguments)
    weights = folder / "model.safetensors"
    state = safetensors.torch.load_file(weights)
    state[f"novelty.{name}"] = damaged
    content = safetensors.torch.save(state)
    weights.write_bytes(content)
    config = json.loads((folder / "config.json").read_text())
    config["weights_sha256"] = hashlib.sha256(content).hexdigest()
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CorruptCheckpointError, match="does not fit the network"):
        load_checkpoint(folder)
