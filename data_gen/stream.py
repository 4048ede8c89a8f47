"""The endless stream of labelled data sets: batch k of a run is a function of (seed, k)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from data_gen.drawing import draw_joint
from data_gen.joint import label_error
from data_gen.meta_distribution import BatchShape, MetaDistribution
from data_gen.streams import Streams, structure_generator

__all__ = ["EVALUATION_SEED", "STREAM_VERSION", "Batch", "generate_batch", "stream"]

EVALUATION_SEED = 1 << 40  # from here on, seeds get parameter sets of the pools that no training batch gets
_LABEL_ERROR = 0.02  # largest standard error of a label that counts, of (mi + 0.05)
STREAM_VERSION = 5  # to be raised with every change after which some law draws other numbers from the same seed


@dataclass(frozen=True)
class Batch:
    """B labelled data sets of one shape, in groups of one family each."""

    x: Tensor  # (B, N, Dx) float32
    y: Tensor  # (B, N, Dy) float32
    mi: Tensor  # (B,) float64, nats
    weight: Tensor  # (B,) float32: 1, or 0 where the label lies beyond max_mi, its error is large or a point not finite
    family: tuple[str, ...]  # of every data set
    index: int
    standard_error: Tensor  # (B,) float64, of the labels, nats; 0 where they are exact
    groups_x: Tensor  # (Dx,) int64: indicator columns of one unordered variable share a positive number; 0 elsewhere
    groups_y: Tensor  # (Dy,) int64


def generate_batch(
    meta: MetaDistribution, seed: int, index: int, *, slice_index: int = 0, num_slices: int = 1
) -> Batch:
    """Batch `index` of the stream, or the given slice of it.

    Shape and families depend on (seed, index), data set i on (seed, index, i): the slices of a batch, in order, are the
    batch. The number of data sets must be divisible by num_slices (it is a multiple of 8), ValueError otherwise.
    """
    groups = meta.draw_shapes(structure_generator(seed, index), held_out=seed >= EVALUATION_SEED)
    total = sum(group.num_datasets for group in groups)
    if total % num_slices:
        raise ValueError(
            f"got num_slices={num_slices}, expected a divisor of the batch's {total} data sets; "
            "choose 1, 2, 4 or 8 slices"
        )
    low, high = slice_index * total // num_slices, (slice_index + 1) * total // num_slices
    parts: list[tuple[Tensor, ...]] = []
    families: list[str] = []
    start = 0
    for group in groups:
        first, last = max(low, start), min(high, start + group.num_datasets)
        start += group.num_datasets
        if first < last:
            random = Streams.for_batch(seed, index, first, last)
            joint = draw_joint(meta, group, random)
            sides, information = joint.sample(group.num_points, random), joint.mutual_information
            parts.append((*sides, information, label_error(joint).expand_as(information)))
            families += [group.family] * (last - first)
    x, y, mi, error = (torch.cat(columns) for columns in zip(*parts, strict=True))
    finite = x.isfinite().flatten(1).all(-1) & y.isfinite().flatten(1).all(-1) & mi.isfinite()
    keep = finite & (mi <= meta.max_mi) & (error <= _LABEL_ERROR * (mi + 0.05) + 1e-9)
    marks_x, marks_y = (_marks(levels, dim) for levels, dim in zip(groups[0].levels, _dims(groups[0]), strict=True))
    for side, marks in ((x, marks_x), (y, marks_y)):  # a level that no point has would not be a column in use
        indicators = side[..., marks > 0]
        keep &= (indicators.amax(1) > indicators.amin(1)).all(-1)
    return Batch(
        x=torch.nan_to_num(x, nan=0.0),
        y=torch.nan_to_num(y, nan=0.0),
        mi=torch.where(keep, mi, 0.0),
        weight=keep.float(),
        family=tuple(families),
        index=index,
        standard_error=torch.where(keep, error, 0.0),
        groups_x=marks_x,
        groups_y=marks_y,
    )


def _dims(group: BatchShape) -> tuple[int, int]:
    return group.dim_x, group.dim_y


def _marks(levels: int, dim: int) -> Tensor:
    """Ones on the leading indicator columns."""
    return (torch.arange(dim) < levels).long()


def stream(
    meta: MetaDistribution, seed: int, *, start: int = 0, step: int = 1, slice_index: int = 0, num_slices: int = 1
) -> Iterator[Batch]:
    """Batches start, start + step, …: a resumed run passes the k it had reached, worker w of W start=w and step=W."""
    index = start
    while True:
        yield generate_batch(meta, seed, index, slice_index=slice_index, num_slices=num_slices)
        index += step
