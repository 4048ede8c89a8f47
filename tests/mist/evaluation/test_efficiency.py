"""The floor against simulated maximum likelihood, the suite, and the table by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from mist.evaluation.baselines import gaussian_cca
from mist.evaluation.efficiency import canonical_strength, format_efficiency, gaussian_suite, likelihood_floor, main
from mist.evaluation.prediction import evaluate_network

pytestmark = pytest.mark.usefixtures("unmoved_global_state")


@pytest.mark.parametrize(("correlations", "dim_y"), [((0.9, 0.5), 3), ((0.0, 0.0), 2), ((0.3, 0.05), 4)])
def test_the_floor_is_the_deviation_of_maximum_likelihood(correlations: tuple[float, float], dim_y: int) -> None:
    """1,500 Gaussian samples of known canonical correlations behind a mixing of both sides."""
    num_points, dim_x = 300, 2
    generator = np.random.default_rng(0)
    dispersion = np.eye(dim_x + dim_y)
    for i, rho in enumerate(correlations):
        dispersion[i, dim_x + i] = dispersion[dim_x + i, i] = rho
    mixing = np.zeros_like(dispersion)
    mixing[:dim_x, :dim_x] = generator.standard_normal((dim_x, dim_x))
    mixing[dim_x:, dim_x:] = generator.standard_normal((dim_y, dim_y))
    mixed = mixing @ dispersion @ mixing.T
    strength = float(canonical_strength(torch.from_numpy(mixed).unsqueeze(0), dim_x)[0])
    assert strength == pytest.approx(sum(rho**2 for rho in correlations), abs=1e-9)
    factor = np.linalg.cholesky(mixed)
    estimates = []
    for _ in range(1500):
        points = generator.standard_normal((num_points, dim_x + dim_y)) @ factor.T
        estimates.append(gaussian_cca(points[:, :dim_x], points[:, dim_x:]))
    floor = likelihood_floor(strength, num_points, dim_x, dim_y)
    assert np.std(estimates) == pytest.approx(floor, rel=0.08)


def test_the_suite() -> None:
    datasets, floors = gaussian_suite(72)
    again, other = gaussian_suite(72)[0], gaussian_suite(72, seed=1)[0]
    assert len(datasets) == len(floors) == 72 and (floors > 0).all() and len({data.family for data in datasets}) == 9
    assert all(np.array_equal(a.x, b.x) for a, b in zip(datasets, again, strict=True))
    assert not any(np.array_equal(a.x, b.x) for a, b in zip(datasets, other, strict=True))
    for data in datasets:
        n, dim_x, dim_y = data.shape
        assert max(30, 5 * (dim_x + dim_y)) <= n <= 4000 and max(dim_x, dim_y) <= 32


def test_a_network_at_the_floor_has_ratios_of_one(normal_network: Any) -> None:
    datasets, _ = gaussian_suite(400)
    generator = np.random.default_rng(2)
    spread = 0.1
    truths = {data.x[0, 0].item(): data.mi + 1 + spread * generator.standard_normal() for data in datasets}
    records = evaluate_network(normal_network(lambda x, y: truths[float(x[0, 0])], spread), datasets)
    records = type(records)(**{**vars(records), "mi": records.mi + 1})
    line = format_efficiency(records, spread * generator.uniform(0.99, 1.01, 400)).splitlines()[1].split()
    assert line[:3] == ["all", "all", "400"]
    assert float(line[3]) == pytest.approx(1, abs=0.01) and float(line[6]) == pytest.approx(1, abs=0.1)
    assert float(line[9].rstrip("%")) == pytest.approx(90, abs=5)


def test_command(tiny_checkpoint: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--checkpoint", str(tiny_checkpoint), "--num-datasets", "16"]) == 0
    assert "width / floor" in capsys.readouterr().out
    assert main(["--num-datasets", "2"]) == 2
    assert "got --num-datasets 2, expected at least 8" in capsys.readouterr().err
    assert main(["--checkpoint", "gone"]) == 2
    assert "no checkpoint 'gone'" in capsys.readouterr().err
