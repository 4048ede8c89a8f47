"""What a meta-distribution amounts to, kind by kind: MI, what could be detected at its n, label errors and time."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from data_gen.drawing import draw_joint
from data_gen.joint import label_error
from data_gen.meta_distribution import MetaDistribution
from data_gen.streams import Streams, structure_generator
from data_gen.tables import Array

__all__ = ["KindSummary", "detectable_fitted", "detectable_informed", "format_report", "summarise_law"]

Flags = NDArray[np.bool_]
_LEVEL, _POWER = 0.05, 0.95
_INFORMED = (stats.norm.ppf(_POWER) - stats.norm.ppf(_LEVEL)) ** 2 / 2  # 5.41 nats in all the points together


def detectable_informed(mi: Array, num_points: Array) -> Flags:
    """Whether a test that knows the joint tells it from independence: level 5 %, power 95 %; arrays (R,).

    The log likelihood ratio of n points has mean n·I. For weak dependence its variance is 2n·I and its mean under
    independence -n·I, so that both errors are met at n·I = (1.645 + 1.645)²/2 = 5.41 (Neyman and Pearson's test; Le
    Cam's local limit, van der Vaart 1998, §7.2).
    """
    return mi * num_points >= _INFORMED


def _noncentrality(degrees: int) -> float:
    """At which the chi-square test of so many degrees of freedom has its power."""
    threshold = stats.chi2.isf(_LEVEL, degrees)
    return float(
        optimize.brentq(lambda c: stats.ncx2.sf(threshold, degrees, c) - _POWER, 1, 40 + 12 * math.sqrt(degrees))
    )


def detectable_fitted(mi: Array, num_points: Array, dim_x: Array, dim_y: Array) -> Flags:
    """The same of a likelihood-ratio test that fits dx·dy parameters, as the Gaussian one does: 2n·I reaches the
    noncentrality at which a chi-square of dx·dy degrees of freedom has power 95 % (Wilks 1938; Wald 1943)."""
    needed = {degrees: _noncentrality(degrees) for degrees in np.unique(dim_x * dim_y).tolist()}
    return 2 * mi * num_points >= np.array([needed[degrees] for degrees in (dim_x * dim_y).tolist()])


@dataclass
class KindSummary:
    """Data sets of one kind, one entry each, and the processor seconds they took, points and labels."""

    mi: list[float] = field(default_factory=list)
    error: list[float] = field(default_factory=list)
    num_points: list[int] = field(default_factory=list)
    dim_x: list[int] = field(default_factory=list)
    dim_y: list[int] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, other: KindSummary) -> None:
        """Take the other's data sets in."""
        for name in ("mi", "error", "num_points", "dim_x", "dim_y"):
            getattr(self, name).extend(getattr(other, name))
        self.seconds += other.seconds


def summarise_law(meta: MetaDistribution, num_batches: int, seed: int = 0) -> dict[str, KindSummary]:
    """By kind, of the first batches of a stream; drawn twice, so that tables and flows made once do not count."""
    kinds: dict[str, KindSummary] = defaultdict(KindSummary)
    for index in range(num_batches):
        start = 0
        for group in meta.draw_shapes(structure_generator(seed, index)):
            stop = start + group.num_datasets
            for _ in range(2):
                random = Streams.for_batch(seed, index, start, stop)
                begin = time.process_time()
                joint = draw_joint(meta, group, random)
                joint.sample(group.num_points, random)
                mi = joint.mutual_information
                seconds = time.process_time() - begin
            start = stop
            size = group.num_datasets
            kinds[group.family.partition("-")[0]].add(
                KindSummary(
                    mi=mi.tolist(),
                    error=label_error(joint).expand(size).tolist(),
                    num_points=[group.num_points] * size,
                    dim_x=[group.dim_x] * size,
                    dim_y=[group.dim_y] * size,
                    seconds=seconds,
                )
            )
    return dict(sorted(kinds.items(), key=lambda item: -len(item[1].mi)))


def format_report(kinds: dict[str, KindSummary]) -> Iterator[str]:
    """The table, line by line; the last row is the whole law."""
    whole = KindSummary()
    for summary in kinds.values():
        whole.add(summary)
    yield (
        f"{'kind':<16}{'share':>7}{'MI: 10 %':>10}{'median':>8}{'90 %':>8}{'max':>7}{'= 0':>7}{'< .05':>7}"
        f"{'informed':>10}{'fitted':>8}{'s.e.':>7}{'ms':>7}{'of time':>9}"
    )
    for name, summary in [*kinds.items(), ("all", whole)]:
        mi, points = np.array(summary.mi), np.array(summary.num_points)
        some = mi > 1e-9
        seen = detectable_informed(mi, points)[some]
        fitted = detectable_fitted(mi, points, np.array(summary.dim_x), np.array(summary.dim_y))[some]
        worst = float((np.array(summary.error) / (mi + 0.05)).max())
        low, middle, high = np.quantile(mi, [0.1, 0.5, 0.9])
        shares = (f"{seen.mean():>10.0%}{fitted.mean():>8.0%}") if some.any() else f"{'-':>10}{'-':>8}"
        yield (
            f"{name:<16}{len(mi) / len(whole.mi):>7.1%}{low:>10.4f}{middle:>8.3f}{high:>8.2f}{mi.max():>7.1f}"
            f"{1 - some.mean():>7.0%}{(some & (mi < 0.05)).mean():>7.0%}{shares}{worst:>7.1%}"
            f"{1e3 * summary.seconds / len(mi):>7.2f}{summary.seconds / whole.seconds:>9.1%}"
        )
    yield (
        "\nMI in nats. informed: share of the dependent data sets that a test which knows the joint tells from\n"
        "independence (level 5 %, power 95 %); fitted: the same of one that fits dx·dy parameters. s.e.: the largest\n"
        "standard error of a label over mi + 0.05. ms: processor time of one data set in one thread, label included."
    )
