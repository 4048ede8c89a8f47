"""Are the intervals true, whatever n and dims? `python -m mist.evaluation.coverage`

As many dependent data sets of the training law in every bin of n and dims as asked: coverage of central intervals bin
by bin, and histograms of the probability integral transform (PIT). Independent data sets come as often as the law has
them and are reported apart: 0 nats is an atom, which every interval that begins there holds.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_gen.meta_distribution import MetaDistribution
from data_gen.stream import EVALUATION_SEED
from mist.evaluation.command import command_parser, run_command
from mist.evaluation.even import even_batches
from mist.evaluation.metrics import interval_covers, probability_integral_transform
from mist.evaluation.prediction import Records, evaluate_network
from mist.evaluation.report import format_coverage_grid
from mist.evaluation.suites import Dataset
from mist.evaluation.summary import NUM_POINTS_BINS, coverage_grid
from mist.inference import Estimator

__all__ = ["even_records", "main", "plot_transforms"]

_HISTOGRAM = 20


def even_records(
    network: Any, law: MetaDistribution, per_bin: int, seed: int = 0, progress: Callable[[str], None] | None = None
) -> Records:
    """Predictions on `per_bin` data sets of MI above 0 in every bin of n and dims that the law reaches, and on the
    independent ones that came with them (`mist.evaluation.even`)."""
    parts: list[Records] = []
    for batch in even_batches(law, per_bin, EVALUATION_SEED + seed, progress):
        marks = [tuple(groups.tolist()) if groups.any() else () for groups in (batch.groups_x, batch.groups_y)]
        datasets = [
            Dataset("law", batch.family[i], batch.x[i].numpy(), batch.y[i].numpy(), float(batch.mi[i]), *marks)
            for i in (batch.weight > 0).nonzero().flatten().tolist()
        ]
        parts.append(evaluate_network(network, datasets))
    return Records.concatenate(parts)


def format_independent(records: Records) -> str:
    """Coverage of the data sets whose MI is exactly 0, and of the others, in per cent."""
    lines = []
    for name, mask in (("MI = 0", records.mi == 0), ("MI > 0", records.mi > 0)):
        rows = records.select(mask)
        found = ", ".join(
            f"{np.mean(interval_covers(rows.levels, rows.quantiles, rows.mi, level)):.1%} of {level:.0%}"
            for level in (0.5, 0.8, 0.9, 0.95)
        )
        lines.append(f"  {name}, {len(rows):,} data sets: intervals hold {found}")
    return "\n".join(lines)


def plot_transforms(records: Records, path: Path, title: str, seed: int = 0) -> None:
    """Histograms of the PIT of each bin of n; independent data sets apart, randomised at their atom."""
    from matplotlib.figure import Figure

    transforms = probability_integral_transform(
        records.levels, records.quantiles, records.mi, np.random.default_rng([EVALUATION_SEED, seed])
    )
    panels = [("MI = 0", records.mi == 0)]
    panels += [
        (name, (records.mi > 0) & (records.num_points >= low) & (records.num_points < high))
        for name, low, high in NUM_POINTS_BINS[1:]
    ]
    figure = Figure(figsize=(13, 2.9), layout="constrained")
    for axes, (name, mask) in zip(figure.subplots(1, len(panels), sharey=True), panels, strict=True):
        count = int(mask.sum())
        density = 1 / _HISTOGRAM
        spread = 1.96 * np.sqrt(density * (1 - density) / max(count, 1)) / density  # of a bin of a uniform law
        axes.axhspan(1 - spread, 1 + spread, color="tab:gray", alpha=0.35)
        axes.axhline(1, color="black", linewidth=0.8)
        heights = np.histogram(transforms[mask], bins=_HISTOGRAM, range=(0, 1))[0] * _HISTOGRAM / max(count, 1)
        axes.stairs(heights, np.linspace(0, 1, _HISTOGRAM + 1), fill=True, alpha=0.6)
        axes.set_title(f"{name} ({count:,})", fontsize=9)
        axes.set_xlabel("PIT")
    figure.suptitle(title, fontsize=10)
    figure.savefig(path, dpi=130)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the tables; 0, or 2 for what cannot be used."""
    parser = command_parser("mist.evaluation.coverage", __doc__)
    parser.add_argument("--per-bin", type=int, default=2000, help="data sets in every bin of n and dims")
    parser.add_argument("--no-calibration", action="store_true", help="the network's own quantiles, not recalibrated")
    parser.add_argument("--out", type=Path, help="write a picture of the PIT there (needs matplotlib)")
    return run_command(parser, argv, {"per_bin": 8}, _measure)


def _measure(estimator: Estimator, arguments: argparse.Namespace) -> None:
    law = MetaDistribution.from_dict(estimator.config["meta_distribution"])
    progress = (lambda text: print(f"\r{text}   ", end="", file=sys.stderr)) if sys.stderr.isatty() else None
    records = even_records(estimator.network, law, arguments.per_bin, arguments.seed, progress)
    print(format_coverage_grid(coverage_grid(records.select(records.mi > 0))))
    print(format_independent(records))
    if arguments.out is not None:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        plot_transforms(records, arguments.out, estimator.checkpoint.label, arguments.seed)
        print(f"wrote {arguments.out}")


if __name__ == "__main__":
    sys.exit(main())
