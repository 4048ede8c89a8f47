"""Sides of a modality read through what was learned of it: what a fine-tuned estimator does to its columns first.

MI is that of the columns: the maps are bijections of one side. Shapes: N points, D columns, K knots.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri
from torch import Tensor

from mist.columns import Column
from mist.errors import Notice
from mist.scores import break_ties, double_ranks, gaussian_scores
from mist.triangular import TriangularMap

__all__ = ["Margins", "SideMap", "Unwarping"]

Array = NDArray[np.float64]

_PREFIX = "unwarping."
_COLUMNS, _WIDTH, _AS_IS, _TIED = "columns", "width", "as_is", "tied"
_KNOTS, _NUM_SAMPLES = "margins.knots", "margins.num_samples"
_NUM_KNOTS = 257
_UNLIKELY = 2.3  # of √n times the Kolmogorov-Smirnov distance of a column: 5 in 100,000


def _grid(num_samples: int, num_knots: int) -> Array:
    end = -ndtri(0.5 / num_samples)
    return np.linspace(-end, end, num_knots)


@dataclass(frozen=True)
class Margins:
    """The margins of continuous columns: `knots` (K, D), their quantiles at evenly spaced normal scores.

    The ranks of n points are noisy, by about 1/√n: `num_samples`, many more, tell better which score a value has.
    """

    knots: Array
    num_samples: int

    def __post_init__(self) -> None:
        if self.knots.ndim != 2 or len(self.knots) < 3 or not (np.diff(self.knots, axis=0) >= 0).all():
            raise ValueError(f"got knots of shape {self.knots.shape}, expected three or more for each column, in order")
        if self.num_samples < 2:
            raise ValueError(f"got margins of {self.num_samples} samples, expected two or more")

    @classmethod
    def of(cls, columns: Array) -> Margins:
        """Of samples (N, D)."""
        return cls(np.quantile(columns, ndtr(_grid(len(columns), _NUM_KNOTS)), axis=0), len(columns))

    def scores(self, columns: Array) -> Array:
        """Values (N, D) to normal scores, increasing beyond the samples, too; (N, D)."""
        grid = _grid(self.num_samples, len(self.knots))
        found = [np.interp(values, knots, grid) for values, knots in zip(columns.T, self.knots.T, strict=True)]
        below, above = (self.knots[0] - columns).clip(0), (columns - self.knots[-1]).clip(0)
        spread = (self.knots[-1] - self.knots[0]) / (grid[-1] - grid[0])
        return np.stack(found, axis=1) + np.arcsinh(above / spread) - np.arcsinh(below / spread)

    def match(self, columns: Array) -> bool:
        """Whether values (n, D) may be more of the samples, n being no more than these were: Kolmogorov and Smirnov's
        test of each column."""
        num_points = len(columns)
        if num_points > self.num_samples:
            return False
        levels = np.sort(ndtr(self.scores(columns)), axis=0)
        places = np.arange(num_points)[:, None] / num_points
        distance = np.maximum(levels - places, places + 1 / num_points - levels).max()
        return bool(distance <= _UNLIKELY * math.sqrt(1 / num_points + 1 / self.num_samples))


@dataclass(frozen=True)
class SideMap:
    """The map of one side: it reads `columns` of the `width` columns that the samples had; the others were constant.

    Scores are those of the samples' `margins`, where there are any and data may have them, else of the data's ranks.
    `as_is`: the map only tells what the side looks like; its columns are read as they are, but for ties that are spread
    within their step where the samples were `tied`. (Where there is a map to read them through, ties always are.)
    """

    columns: tuple[int, ...]
    width: int
    map: TriangularMap
    margins: Margins | None = None
    as_is: bool = False
    tied: bool = False

    def __post_init__(self) -> None:
        wanted = sorted({column for column in self.columns if 0 <= column < self.width})
        if self.map.dim != len(self.columns) or wanted != list(self.columns):
            raise ValueError(
                f"got columns {self.columns} of {self.width} for a map of {self.map.dim}, expected as many of them, "
                "in order"
            )
        if self.margins is not None and self.margins.knots.shape[1] != self.map.dim:
            raise ValueError(f"got margins of {self.margins.knots.shape[1]} columns for a map of {self.map.dim}")

    def unwarp(self, scores: Tensor) -> Tensor:
        """Data sets of scores as the samples have them, of the columns that are read, to standard normal points;
        (..., N, D) -> (..., N, D). Those that are likelier of independent columns stay scores."""
        found = scores
        if self.margins is None or scores.shape[-2] > self.margins.num_samples:
            found = gaussian_scores(double_ranks(scores.mT.contiguous())).mT.to(scores.dtype)
        base, gain = self.through(found.to(self.map.mean))
        return torch.where((gain > 0)[..., None, None], base.to(scores.dtype), found)

    def read(self, values: Array, scores: Tensor) -> Tensor | None:
        """Scores of the columns that are read, (N, D), in the precision of the map, from values and rank scores of all,
        (N, width); None where a column varies that did not in the samples."""
        others = [column for column in range(self.width) if column not in self.columns]
        if np.ptp(values[:, others], axis=0).any():
            return None
        own = list(self.columns)
        if self.margins is not None and self.margins.match(values[:, own]):
            return torch.from_numpy(self.margins.scores(values[:, own])).to(self.map.mean)
        return scores[:, own].to(self.map.mean)

    def through(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Scores to points of N(0, I), and by how much most are likelier under the map than under independent columns,
        nats: the median over points; (..., N, D) -> (..., N, D), (...)."""
        with torch.no_grad():
            base, log_det = self.map.normalise(scores)
            gains = log_det + 0.5 * (scores.square() - base.square()).sum(-1)
        return base, gains.median(-1).values


@dataclass(frozen=True)
class Unwarping:
    """The maps of X and of Y.

    A side is read through the map under which its points are likelier than under the other's, whichever side it is, and
    as it is where independent columns are likelier still. (Ties of one that looks like samples that are read as they
    are, are spread where those of either side were tied.)
    """

    x: SideMap
    y: SideMap

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> Unwarping | None:
        """From the tensors of a checkpoint; None where they hold no map. Raises LookupError, TypeError, RuntimeError or
        ValueError for a broken one."""
        sides: list[SideMap] = []
        for side in ("x.", "y."):
            prefix = _PREFIX + side
            found = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
            if not found and not sides:
                continue
            columns = tuple(int(column) for column in found.pop(_COLUMNS))
            width, as_is, tied = int(found.pop(_WIDTH)), bool(found.pop(_AS_IS)), bool(found.pop(_TIED, False))
            margins = None
            if _KNOTS in found:
                margins = Margins(found.pop(_KNOTS).numpy(), int(found.pop(_NUM_SAMPLES)))
            sides.append(SideMap(columns, width, TriangularMap.from_state(found).double(), margins, as_is, tied))
        return cls(*sides) if sides else None

    def state(self) -> dict[str, Tensor]:
        """As tensors for a checkpoint."""
        state: dict[str, Tensor] = {}
        for side, part in (("x.", self.x), ("y.", self.y)):
            tensors = {key: value.float() for key, value in part.map.state_dict().items()}
            tensors |= {_COLUMNS: torch.tensor(part.columns), _WIDTH: torch.tensor(part.width)}
            tensors |= {_AS_IS: torch.tensor(part.as_is), _TIED: torch.tensor(part.tied)}
            if part.margins is not None:
                tensors[_KNOTS] = torch.from_numpy(part.margins.knots)
                tensors[_NUM_SAMPLES] = torch.tensor(part.margins.num_samples)
            state |= {f"{_PREFIX}{side}{key}": value.contiguous() for key, value in tensors.items()}
        return state

    def apply(
        self, x: list[Column], y: list[Column], sides_apart: bool = False
    ) -> tuple[Array | None, Array | None, tuple[Notice, ...]]:
        """Both sides' finite columns, (N,) each, through their maps, (N, D), None for a side that is read as it is; and
        what to tell.

        Equal values are spread within their step first. `sides_apart`: nothing of one side may depend on the other.
        """
        sides = {"x": x, "y": y}
        maps = {name: [found for found in (self.x, self.y) if _fits(found, columns)] for name, columns in sides.items()}
        if not maps["x"] and not maps["y"]:
            return None, None, ()
        scores = _scores(sides, sides_apart)
        base: dict[str, Array] = {}
        told: list[Notice] = []
        for name in (name for name in sides if maps[name]):
            values = np.stack([column.values for column in sides[name]], axis=1)
            tried = [(found, read) for found in maps[name] if (read := found.read(values, scores[name])) is not None]
            bases = [found.through(read) for found, read in tried]
            best = int(np.argmax([float(gain) for _, gain in bases])) if bases else -1
            if bases and tried[best][0].as_is:
                if any(found.tied for found, _ in tried):
                    base[name] = tried[best][1].double().numpy()
                continue
            if not bases or not bases[best][1] > 0:
                told.append(
                    Notice(
                        f"{name} does not look like the samples of either side that the checkpoint was fine-tuned on: "
                        "it is read as it is",
                        "unrecognised",
                    )
                )
                continue
            base[name] = bases[best][0].double().numpy()
        return base.get("x"), base.get("y"), tuple(told)


def _fits(side: SideMap, columns: Sequence[Column]) -> bool:
    """Whether there are as many columns as the samples had, numbers all, and one that varies."""
    return (
        len(columns) == side.width
        and not any(column.is_category for column in columns)
        and any(np.ptp(column.values) > 0 for column in columns)
    )


def _scores(sides: dict[str, list[Column]], sides_apart: bool) -> dict[str, Tensor]:
    """Rank scores of the columns of both sides, (N, D) float64 each, ties spread within their step; categories are left
    out."""
    ranks = {
        name: double_ranks(torch.from_numpy(np.stack([column.values for column in columns if not column.is_category])))
        for name, columns in sides.items()
        if not all(column.is_category for column in columns)
    }
    if sides_apart:
        # As the second copy of itself Y is not spread by the noise of an equal X.
        spread = {
            name: break_ties(found.repeat(1 + (name == "y"), 1)[None])[0, -len(found) :]
            for name, found in ranks.items()
        }
    else:
        parts = break_ties(torch.cat(list(ranks.values()))[None])[0].split([len(found) for found in ranks.values()])
        spread = dict(zip(ranks, parts, strict=True))
    return {name: gaussian_scores(found).T for name, found in spread.items()}
