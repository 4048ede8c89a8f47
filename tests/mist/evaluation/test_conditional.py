"""Conditional MI of the drawn joints against independent formulas, and the table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mist.evaluation.conditional import draw_discrete, draw_gaussian, main

pytestmark = pytest.mark.usefixtures("unmoved_global_state")


def test_gaussian_labels_by_regression() -> None:
    """I(X;Y|Z) is that of the residuals of X and Y on Z, by their sample covariance."""
    for seed in range(4):
        x, y, z, truth = draw_gaussian(np.random.default_rng(seed), 200_000)
        coefficients = np.linalg.lstsq(z, np.c_[x, y], rcond=None)[0]
        residual = np.cov((np.c_[x, y] - z @ coefficients).T)
        sides = (slice(None, x.shape[1]), slice(x.shape[1], None))
        logs = [np.linalg.slogdet(np.atleast_2d(residual[side, side]))[1] for side in sides]
        assert 0.5 * (sum(logs) - np.linalg.slogdet(residual)[1]) == pytest.approx(truth, abs=0.01)


def entropy(*columns: np.ndarray) -> float:
    """Of the empirical law of discrete columns (n, d)."""
    counts = np.unique(np.concatenate(columns, axis=1), axis=0, return_counts=True)[1] / len(columns[0])
    return float(-(counts * np.log(counts)).sum())


def test_discrete_labels_by_counting() -> None:
    for seed in range(4):
        x, y, z, truth = draw_discrete(np.random.default_rng(seed), 400_000)
        found = entropy(x, z) + entropy(y, z) - entropy(z) - entropy(x, y, z)
        assert found == pytest.approx(truth, abs=0.005) and truth > 0


def test_command(tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--checkpoint", str(tiny_checkpoint), "--num-datasets", "8"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert (
        lines[0].startswith("tiny@") and [line.split()[0] for line in lines[2:]] == ["Gaussian"] * 2 + ["discrete"] * 2
    )
    assert main(["--num-datasets", "7"]) == 2
