"""A law seen evenly over n and dims: for what must hold in every bin of them, however rarely the law goes there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace

from data_gen.meta_distribution import MetaDistribution
from data_gen.stream import Batch, generate_batch
from data_gen.streams import structure_generator
from mist.evaluation.summary import DIM_BINS, NUM_POINTS_BINS

__all__ = ["even_batches", "reached_bins"]

_SHAPE = 8  # data sets of one shape: few, so that a bin holds many shapes
_PILOT, _LEAST = 5_000, 5  # shapes that tell which bins a law reaches, and how many of them lie in one that it does
_BARREN = 300  # batches in a row of independent data sets only, after which no more are drawn for a bin


def _bin(num_points: int, dim: int) -> tuple[int, int]:
    """Indices of the bins of n (the first one of the table repeats a part of the second) and of dims."""
    points = next(i for i, (_, low, high) in enumerate(NUM_POINTS_BINS[1:]) if low <= num_points < high)
    return points, next(i for i, (_, low, high) in enumerate(DIM_BINS) if low <= dim < high)


def _of_shape(law: MetaDistribution, seed: int, index: int) -> tuple[int, int]:
    """The bin of a batch."""
    shape = law.draw_shapes(structure_generator(seed, index), held_out=True)[0]
    return _bin(shape.num_points, shape.dim_x + shape.dim_y)


def reached_bins(law: MetaDistribution, seed: int) -> set[tuple[int, int]]:
    """Bins of n and dims, by their indices, in which five or more of the first 5,000 shapes of a stream lie."""
    counts = Counter(_of_shape(law, seed, index) for index in range(_PILOT))
    return {where for where, count in counts.items() if count >= _LEAST}


def even_batches(
    law: MetaDistribution,
    per_bin: int,
    seed: int,
    progress: Callable[[str], None] | None = None,
    bins: Collection[tuple[int, int]] | None = None,
    part: tuple[int, int] = (0, 1),
) -> Iterator[Batch]:
    """Batches of one shape each, until every bin of n and dims that the law reaches holds `per_bin` data sets of MI
    above 0; independent ones come with them. Those that are too many have no weight. `bins` are what `reached_bins`
    says, where it has been asked before; one in which 300 batches in a row are independent is given up.

    Shapes come as the law draws them, but those of full bins are passed over: within a bin the law is unchanged. Each
    data set of a shape has a family and a composition of its own, so that they err apart. `seed` is of a stream
    (`data_gen.stream`), as those of evaluation and of calibration are; `part` (which, of how many) takes batches
    which, which + how many, ... of it only.
    """
    law = replace(law, datasets_per_batch=(_SHAPE, _SHAPE), groups_per_batch=_SHAPE)
    missing = dict.fromkeys(reached_bins(law, seed) if bins is None else bins, per_bin)
    barren = dict.fromkeys(missing, 0)
    index, step = part
    while missing:
        where = _of_shape(law, seed, index)
        if where in missing:
            batch = generate_batch(law, seed, index)
            dependent = ((batch.mi > 0) & (batch.weight > 0)).nonzero().flatten()
            weight = batch.weight.clone()
            weight[dependent[missing[where] :]] = 0
            missing[where] -= len(dependent)
            barren[where] = 0 if len(dependent) else barren[where] + 1
            if missing[where] <= 0 or barren[where] == _BARREN:
                del missing[where]
            if progress is not None:
                progress(f"{sum(missing.values()):,} data sets to go")
            if bool((weight > 0).any()):
                yield replace(batch, weight=weight)
        index += step
