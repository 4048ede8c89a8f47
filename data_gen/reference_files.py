"""Reading reference samples drawn by other people's generators (never to train on)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["REFERENCE_FILES", "ReferenceSample", "read_reference_file"]

REFERENCE_FILES = {"mist-imd": "mist_imd.npz", "mist-oomd": "mist_oomd.npz", "bmi-40": "bmi40_10k.npz"}


@dataclass(frozen=True)
class ReferenceSample:
    """One data set: its label, x (N, Dx), y (N, Dy) float32 and the true MI in nats."""

    label: str
    x: NDArray[np.float32]
    y: NDArray[np.float32]
    mi: float


def read_reference_file(path: str | Path) -> list[ReferenceSample]:
    """Data sets of an .npz with `flat` float32, `index` (rows of n, dim_x, dim_y), `mi` and `label`.

    FileNotFoundError or ValueError where the file is missing or its lengths do not agree.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(
            f"got no file {path}, expected reference samples; pass the folder that holds them with --data, or leave "
            "--data out to draw the suite afresh"
        )
    with np.load(path, allow_pickle=False) as file:
        flat, index, mi, label = (file[key] for key in ("flat", "index", "mi", "label"))
    sizes = index[:, 0] * (index[:, 1] + index[:, 2])
    if len(mi) != len(index) or len(label) != len(index) or int(sizes.sum()) != len(flat):
        raise ValueError(
            f"got {len(flat)} numbers and {len(mi)} labels in {path}, expected {int(sizes.sum())} numbers and "
            f"{len(index)} labels as its index says; fetch the file again"
        )
    out = []
    for (n, dim_x, dim_y), start, value, name in zip(index, np.cumsum(sizes) - sizes, mi, label, strict=True):
        points = flat[start : start + n * (dim_x + dim_y)].reshape(n, dim_x + dim_y)
        out.append(ReferenceSample(str(name), points[:, :dim_x], points[:, dim_x:], float(value)))
    return out
