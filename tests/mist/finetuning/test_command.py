"""`python train.py experiment=finetune`: samples from tables, a checkpoint and a figure in the output folder."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from numpy.typing import NDArray
from omegaconf import OmegaConf

import mist
from mist.finetuning.command import FIGURE, FinetuneConfig, finetune_files
from mist.inference import Estimator

Samples = tuple[NDArray[np.float64], NDArray[np.float64]]
SETTINGS: dict[str, Any] = {
    "name": "counts",
    "seed": 0,
    "export_dir": None,
    "finetuning": {"num_points": [20, 40], "max_steps": 4, "progress": False},
}


@pytest.fixture
def settings(tmp_path: Path, parent: Estimator, samples: Samples, short: dict[str, Any]) -> dict[str, Any]:
    tables = {}
    for side, values in zip(("x", "y"), samples, strict=True):
        tables[side] = tmp_path / f"{side}.csv"
        header = ",".join(f"{side}{j}" for j in range(values.shape[1]))
        np.savetxt(tables[side], values, delimiter=",", header=header, comments="")
    data = {side: str(path) for side, path in tables.items()}
    return {**SETTINGS, "init_from": str(parent.checkpoint.path), "output_dir": str(tmp_path / "out"), "data": data}


def test_from_tables_to_a_checkpoint(settings: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    folder = finetune_files(FinetuneConfig.from_dict(settings))
    assert folder == Path(settings["output_dir"]) / "checkpoint" and mist.load(folder).name == "counts"
    assert (folder.parent / FIGURE).read_bytes().startswith(b"\x89PNG")
    printed = capsys.readouterr().out
    assert "240 samples of 4 columns" in printed and f"exported {folder}" in printed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": {"x": "a.csv", "y": None}}, "expected the paths of two tables: data.x=left.csv data.y=right.csv"),
        ({"data": {"x": "nowhere.csv", "y": "nowhere.csv"}}, "nowhere.csv is no file: expected a table of samples"),
        ({"finetuning": {"steps": 4}}, r"got unknown finetuning keys \['steps'\], expected some of"),
    ],
)
def test_settings_that_cannot_be_used(settings: dict[str, Any], change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        finetune_files(FinetuneConfig.from_dict({**settings, **change}))


@pytest.mark.parametrize("override", ["trainer.max_steps=100", "optimization.learning_rate=1", "model=tiny", "+loss=2"])
def test_settings_that_would_change_nothing_are_refused(settings: dict[str, Any], override: str) -> None:
    with pytest.raises(ValueError, match=f"got {re.escape(override)}, which changes nothing in fine-tuning"):
        FinetuneConfig.from_dict(settings, ["experiment=finetune", "seed=3", "data.x=a.csv", override])


def test_what_the_experiment_says_is_what_the_function_has(repository: Path) -> None:
    """The file's options are the defaults of `mist.finetune`."""
    with initialize_config_dir(str(repository / "conf"), version_base="1.3"):
        values = OmegaConf.to_container(compose("train", ["experiment=finetune"]), resolve=True)
    assert isinstance(values, dict)
    defaults = {name: one.default for name, one in inspect.signature(mist.finetune).parameters.items()}
    assert values["finetuning"] == {name: defaults[name] for name in values["finetuning"]}
    config = FinetuneConfig.from_dict({**values, "data": {"x": "a", "y": "b"}})
    assert (config.init_from, config.folder) == ("default", Path("outputs/finetuned/checkpoint"))


@pytest.mark.slow
def test_the_experiment_composes(repository: Path, settings: dict[str, Any]) -> None:
    """As a user runs it, for a step."""
    overrides = [f"{key}={settings[key]}" for key in ("init_from", "output_dir", "name")]
    overrides += [f"data.{side}={path}" for side, path in settings["data"].items()]
    overrides += ["finetuning.max_steps=1", "finetuning.num_points=[20,30]", "finetuning.progress=false"]
    done = subprocess.run(
        [sys.executable, str(repository / "train.py"), "experiment=finetune", *overrides],
        cwd=Path(settings["output_dir"]).parent,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "law of the parent" in done.stdout and (Path(settings["output_dir"]) / "checkpoint" / "CARD.md").is_file()
