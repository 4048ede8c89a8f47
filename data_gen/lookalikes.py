"""Labelled data sets that look like a user's: joints whose sides are each exactly N(0, I), pushed through a map of each
side that gives N(0, I) the law of that side. MI survives injective maps of one side, whatever the joint.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from data_gen.composition import Warped
from data_gen.copulas import COPULAS
from data_gen.meta_distribution import MetaDistribution
from data_gen.standard_sides import GaussianTurns, draw_standard
from data_gen.stream import Batch, generate_batch
from data_gen.streams import Streams, structure_generator

__all__ = ["LOOKALIKE", "LookAlikes", "Mixture", "Push"]

Push = Callable[[Tensor], Tensor]

LOOKALIKE = "lookalike"  # first part of the names of its families
_MIXTURE = 2  # first word of a spawn key, beside those of `data_gen.streams`


def _default_kinds() -> dict[str, float]:
    copulas = {f"copula-{name}": 3.0 / len(COPULAS) for name in COPULAS}
    return {"gaussian": 3.0, "student": 1.5, **copulas, "independent": 1.0}


@dataclass(frozen=True)
class LookAlikes:
    """A law over labelled data sets whose sides have given laws.

    `push_x` and `push_y` map points of N(0, I), (..., D), one by one and injectively to those of a side. n is
    log-uniform on `num_points`; `kinds` weighs the joints of `data_gen.standard_sides`, those of copulas with a
    log-uniform number of dependent pairs. What a flow finds is one base of many: `others` are other maps to the same
    laws, of X and of Y, evenly drawn in `other_share` of the groups of a batch, and in `turned_share` the sides are
    turned by maps that leave N(0, I) what it is. `read_x` and `read_y` are what is done to the points of a data set,
    (..., N, D), before an estimator sees them. Batches are as those of `generate_batch`.
    """

    push_x: Push
    push_y: Push
    dim_x: int
    dim_y: int
    num_points: tuple[int, int]
    kinds: dict[str, float] = field(default_factory=_default_kinds)
    turned_share: float = 0.25  # of groups of data sets
    others: tuple[tuple[Push, Push], ...] = ()
    other_share: float = 0.25  # of groups of data sets, where there are others
    read_x: Push | None = None
    read_y: Push | None = None
    datasets_per_batch: tuple[int, int] = (8, 64)
    cost_per_batch: float = 4.0e5  # points times columns
    max_mi: float = 45.0

    def batch(self, seed: int, index: int) -> Batch:
        """Batch `index`, a function of (seed, index)."""
        generator = structure_generator(seed, index)
        low, high = self.num_points
        num_points = min(high, int(np.exp(generator.uniform(np.log(low), np.log(high + 1)))))
        least, most = self.datasets_per_batch
        wanted = 8 * round(self.cost_per_batch / (num_points * (self.dim_x + self.dim_y)) / 8)
        total = max(least, min(most, wanted))
        weights = np.array(list(self.kinds.values()))
        drawn = generator.choice(len(weights), size=4, p=weights / weights.sum())
        shared = min(self.dim_x, self.dim_y)
        pairs = [min(shared, int(np.exp(generator.uniform(0, np.log(shared + 1))))) for _ in drawn]
        turned = generator.random(4) < self.turned_share
        pushes = ((self.push_x, self.push_y), *self.others)
        other = generator.random(4) < self.other_share
        pushed_by = np.where(other & (len(pushes) > 1), generator.integers(1, max(2, len(pushes)), 4), 0)
        parts: list[tuple[Tensor, Tensor, Tensor]] = []
        families: list[str] = []
        for group, (kind_index, num_pairs) in enumerate(zip(drawn, pairs, strict=True)):
            start, stop = group * total // 4, (group + 1) * total // 4
            kind = list(self.kinds)[kind_index]
            random = Streams.for_batch(seed, index, start, stop)
            joint = draw_standard(kind, self.dim_x, self.dim_y, num_pairs, random)
            if turned[group]:
                joint = Warped(joint, *(GaussianTurns.draw(dim, random) for dim in (self.dim_x, self.dim_y)))
            x, y = joint.sample(num_points, random)
            pushed = [push(side) for push, side in zip(pushes[pushed_by[group]], (x, y), strict=True)]
            mi = joint.mutual_information
            for points in pushed:
                mi = torch.where(points.isfinite().flatten(1).all(-1), mi, torch.inf)  # not kept
            parts.append((_read(pushed[0], self.read_x), _read(pushed[1], self.read_y), mi))
            families += [f"{LOOKALIKE}-{kind}"] * (stop - start)
        x, y, mi = (torch.cat(columns) for columns in zip(*parts, strict=True))
        keep = x.isfinite().all(-1).all(-1) & y.isfinite().all(-1).all(-1) & (mi <= self.max_mi)
        return Batch(
            x=torch.nan_to_num(x),
            y=torch.nan_to_num(y),
            mi=torch.where(keep, mi, 0.0),
            weight=keep.float(),
            family=tuple(families),
            index=index,
            standard_error=torch.zeros_like(mi),
            groups_x=torch.zeros(self.dim_x, dtype=torch.long),
            groups_y=torch.zeros(self.dim_y, dtype=torch.long),
        )

    def of_size(self, num_datasets: int) -> LookAlikes:
        """The same law in batches of so many data sets."""
        return replace(self, datasets_per_batch=(num_datasets, num_datasets))


def _read(points: Tensor, read: Push | None) -> Tensor:
    return points if read is None else read(points)


@dataclass(frozen=True)
class Mixture:
    """Batches of look-alikes and, with probability `original_share`, of another law."""

    lookalikes: LookAlikes
    original: MetaDistribution
    original_share: float

    def __post_init__(self) -> None:
        if not 0 <= self.original_share <= 1:
            raise ValueError(f"got original_share={self.original_share}, expected a probability in [0, 1]")

    def batch(self, seed: int, index: int) -> Batch:
        """Batch `index`, a function of (seed, index)."""
        coin = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_MIXTURE, index)))
        if coin.random() < self.original_share:
            return generate_batch(self.original, seed, index)
        return self.lookalikes.batch(seed, index)

    def of_size(self, num_datasets: int) -> Mixture:
        """The same mixture in batches of so many data sets."""
        original = replace(self.original, datasets_per_batch=(num_datasets, num_datasets))
        return replace(self, lookalikes=self.lookalikes.of_size(num_datasets), original=original)
