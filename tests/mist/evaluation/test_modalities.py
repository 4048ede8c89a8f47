"""Fine-tuning measured on modalities: what is printed, and that the checks of consistency see what they are about."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mist
from mist.evaluation import modalities
from mist.evaluation.modalities import main, scene_samples, self_consistency


class _Sums:
    """Answers n · Σ of all its columns' variances: more columns, more; two images, twice as much."""

    def estimate(self, x: Any, y: Any) -> Any:
        class Answer:
            mi = float(x.var(0).sum())

        return Answer()


def test_self_consistency_is_of_rows_functions_and_pairs() -> None:
    x = np.random.default_rng(0).normal(size=(4000, 8, 4))
    found = self_consistency(_Sums(), x, x)  # type: ignore[arg-type]
    assert list(found) == ["rows 2", "rows 4", "rows 6", "rows 8", "processing", "additivity"]
    assert found["rows 2"] == pytest.approx(8, rel=0.05) and found["rows 8"] == pytest.approx(32, rel=0.05)
    assert found["processing"] == pytest.approx(2, rel=0.05) and found["additivity"] == pytest.approx(2, rel=0.05)


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
    assert "the report" in printed and expected[modality] in printed
    assert mist.load(tmp_path / modality).name == "default" and (tmp_path / f"{modality}.png").is_file()


class _Report:
    num_points = (20, 30)

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
