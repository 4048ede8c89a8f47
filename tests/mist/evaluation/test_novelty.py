"""Alarms: real tables are read as they are, and the table counts what it says."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import mist
from mist.checkpoint import save_checkpoint
from mist.evaluation.novelty import alarms, choose_limit, main, real_tables
from mist.evaluation.suites import bmi_40
from mist.network import MISTNetwork
from mist.novelty import Novelty

pytestmark = pytest.mark.usefixtures("unmoved_global_state")


@pytest.fixture
def checkpoint(tmp_path: Path, tiny_network: MISTNetwork, tiny_arguments: dict[str, Any]) -> Path:
    """One to which everything is new, with the law that commands draw from."""
    network = copy.deepcopy(tiny_network)
    random = torch.Generator().manual_seed(0)
    network.novelty = Novelty.fit(*(0.01 * torch.randn(2, 2000, network.config.trunk_width, generator=random)))
    law = mist.load("default").config["meta_distribution"]
    small = {**law, "num_points": [10, 40], "max_num_points": 40, "dims": [1, 4], "max_dim": 4}
    return save_checkpoint(tmp_path / "new", network, **{**tiny_arguments, "meta_distribution": small})


def test_real_tables() -> None:
    tables = real_tables(6)
    assert len(tables) == 24 and {data.family for data in tables} == {"iris", "wine", "breast_cancer", "diabetes"}
    assert {data.shape[1:] for data in tables[::2]} == {(1, 1)}
    for data in tables:
        assert np.isfinite(data.x).all() and np.isnan(data.mi)
        both = np.concatenate([data.x, data.y], axis=1)
        assert len(np.unique(both, axis=1).T) == both.shape[1]  # no column on both sides


def test_alarms_and_misses(checkpoint: Path) -> None:
    datasets = bmi_40(40, num_points=(30,))[:6]
    novelty, missed = alarms(mist.load(str(checkpoint)), datasets)
    assert (novelty > 0.99).all() and missed.dtype == bool
    estimator = mist.load(str(checkpoint))
    for data, miss in zip(datasets, missed):
        with pytest.warns(mist.MISTWarning):
            low, high = estimator.estimate(data.x, data.y).interval(0.9)
        assert miss == (not low <= data.mi <= high)


def test_command(checkpoint: Path, tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--checkpoint", str(checkpoint), "--num-datasets", "8"]) == 0
    out = capsys.readouterr().out
    assert "training law" in out and "vine, n = 5,000" in out and "real: wine" in out
    assert out.count("100.0% [") >= 18
    assert main(["--num-datasets", "1"]) == 2
    assert "got --num-datasets 1, expected at least 8" in capsys.readouterr().err
    assert main(["--checkpoint", str(tiny_checkpoint), "--num-datasets", "8"]) == 2
    assert "without novelty, expected one that was recalibrated" in capsys.readouterr().err


def test_a_missing_scikit_learn_is_told_before_the_work(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main([]) == 2
    assert "scikit-learn, whose tables are read, is missing: pip install" in capsys.readouterr().err


def test_the_limit_weighs_false_alarms_more() -> None:
    usual = np.linspace(0, 1, 1001)
    seen = np.full(100, 0.985)
    assert choose_limit(usual, seen) == (0.98, 1.0, pytest.approx(0.02, abs=0.001))
    assert choose_limit(usual, np.full(100, 0.2))[0] == 0.998  # nothing to win
    mixed = np.r_[np.full(5, 0.96), np.full(95, 0.999)]
    assert choose_limit(usual, mixed)[0] == 0.998  # five more in a hundred are not worth four false alarms
