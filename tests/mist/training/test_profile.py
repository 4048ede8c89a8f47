"""The profile of a training step adds up and is of the law asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from data_gen.meta_distribution import MetaDistribution
from mist.network import NetworkConfig
from mist.training.profile import count_flops, main, profile_step


def test_parts_of_a_step_are_all_measured() -> None:
    law = MetaDistribution(num_points=(10, 20), max_num_points=20, datasets_per_batch=(8, 8), max_dim=3, dims=(1, 3))
    seconds, num_datasets = profile_step(law, 3, NetworkConfig())
    assert num_datasets == 24 and list(seconds)[:2] == ["generation", "features"]
    assert all(value > 0 for value in seconds.values())


def test_the_command_prints_shares(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(repository)
    assert main(["--law", "elliptical", "--steps", "1", "--flop-steps", "1"]) == 0
    *parts, together, products = capsys.readouterr().out.splitlines()
    shares = [float(line.split()[-1].rstrip("%")) for line in parts]
    assert sum(shares) == pytest.approx(100, abs=0.5) and "data sets/s" in together and "MFLOP" in products
    assert main(["--model", "tiny", "--law", "elliptical", "--steps", "1", "--flop-steps", "1"]) == 0
    smaller = capsys.readouterr().out.splitlines()[-1]
    flops = [float(line.split(" in features, ")[1].split()[0]) for line in (products, smaller)]
    assert 0 < flops[1] < flops[0] / 3
    assert main(["--model", "huge"]) == 2 and "got --model huge, expected the name of a file" in capsys.readouterr().err
    for option in ("--steps", "--flop-steps"):
        assert main([option, "0"]) == 2
        assert f"got {option} 0, expected at least 1" in capsys.readouterr().err


def test_flops_by_hand() -> None:
    """One more layer over D coordinates of width E costs what its matrices do, forward and twice that backward."""
    law = MetaDistribution(
        num_points=(50, 50), max_num_points=50, dims=(4, 4), equal_dims_probability=1.0, datasets_per_batch=(8, 8)
    )
    config = NetworkConfig(coordinate_layers=1)
    features, one = count_flops(law, 1, config)
    again, two = count_flops(law, 1, replace(config, coordinate_layers=2))
    dim, width, edge, heads = 8, config.coordinate_width, config.edge_width, config.num_heads
    projections = 2 * dim * width * (3 * width + width + 2 * width + 2 * width + edge)
    attention = 2 * 2 * dim * dim * width
    biases = 2 * dim * dim * config.edge_hidden * heads  # of the layer's heads, read from the relations
    assert two - one == pytest.approx(3 * (projections + attention + biases), rel=0.02)
    assert again == features > 2 * dim * 3 * dim * 50  # the covariances among the rest
