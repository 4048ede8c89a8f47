"""The search finds what is best, goes on after a kill, and says what it cannot use."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from mist.training.sweep import Space, main, search

optuna = pytest.importorskip("optuna")
optuna.logging.set_verbosity(optuna.logging.ERROR)
SPACES = [Space.parse("rate=log(1e-4, 1e-1)"), Space.parse("width=int(1, 3)"), Space.parse("kind=choice(good, bad)")]


def score(folder: Path, overrides: Sequence[str]) -> float:
    """Least for a rate of 1e-2, a width of 2 and the good kind."""
    values = dict(text.split("=") for text in overrides)
    assert values.pop("experiment") == "smoke"
    off = abs(float(values["rate"]) / 1e-2 - 1) + abs(int(values["width"]) - 2) + (values["kind"] == "bad")
    return 1 + off


def test_spaces() -> None:
    assert [space.ends for space in SPACES] == [(1e-4, 1e-1), (1, 3), ("good", "bad")]
    assert Space.parse("a=interval(0, 2)") == Space("a", "interval", (0.0, 2.0))
    assert Space.parse("meta_distribution.dims=[1,2]") is None and Space.parse("a=b") is None


@pytest.mark.parametrize("text", ["a=log(0, 1)", "a=log(1)", "a=int(3, 1)", "a=int(1.5, 2)", "a=interval(0, inf)"])
def test_ends_that_make_no_space(text: str) -> None:
    with pytest.raises(ValueError, match="expected the least and the largest number, such as a=log"):
        Space.parse(text)
    with pytest.raises(ValueError, match="expected two different choices or more"):
        Space.parse("a=choice(b)")


def test_it_finds_the_best_and_goes_on_where_it_was(tmp_path: Path) -> None:
    first = search(tmp_path / "study", 12, SPACES, ["experiment=smoke"], run=score).trials
    assert len(first) == 12
    best = search(tmp_path / "study", 40, SPACES, ["experiment=smoke"], run=score)
    assert len(best.trials) == 40 and best.trials[:12] == first
    assert best.best_value < 1.5 and best.best_params["width"] == 2 and best.best_params["kind"] == "good"
    with pytest.raises(ValueError, match="which was begun with .*: go on with the same, or take another name"):
        search(tmp_path / "study", 41, SPACES[:2], ["experiment=smoke"], run=score)


def test_a_study_that_goes_on_draws_anew(tmp_path: Path) -> None:
    search(tmp_path / "study", 3, SPACES, ["experiment=smoke"], run=score)
    study = search(tmp_path / "study", 6, SPACES, ["experiment=smoke"], run=score)
    assert len({trial.params["rate"] for trial in study.trials}) == 6


def test_a_killed_trial_is_made_again(tmp_path: Path) -> None:
    def killed(folder: Path, overrides: Sequence[str]) -> float:
        raise KeyboardInterrupt  # what is left behind by a kill: a trial that runs for ever

    with pytest.raises(KeyboardInterrupt):
        search(tmp_path / "study", 2, SPACES, ["experiment=smoke"], run=killed)
    study = search(tmp_path / "study", 2, SPACES, ["experiment=smoke"], run=score)
    states = [trial.state.name for trial in study.trials]
    assert states == ["FAIL", "COMPLETE", "COMPLETE"] and study.trials[1].params == study.trials[0].params


def test_trials_that_fail(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outcomes = iter([None, 1.0, None, None, None])

    def run(folder: Path, overrides: Sequence[str]) -> float:
        value = next(outcomes)
        if value is None:
            raise RuntimeError("it diverged")
        return value

    with pytest.raises(RuntimeError, match="3 trials in a row failed, the last one so: it diverged"):
        search(tmp_path / "study", 2, SPACES, ["experiment=smoke"], run=run)
    assert "trial 0 failed: it diverged" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["study", "a=b"], "got no space to search"),
        (["study", "a=log(1, 2)", "--trials", "0"], "got --trials 0, expected at least 1"),
        (["study", "a=log(1, 2)"], "got no train.py in"),
        (["study", "a=log(2, 1)"], "expected the least and the largest number"),
    ],
)
def test_what_cannot_be_used(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2 and message in capsys.readouterr().err
    assert os.listdir(tmp_path) == []


def test_without_optuna(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "train.py").write_text("")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert main(["study", "a=log(1, 2)"]) == 2 and "pip install 'mist-mi[sweep]'" in capsys.readouterr().err


@pytest.mark.slow
def test_runs_of_train_py(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("train.py", "conf"):
        (tmp_path / name).symlink_to(repository / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(repository))
    short = ["experiment=smoke", "trainer.max_steps=2", "trainer.processes=1", "validation.num_batches=1"]
    assert main(["short", "--trials", "2", *short, "optimization.learning_rate=log(1e-4, 1e-2)"]) == 0
    printed = capsys.readouterr().out
    assert "best of 2: trial" in printed and "optimization.learning_rate=" in printed.splitlines()[-1]
    assert (tmp_path / "outputs" / "short" / "trial_1" / "checkpoint" / "model.safetensors").is_file()
    wrong = ["wrong", "--trials", "1", *short, "no.such.setting=log(1, 2)"]
    assert main(wrong) == 1 and "3 trials in a row failed" in capsys.readouterr().err
    assert "no.such" in (tmp_path / "outputs" / "wrong" / "trial_0" / "sweep.log").read_text(encoding="utf-8")
