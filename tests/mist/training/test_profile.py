"""The profile of a training step adds up and is of the law asked for."""

from __future__ import annotations

import pytest

from data_gen.meta_distribution import MetaDistribution
from mist.training.profile import main, profile_step


def test_parts_of_a_step_are_all_measured() -> None:
    law = MetaDistribution(num_points=(10, 20), max_num_points=20, datasets_per_batch=(8, 8), max_dim=3, dims=(1, 3))
    seconds, num_datasets = profile_step(law, 3)
    assert num_datasets == 24 and list(seconds)[:2] == ["generation", "features"]
    assert all(value > 0 for value in seconds.values())


def test_the_command_prints_shares(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--law", "elliptical", "--steps", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    shares = [float(line.split()[-1].rstrip("%")) for line in lines[:-1]]
    assert main(["--steps", "0"]) == 2
    assert "got --steps 0, expected at least 1" in capsys.readouterr().err
    assert sum(shares) == pytest.approx(100, abs=0.5) and "data sets/s" in lines[-1]
