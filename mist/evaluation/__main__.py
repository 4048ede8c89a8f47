"""The report of a checkpoint: `python -m mist.evaluation`, also `mist-mi benchmark`."""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import sys
import time
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

import mist
from data_gen.meta_distribution import MetaDistribution
from mist.errors import CheckpointError
from mist.evaluation.prediction import Records, evaluate_network
from mist.evaluation.report import (
    format_against,
    format_coverage_grid,
    format_false_alarms,
    format_table,
    write_report,
)
from mist.evaluation.suites import SUITES, Dataset, build_suite, read_shards
from mist.evaluation.summary import Summary, coverage_grid, summarise_cells

__all__ = ["main"]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m mist.evaluation",
        description="Measure a checkpoint against known mutual information, beside KSG and Gaussian (CCA) estimates.",
    )
    parser.add_argument("--checkpoint", default="default", help="name or path of a checkpoint (default: default)")
    parser.add_argument(
        "--suite",
        action="append",
        choices=[*SUITES, "all"],
        help="suite to run, may be repeated (default: core, data sets of the law the checkpoint was trained on)",
    )
    parser.add_argument(
        "--data", type=Path, help="folder with mist_imd.npz, mist_oomd.npz, bmi40_10k.npz to read instead of drawing"
    )
    parser.add_argument("--shards", type=Path, help="folder of a meta-dataset to evaluate on, too (2,000 data sets)")
    parser.add_argument("--num-datasets", type=int, help="data sets per suite (bmi-40: per n)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the suites that are drawn (default: 0)")
    parser.add_argument(
        "--out", type=Path, help="folder for datasets.csv, summary.csv and the pictures (default: reports/CHECKPOINT)"
    )
    parser.add_argument("--no-calibration", action="store_true", help="the network's own quantiles, not recalibrated")
    parser.add_argument("--no-baselines", action="store_true", help="leave KSG and CCA out")
    parser.add_argument("--no-plots", action="store_true", help="write no pictures (they need matplotlib)")
    parser.add_argument("--threads", type=int, help="threads of torch (default: torch's own choice)")
    parser.add_argument(
        "--latency", action="store_true", help="measure time and memory of single estimates instead, on one thread"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0 on success, 2 where the arguments, files or checkpoint cannot be used."""
    arguments = _parser().parse_args(argv)
    if arguments.num_datasets is not None and arguments.num_datasets < 1:
        print(f"got --num-datasets {arguments.num_datasets}, expected at least 1", file=sys.stderr)
        return 2
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    try:
        if arguments.latency:
            from mist.evaluation.latency import format_latency

            print(format_latency(arguments.checkpoint))
            return 0
        if not arguments.no_plots and importlib.util.find_spec("matplotlib") is None:
            raise ValueError("matplotlib is missing: pip install 'mist-mi[plot]', or pass --no-plots")
        estimator = mist.load(arguments.checkpoint, calibrated=not arguments.no_calibration)
        chosen = arguments.suite or ([] if arguments.shards else ["core"])
        suites = list(SUITES) if "all" in chosen else list(dict.fromkeys(chosen))
        parts = []
        for name in [*suites, *(["shards"] if arguments.shards else [])]:
            if name == "shards":
                datasets = read_shards(arguments.shards, arguments.num_datasets)
            else:
                law = MetaDistribution.from_dict(estimator.config["meta_distribution"]) if name == "core" else None
                datasets = build_suite(
                    name, data=arguments.data, num_datasets=arguments.num_datasets, seed=arguments.seed, meta=law
                )
            records, seconds = _evaluate(estimator.network, datasets, not arguments.no_baselines)
            _print_suite(records, estimator.checkpoint.label, seconds)
            parts.append(records)
        records = Records.concatenate(parts)
        if {"mist-imd", "mist-oomd"} <= set(suites):
            print(format_table(_pooled(records)), end="\n\n")
        label = estimator.checkpoint.label
        out = arguments.out or Path("reports") / label.replace("@", "-")
        for path in write_report(records, out, label, plots=not arguments.no_plots):
            print(f"wrote {path}")
    except (CheckpointError, OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _pooled(records: Records) -> list[Summary]:
    """Both suites of the MIST configurations taken together, by n."""
    both = records.select(np.isin(records.suite, ["mist-imd", "mist-oomd"]))
    both = dataclasses.replace(both, suite=np.full(len(both), "mist-imd + mist-oomd"))
    return [summary for summary in summarise_cells(both) if summary.cell == "all" or summary.cell.startswith("n ")]


def _evaluate(network: torch.nn.Module, datasets: list[Dataset], baselines: bool) -> tuple[Records, float]:
    start = time.perf_counter()
    progress = _counter(len(datasets)) if sys.stderr.isatty() else None
    records = evaluate_network(network, datasets, progress=progress)
    seconds = time.perf_counter() - start
    if baselines:
        records = records.with_baselines(datasets)
    return records, seconds


def _counter(total: int) -> Callable[[int], None]:
    return lambda done: print(f"\r{done}/{total} data sets", end="\n" if done == total else "", file=sys.stderr)


def _print_suite(records: Records, label: str, seconds: float) -> None:
    print(f"{label}: {len(records)} data sets in {seconds:.1f} s ({len(records) / seconds:.0f} data sets/s)")
    print(format_table(summarise_cells(records)))
    if records.suite[0] == "independence":
        print(format_false_alarms(records))
    if records.suite[0] == "core":
        print(format_coverage_grid(coverage_grid(records)))
    if records.suite[0] == "bivariate" and records.baselines:
        print(format_against(records, "ksg_3"))
    print(flush=True)


if __name__ == "__main__":
    sys.exit(main())
