"""`python train.py experiment=finetune`: fine-tuning as a run with an output folder."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import mist
from mist.errors import InputError
from mist.finetuning.run import finetune
from mist.table_files import read_columns
from mist.training.states import check_writable

__all__ = ["FIGURE", "FinetuneConfig", "finetune_files"]

FIGURE = "lookalikes.png"
_COUNT = ("name", "seed", "output_dir", "export_dir", "init_from", "data", "finetuning")  # of the composed settings


@dataclass(frozen=True)
class FinetuneConfig:
    """What `experiment=finetune` says; `options` are keyword arguments of `mist.finetune`."""

    x: Path
    y: Path
    name: str
    seed: int
    init_from: str
    output: Path
    folder: Path  # of the checkpoint
    options: Mapping[str, Any]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], overrides: Sequence[str] = ()) -> FinetuneConfig:
        """From the composed settings; ValueError for unknown keys, a table that is not named, and overrides (as they
        were given: "key=value") of settings that do not count here."""
        for override in overrides:
            key = override.lstrip("+~").partition("=")[0].partition(".")[0].partition("@")[0]
            if key not in (*_COUNT, "experiment") and not key.startswith("hydra"):
                raise ValueError(
                    f"got {override}, which changes nothing in fine-tuning, expected settings of "
                    f"{', '.join(_COUNT)}; see conf/experiment/finetune.yaml"
                )
        options, data = dict(values["finetuning"]), dict(values["data"])
        known = set(inspect.signature(finetune).parameters) - _SET_ELSEWHERE
        if unknown := set(options) - known:
            raise ValueError(f"got unknown finetuning keys {sorted(unknown)}, expected some of {sorted(known)}")
        if set(data) != {"x", "y"} or None in data.values():
            raise ValueError(f"got data={data}, expected the paths of two tables: data.x=left.csv data.y=right.csv")
        if options.get("num_points") is not None:
            options["num_points"] = tuple(options["num_points"])
        output = Path(values["output_dir"])
        return cls(
            x=Path(data["x"]),
            y=Path(data["y"]),
            name=values["name"],
            seed=values["seed"],
            init_from=values["init_from"],
            output=output,
            folder=Path(values["export_dir"] or output / "checkpoint"),
            options=options,
        )


_SET_ELSEWHERE = {"estimator", "x_samples", "y_samples", "name", "random_state"}


def finetune_files(config: FinetuneConfig) -> Path:
    """Fine-tune on two tables; the exported checkpoint folder. A figure stands in the output folder.

    Raises an `InputError` subclass for samples that cannot be used.
    """
    check_writable(config.output)
    x, y = _read(config.x), _read(config.y)
    parent = mist.load(config.init_from)
    estimator = finetune(parent, x, y, name=config.name, random_state=config.seed, **config.options)
    estimator.save(config.folder)
    print(estimator.report)
    estimator.report.plot().savefig(config.output / FIGURE, dpi=100)
    print(f"exported {config.folder}")
    return config.folder


def _read(path: Path) -> dict[str, NDArray[Any]]:
    if not path.is_file():
        raise InputError(f"{path} is no file: expected a table of samples, CSV with a header or Parquet")
    columns = read_columns(path)
    return {name: np.asarray(columns[name]) for name in columns}
