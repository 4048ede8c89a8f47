"""Search for settings with Optuna: `python -m mist.training.sweep NAME --trials 20 KEY=log(1e-4,1e-2) ...`

Every trial is a run of train.py with settings drawn from the spaces that are given, and scored by the CRPS of its last
validation: one at its end, unless trainer.val_every says otherwise. The study lives in outputs/NAME/study.db: the same
command goes on where it was, also after a kill.
"""

from __future__ import annotations

import argparse
import csv
import math
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["Space", "main", "run_trial", "search"]

_SCORE = "val/crps"
# One validation, at the end, and nothing after it, unless told otherwise: what is asked for stands behind these.
_SHORT = (
    "trainer.val_every=${trainer.max_steps}",
    "trainer.progress_bar=false",
    "optimization.calibration_datasets=0",
    "evaluation_datasets=8",
)
_MOST_FAILURES = 3  # in a row
_SPACE = re.compile(r"(?P<key>[^=]+)=(?P<kind>log|interval|int|choice)\((?P<ends>.*)\)")


@dataclass(frozen=True)
class Space:
    """Where a setting is drawn from: log-uniformly, uniformly, from integers (both ends in), or from a few choices."""

    key: str
    kind: str
    ends: tuple[Any, ...]

    @classmethod
    def parse(cls, text: str) -> Space | None:
        """KEY=log(1e-4, 1e-2), KEY=interval(0, 1), KEY=int(1, 4) or KEY=choice(a, b), None for anything else.

        ValueError for ends that make no space.
        """
        match = _SPACE.fullmatch(text)
        if match is None:
            return None
        parts = [part.strip() for part in match["ends"].split(",")]
        if match["kind"] == "choice":
            if not all(parts) or len(set(parts)) < 2:
                raise ValueError(
                    f"got {text!r}, expected two different choices or more, such as {match['key']}=choice(a, b)"
                )
            return cls(match["key"], "choice", tuple(parts))
        try:
            ends = tuple((int if match["kind"] == "int" else float)(part) for part in parts)
        except ValueError:
            ends = ()
        positive = match["kind"] != "log" or (ends and ends[0] > 0)
        if len(ends) != 2 or not ends[0] < ends[1] or not positive or not math.isfinite(ends[1] - ends[0]):
            raise ValueError(
                f"got {text!r}, expected the least and the largest number, such as {match['key']}=log(1e-4, 1e-2)"
            )
        return cls(match["key"], match["kind"], ends)

    def draw(self, trial: Any) -> Any:
        """A value, of an Optuna trial."""
        if self.kind == "choice":
            return trial.suggest_categorical(self.key, list(self.ends))
        if self.kind == "int":
            return trial.suggest_int(self.key, *self.ends)
        return trial.suggest_float(self.key, *self.ends, log=self.kind == "log")


def run_trial(folder: Path, overrides: Sequence[str]) -> float:
    """Run train.py with these overrides, its output in a folder of its own; the score, RuntimeError where there is
    none."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "sweep.log"
    command = [sys.executable, "train.py", *_SHORT, *overrides, f"output_dir={folder}", "logger=csv"]
    with log.open("w", encoding="utf-8") as out:
        code = subprocess.run(command, stdout=out, stderr=subprocess.STDOUT).returncode
    files = sorted(folder.glob("logs/version_*/metrics.csv"), key=lambda path: path.stat().st_mtime)
    scores = []
    if code == 0 and files:
        with files[-1].open(newline="", encoding="utf-8") as lines:
            scores = [float(row[_SCORE]) for row in csv.DictReader(lines) if row.get(_SCORE)]
    if not scores or not math.isfinite(scores[-1]):
        raise RuntimeError(f"train.py ended with exit code {code} and without a {_SCORE}: see {log}")
    return scores[-1]


def search(
    folder: Path,
    num_trials: int,
    spaces: Sequence[Space],
    overrides: Sequence[str],
    *,
    seed: int = 0,
    run: Callable[[Path, Sequence[str]], float] = run_trial,
) -> Any:
    """The Optuna study in the folder, once it holds `num_trials` trials that came to an end.

    A trial that was killed is made again. RuntimeError after three failures in a row.
    """
    import optuna

    folder.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        study_name=folder.name,
        storage=f"sqlite:///{folder / 'study.db'}",
        direction="minimize",
        load_if_exists=True,
    )
    state = np.random.SeedSequence([seed, len(study.trials)]).generate_state(1)  # not once more what was drawn before
    study.sampler = optuna.samplers.TPESampler(seed=int(state[0]))
    _check_same(study, {"spaces": [str(space) for space in spaces], "overrides": list(overrides)})
    running, complete = optuna.trial.TrialState.RUNNING, optuna.trial.TrialState.COMPLETE
    for left in study.get_trials(states=[running]):
        study.tell(left.number, state=optuna.trial.TrialState.FAIL)
        study.enqueue_trial(left.params)
    failures = 0
    while len(study.get_trials(states=[complete])) < num_trials:
        trial = study.ask()
        drawn = {space.key: space.draw(trial) for space in spaces}
        settings = [f"{key}={value}" for key, value in drawn.items()]
        print(f"trial {trial.number}: {' '.join(settings)}", flush=True)
        try:
            score = run(folder / f"trial_{trial.number}", [*overrides, *settings])
        except RuntimeError as error:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            print(f"trial {trial.number} failed: {error}", file=sys.stderr)
            failures += 1
            if failures == _MOST_FAILURES:
                raise RuntimeError(f"{failures} trials in a row failed, the last one so: {error}") from error
            continue
        failures = 0
        study.tell(trial, score)
        print(f"trial {trial.number}: {_SCORE} {score:.5f}, best {study.best_value:.5f}", flush=True)
    return study


def _check_same(study: Any, settings: Mapping[str, Any]) -> None:
    """ValueError where a study was begun with other spaces or settings: its trials would not be comparable."""
    for name, value in settings.items():
        if study.user_attrs.get(name, value) != value:
            raise ValueError(
                f"got {name} {value} for the study {study.study_name}, which was begun with {study.user_attrs[name]}: "
                "go on with the same, or take another name"
            )
        study.set_user_attr(name, value)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0 on success, 1 where trials fail, 2 for what cannot be used."""
    parser = argparse.ArgumentParser(
        prog="python -m mist.training.sweep",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example:\n  python -m mist.training.sweep rates --trials 20 experiment=base trainer.max_steps=1000 "
        "'optimization.learning_rate=log(3e-4, 6e-3)' 'model=choice(tiny, base)'",
    )
    parser.add_argument("name", help="of the study, whose folder is outputs/NAME")
    parser.add_argument("settings", nargs="+", help="overrides of train.py, and spaces to search")
    parser.add_argument("--trials", type=int, default=20, help="in all, those made before included")
    parser.add_argument("--seed", type=int, default=0, help="of the search")
    arguments = parser.parse_args(argv)
    try:
        if arguments.trials < 1:
            raise ValueError(f"got --trials {arguments.trials}, expected at least 1")
        parsed = [(text, Space.parse(text)) for text in arguments.settings]
        spaces = [space for _, space in parsed if space is not None]
        if not spaces:
            raise ValueError(
                "got no space to search, expected one such as 'optimization.learning_rate=log(1e-4, 1e-2)'"
            )
        if not Path("train.py").is_file():
            raise ValueError(f"got no train.py in {Path.cwd()}, expected to be run in the repository")
        overrides = [text for text, space in parsed if space is None]
        study = search(Path("outputs") / arguments.name, arguments.trials, spaces, overrides, seed=arguments.seed)
    except ModuleNotFoundError as error:
        print(f"{error}: pip install 'mist-mi[sweep]'", file=sys.stderr)
        return 2
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"best of {len(study.trials)}: trial {study.best_trial.number}, {_SCORE} {study.best_value:.5f}")
    print(" ".join(f"{key}={value}" for key, value in study.best_params.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
