"""Is an estimate to be believed? What it must satisfy whatever the data, tried on the data.

The tests of self-consistency are those of Song & Ermon (2020, §4): independence, data processing, additivity. Beside
them stand estimates of parts of the points, extrapolated to infinitely many, and whether neighbouring points are alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mist.columns import Column, Discrete
from mist.errors import InputError, TooFewPointsError
from mist.inputs import NanPolicy, random_generator
from mist.quantiles import interpolate_quantiles
from mist.result import MIEstimate, Units, nats_in
from mist.screening import predict_pairs
from mist.tables import Variable, read_sides

if TYPE_CHECKING:
    from mist.inference import Estimator

__all__ = ["Check", "Reliability", "reliability"]

Array = NDArray[np.float64]

LEAST_POINTS = 60  # so that a half still holds 30
_PART = 30  # points of the smallest part
_MOST_PARTS = 8  # disjoint parts of one size that are looked at
_SHUFFLES = 8
_NOTHING = 0.01, 0.05  # nats: an interval of shuffled pairs begins below the one; its mean stays below the other, or
_SERIAL = 0.1  # product of the serial correlations of both sides past which points are not independent
_SHARE = 0.1  # below this share of the estimate


@dataclass(frozen=True)
class Check:
    """One test: what it is called, whether it passed, and what was seen, in words and numbers (in the units asked)."""

    name: str
    passed: bool
    detail: str


@dataclass(frozen=True, repr=False, eq=False)
class Reliability:
    """What `Estimator.check` found.

    `estimate` of all points; `sizes` (S,) of parts of the points, falling from n, with the mean estimate of the
    disjoint parts of each size, `means` (S,), and its standard error, `errors` (S,), NaN for one part; `extrapolated`,
    to infinitely many points by Î(N) = I + a/N, with its standard error; `slope`, a; `checks`. All in `units`.
    """

    estimate: MIEstimate
    sizes: NDArray[np.int64]
    means: Array
    errors: Array
    extrapolated: tuple[float, float]
    slope: float
    checks: tuple[Check, ...]
    units: Units

    @property
    def passed(self) -> bool:
        """Whether all checks did."""
        return all(check.passed for check in self.checks)

    @property
    def verdict(self) -> str:
        """A sentence or two."""
        failed = [check.name for check in self.checks if not check.passed]
        low, high = self.estimate.interval(0.9)
        about = f"{self.estimate.mi:.3g} {self.units}, 90 % interval {low:.3g} to {high:.3g}"
        if not failed:
            return f"Consistent: {about}; nothing here speaks against it."
        return f"Doubtful: {about}, but {' and '.join(failed)} failed; see the details."

    def __str__(self) -> str:
        rows = [f"  {'ok  ' if check.passed else 'FAIL'} {check.name}: {check.detail}" for check in self.checks]
        return "\n".join([self.verdict, *rows])

    def __repr__(self) -> str:
        return f"Reliability({self.verdict!r})"

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings and lists, ready for JSON; None for the error of a single part."""
        errors = [None if math.isnan(error) else float(error) for error in self.errors]
        return {
            "verdict": self.verdict,
            "passed": self.passed,
            "units": self.units,
            "estimate": self.estimate.to_dict(),
            "sizes": self.sizes.tolist(),
            "means": self.means.tolist(),
            "errors": errors,
            "extrapolated": [None if math.isnan(value) else float(value) for value in self.extrapolated],
            "slope": None if math.isnan(self.slope) else float(self.slope),
            "checks": [{"name": c.name, "passed": c.passed, "detail": c.detail} for c in self.checks],
        }

    def plot(self, ax: Any = None) -> Any:
        """Estimates of parts against 1/N with the extrapolation, and the verdict; the axes. Needs matplotlib."""
        from mist.plotting import plot_reliability

        return plot_reliability(self, ax)


@dataclass(frozen=True)
class _Predicted:
    """Mean and 90 % interval of a prediction, nats."""

    mean: float
    low: float
    high: float

    def agrees(self, other: _Predicted) -> bool:
        return self.low <= other.high and other.low <= self.high


class _Points:
    """Both sides as columns over the same points."""

    def __init__(self, estimator: Estimator, x: Sequence[Column], y: Sequence[Column]) -> None:
        self.estimator, self.x, self.y = estimator, list(x), list(y)
        self.levels = [float(level) for level in estimator.config["levels"]]

    def __len__(self) -> int:
        return len(self.x[0].values)

    def at(self, rows: NDArray[np.int64], rows_y: NDArray[np.int64] | None = None) -> _Points:
        return _Points(self.estimator, _taken(self.x, rows), _taken(self.y, rows if rows_y is None else rows_y))

    def beside(self, other: _Points) -> _Points:
        return _Points(self.estimator, self.x + other.x, self.y + other.y)

    def predict(self) -> _Predicted:
        ties = self.estimator.network.config.features.ties
        pair = [Variable.of(name, side, ties) for name, side in (("x", self.x), ("y", self.y))]
        quantiles = predict_pairs(self.estimator, [(pair[0], pair[1])])[0][0]
        low, high = interpolate_quantiles(self.levels, quantiles, (0.05, 0.95))
        return _Predicted(float(quantiles.mean()), float(low), float(high))


def _taken(columns: Sequence[Column], rows: NDArray[np.int64]) -> list[Column]:
    return [Column(column.name, column.values[rows], column.is_category) for column in columns]


def reliability(
    estimator: Estimator,
    x: Any,
    y: Any,
    units: Units,
    nan_policy: NanPolicy,
    discrete: tuple[Discrete, Discrete],
    random_state: int | None,
) -> Reliability:
    """The checks of `Estimator.check`; `discrete` of x and of y."""
    scale = nats_in(units)
    sides = {"x": (x, discrete[0]), "y": (y, discrete[1])}
    variables = read_sides(sides, nan_policy, estimator.network.config.features.ties)
    points = _Points(estimator, variables[0].columns, variables[1].columns)
    if len(points) < LEAST_POINTS:
        raise TooFewPointsError(
            f"got {len(points)} points, expected at least {LEAST_POINTS}: halves say nothing of fewer"
        )
    if any(variable.side.values.shape[1] == 0 for variable in variables):
        raise InputError("got a side that is constant, expected one that varies: MI is 0, there is nothing to check")
    generator = random_generator(random_state)
    whole = points.predict()
    sizes, means, errors, parts = _parts(points, generator)
    value, error, slope = _extrapolate(sizes, means)
    extrapolated = value, error
    checks = (
        _agreement(whole, parts, scale, units),
        _trend(whole, extrapolated, scale, units),
        _independence(points, whole, generator, scale, units),
        _data_processing(points, whole, scale, units),
        _additivity(points, whole, generator, scale, units),
        _independent_points(points),
    )
    estimate = estimator.estimate(
        x, y, units=units, nan_policy=nan_policy, discrete_x=discrete[0], discrete_y=discrete[1]
    )
    scaled = scale * value, scale * error
    return Reliability(estimate, sizes, scale * means, scale * errors, scaled, scale * slope, checks, units)


def _parts(points: _Points, generator: np.random.Generator) -> tuple[NDArray[np.int64], Array, Array, list[_Predicted]]:
    """Sizes n, n/2, n/4, ...; mean and standard error of the estimates of disjoint parts of each; the two halves."""
    order = generator.permutation(len(points))
    sizes, means, errors = [], [], []
    halves: list[_Predicted] = []
    divisor = 1
    while len(points) // divisor >= _PART:
        size = len(points) // divisor
        found = [points.at(order[i * size : (i + 1) * size]).predict() for i in range(min(divisor, _MOST_PARTS))]
        values = np.array([part.mean for part in found])
        sizes.append(size)
        means.append(values.mean())
        errors.append(values.std(ddof=1) / math.sqrt(len(values)) if len(values) > 1 else math.nan)
        halves = found if divisor == 2 else halves
        divisor *= 2
    return np.array(sizes), np.array(means), np.array(errors), halves


def _extrapolate(sizes: NDArray[np.int64], means: Array) -> tuple[float, float, float]:
    """I of Î(N) = I + a/N by least squares, a size weighing as the points that its parts cover, its standard error from
    the residuals, NaN for that of two sizes, and a."""
    weights = np.minimum(sizes * _MOST_PARTS, sizes[0]).astype(np.float64)
    design = np.stack([np.ones(len(sizes)), 1 / sizes], axis=1) * np.sqrt(weights)[:, None]
    solution = np.linalg.lstsq(design, means * np.sqrt(weights), rcond=None)[0]
    spare = len(sizes) - 2
    residuals = design @ solution - means * np.sqrt(weights)
    variance = residuals @ residuals / spare * np.linalg.inv(design.T @ design)[0, 0] if spare > 0 else math.nan
    return max(0.0, float(solution[0])), math.sqrt(variance), float(solution[1])


def _agreement(whole: _Predicted, halves: list[_Predicted], scale: float, units: Units) -> Check:
    shown = ", ".join(f"[{scale * half.low:.3g}, {scale * half.high:.3g}]" for half in halves)
    passed = all(half.agrees(whole) for half in halves)
    interval = f"[{scale * whole.low:.3g}, {scale * whole.high:.3g}]"
    meets = "meet" if passed else "miss"
    return Check("agreement of halves", passed, f"90 % intervals of the halves, {shown}, {meets} {interval} {units}")


def _trend(whole: _Predicted, extrapolated: tuple[float, float], scale: float, units: Units) -> Check:
    value, error = extrapolated
    slack = 2 * error if math.isfinite(error) else 0.0
    passed = whole.low - slack <= value <= whole.high + slack
    told = f" ± {scale * error:.2g}" if math.isfinite(error) else ""
    inside = "inside" if passed else "outside"
    return Check(
        "extrapolation",
        passed,
        f"to infinitely many points {scale * value:.3g}{told} {units}, {inside} the 90 % interval of all points",
    )


def _independence(
    points: _Points, whole: _Predicted, generator: np.random.Generator, scale: float, units: Units
) -> Check:
    everything = np.arange(len(points))
    found = [points.at(everything, generator.permutation(len(points))).predict() for _ in range(_SHUFFLES)]
    low, mean = float(np.median([one.low for one in found])), float(np.mean([one.mean for one in found]))
    passed = low <= _NOTHING[0] and mean <= max(_NOTHING[1], _SHARE * whole.mean)
    told = f"mean {scale * mean:.2g}, intervals begin at {scale * low:.2g} {units} (medians of {_SHUFFLES} shuffles)"
    return Check("independence of shuffled pairs", passed, told)


def _data_processing(points: _Points, whole: _Predicted, scale: float, units: Units) -> Check:
    """Functions of a side beside it say nothing new."""
    found = []
    for one, other in ((points.x, points.y), (points.y, points.x)):
        numbers = [column for column in other if not column.is_category]
        if not numbers:
            continue
        added = [_folded(numbers[0])]
        found.append(_Points(points.estimator, one, other + added).predict())
    if not found:
        return Check("data processing", True, "not tried: both sides are categories")
    passed = all(one.agrees(whole) for one in found)
    shown = ", ".join(f"{scale * one.mean:.3g} [{scale * one.low:.3g}, {scale * one.high:.3g}]" for one in found)
    return Check(
        "data processing",
        passed,
        f"with a function of a column beside it {shown} {units}, expected {scale * whole.mean:.3g}",
    )


def _folded(column: Column) -> Column:
    """A function of a column that cannot be undone: the distance from its median."""
    return Column(f"{column.name} folded", np.abs(column.values - np.median(column.values)), False)


def _additivity(
    points: _Points, whole: _Predicted, generator: np.random.Generator, scale: float, units: Units
) -> Check:
    """Each point beside another one: twice the information, as far as points are independent."""
    half = len(points) // 2
    order = generator.permutation(len(points))
    first, second = points.at(order[:half]), points.at(order[half : 2 * half])
    both = first.beside(second).predict()
    twice = _Predicted(2 * whole.mean, 2 * whole.low, 2 * whole.high)
    shown = f"{scale * both.mean:.3g} [{scale * both.low:.3g}, {scale * both.high:.3g}] {units}"
    told = f"two copies side by side {shown}, expected {scale * twice.mean:.3g}"
    return Check("additivity", both.agrees(twice), told)


def _independent_points(points: _Points) -> Check:
    """Serial correlation of both sides: ρx·ρy at lag 1 leaves n(1 - ρxρy)/(1 + ρxρy) points' worth (Bartlett 1935).

    Columns that the rows are sorted by say nothing of it.
    """
    from scipy.stats import rankdata  # dear to import: when it is needed

    largest, is_sorted = [], False
    for side in (points.x, points.y):
        found = [0.0]
        for column in side:
            values = rankdata(column.values)
            steps = np.diff(values)
            if column.is_category or values[:-1].std() == 0 or values[1:].std() == 0:
                continue
            if (steps >= 0).all() or (steps <= 0).all():
                is_sorted = True
                continue
            found.append(abs(float(np.corrcoef(values[:-1], values[1:])[0, 1])))
        largest.append(max(found))
    product = largest[0] * largest[1]
    worth = len(points) * (1 - product) / (1 + product)
    shown = f"{largest[0]:.2f} in x, {largest[1]:.2f} in y"
    told = f"largest correlation of a column with its next point {shown}: worth about {worth:,.0f} of {len(points):,}"
    if is_sorted:
        told += "; the rows are sorted by a column, which is left out here"
    return Check("independent points", product <= _SERIAL, told)
