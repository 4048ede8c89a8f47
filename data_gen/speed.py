"""How fast the generator is: data sets a second, kind by kind."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed

import numpy as np
import torch

from data_gen.drawing import draw_joint
from data_gen.families import KINDS, every_pool, resolve
from data_gen.meta_distribution import BatchShape, MetaDistribution
from data_gen.pools import make_chunk
from data_gen.streams import Streams

__all__ = ["datasets_per_second", "make_pools", "measure_speed"]

_BATCH = 64
_WARM_UP = 24  # batches: tables of labels are made once, whatever is drawn later


def datasets_per_second(kind: str, num_points: int, dim: int, seconds: float) -> float:
    """Labelled data sets of one kind, its variants in turn, drawn per second in this process; `dim` a side."""
    torch.set_num_threads(1)
    meta = MetaDistribution()
    blocks: tuple[tuple[str, int, int], ...] = ()
    if kind == "product":
        half = max(1, dim // 2)
        blocks = (("gaussian-sparse", half, half), ("additive", dim - half, dim - half))
    elif kind == "independent":
        blocks = (("gaussian-factor", dim, dim), ("student-sparse", dim, dim))
    drawn, start = -_WARM_UP * _BATCH, time.perf_counter()
    index = 0
    while True:
        name = resolve(kind, np.random.default_rng(index % _WARM_UP))
        random = Streams.for_batch(0, index, 0, _BATCH)
        joint = draw_joint(meta, BatchShape(name, num_points, dim, dim, _BATCH, blocks=blocks), random)
        joint.sample(num_points, random)
        _ = joint.mutual_information
        drawn += _BATCH
        index += 1
        if drawn == 0:
            start = time.perf_counter()
        elif drawn > 0 and time.perf_counter() - start >= seconds:
            return drawn / (time.perf_counter() - start)


def measure_speed(num_points: int, dim: int, processes: int, seconds: float) -> Iterator[tuple[str, float]]:
    """(kind, data sets per second of all processes together)."""
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        for kind in [*KINDS, "independent", "product"]:
            jobs = [pool.submit(datasets_per_second, kind, num_points, dim, seconds) for _ in range(processes)]
            yield kind, sum(job.result() for job in jobs)


def _make_chunk(pool: int, number: int) -> None:
    torch.set_num_threads(1)
    make_chunk(every_pool()[pool], number)


def make_pools(processes: int) -> Iterator[int]:
    """Make all chunks that are missing; yields at first their number, then 1 for each that is done.

    Chunks made by other code are deleted.
    """
    todo = []
    for i, pool in enumerate(every_pool()):
        pool.remove_stale()
        todo += [(i, number) for number in pool.missing]
    yield len(todo)
    if processes == 1:
        for pool_index, number in todo:
            make_chunk(every_pool()[pool_index], number)
            yield 1
        return
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as executor:
        for job in as_completed([executor.submit(_make_chunk, *item) for item in todo]):
            job.result()
            yield 1
