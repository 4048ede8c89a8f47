"""Checkpoints of earlier formats predict what they did."""

import copy
import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from mist.calibration import Calibration, num_terms
from mist.checkpoint import load_checkpoint, save_checkpoint
from mist.network import MISTNetwork
from mist.older_formats import widen
from mist.panel import CANDIDATES
from mist.training.ensemble import join

pytestmark = pytest.mark.usefixtures("unmoved_global_state")


@pytest.mark.parametrize(
    ("version", "known", "distances"),
    [
        (3, 24, 0),
        (4, 26, 26),
        (5, 26, 26),
        (6, len(CANDIDATES), len(CANDIDATES)),
        (7, len(CANDIDATES), len(CANDIDATES)),
    ],
)
def test_weights_predict_what_they_did(
    version: int, known: int, distances: int, tmp_path: Path, tiny_network: MISTNetwork, tiny_arguments: dict[str, Any]
) -> None:
    network = copy.deepcopy(tiny_network)
    state = network.state_dict()
    total = len(CANDIDATES)
    first = "members.0.embed_summary.0.weight"
    width = state[first].shape[1]
    columns = [*range(6 + known, 6 + total), *range(width - total + distances, width)]  # that came later
    with torch.no_grad():
        state[first][:, columns] = 0
        state["members.0.head.weights.weight"][known:] = 0
        state["members.0.head.weights.bias"][known:] = -torch.inf
    x, y = torch.randn(2, 3, 60, 2, generator=torch.Generator().manual_seed(1)).unbind(0)
    expected = network(x, y)
    kept = sorted(set(range(width)) - set(columns))
    state[first] = state[first][:, kept].contiguous()
    for name in ("members.0.head.weights.weight", "members.0.head.weights.bias"):
        state[name] = state[name][:known].contiguous()
    del state["trust"]
    state = {name.removeprefix("members.0."): value for name, value in state.items()}
    folder = save_checkpoint(tmp_path / "old", tiny_network, **tiny_arguments)
    weights = safetensors.torch.save(state)
    (folder / "model.safetensors").write_bytes(weights)
    config = json.loads((folder / "config.json").read_text())
    del config["network"]["num_members"]
    config.update(format_version=version, weights_sha256=hashlib.sha256(weights).hexdigest())
    (folder / "config.json").write_text(json.dumps(config))
    torch.testing.assert_close(load_checkpoint(folder).network(x, y), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("version", "power"), [(6, 1), (7, 2)])
def test_older_pools_weigh_by_widths_and_not_by_their_squares(
    version: int, power: int, tmp_path: Path, tiny_network: MISTNetwork, tiny_arguments: dict[str, Any]
) -> None:
    one, other = copy.deepcopy(tiny_network), copy.deepcopy(tiny_network)
    with torch.no_grad():
        other.members[0].head.remainder.bias[:2] += torch.tensor([1.0, 2.0])  # wider, and higher
    pool = join([one, other])
    x, y = torch.randn(2, 3, 60, 2, generator=torch.Generator().manual_seed(1)).unbind(0)
    expected = [MISTNetwork.forward(with_power(pool, p), x, y) for p in (power, 3 - power)]
    folder = save_checkpoint(tmp_path / "pool", pool, **tiny_arguments)
    config = json.loads((folder / "config.json").read_text())
    assert config["network"].pop("pool_power") == 2
    (folder / "config.json").write_text(json.dumps({**config, "format_version": version}))
    found = load_checkpoint(folder).network
    assert found.config.pool_power == power
    torch.testing.assert_close(found(x, y), expected[0])
    assert not torch.allclose(expected[0], expected[1], atol=1e-3)


def test_a_calibration_of_before_there_were_tails_is_read_as_it_was(
    tmp_path: Path, tiny_network: MISTNetwork, tiny_arguments: dict[str, Any]
) -> None:
    network = copy.deepcopy(tiny_network)
    wide = (0.4, *([0.1] * (num_terms() - 1)))
    warp = tuple((1.1 * torch.special.ndtri(network.levels.double())).tolist())
    network.calibration = Calibration(
        (0.0,) * num_terms(), wide, wide, ((-3.0, 2.0, 0.0, 0.0), (2.0, 9.0, 8.0, 4.0)), warp
    )
    x, y = torch.randn(2, 3, 60, 2, generator=torch.Generator().manual_seed(1)).unbind(0)
    expected = network(x, y)
    assert not torch.allclose(expected, tiny_network(x, y), atol=1e-3)
    folder = save_checkpoint(tmp_path / "old", network, **tiny_arguments)
    config = json.loads((folder / "config.json").read_text())
    for tail in ("log_tail_low", "log_tail_high"):
        assert config["calibration"].pop(tail) == []
    (folder / "config.json").write_text(json.dumps({**config, "format_version": 6}))
    torch.testing.assert_close(load_checkpoint(folder).network(x, y), expected)


def with_power(network: MISTNetwork, power: int) -> MISTNetwork:
    changed = copy.deepcopy(network)
    changed.config = replace(network.config, pool_power=power)
    return changed


def test_weights_of_today_are_left_as_they_are(tiny_network: MISTNetwork) -> None:
    state = tiny_network.state_dict()
    assert widen(state) is state
    assert widen({}) == {}
