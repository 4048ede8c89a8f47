"""Recalibration: a spread that is wrong on purpose comes back, and nothing but the spread moves."""

from __future__ import annotations

import copy

import pytest
import torch

from data_gen import MetaDistribution
from data_gen.stream import generate_batch
from mist.network import MISTNetwork
from mist.training.calibration import CALIBRATION_SEED, recalibrate

pytestmark = pytest.mark.usefixtures("unmoved_global_state")
META = MetaDistribution(num_points=(10, 30), max_num_points=30, dims=(1, 3), max_dim=3)


@pytest.mark.parametrize("error", [1.5, -1.5])
def test_a_wrong_spread_is_found(tiny_network: MISTNetwork, error: float) -> None:
    """The best spread, found from the network as it is, is found again from one e^1.5 times too wide or narrow."""
    expected, network = copy.deepcopy(tiny_network), copy.deepcopy(tiny_network)
    before, after = recalibrate(expected, META, 1024)
    assert after <= before
    with torch.no_grad():
        network.head.remainder.bias[0] += error
    wrong, found = recalibrate(network, META, 1024)
    assert wrong > before and found == pytest.approx(after, rel=0.02)


def test_nothing_but_the_spread_moves(tiny_network: MISTNetwork) -> None:
    network = copy.deepcopy(tiny_network)
    recalibrate(network, META, 1024)
    for name, value in network.state_dict().items():
        moved = value != tiny_network.state_dict()[name]
        if name.startswith("head.remainder."):
            assert moved[0].any() and not moved[1:].any()
        else:
            assert not moved.any(), name
    batch = generate_batch(META, 1, 0)
    middle = len(network.config.levels) // 2
    torch.testing.assert_close(network(batch.x, batch.y)[:, middle], tiny_network(batch.x, batch.y)[:, middle])


def test_too_few_data_sets(tiny_network: MISTNetwork) -> None:
    with pytest.raises(ValueError, match="got 100 data sets to calibrate 257 weights, expected at least 1024"):
        recalibrate(tiny_network, META, 100)


def test_its_data_sets_are_its_own() -> None:
    seeds = {CALIBRATION_SEED, 1 << 40, 0, 1_000_003}
    first = {float(generate_batch(META, seed, 0).x.sum()) for seed in seeds}
    assert len(first) == len(seeds)
