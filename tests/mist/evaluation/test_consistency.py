"""Error against n: truths by other means, a network that knows the answer, files."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import integrate, stats

from mist.evaluation.consistency import CURVES, main, measure

pytestmark = pytest.mark.usefixtures("unmoved_global_state")


def _cross_information() -> float:
    """Of an equal mixture of two standard normal pairs of correlation ±.8, whose margins are standard normal."""
    laws = [stats.multivariate_normal([0, 0], [[1, rho], [rho, 1]]) for rho in (0.8, -0.8)]

    def integrand(y: float, x: float) -> float:
        density = sum(law.pdf([x, y]) for law in laws) / 2
        return float(density * math.log(density / (stats.norm.pdf(x) * stats.norm.pdf(y)))) if density > 0 else 0.0

    return float(integrate.dblquad(integrand, -6, 6, -6, 6, epsabs=1e-5, epsrel=1e-5)[0])


def test_truths() -> None:
    truths = {name: float(curve.make().mutual_information[0]) for name, curve in CURVES.items()}
    assert truths["Gaussian, 5 + 5 dims"] == pytest.approx(-2.5 * math.log(1 - 0.25))
    assert truths["Gaussian behind spirals, 3 + 3"] == pytest.approx(-1.5 * math.log(1 - 0.49))
    assert truths["uniform noise, 1 + 1"] == pytest.approx(0.5)  # width 2ε = 1 of the noise: ½ nat (Gao et al. 2015)
    assert truths["cross of two normals, 1 + 1"] == pytest.approx(_cross_information(), abs=2e-3)


def test_a_network_that_knows_the_answer(normal_network: Any) -> None:
    """Off by 10/n, which its errors are then, to the width of its grid; n of the samples is that asked for."""
    network = normal_network(lambda x, y: 0.9 + 10 / len(x), spread=1e-9)
    found = [m for m in measure(network, 2, (100, 1000)) if m.joint.startswith("Gaussian, 5")]
    truth = -2.5 * math.log(0.75)
    assert [m.num_points for m in found] == [100, 1000]
    for m in found:
        assert m.errors["mist"] == pytest.approx(abs(0.9 + 10 / m.num_points - truth), abs=1e-6)
        assert m.floor == pytest.approx(math.sqrt(2 / math.pi * (1.25 / m.num_points + 25 / (2 * m.num_points**2))))
        assert np.isfinite(list(m.errors.values())).all()
    assert found[1].errors["CCA"] < found[0].errors["CCA"]


def test_command(tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--checkpoint", str(tiny_checkpoint), "--samples", "1"]
    assert main([*arguments, "--max-points", "100", "--out", str(tmp_path / "curves" / "error.png")]) == 0
    assert "tiny@" in capsys.readouterr().out
    rows = list(csv.DictReader((tmp_path / "curves" / "error.csv").open()))
    assert len(rows) == 2 * len(CURVES) and {row["num_points"] for row in rows} == {"30", "100"}
    assert (tmp_path / "curves" / "error.png").stat().st_size > 20_000
    assert main(["--max-points", "10"]) == 2
    assert "got --max-points 10, expected at least 30" in capsys.readouterr().err
    assert main(["--checkpoint", "gone"]) == 2


def test_a_missing_matplotlib_is_told_before_the_work(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["--checkpoint", str(tiny_checkpoint), "--out", str(tmp_path / "a.png")]) == 2
    assert "matplotlib is missing: pip install" in capsys.readouterr().err and not list(tmp_path.glob("a.*"))
