"""How fast the generator is: data sets a second, family by family."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

import torch

from data_gen.meta_distribution import BatchShape, MetaDistribution, draw_joint
from data_gen.streams import Streams

__all__ = ["datasets_per_second", "measure_speed"]

_BATCH = 64


def datasets_per_second(family: str, num_points: int, dim: int, seconds: float) -> float:
    """Labelled data sets of one family drawn per second in this process, both sides of `dim` coordinates."""
    torch.set_num_threads(1)
    meta = MetaDistribution()
    blocks: tuple[tuple[str, int, int], ...] = ()
    if family == "product":
        half = max(1, dim // 2)
        blocks = (("gaussian-sparse", half, half), ("additive", dim - half, dim - half))
    elif family == "independent":
        blocks = (("gaussian-factor", dim, dim), ("student-sparse", dim, dim))
    shape = BatchShape(family, num_points, dim, dim, _BATCH, blocks=blocks)
    drawn = -_BATCH  # the first batch warms up
    index = 0
    start = time.perf_counter()
    while True:
        random = Streams.for_batch(0, index, 0, _BATCH)
        joint = draw_joint(meta, shape, random)
        joint.sample(num_points, random)
        _ = joint.mutual_information
        drawn += _BATCH
        index += 1
        if drawn == 0:
            start = time.perf_counter()
        elif time.perf_counter() - start >= seconds:
            return drawn / (time.perf_counter() - start)


def measure_speed(num_points: int, dim: int, processes: int, seconds: float) -> Iterator[tuple[str, float]]:
    """(family, data sets per second of all processes together), at last the default mix of families."""
    families = MetaDistribution().families
    needed = 0.0  # seconds per data set of the mix
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        for family, weight in families.items():
            jobs = [pool.submit(datasets_per_second, family, num_points, dim, seconds) for _ in range(processes)]
            rate = sum(job.result() for job in jobs)
            needed += weight / sum(families.values()) / rate
            yield family, rate
    yield "default mix of families", 1 / needed
