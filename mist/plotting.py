"""Pictures of estimates; matplotlib is imported when one is drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mist.errors import InputError

if TYPE_CHECKING:
    from mist.reliability import Reliability
    from mist.result import MIEstimate
    from mist.screening import PairwiseMI, RelevanceMI

__all__ = ["clustered_order", "plot_estimate", "plot_pairwise", "plot_relevance", "plot_reliability"]

_WRITTEN = 12  # variables up to which a heat map has its numbers written in
_BARS = 40  # of the most informative variables


def _axes(ax: Any, size: tuple[float, float]) -> Any:
    if ax is not None:
        return ax
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise InputError("matplotlib is missing: pip install 'mist-mi[plot]'") from error
    return Figure(figsize=size, layout="constrained").add_subplot()


def plot_estimate(estimate: MIEstimate, ax: Any = None) -> Any:
    """The predicted distribution: probability between quantiles over their distance, 90 % interval, mean."""
    axes = _axes(ax, (5.6, 3.2))
    levels, quantiles = np.array(estimate.levels), np.array(estimate.quantiles)
    edges = quantiles[::5] if len(quantiles) >= 30 else quantiles  # of steps wide enough to be read
    mass = np.diff(levels[::5] if len(quantiles) >= 30 else levels)
    width = np.diff(edges)
    wide = width > 1e-9 * max(1.0, float(edges[-1]))
    density = np.where(wide, mass / np.where(wide, width, 1.0), 0.0)
    axes.stairs(density, edges, fill=True, alpha=0.4, color="tab:blue")
    low, high = estimate.interval(min(0.9, float(levels[-1] - levels[0])))
    axes.axvspan(low, high, color="tab:blue", alpha=0.12, label=f"90 % interval {low:.3g} to {high:.3g}")
    axes.axvline(estimate.mi, color="black", linewidth=1, label=f"mean {estimate.mi:.3g}")
    atom = float(levels[quantiles <= 0].max()) if (quantiles <= 0).any() else 0.0
    if atom > 0:
        axes.plot([0], [0], marker="^", color="tab:red", clip_on=False, label=f"exactly 0: {atom:.0%}")
    axes.set_xlabel(f"mutual information ({estimate.units})")
    axes.set_ylabel("predicted density")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8)
    return axes


def clustered_order(similarity: np.ndarray) -> np.ndarray:
    """An order of the variables in which alike ones stand together (average linkage, optimal leaf order)."""
    from scipy.cluster.hierarchy import leaves_list, linkage, optimal_leaf_ordering
    from scipy.spatial.distance import squareform

    if len(similarity) < 3:
        return np.arange(len(similarity))
    distance = 1 - np.nan_to_num(similarity)
    np.fill_diagonal(distance, 0.0)
    condensed = squareform((distance + distance.T) / 2, checks=False)
    return np.asarray(leaves_list(optimal_leaf_ordering(linkage(condensed, "average"), condensed)))


def plot_pairwise(found: PairwiseMI, ax: Any = None) -> Any:
    """A heat map of informational correlations, clustered; MI and interval are written in where they are few."""
    count = len(found.names)
    size = min(12.0, 2.5 + 0.55 * count) if count <= _WRITTEN else 9.0
    axes = _axes(ax, (size + 1, size))
    order = clustered_order(found.normalized)
    shown = found.normalized[np.ix_(order, order)]
    image = axes.imshow(shown, vmin=0, vmax=1, cmap="viridis")
    names = [found.names[i] for i in order]
    step = max(1, count // 60)
    places = list(range(0, count, step))
    axes.set_xticks(places, [names[i] for i in places], rotation=90, fontsize=8)
    axes.set_yticks(places, [names[i] for i in places], fontsize=8)
    if count <= _WRITTEN:
        for row, i in enumerate(order):
            for column, j in enumerate(order):
                if i != j and np.isfinite(found.mi[i, j]):
                    text = f"{found.mi[i, j]:.2f}\n[{found.low[i, j]:.2f}, {found.high[i, j]:.2f}]"
                    colour = "white" if shown[row, column] < 0.6 else "black"
                    axes.text(column, row, text, ha="center", va="center", fontsize=6, color=colour)
    label = f"√(1 - exp(-2 MI)); written: MI and {found.level:.0%} interval ({found.units})"
    axes.figure.colorbar(image, ax=axes, label=label if count <= _WRITTEN else "√(1 - exp(-2 MI))")
    return axes


def plot_relevance(found: RelevanceMI, ax: Any = None) -> Any:
    """Bars with intervals, the most informative first."""
    order = np.argsort(np.where(np.isnan(found.mi), np.inf, -found.mi), kind="stable")[:_BARS]
    axes = _axes(ax, (6.4, 1.2 + 0.26 * len(order)))
    mi, low, high = (np.nan_to_num(values[order]) for values in (found.mi, found.low, found.high))
    ends = np.clip(np.stack([mi - low, high - mi]), 0, None)  # a mean may lie outside a narrow interval
    axes.barh(np.arange(len(order)), mi, xerr=ends, color="tab:blue", alpha=0.7, error_kw={"linewidth": 1})
    axes.set_yticks(np.arange(len(order)), [found.names[i] for i in order], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel(f"MI with {found.target} ({found.units}), {found.level:.0%} interval")
    return axes


def plot_reliability(found: Reliability, ax: Any = None) -> Any:
    """Mean estimates of disjoint parts against 1/N, the line through them to 1/N = 0, the interval of all points."""
    axes = _axes(ax, (6.4, 4.2))
    inverse = 1 / found.sizes
    low, high = found.estimate.interval(0.9)
    axes.axhspan(low, high, color="tab:blue", alpha=0.12, label="90 % interval of all points")
    axes.errorbar(inverse, found.means, yerr=np.nan_to_num(found.errors), fmt="o", label="mean of disjoint parts")
    value, error = found.extrapolated
    ends = np.array([0, inverse.max()])
    axes.plot(ends, value + found.slope * ends, color="tab:gray", linestyle="--")
    axes.errorbar([0], [value], yerr=[np.nan_to_num(error)], fmt="D", color="black", label="extrapolated")
    axes.set_xticks([0, *inverse], ["1/∞", *(f"1/{size:,}" for size in found.sizes)], rotation=45, fontsize=8)
    axes.set_ylabel(f"mutual information ({found.units})")
    failed = [check.name for check in found.checks if not check.passed]
    title = f"failed: {', '.join(failed)}" if failed else "all checks passed"
    axes.set_title(title, fontsize=10, color="tab:red" if failed else "black")
    axes.legend(fontsize=8)
    return axes
