"""Pure functions of predicted quantiles and true values: pinball loss, CRPS, coverage, standard errors.

Letters: R data sets, Q levels. Information in nats.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mist.quantiles import interpolate_quantiles

__all__ = [
    "coverage_agrees",
    "crps",
    "interpolate",
    "interval_covers",
    "level_weights",
    "mean_and_standard_error",
    "pinball_loss",
    "probability_integral_transform",
    "wilson_interval",
]

Array = NDArray[np.float64]
_Z95 = 1.959963984540054


def pinball_loss(levels: ArrayLike, quantiles: ArrayLike, truth: ArrayLike) -> Array:
    """Pinball loss at every level: levels (Q,), quantiles (R, Q), truth (R,) -> (R, Q). Koenker & Bassett (1978)."""
    error = np.asarray(truth, dtype=np.float64)[:, None] - np.asarray(quantiles, dtype=np.float64)
    tau = np.asarray(levels, dtype=np.float64)
    return np.maximum(tau * error, (tau - 1) * error)


def level_weights(levels: ArrayLike) -> Array:
    """The part of (0, 1) nearest to each level, (Q,) -> (Q,); equal parts for levels (i + ½)/Q."""
    tau = np.asarray(levels, dtype=np.float64)
    return np.diff(np.concatenate([[0.0], (tau[1:] + tau[:-1]) / 2, [1.0]]))


def crps(levels: ArrayLike, quantiles: ArrayLike, truth: ArrayLike) -> Array:
    """Continuous ranked probability score, (R,): 2 ∫ pinball dτ by the midpoint rule over the grid.

    Gneiting & Raftery (2007), Eq. 20, with the quantile decomposition of Laio & Tamea (2007).
    """
    return np.asarray(2 * pinball_loss(levels, quantiles, truth) @ level_weights(levels))


def interpolate(levels: ArrayLike, quantiles: ArrayLike, tau: float) -> Array:
    """Predicted quantile at level tau, linear between the grid's levels, (R,); NaN outside the grid."""
    grid = np.asarray(levels, dtype=np.float64)
    if not grid[0] - 1e-12 <= tau <= grid[-1] + 1e-12:
        return np.full(len(np.asarray(quantiles)), np.nan)
    return interpolate_quantiles(grid.tolist(), quantiles, tau)


def interval_covers(levels: ArrayLike, quantiles: ArrayLike, truth: ArrayLike, probability: float) -> Array:
    """1.0 where the central interval of that probability holds the truth, else 0.0, (R,); NaN outside the grid."""
    low = interpolate(levels, quantiles, (1 - probability) / 2)
    high = interpolate(levels, quantiles, (1 + probability) / 2)
    true = np.asarray(truth, dtype=np.float64)
    inside = ((low <= true) & (true <= high)).astype(np.float64)
    return np.where(np.isnan(low) | np.isnan(high), np.nan, inside)


def probability_integral_transform(
    levels: ArrayLike, quantiles: ArrayLike, truth: ArrayLike, generator: np.random.Generator
) -> Array:
    """Level at which each truth stands in its prediction, (R,): uniform on (0, 1) for calibrated ones. Dawid (1984).

    Where the prediction has an atom, as at 0 nats, the level is drawn uniformly from those of the atom (Smith 1985);
    truths beyond the first or last quantile get a uniform level beyond that of it.
    """
    grid = np.concatenate([[0.0], np.asarray(levels, dtype=np.float64), [1.0]])
    table, true = np.asarray(quantiles, dtype=np.float64), np.asarray(truth, dtype=np.float64)
    below, most = (table < true[:, None]).sum(-1), (table <= true[:, None]).sum(-1)  # of Q quantiles
    rows, last = np.arange(len(table)), table.shape[1] - 1
    low, high = table[rows, np.clip(below - 1, 0, last)], table[rows, np.clip(below, 0, last)]
    share = np.where(high > low, (true - low) / np.where(high > low, high - low, 1.0), 0.0)
    between = grid[below] + share * (grid[below + 1] - grid[below])
    start = np.where(true <= 0, 0.0, grid[below + 1])  # nothing lies below 0 nats: its atom begins at level 0
    uniform = generator.uniform(size=len(true))
    end = np.where(most > last, 1.0, grid[most])  # an atom that reaches the last quantile takes what is beyond, too
    atom = start + uniform * (end - start)
    outside = grid[below] + uniform * (grid[below + 1] - grid[below])
    beyond = (below == 0) | (below > last)
    return np.where(most > below, atom, np.where(beyond, outside, between))


def wilson_interval(successes: float, trials: int, z: float = _Z95) -> tuple[float, float]:
    """Confidence interval of a proportion, 95 % unless told otherwise. Wilson (1927); NaN without trials."""
    if trials == 0:
        return math.nan, math.nan
    share = successes / trials
    centre = (share + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z / (1 + z**2 / trials) * math.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def coverage_agrees(successes: float, trials: int, nominal: float) -> bool:
    """Whether the nominal coverage lies in the 95 % Wilson interval of the observed one (the inverted score test)."""
    low, high = wilson_interval(successes, trials)
    return low <= nominal <= high


def mean_and_standard_error(values: ArrayLike) -> tuple[float, float, int]:
    """Mean, its standard error (sample deviation / √count) and count of the finite values; NaN where undefined."""
    finite = np.asarray(values, dtype=np.float64)
    finite = finite[np.isfinite(finite)]
    count = len(finite)
    if count == 0:
        return math.nan, math.nan, 0
    error = float(finite.std(ddof=1) / math.sqrt(count)) if count > 1 else math.nan
    return float(finite.mean()), error, count
