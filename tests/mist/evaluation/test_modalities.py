"""Fine-tuning measured on modalities: what is printed, and that the checks of consistency see what they are about."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import mist
from mist.evaluation import modalities
from mist.evaluation.modalities import completed, main, scene_samples, self_consistency


@dataclass
class _Checkpoint:
    unwarping: Any


class _Sums:
    """Through maps: Σ r² of columns of X and of Y in their places, of images alone. As they are: Σ of X's columns'
    variances: more columns, more; two images, twice as much."""

    device = "cpu"

    def __init__(self, checkpoint: _Checkpoint, device: str = "cpu") -> None:
        self.checkpoint = checkpoint

    def estimate(self, x: Any, y: Any) -> Any:
        total = x.var(0).sum()
        if self.checkpoint.unwarping is not None:
            assert x.shape == y.shape == (2000, 32)
            total = sum(np.corrcoef(a, b)[0, 1] ** 2 for a, b in zip(x.T, y.T, strict=True))
        return SimpleNamespace(mi=float(total))


def test_self_consistency_is_of_rows_functions_and_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modalities, "Estimator", _Sums)
    x = np.random.default_rng(0).normal(size=(4000, 8, 4))
    found = self_consistency(_Sums(_Checkpoint("maps")), x, x)  # type: ignore[arg-type]
    assert list(found) == ["rows 2", "rows 4", "rows 6", "rows 8", "processing", "additivity"]
    assert found["rows 2"] == pytest.approx(8, abs=0.1) and found["rows 8"] == pytest.approx(32)
    assert found["processing"] == pytest.approx(2, rel=0.05) and found["additivity"] == pytest.approx(2, rel=0.05)


def test_a_completed_image_is_a_function_of_its_first_rows() -> None:
    generator = np.random.default_rng(1)
    images, donors = generator.normal(size=(2, 50, 4, 3))
    found = completed(images, 2, donors)
    np.testing.assert_array_equal(found[:, :2], images[:, :2])
    hidden = images.copy()
    hidden[:, 2:] = 0
    np.testing.assert_array_equal(completed(hidden, 2, donors), found)
    distances = ((images[:, None, :2] - donors[None, :, :2]) ** 2).sum((2, 3))
    np.testing.assert_array_equal(found[:, 2:], donors[distances.argmin(1), 2:])
    np.testing.assert_array_equal(completed(images, 4, donors), images)


def test_scene_samples_are_images_of_two_sides() -> None:
    x, y = scene_samples(5, 0)
    assert (
        x.shape == y.shape == (60_000, 25) and np.abs(x).max() < 1 and abs(np.corrcoef(x[:, 0], y[:, 0])[0, 1]) < 0.03
    )
    np.testing.assert_array_equal(x, scene_samples(5, 0)[0])


@pytest.mark.parametrize("modality", ["scenes", "digits", "diabetes"])
def test_command(
    modality: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The path of each modality, its fine-tune replaced by an estimator that is the parent."""
    pytest.importorskip("sklearn")

    def unchanged(estimator: mist.Estimator, x: Any, y: Any, **options: Any) -> Any:
        assert options["name"] == modality and options["max_steps"] == 3 and x.ndim == y.ndim == 2
        estimator.report = _Report()  # type: ignore[attr-defined]
        return estimator

    monkeypatch.setattr(modalities, "finetune", unchanged)
    monkeypatch.setattr(modalities, "scene_samples", lambda size, seed: (np.zeros((4, size**2)),) * 2)
    arguments = [modality, "--steps", "3", "--datasets", "8", "--size", "5", "--out", str(tmp_path)]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    expected = {"scenes": "KSG (k = 5): MAE", "digits": "additivity", "diabetes": "after   MIEstimate"}
    assert (modality == "scenes") == ("after: of 0 data sets a side was not recognised" in printed)
    assert "the report" in printed and expected[modality] in printed
    assert mist.load(tmp_path / modality).name == "default" and (tmp_path / f"{modality}.png").is_file()


class _Report:
    num_points = (20, 30)
    x = y = SimpleNamespace(unwarped=True)

    def __str__(self) -> str:
        return "the report"

    def plot(self) -> Any:
        from matplotlib.figure import Figure

        return Figure()


def test_unknown_modality(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["faces"])
    assert "invalid choice: 'faces'" in capsys.readouterr().err
    assert main(["digits", "--datasets", "0"]) == 2
    assert "got --datasets 0, expected at least 1" in capsys.readouterr().err
