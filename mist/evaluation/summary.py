"""Records in cells: errors, scores and coverage of each, with their standard errors."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mist.evaluation.metrics import (
    coverage_agrees,
    crps,
    interpolate,
    interval_covers,
    mean_and_standard_error,
    wilson_interval,
)
from mist.evaluation.prediction import Records

__all__ = [
    "COVERAGES",
    "Coverage",
    "Measured",
    "Summary",
    "cells",
    "coverage_grid",
    "false_alarms",
    "summarise",
    "summarise_cells",
]

COVERAGES = (0.5, 0.8, 0.9, 0.95)
NUM_POINTS_BINS: tuple[tuple[str, float, float], ...] = (
    ("n = 10", 10, 11),
    ("n 10-100", 0, 100),
    ("n 100-300", 100, 300),
    ("n 300-500", 300, 501),
    ("n > 500", 501, np.inf),
)
DIM_BINS: tuple[tuple[str, float, float], ...] = (
    ("dims 2", 2, 3),
    ("dims 3-8", 3, 9),
    ("dims 9-32", 9, 33),
    ("dims 33-64", 33, 65),
    ("dims > 64", 65, np.inf),
)


@dataclass(frozen=True)
class Measured:
    """A mean, its standard error, and over how many data sets."""

    mean: float
    error: float
    count: int

    def __str__(self) -> str:
        """The mean to the second digit of its standard error."""
        if not self.error > 0:
            return f"{self.mean:.3g} ± {self.error:.1g}"
        decimals = max(0, 1 - math.floor(math.log10(self.error)))
        return f"{self.mean:.{decimals}f} ± {self.error:.{decimals}f}"


@dataclass(frozen=True)
class Coverage:
    """Observed coverage of a central interval of the true MI, its 95 % Wilson interval, and whether they agree."""

    nominal: float
    observed: float
    low: float
    high: float
    agrees: bool


@dataclass(frozen=True)
class Summary:
    """One cell: MSE of the mean (nats²), MAE of the median, CRPS and bias of the mean (nats), coverage, baselines."""

    suite: str
    cell: str
    count: int
    mse: Measured
    mae: Measured
    crps: Measured
    bias: Measured
    coverage: tuple[Coverage, ...]
    baseline_mse: dict[str, Measured]  # over the data sets where the baseline is defined
    baseline_mae: dict[str, Measured]


def cells(records: Records) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Named masks: all, by n, by dims (dim_x + dim_y), by family; empty cells are left out."""
    everything = np.ones(len(records), dtype=bool)
    yield "all", everything
    dim = records.dim_x + records.dim_y
    for values, bins in ((records.num_points, NUM_POINTS_BINS), (dim, DIM_BINS)):
        for name, low, high in bins:
            mask = (values >= low) & (values < high)
            if mask.any() and (not mask.all() or name == "n = 10"):
                yield name, mask
    for family in dict.fromkeys(records.family.tolist()):
        yield str(family), records.family == family


def summarise(records: Records, suite: str, cell: str) -> Summary:
    """Everything that is measured on the given records together."""
    levels, quantiles, truth = records.levels, records.quantiles, records.mi
    error = quantiles.mean(axis=1) - truth
    coverage = []
    for nominal in COVERAGES:
        inside = interval_covers(levels, quantiles, truth, nominal)
        inside = inside[np.isfinite(inside)]
        low, high = wilson_interval(float(inside.sum()), len(inside))
        coverage.append(
            Coverage(
                nominal,
                float(inside.mean()) if len(inside) else float("nan"),
                low,
                high,
                coverage_agrees(float(inside.sum()), len(inside), nominal),
            )
        )
    baseline_errors = {name: values - truth for name, values in records.baselines.items()}
    return Summary(
        suite=suite,
        cell=cell,
        count=len(records),
        mse=Measured(*mean_and_standard_error(error**2)),
        mae=Measured(*mean_and_standard_error(np.abs(interpolate(levels, quantiles, 0.5) - truth))),
        crps=Measured(*mean_and_standard_error(crps(levels, quantiles, truth))),
        bias=Measured(*mean_and_standard_error(error)),
        coverage=tuple(coverage),
        baseline_mse={k: Measured(*mean_and_standard_error(v**2)) for k, v in baseline_errors.items()},
        baseline_mae={k: Measured(*mean_and_standard_error(np.abs(v))) for k, v in baseline_errors.items()},
    )


def summarise_cells(records: Records) -> list[Summary]:
    """Summaries of every cell of every suite; bmi-40 also by exact n."""
    out = []
    for suite in dict.fromkeys(records.suite.tolist()):
        rows = records.select(records.suite == suite)
        named = list(cells(rows))
        if suite == "bmi-40":
            sizes = np.unique(rows.num_points)
            named[1:1] = [(f"n = {size:,}", rows.num_points == size) for size in sizes]
        out += [summarise(rows.select(mask), str(suite), name) for name, mask in named]
    return out


def coverage_grid(records: Records) -> list[Summary]:
    """Summaries of every n × dims bin that holds some, named "n 10-100, dims 9-32"."""
    dim = records.dim_x + records.dim_y
    out = []
    for name, low, high in NUM_POINTS_BINS[1:]:
        for dims, least, most in DIM_BINS:
            mask = (records.num_points >= low) & (records.num_points < high) & (dim >= least) & (dim < most)
            if mask.any():
                out.append(summarise(records.select(mask), "n by dims", f"{name}, {dims}"))
    return out


def false_alarms(records: Records, probability: float = 0.9) -> list[tuple[str, float, float, float]]:
    """Of independent samples, lower ends above 0, .005, .01 and .05 nats: (threshold, share, Wilson ends)."""
    independent = records.select(records.mi == 0.0)
    low = interpolate(independent.levels, independent.quantiles, (1 - probability) / 2)
    out = []
    for threshold in (0.0, 0.005, 0.01, 0.05):
        alarms = float((low > threshold).sum())
        share = alarms / len(low) if len(low) else float("nan")
        out.append((f"> {threshold:g}", share, *wilson_interval(alarms, len(low))))
    return out
