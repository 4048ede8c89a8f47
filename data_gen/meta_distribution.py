"""The law over (family, parameters, composition, n, dims) that an estimator is trained on."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from data_gen.categories import MOST_LEVELS
from data_gen.families import (
    ELLIPTICAL_KINDS,
    FAMILIES,
    KINDS,
    POOLED_KINDS,
    TIED_KINDS,
    resolve,
)
from data_gen.pools import chunk_number
from data_gen.side_warps import EMBEDDINGS, RECIPES, applicable_recipes, num_bent

__all__ = ["NUM_CHUNKS", "BatchShape", "FamilyName", "MetaDistribution"]

NUM_CHUNKS = 1 << 16  # a group's number for pools, which take it modulo their number of chunks
FamilyName = str  # a family of `data_gen.families`, "product", "independent" or "categories"


def _default_families() -> dict[str, float]:
    return {
        "gaussian-dense": 1.0,
        "gaussian-sparse": 1.5,
        "gaussian-latent_variable": 1.5,
        "gaussian-factor": 1.0,
        "gaussian-canonical": 1.0,
        "student-dense": 1.0,
        "student-sparse": 1.5,
        "student-latent_variable": 0.5,
        "student-factor": 0.5,
        "student-canonical": 0.5,
        "additive": 2.0,
        "independent": 1.6,
        "product": 1.3,
    }


@dataclass(frozen=True)
class BatchShape:
    """What the data sets of one group of a batch share; all groups of a batch share n and dims."""

    family: FamilyName
    num_points: int
    dim_x: int
    dim_y: int
    num_datasets: int
    blocks: tuple[tuple[FamilyName, int, int], ...] = ()  # of "product" and "independent": (family, dim_x, dim_y)
    mixed_x: bool = False
    mixed_y: bool = False
    warp_x: str | None = None  # a recipe of `data_gen.side_warps`
    warp_y: str | None = None
    bent_x: int | None = None  # coordinates of x that its recipe is given; None: all
    bent_y: int | None = None
    flows: tuple[int, int] = (0, 0)  # numbers of the normalizing flows of x and y, where the recipes have one
    chunk: int = 0  # of the pools that families draw from
    levels: tuple[int, int] = (0, 0)  # of an unordered variable that leads x, or y, as indicator columns; 0: none


@dataclass(frozen=True)
class MetaDistribution:
    """A law over labelled data sets; plain numbers, so that it can be written into a checkpoint.

    Its own values are those of elliptical.yaml; `data_gen.default_law` has the default of training.

    `families` gives weights; a kind's bare name ("copula") stands for all its variants alike. n is uniform on
    `num_points` with `uniform_points_probability`, else log-uniform on [num_points[0], max_num_points]. Dims are equal
    with `equal_dims_probability` (uniform on `dims`), else each is log-uniform on 1…max_dim; before that, with
    `few_dims_probability`, each is log-uniform on 1…`few_dims`, and n is stretched to end at
    `few_dims_max_num_points` where it is log-uniform and that is more. `warps` weighs recipes, one of which warps a
    side with `warp_probability`; Y shares that of X with `same_warp_probability`. With `local_warp_probability` a warp
    of three coordinates or more is proposed for some of them only, 2 to all, log-uniformly, and is drawn the oftener
    the more coordinates the side has; Y then shares their number, too, where it has so many. Warps of more than
    `visible_dims` coordinates are drawn less often, by visible_dims over their number, and so is the mixing of a side
    that is not elliptical: what is bent in many dims no estimator sees. With `category_probability` a batch
    is about an unordered variable of 3 to 12 levels instead. `cost_per_batch` sets how many data sets one batch holds.
    """

    name: str = "elliptical"
    families: Mapping[str, float] = field(default_factory=_default_families)
    num_points: tuple[int, int] = (10, 500)
    max_num_points: int = 4000
    uniform_points_probability: float = 0.7
    dims: tuple[int, int] = (1, 32)
    max_dim: int = 64
    equal_dims_probability: float = 0.55
    few_dims: int = 3
    few_dims_probability: float = 0.0
    few_dims_max_num_points: int = 0  # 0: max_num_points
    mixed_probability: float = 0.2
    block_mixed_probability: float = 0.0  # of a side of a product's block being mixed before the whole side is
    max_condition_number: float = 30.0
    warps: Mapping[str, float] = field(default_factory=dict)
    warp_probability: float = 0.0
    same_warp_probability: float = 0.0  # of a warped X's recipe being Y's as well
    local_warp_probability: float = 0.0  # of a warp being proposed for some coordinates only
    visible_dims: float = 0.0  # 0: sides are warped and mixed alike at all dims
    flow_pool_size: int = 1024  # normalizing flows of every kind and dim
    weak_probability: float = 0.15
    df: tuple[float, float] = (1.0, 30.0)
    max_mi: float = 45.0
    datasets_per_batch: tuple[int, int] = (16, 128)
    groups_per_batch: int = 4  # families, or compositions, that share the n and dims of one batch
    category_probability: float = 0.0  # of a batch whose X, and perhaps Y, starts with an unordered variable
    cost_per_batch: float = 6.0e5

    def __post_init__(self) -> None:
        known = {*FAMILIES, *KINDS, "independent", "product"}
        if unknown := set(self.families) - known:
            raise ValueError(f"got unknown families {sorted(unknown)}, expected some of {sorted(known)}")
        if not self.families or min(self.families.values()) < 0 or sum(self.families.values()) <= 0:
            raise ValueError(f"got family weights {dict(self.families)}, expected non-negative weights, one positive")
        if unknown := set(self.warps) - set(RECIPES):
            raise ValueError(f"got unknown warps {sorted(unknown)}, expected some of {sorted(RECIPES)}")
        if not 1 <= self.flow_pool_size <= 1024:
            raise ValueError(f"got flow_pool_size={self.flow_pool_size}, expected 1 to 1024")
        if min(self.warps.values(), default=0) < 0 or (self.warp_probability > 0 and sum(self.warps.values()) <= 0):
            raise ValueError(
                f"got warp_probability={self.warp_probability} and warp weights {dict(self.warps)}, expected "
                "non-negative weights, one of them positive where sides are warped"
            )
        if not 4 <= self.num_points[0] <= self.num_points[1] or self.max_num_points < self.num_points[0]:
            raise ValueError(
                f"got num_points {self.num_points} and max_num_points {self.max_num_points}, "
                "expected 4 <= low <= high and low <= max_num_points"
            )
        for name in (f.name for f in dataclasses.fields(self) if f.name.endswith("_probability")):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"got {name}={getattr(self, name)}, expected a probability in [0, 1]")
        smallest, largest = self.datasets_per_batch
        if not 8 <= smallest <= largest or smallest % 8 or largest % 8:
            raise ValueError(
                f"got datasets_per_batch={self.datasets_per_batch}, expected low <= high, both positive multiples of 8 "
                "so that every number of processes up to 8 shares a batch evenly"
            )
        if not 0 < self.df[0] <= self.df[1]:
            raise ValueError(f"got df={self.df}, expected 0 < low <= high")
        if self.groups_per_batch not in (1, 2, 4, 8):
            raise ValueError(f"got groups_per_batch={self.groups_per_batch}, expected 1, 2, 4 or 8")
        if not 1 <= self.dims[0] <= self.dims[1] or self.max_dim < 1:
            raise ValueError(f"got dims {self.dims} and max_dim {self.max_dim}, expected 1 <= low <= high")
        if self.visible_dims < 0:
            raise ValueError(f"got visible_dims={self.visible_dims}, expected a number of dims, or 0 for no such law")
        if not 1 <= self.few_dims <= self.max_dim and self.few_dims_probability > 0:
            raise ValueError(f"got few_dims={self.few_dims}, expected 1 to max_dim={self.max_dim}")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> MetaDistribution:
        """Build from plain numbers; unknown keys are refused."""
        known = {f.name for f in dataclasses.fields(cls)}
        if unknown := set(values) - known:
            raise ValueError(f"got unknown meta-distribution keys {sorted(unknown)}, expected some of {sorted(known)}")
        plain: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in values.items()}
        return cls(**plain)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, fit for JSON."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        values.update(families=dict(self.families), warps=dict(self.warps))
        return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}

    @property
    def ranges(self) -> dict[str, list[float]]:
        """What an estimator trained on this law has seen: n, dims and MI, and n at few dims where it goes further."""
        dim_ends = [*(self.dims if self.equal_dims_probability > 0 else ())]
        dim_ends += [1, self.few_dims] if self.few_dims_probability > 0 else []
        dim_ends += [1, self.max_dim] if self.equal_dims_probability < 1 else []
        dim_ends += [1, MOST_LEVELS + min(8, self.max_dim)] if self.category_probability > 0 else []
        point_ends = [self.num_points[0]]
        point_ends += [self.num_points[1]] if self.uniform_points_probability > 0 else []
        point_ends += [self.max_num_points] if self.uniform_points_probability < 1 else []
        dims: list[float] = [min(dim_ends), max(dim_ends)]
        points: list[float] = [min(point_ends), max(point_ends)]
        ranges = {"num_points": points, "dim_x": dims, "dim_y": dims, "mi": [0.0, self.max_mi]}
        few = self.few_dims_probability > 0 and self.uniform_points_probability < 1
        if few and self.few_dims_max_num_points > max(points):
            most = float(self.few_dims_max_num_points)
            ranges |= {"few_dims": [1, self.few_dims], "num_points_few_dims": [min(points), most]}
        return ranges

    @property
    def has_ties(self) -> bool:
        """Whether some family draws tied values."""
        tied = any(weight > 0 and name.partition("-")[0] in TIED_KINDS for name, weight in self.families.items())
        return tied or self.category_probability > 0

    def draw_shapes(self, generator: np.random.Generator, *, held_out: bool = False) -> tuple[BatchShape, ...]:
        """The groups of one batch: n, dims and the number of data sets in common, a family and composition each.

        With `held_out`, pools give parameter sets that no training batch gets.
        """
        low, high = self.num_points
        uniform = generator.random() < self.uniform_points_probability
        if uniform:
            num_points = int(generator.integers(low, high + 1))
        else:
            num_points = _log_uniform_integer(generator, low, self.max_num_points)
        if self.category_probability > 0 and generator.random() < self.category_probability and num_points >= 12:
            return self._draw_categories(generator, num_points, held_out)
        few = self.few_dims_probability > 0 and generator.random() < self.few_dims_probability
        if few:
            dim_x, dim_y = (_log_uniform_integer(generator, 1, self.few_dims) for _ in range(2))
            if not uniform:
                num_points = self._stretch(num_points)
        elif generator.random() < self.equal_dims_probability:
            dim_x = dim_y = int(generator.integers(self.dims[0], self.dims[1] + 1))
        else:
            dim_x = _log_uniform_integer(generator, 1, self.max_dim)
            dim_y = _log_uniform_integer(generator, 1, self.max_dim)
        size = self._num_datasets(num_points, dim_x + dim_y) // self.groups_per_batch
        return tuple(
            self._draw_group(generator, num_points, dim_x, dim_y, size, held_out) for _ in range(self.groups_per_batch)
        )

    def _stretch(self, num_points: int) -> int:
        """The log-uniform law of n to that of few dims."""
        low, high = self.num_points[0], self.max_num_points
        if self.few_dims_max_num_points <= high or high == low:
            return num_points
        power = math.log(self.few_dims_max_num_points / low) / math.log(high / low)
        return min(self.few_dims_max_num_points, round(low * (num_points / low) ** power))

    def _draw_categories(
        self, generator: np.random.Generator, num_points: int, held_out: bool
    ) -> tuple[BatchShape, ...]:
        """Groups about one unordered variable in X, and one in Y or none; other coordinates may stand beside them."""
        most = min(MOST_LEVELS, num_points // 4)
        levels_x = _log_uniform_integer(generator, 3, most)
        levels_y = _log_uniform_integer(generator, 3, most) if generator.random() < 0.4 else 0
        other_x = other_y = 0
        if generator.random() < 0.5:
            other_x, other_y = (_log_uniform_integer(generator, 1, min(8, self.max_dim)) for _ in range(2))
        dim_x, dim_y = levels_x + other_x, max(1, levels_y) + other_y
        size = self._num_datasets(num_points, dim_x + dim_y) // self.groups_per_batch
        return tuple(
            BatchShape(
                family="categories",
                num_points=num_points,
                dim_x=dim_x,
                dim_y=dim_y,
                num_datasets=size,
                blocks=((self._base_family(generator), other_x, other_y),) if other_x else (),
                chunk=chunk_number(int(generator.integers(NUM_CHUNKS)), held_out),
                levels=(levels_x, levels_y),
            )
            for _ in range(self.groups_per_batch)
        )

    def _draw_group(
        self, generator: np.random.Generator, num_points: int, dim_x: int, dim_y: int, size: int, held_out: bool
    ) -> BatchShape:
        names = list(self.families)
        weights = np.array([self.families[name] for name in names])
        family = resolve(names[generator.choice(len(names), p=weights / weights.sum())], generator)
        mixed = generator.random(2)
        blocks: tuple[tuple[str, int, int], ...] = ()
        if family == "product":
            blocks = self._draw_blocks(generator, dim_x, dim_y)
        elif family == "independent":
            blocks = tuple((self._base_family(generator), dim_x, dim_y) for _ in range(2))
        (warp_x, bent_x), (warp_y, bent_y) = (
            self._draw_warp(generator, dim, embed=not blocks) for dim in (dim_x, dim_y)
        )
        shared = warp_x is not None and self.same_warp_probability > 0
        if (
            shared
            and generator.random() < self.same_warp_probability
            and warp_x in applicable_recipes(dim_y, not blocks)
        ):
            warp_y = warp_x
            given_x, given_y = (dim - EMBEDDINGS.get(warp_x, 0) for dim in (dim_x, dim_y))
            bent = bent_x or given_x
            bent_y = bent if self.local_warp_probability > 0 and bent < given_y else None
        members = [name for name, _, _ in blocks] or [family]
        kinds = {name.partition("-")[0] for name in members}
        tied = not kinds.isdisjoint(TIED_KINDS)  # levels stay the levels they are
        mixed_x, mixed_y = (
            draw < self.mixed_probability * self.share_mixed(dim, kinds, warp)
            for draw, dim, warp in zip(mixed, (dim_x, dim_y), (warp_x, warp_y), strict=True)
        )
        return BatchShape(
            family=family,
            num_points=num_points,
            dim_x=dim_x,
            dim_y=dim_y,
            num_datasets=size,
            blocks=blocks,
            mixed_x=bool(mixed_x) and not tied,
            mixed_y=bool(mixed_y) and not tied,
            warp_x=None if tied else warp_x,
            warp_y=None if tied else warp_y,
            bent_x=None if tied else bent_x,
            bent_y=None if tied else bent_y,
            flows=self._draw_flows(generator),
            chunk=0 if kinds.isdisjoint(POOLED_KINDS) else chunk_number(int(generator.integers(NUM_CHUNKS)), held_out),
        )

    def _draw_flows(self, generator: np.random.Generator) -> tuple[int, int]:
        if self.warp_probability == 0:
            return 0, 0
        first, second = generator.integers(0, self.flow_pool_size, 2).tolist()
        return first, second

    def share_bent(self, dim: int) -> float:
        """What the probability of bending `dim` coordinates of a side at once is multiplied by."""
        return min(1.0, self.visible_dims / dim) if self.visible_dims > 0 else 1.0

    def share_mixed(self, dim: int, kinds: set[str], warp: str | None = None) -> float:
        """The same for a linear mixing, which hides nothing where all that it mixes is elliptical."""
        elliptical = kinds <= ELLIPTICAL_KINDS and warp in (None, "rotation")
        return 1.0 if elliptical else self.share_bent(dim)

    def _draw_warp(self, generator: np.random.Generator, dim: int, embed: bool) -> tuple[str | None, int | None]:
        """The recipe of one side, if any, and how many coordinates it is given, None for all; `embed` allows those
        that add coordinates, where there are enough."""
        if self.warp_probability == 0:
            return None, None
        names = [name for name in self.warps if name in applicable_recipes(dim, embed)]
        weights = np.array([self.warps[name] for name in names])
        if weights.sum() == 0:
            return None, None
        name = str(generator.choice(names, p=weights / weights.sum()))
        bent = None
        given = dim - EMBEDDINGS.get(name, 0)
        if given > 2 and self.local_warp_probability > 0 and generator.random() < self.local_warp_probability:
            bent = _log_uniform_integer(generator, 2, given)
            bent = None if bent == given else bent
        num = num_bent(name, bent or given)
        chance = self.share_bent(num) * self._chance_of_a_warp(dim, local=num < given)
        return (name, bent) if generator.random() < chance else (None, None)

    def _chance_of_a_warp(self, dim: int, local: bool) -> float:
        """`warp_probability`, but for one of some coordinates that of any in as many groups of `visible_dims` as the
        side has: of many columns, some are bent."""
        groups = dim / self.visible_dims if local and self.local_warp_probability > 0 and self.visible_dims > 0 else 1.0
        return 1 - (1 - self.warp_probability) ** max(1.0, groups)

    def _num_datasets(self, num_points: int, dim: int) -> int:
        """As many as `cost_per_batch` allows, a multiple of eight so that ranks share evenly."""
        low, high = self.datasets_per_batch
        cost = num_points * (dim + 60) + 4 * dim**2 + 2000
        return max(low, min(high, 8 * round(self.cost_per_batch * 4 / cost / 8)))

    def _base_family(self, generator: np.random.Generator, noise: bool = True) -> str:
        names = [name for name in self.families if name not in ("independent", "product") and self.families[name] > 0]
        names = names or ["gaussian-canonical"]
        if noise and generator.random() < 0.2:
            return "noise"
        return resolve(str(generator.choice(names)), generator)

    def _draw_blocks(self, generator: np.random.Generator, dim_x: int, dim_y: int) -> tuple[tuple[str, int, int], ...]:
        """Two or three blocks that split the dims at random; the second may be pure noise coordinates."""
        parts = min(dim_x, dim_y, int(generator.integers(2, 4)))
        if parts < 2:
            return ((self._base_family(generator, noise=False), dim_x, dim_y),)
        cuts_x = np.sort(generator.choice(np.arange(1, dim_x), parts - 1, replace=False))
        cuts_y = np.sort(generator.choice(np.arange(1, dim_y), parts - 1, replace=False))
        sizes_x, sizes_y = (np.diff([0, *cuts, dim]) for cuts, dim in ((cuts_x, dim_x), (cuts_y, dim_y)))
        blocks = [
            (self._base_family(generator, noise=False), int(a), int(b)) for a, b in zip(sizes_x, sizes_y, strict=True)
        ]
        if generator.random() < 0.5:  # independent noise coordinates beside the rest
            blocks[-1] = ("noise", *blocks[-1][1:])
        return tuple(blocks)


def _log_uniform_integer(generator: np.random.Generator, low: int, high: int) -> int:
    return min(high, int(math.exp(generator.uniform(math.log(low), math.log(high + 1)))))
