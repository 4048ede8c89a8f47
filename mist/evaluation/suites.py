"""The fixed, seeded collections of labelled data sets that an estimator is measured on."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from data_gen import Joint, MetaDistribution, Streams, generate_batch
from data_gen.default_law import default_law
from data_gen.drawing import draw_joint
from data_gen.families import KINDS, TIED_KINDS, resolve
from data_gen.held_out import HELD_OUT, draw_held_out
from data_gen.meta_distribution import NUM_CHUNKS, BatchShape
from data_gen.pools import chunk_number
from data_gen.reference_files import REFERENCE_FILES, read_reference_file
from data_gen.reference_tasks import (
    BMI_TASKS,
    MIST_DIMS,
    MIST_IMD,
    MIST_NUM_POINTS,
    MIST_OOMD,
    bmi_joint,
    draw_mist_joint,
)
from data_gen.shards import ShardedBatches
from data_gen.stream import EVALUATION_SEED, Batch

__all__ = [
    "BMI_NUM_POINTS",
    "SUITES",
    "Dataset",
    "bivariate",
    "bmi_40",
    "build_suite",
    "core",
    "held_out",
    "independence",
    "mist_imd",
    "mist_oomd",
    "read_reference",
    "read_shards",
]

BMI_NUM_POINTS = (1_000, 5_000, 10_000)
HELD_OUT_NUM_POINTS = (200, 1_000, 5_000)
BIVARIATE_NUM_POINTS = (200, 1_000, 5_000, 50_000)
_CELL = 4  # data sets of one configuration, n and dim


@dataclass(frozen=True)
class Dataset:
    """One labelled sample: x (N, Dx) and y (N, Dy) float32, the true MI in nats, where it comes from."""

    suite: str
    family: str
    x: NDArray[np.float32]
    y: NDArray[np.float32]
    mi: float
    groups_x: tuple[int, ...] = ()  # indicator columns of one unordered variable share a positive number; () none
    groups_y: tuple[int, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        """(N, Dx, Dy)."""
        return self.x.shape[0], self.x.shape[1], self.y.shape[1]


def _unstack(suite: str, families: Sequence[str], x: Tensor, y: Tensor, mi: Tensor) -> list[Dataset]:
    return [
        Dataset(suite, family, a, b, value)
        for family, a, b, value in zip(families, x.numpy(), y.numpy(), mi.tolist(), strict=True)
    ]


def _kept(suite: str, batch: Batch) -> list[Dataset]:
    """The data sets of a batch whose labels count."""
    marks = tuple(tuple(groups.tolist()) if groups.any() else () for groups in (batch.groups_x, batch.groups_y))
    datasets = zip(_unstack(suite, batch.family, batch.x, batch.y, batch.mi), batch.weight.tolist(), strict=True)
    return [replace(data, groups_x=marks[0], groups_y=marks[1]) for data, weight in datasets if weight > 0]


def _sample(suite: str, family: str, joint: Joint, num_points: int, random: Streams) -> list[Dataset]:
    x, y = joint.sample(num_points, random)
    return _unstack(suite, [family] * len(x), x, y, joint.mutual_information)


def core(num_datasets: int = 2000, seed: int = 0, meta: MetaDistribution | None = None) -> list[Dataset]:
    """The first `num_datasets` of a meta-distribution (the default one), eight of a shape so that shapes are many."""
    meta = replace(meta or default_law(), datasets_per_batch=(8, 8))
    out: list[Dataset] = []
    index = 0
    while len(out) < num_datasets:
        batch = generate_batch(meta, EVALUATION_SEED + seed, index)
        out += _kept("core", batch)
        index += 1
    return out[:num_datasets]


def mist_imd(num_datasets: int = 480, seed: int = 0) -> list[Dataset]:
    """The six configurations that MIST was trained on, every n of the 20-point grid, dims 2…32, at least 4 a cell."""
    return _mist("mist-imd", MIST_IMD, num_datasets, seed)


def mist_oomd(num_datasets: int = 560, seed: int = 0) -> list[Dataset]:
    """The seven configurations held out from MIST's training."""
    return _mist("mist-oomd", MIST_OOMD, num_datasets, seed)


def _mist(suite: str, labels: Sequence[str], num_datasets: int, seed: int) -> list[Dataset]:
    """Cells of four data sets that share configuration, n and dim, repeated with new dims up to `num_datasets`."""
    cells = max(1, round(num_datasets / (_CELL * len(labels) * len(MIST_NUM_POINTS))))
    out: list[Dataset] = []
    index = 0
    for num_points in MIST_NUM_POINTS:
        for label in labels:
            for _ in range(cells):
                generator = np.random.default_rng([EVALUATION_SEED + seed, index])
                dim = int(generator.integers(MIST_DIMS[0], MIST_DIMS[1] + 1))
                random = Streams.for_batch(EVALUATION_SEED + seed, index, 0, _CELL)
                joint = draw_mist_joint(label, dim, random)
                out += _sample(suite, label, joint, num_points, random)
                index += 1
    return out


def bmi_40(num_datasets: int = 40, seed: int = 0, num_points: Sequence[int] = BMI_NUM_POINTS) -> list[Dataset]:
    """The 40 tasks of Czyż et al. (2023) at each n; `num_datasets` / 40 samples a task; smaller n are first points."""
    samples = max(1, round(num_datasets / len(BMI_TASKS)))
    out: list[Dataset] = []
    for index, task in enumerate(BMI_TASKS):
        random = Streams.for_batch(EVALUATION_SEED + seed, index, 0, samples)
        out += _sample("bmi-40", task, bmi_joint(task, samples), max(num_points), random)
    return _first_points(out, num_points)


def _first_points(datasets: Sequence[Dataset], num_points: Sequence[int]) -> list[Dataset]:
    return [replace(data, x=data.x[:n], y=data.y[:n]) for n in num_points for data in datasets]


def independence(num_datasets: int = 400, seed: int = 0) -> list[Dataset]:
    """X and Y of independent draws of elliptical, additive and noise families.

    n is log-uniform from 10 (dx + dy) to ten times it, at most 4,000; dims are log-uniform on 1…64, equal or not.
    """
    meta = MetaDistribution()
    bases = [name for name in meta.families if name not in ("independent", "product")] + ["noise"]
    out: list[Dataset] = []
    for index in range(math.ceil(num_datasets / _CELL)):
        generator = np.random.default_rng([EVALUATION_SEED + seed, index])
        dim_x, dim_y = (int(math.exp(generator.uniform(0, math.log(65)))) for _ in range(2))
        floor = max(10 * (dim_x + dim_y), 20)
        num_points = int(math.exp(generator.uniform(math.log(floor), math.log(min(10 * floor, 4000)))))
        first, second = (str(generator.choice(bases)) for _ in range(2))
        shape = BatchShape(
            "independent", num_points, dim_x, dim_y, _CELL, blocks=((first, dim_x, dim_y), (second, dim_x, dim_y))
        )
        random = Streams.for_batch(EVALUATION_SEED + seed, index, 0, _CELL)
        out += _sample("independence", "independent", draw_joint(meta, shape, random), num_points, random)
    return out[:num_datasets]


def held_out(num_datasets: int = 560, seed: int = 0, num_points: Sequence[int] = HELD_OUT_NUM_POINTS) -> list[Dataset]:
    """Kinds of dependence that no training law can draw, at each n; of each kind num_datasets / 21 data sets.

    One coordinate a side, but for X of the parities (two or three) and of the vines (three). Smaller n are first points
    of the largest.
    """
    each = max(1, round(num_datasets / (len(HELD_OUT) * len(num_points))))
    out: list[Dataset] = []
    for index, name in enumerate(HELD_OUT):
        random = Streams.for_batch(EVALUATION_SEED + seed, index, 0, each)
        out += _sample("held-out", name, draw_held_out(name, random), max(num_points), random)
    return _first_points(out, num_points)


def bivariate(
    num_datasets: int = 208, seed: int = 0, num_points: Sequence[int] = BIVARIATE_NUM_POINTS
) -> list[Dataset]:
    """Every continuous kind of the default law with one coordinate a side, at each n, where KSG is at its best.

    `num_datasets` counts per n: of each kind that many / 13, in cells of four that share a variant; pools give
    parameter sets kept from training. Smaller n are first points of the largest.
    """
    kinds = [kind for kind in KINDS if kind not in TIED_KINDS and kind != "noise"]
    meta = default_law()
    cells = max(1, round(num_datasets / (_CELL * len(kinds))))
    out: list[Dataset] = []
    for index in range(cells * len(kinds)):
        kind = kinds[index % len(kinds)]
        generator = np.random.default_rng([EVALUATION_SEED + seed, index])
        chunk = chunk_number(int(generator.integers(NUM_CHUNKS)), held_out=True)
        shape = BatchShape(resolve(kind, generator), max(num_points), 1, 1, _CELL, chunk=chunk)
        random = Streams.for_batch(EVALUATION_SEED + seed, index, 0, _CELL)
        out += _sample("bivariate", kind, draw_joint(meta, shape, random), max(num_points), random)
    return _first_points(out, num_points)


def read_reference(path: str | Path, suite: str) -> list[Dataset]:
    """Data sets of a reference file. FileNotFoundError or ValueError where it is missing or damaged."""
    return [Dataset(suite, sample.label, sample.x, sample.y, sample.mi) for sample in read_reference_file(path)]


def read_shards(folder: str | Path, num_datasets: int | None = None) -> list[Dataset]:
    """The first data sets of a meta-dataset on disk, 2,000 by default. Errors as `data_gen.shards` has them; ValueError
    where every label lies beyond the law's limit."""
    most = 2000 if num_datasets is None else num_datasets
    out: list[Dataset] = []
    for batch in ShardedBatches(folder):
        if len(out) >= most:
            break
        out += _kept("shards", batch)
    if not out:
        raise ValueError(f"got no data set of weight > 0 in {folder}, expected some; look at its max_mi")
    return out[:most]


SUITES: dict[str, Callable[..., list[Dataset]]] = {
    "core": core,
    "mist-imd": mist_imd,
    "mist-oomd": mist_oomd,
    "bmi-40": bmi_40,
    "independence": independence,
    "held-out": held_out,
    "bivariate": bivariate,
}


def build_suite(
    name: str,
    *,
    data: str | Path | None = None,
    num_datasets: int | None = None,
    seed: int = 0,
    meta: MetaDistribution | None = None,
) -> list[Dataset]:
    """Data sets of one suite; with `data`, suites that have a reference file there are read from it instead of drawn.

    `num_datasets` (None: the suite's own; all of a file) counts per n for bmi-40 and bivariate and thins a file evenly.
    `meta` is the law of "core", that of the estimator's training. ValueError for an unknown name.
    """
    if name not in SUITES:
        raise ValueError(f"got suite {name!r}, expected one of {sorted(SUITES)}")
    if name == "core":
        return core(seed=seed, meta=meta, **({} if num_datasets is None else {"num_datasets": num_datasets}))
    if data is None or name not in REFERENCE_FILES:
        return SUITES[name](seed=seed, **({} if num_datasets is None else {"num_datasets": num_datasets}))
    datasets = read_reference(Path(data) / REFERENCE_FILES[name], name)
    if num_datasets is not None and num_datasets < len(datasets):
        keep = np.linspace(0, len(datasets) - 1, num_datasets).round().astype(int)
        datasets = [datasets[i] for i in keep]
    return _first_points(datasets, BMI_NUM_POINTS) if name == "bmi-40" else datasets
