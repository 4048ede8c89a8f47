"""What an evaluation prints and writes: tables, CSV files and two pictures."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mist.evaluation.metrics import crps, interpolate, mean_and_standard_error, wilson_interval
from mist.evaluation.prediction import Records
from mist.evaluation.summary import COVERAGES, Summary, false_alarms, summarise_cells

__all__ = [
    "format_against",
    "format_coverage_grid",
    "format_false_alarms",
    "format_table",
    "plot_calibration",
    "plot_estimates",
    "write_report",
]

_BASELINE_NAMES = {"ksg": "KSG", "ksg_3": "KSG (k = 3)", "cca": "CCA", "rank_cca": "rank CCA"}


def format_table(summaries: Sequence[Summary]) -> str:
    """A table for the terminal: one line a cell; coverage in per cent, * where the nominal one is outside the band."""
    baselines = list(summaries[0].baseline_mse) if summaries else []
    head = ["cell", "data sets", "MSE of mean", "MAE of median", "CRPS", "bias"]
    head += [f"{probability:.0%}" for probability in COVERAGES]
    head += [f"{_BASELINE_NAMES.get(name, name)} MSE" for name in baselines]
    lines = []
    for suite in dict.fromkeys(summary.suite for summary in summaries):
        table = [head]
        for summary in (s for s in summaries if s.suite == suite):
            row = [summary.cell.split(" | ")[0], str(summary.count)]
            row += [str(value) for value in (summary.mse, summary.mae, summary.crps, summary.bias)]
            row += [
                f"{100 * c.observed:.1f} ± {50 * (c.high - c.low):.1f}{' ' if c.agrees else '*'}"
                for c in summary.coverage
            ]
            for name in baselines:
                value = summary.baseline_mse[name]
                partial = f" ({value.count})" if value.count < summary.count else ""
                row.append(f"{value}{partial}" if value.count else "undefined")
            table.append(row)
        widths = [max(len(row[i]) for row in table) for i in range(len(head))]
        lines.append(f"{suite}")
        for row in table:
            cells = [
                row[0].ljust(widths[0]),
                *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
            ]
            lines.append("  " + "  ".join(cells))
        lines.append("")
    lines.append(
        "MSE in nats², the rest in nats; ± standard error; coverage of the true MI by central intervals in per cent "
        "± half its 95 % Wilson interval, * where the nominal coverage lies outside the 95 % binomial band"
    )
    if baselines:
        lines.append(
            "KSG: k = 5, maximum norm, standardised columns (past 10, 1,000 query points), and k = 3 up to 4 columns; "
            "CCA: bias-corrected Gaussian MI, set to 0 below; "
            "(count) where a baseline is defined on fewer data sets: CCA needs n > dim_x + dim_y"
        )
    return "\n".join(lines)


def format_coverage_grid(summaries: Sequence[Summary]) -> str:
    """Bins of n and dims: coverage in per cent, * where the nominal one is outside the 95 % binomial band, and in how
    many it is inside."""
    lines = ["n by dims: " + ", ".join(f"{nominal:.0%}" for nominal in COVERAGES) + " intervals hold the truth in"]
    for summary in summaries:
        found = "  ".join(f"{100 * c.observed:5.1f}{' ' if c.agrees else '*'}" for c in summary.coverage)
        lines.append(f"  {summary.cell:<24}{summary.count:>7} data sets  {found}")
    inside = [c.agrees for summary in summaries for c in summary.coverage]
    lines.append(f"  {sum(inside)} of {len(inside)} inside their band ({np.mean(inside):.0%})")
    return "\n".join(lines)


def format_against(records: Records, baseline: str) -> str:
    """MAE in nats of the median and of a baseline, family by family at each n, ± standard error of their difference;
    * where the network's is larger by more than two of these."""
    sizes = np.unique(records.num_points).tolist()
    median = interpolate(records.levels, records.quantiles, 0.5)
    own, other = np.abs(median - records.mi), np.abs(records.baselines[baseline] - records.mi)
    name = _BASELINE_NAMES.get(baseline, baseline)
    lines = [f"{f'MAE, {name}':<18}" + "".join(f"{f'n = {size:,}':>30}" for size in sizes)]
    for family in dict.fromkeys(records.family.tolist()):
        row = f"{family:<18}"
        for size in sizes:
            mask = (records.family == family) & (records.num_points == size)
            more, error, _ = mean_and_standard_error((own - other)[mask])
            worse = "*" if more > 2 * error else " "
            row += f"{f'{own[mask].mean():.4f}, {other[mask].mean():.4f} ± {error:.4f}{worse}':>30}"
        lines.append(row)
    return "\n".join(lines)


def format_false_alarms(records: Records) -> str:
    """How often the 90 % interval of independent samples starts above a threshold."""
    parts = [
        f"{name} nats: {100 * share:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"
        for name, share, low, high in false_alarms(records)
    ]
    return "lower end of the 90 % interval of independent samples " + "; ".join(parts)


def write_report(records: Records, folder: str | Path, title: str = "", *, plots: bool = True) -> list[Path]:
    """Write datasets.csv, summary.csv and, per suite, a picture of estimates and one of calibration; their paths."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / "datasets.csv", folder / "summary.csv"]
    _write_rows(written[0], _dataset_rows(records))
    _write_rows(written[1], [_summary_row(summary) for summary in summarise_cells(records)])
    if plots:
        for suite in dict.fromkeys(records.suite.tolist()):
            rows = records.select(records.suite == suite)
            heading = f"{suite}, {title}" if title else str(suite)
            for name, plot in (("estimates", plot_estimates), ("calibration", plot_calibration)):
                written.append(folder / f"{suite}_{name}.png")
                plot(rows, written[-1], heading)
    return written


def _write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _dataset_rows(records: Records) -> list[dict[str, Any]]:
    columns: dict[str, Any] = {
        name: getattr(records, name) for name in ("suite", "family", "num_points", "dim_x", "dim_y", "mi")
    }
    columns["mean"] = records.quantiles.mean(axis=1)
    columns["median"] = interpolate(records.levels, records.quantiles, 0.5)
    for probability in COVERAGES:
        for side, sign in (("low", -1), ("high", 1)):
            columns[f"{side}_{100 * probability:.0f}"] = interpolate(
                records.levels, records.quantiles, (1 + sign * probability) / 2
            )
    columns["crps"] = crps(records.levels, records.quantiles, records.mi)
    columns |= dict(records.baselines)
    plain = {name: values.tolist() for name, values in columns.items()}
    return [dict(zip(plain, values, strict=True)) for values in zip(*plain.values(), strict=True)]


def _summary_row(summary: Summary) -> dict[str, Any]:
    row: dict[str, Any] = {"suite": summary.suite, "cell": summary.cell, "datasets": summary.count}
    for name, value in (
        ("mse_of_mean", summary.mse),
        ("mae_of_median", summary.mae),
        ("crps", summary.crps),
        ("bias", summary.bias),
    ):
        row |= {name: value.mean, f"{name}_se": value.error}
    for coverage in summary.coverage:
        name = f"coverage_{100 * coverage.nominal:.0f}"
        row |= {name: coverage.observed, f"{name}_low": coverage.low, f"{name}_high": coverage.high}
        row[f"{name}_inside_binomial_band"] = "yes" if coverage.agrees else "no"
    for kind, values in (("mse", summary.baseline_mse), ("mae", summary.baseline_mae)):
        for name, value in values.items():
            row |= {
                f"{name}_{kind}": value.mean,
                f"{name}_{kind}_se": value.error,
                f"{name}_{kind}_datasets": value.count,
            }
    return row


def plot_estimates(records: Records, path: Path, title: str) -> None:
    """Estimate against truth with 90 % intervals, both on the scale log(mi + 0.05)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 6.0), layout="constrained")
    axes = figure.add_subplot()
    truth, mean = records.mi, records.quantiles.mean(axis=1)
    low, high = (interpolate(records.levels, records.quantiles, tau) for tau in (0.05, 0.95))
    forward, backward = (lambda v: np.log(np.maximum(v, 0) + 0.05)), (lambda v: np.exp(v) - 0.05)
    for scale in (axes.set_xscale, axes.set_yscale):
        scale("function", functions=(forward, backward))
    axes.vlines(truth, low, high, color="tab:blue", alpha=0.25, linewidth=0.8)
    drawn = axes.scatter(truth, mean, c=np.log10(records.num_points), s=9, cmap="viridis", zorder=3)
    top = max(float(truth.max()), float(np.nanmax(high)), 0.1)
    axes.plot([0, top], [0, top], color="black", linewidth=0.8)
    ticks = [t for t in (0, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50) if t <= top]
    axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
    axes.set_yticks(ticks, [f"{t:g}" for t in ticks])
    axes.set_xlabel("true mutual information (nats)")
    axes.set_ylabel("estimate and 90 % interval (nats)")
    axes.set_title(title, fontsize=10)
    figure.colorbar(drawn, label="log10 n")
    figure.savefig(path, dpi=130)


def plot_calibration(records: Records, path: Path, title: str) -> None:
    """Observed against nominal coverage of central intervals, with 95 % Wilson bands."""
    from matplotlib.figure import Figure

    levels = records.levels
    widest = min(1 - 2 * levels[0], 2 * levels[-1] - 1)
    nominal = np.linspace(0.02, widest, 40)
    observed, low, high = [], [], []
    for probability in nominal:
        below, above = (interpolate(levels, records.quantiles, (1 + s * probability) / 2) for s in (-1, 1))
        inside = float(((below <= records.mi) & (records.mi <= above)).sum())
        observed.append(inside / len(records))
        ends = wilson_interval(inside, len(records))
        low.append(ends[0])
        high.append(ends[1])
    figure = Figure(figsize=(5.2, 5.0), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="black", linewidth=0.8)
    axes.fill_between(nominal, low, high, alpha=0.25, label="95 % binomial band")
    axes.plot(nominal, observed, label=f"{len(records)} data sets")
    axes.set_xlabel("nominal probability of the central interval")
    axes.set_ylabel("share that holds the true MI")
    axes.set_title(title, fontsize=10)
    axes.legend()
    figure.savefig(path, dpi=130)
