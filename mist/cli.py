"""The console script `mist-mi`: estimate from tables, screen them, describe a checkpoint, run the benchmark."""

from __future__ import annotations

import argparse
import csv
import json
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import mist
from mist.checkpoint import available_checkpoints
from mist.errors import InputError, MISTError, MISTWarning
from mist.screening import PairwiseMI, RelevanceMI
from mist.table_files import MISSING, read_columns, read_table

__all__ = ["main"]

_ESTIMATE_EXAMPLE = """example:
  mist-mi estimate data.csv --x age,bmi --y progression --units bits --level 0.9

The file has a header line. Empty cells, NA and NaN are missing values (see --nan-policy)."""

_PAIRWISE_EXAMPLE = """examples:
  mist-mi pairwise data.csv
  mist-mi pairwise data.parquet --columns age,bmi,sex --category sex --format json
  mist-mi pairwise data.csv --plot pairs.png > pairs.csv

Columns of text are unordered categories. Missing cells leave out the point in their pairs alone (see --nan-policy)."""

_RELEVANCE_EXAMPLE = """example:
  mist-mi relevance data.csv --y progression --top 10

Every other column against the target, the most informative first."""

_INFO_EXAMPLE = """example:
  mist-mi info default"""

_BENCHMARK_EXAMPLE = """example:
  mist-mi benchmark --suite core"""

_EPILOG = """examples:
  mist-mi estimate data.csv --x age,bmi --y progression
  mist-mi pairwise data.csv --plot pairs.png
  mist-mi relevance data.csv --y progression
  mist-mi info
  mist-mi benchmark --suite core"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (None: that of the process); 0 on success, 2 where the user can mend something."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["benchmark"]:  # its options are those of python -m mist.evaluation
        return _benchmark(arguments[1:])
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except (MISTError, OSError) as error:
        print(f"mist-mi: error: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="mist-mi", description=mist.__doc__, epilog=_EPILOG, formatter_class=raw)
    parser.add_argument("--version", action="version", version=f"mist-mi {mist.__version__}")
    commands = parser.add_subparsers(metavar="command", required=True)

    estimate = commands.add_parser(
        "estimate",
        help="mutual information between columns of a CSV file",
        description="Mutual information between columns of a CSV file, with an interval.",
        epilog=_ESTIMATE_EXAMPLE,
        formatter_class=raw,
    )
    estimate.add_argument("file", type=Path, help="CSV with a header line (.tsv: separated by tabs)")
    estimate.add_argument("--x", required=True, metavar="A,B", help="columns of X, separated by commas")
    estimate.add_argument("--y", required=True, metavar="C", help="columns of Y")
    estimate.add_argument("--category", default="", metavar="A,C", help="those of them that are unordered categories")
    estimate.add_argument("--units", choices=["nats", "bits"], default="nats")
    estimate.add_argument("--level", type=float, default=0.9, help="probability of the interval (default: %(default)s)")
    estimate.add_argument("--nan-policy", choices=["raise", "omit"], default="raise", help="missing values")
    estimate.add_argument(
        "--on-limit", choices=["raise", "warn", "subsample"], default="warn", help="n or dims outside the trained range"
    )
    estimate.add_argument("--delimiter", default=None, help="column separator (default: a comma; a tab for .tsv)")
    estimate.add_argument("--checkpoint", default="default", help="name or folder (default: %(default)s)")
    estimate.add_argument("--device", default="auto", help="auto, cpu, cuda (default: %(default)s)")
    estimate.add_argument("--json", action="store_true", help="print one JSON object, quantiles included")
    estimate.set_defaults(run=_estimate)

    pairwise = commands.add_parser(
        "pairwise",
        help="mutual information between all pairs of columns",
        description="Mutual information between all pairs of columns of a table, with intervals.",
        epilog=_PAIRWISE_EXAMPLE,
        formatter_class=raw,
    )
    _add_screening(pairwise)
    pairwise.add_argument("--columns", default="", metavar="A,B", help="columns to take (default: all)")
    pairwise.set_defaults(run=_pairwise)

    relevance = commands.add_parser(
        "relevance",
        help="mutual information of every column with a target",
        description="Mutual information of every column of a table with a target, with intervals.",
        epilog=_RELEVANCE_EXAMPLE,
        formatter_class=raw,
    )
    _add_screening(relevance)
    relevance.add_argument("--y", required=True, metavar="C", help="column of the target, or several taken together")
    relevance.add_argument("--columns", default="", metavar="A,B", help="columns to score (default: all others)")
    relevance.set_defaults(run=_relevance)

    info = commands.add_parser(
        "info",
        help="what a checkpoint is and was trained on",
        description="What a checkpoint is and was trained on.",
        epilog=_INFO_EXAMPLE,
        formatter_class=raw,
    )
    info.add_argument("checkpoint", nargs="?", default="default", help="name or folder (default: %(default)s)")
    info.add_argument("--json", action="store_true", help="print config.json")
    info.set_defaults(run=_info)

    commands.add_parser("benchmark", help="the evaluation report of a checkpoint (needs no more than matplotlib)")
    return parser


def _add_screening(parser: argparse.ArgumentParser) -> None:
    """Options of both kinds of screening."""
    parser.add_argument("file", type=Path, help="CSV with a header line (.tsv: separated by tabs), or Parquet")
    parser.add_argument(
        "--category", default="", metavar="A,C", help="columns of numbers that are unordered categories"
    )
    parser.add_argument("--units", choices=["nats", "bits"], default="nats")
    parser.add_argument("--level", type=float, default=0.9, help="probability of the intervals (default: %(default)s)")
    parser.add_argument(
        "--nan-policy", choices=["raise", "omit", "pairwise"], default="pairwise", help="missing values"
    )
    parser.add_argument(
        "--format", choices=["table", "csv", "json"], default=None, help="default: a table for a terminal"
    )
    parser.add_argument("--top", type=int, default=None, help="only so many rows")
    parser.add_argument("--plot", type=Path, default=None, help="write a picture there (needs matplotlib)")
    parser.add_argument("--progress", action="store_true", help="count on standard error")
    parser.add_argument("--delimiter", default=None, help="column separator (default: a comma; a tab for .tsv)")
    parser.add_argument("--checkpoint", default="default", help="name or folder (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda (default: %(default)s)")


def _pairwise(options: argparse.Namespace) -> int:
    table = read_columns(options.file, options.delimiter)
    names = _chosen(options.columns, table, "--columns") if options.columns else list(table)
    categories = _categories(options, table)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MISTWarning)  # printed below
        found = mist.load(options.checkpoint, device=options.device).pairwise(
            {name: _category(table[name]) if name in categories else table[name] for name in names},
            units=options.units,
            level=options.level,
            nan_policy=options.nan_policy,
            progress=options.progress,
        )
    return _print_screened(found, options)


def _relevance(options: argparse.Namespace) -> int:
    table = read_columns(options.file, options.delimiter)
    targets = _chosen(options.y, table, "--y")
    names = _chosen(options.columns, table, "--columns") if options.columns else [n for n in table if n not in targets]
    categories = _categories(options, table)
    table = {name: _category(values) if name in categories else values for name, values in table.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MISTWarning)
        found = mist.load(options.checkpoint, device=options.device).relevance(
            {name: table[name] for name in names},
            {name: table[name] for name in targets},
            units=options.units,
            level=options.level,
            nan_policy=options.nan_policy,
            progress=options.progress,
        )
    return _print_screened(found, options)


def _categories(options: argparse.Namespace, table: Mapping[str, object]) -> list[str]:
    return _chosen(options.category, table, "--category") if options.category else []


def _category(values: NDArray[Any]) -> NDArray[np.object_]:
    """Numbers as names, so that they say no more than equal or different."""
    return np.array(
        [None if value is None or value != value else f"={value}" for value in values.tolist()], dtype=object
    )


def _print_screened(found: PairwiseMI | RelevanceMI, options: argparse.Namespace) -> int:
    rows = found.rows()
    count = len(rows["mi"]) if options.top is None else min(options.top, len(rows["mi"]))
    records = [{name: _plain(values[i]) for name, values in rows.items()} for i in range(max(count, 0))]
    style = options.format or ("table" if sys.stdout.isatty() else "csv")
    if style == "json":
        about = {"units": found.units, "level": found.level, "checkpoint": found.checkpoint}
        print(json.dumps({**about, "warnings": list(found.warnings), "pairs": records}))
    elif style == "csv":
        writer = csv.DictWriter(sys.stdout, fieldnames=list(rows), lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)
    else:
        shown = [[_short(value) for value in record.values()] for record in records]
        widths = [max(len(cells[j]) for cells in [list(rows), *shown]) for j in range(len(rows))]
        for cells in [list(rows), *shown]:
            print("  ".join(cell.ljust(width) for cell, width in zip(cells, widths)).rstrip())
        print(f"{found.units}; {found.level:.0%} intervals; checkpoint {found.checkpoint}")
    for message in found.warnings:
        print(f"mist-mi: warning: {message}", file=sys.stderr)
    if options.plot is not None:
        axes = found.plot()
        axes.figure.savefig(options.plot, dpi=150)
        print(f"mist-mi: wrote {options.plot}", file=sys.stderr)
    return 0


def _plain(value: Any) -> Any:
    """A value for CSV and JSON, None for NaN."""
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and value != value else value


def _short(value: Any) -> str:
    return "" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)


def _estimate(options: argparse.Namespace) -> int:
    table = read_table(options.file, options.delimiter)
    names_x, names_y = _chosen(options.x, table, "--x"), _chosen(options.y, table, "--y")
    categories = _chosen(options.category, table, "--category") if options.category else []
    estimator = mist.load(options.checkpoint, device=options.device)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MISTWarning)  # printed below
        result = estimator.estimate(
            _cells(table, names_x, categories),
            _cells(table, names_y, categories),
            units=options.units,
            nan_policy=options.nan_policy,
            on_limit=options.on_limit,
            discrete_x=[j for j, name in enumerate(names_x) if name in categories],
            discrete_y=[j for j, name in enumerate(names_y) if name in categories],
        )
    low, high = result.interval(options.level)
    if options.json:
        print(json.dumps({**result.to_dict(), "interval_level": options.level, "interval": [low, high]}))
    else:
        print(f"I({', '.join(names_x)}; {', '.join(names_y)}) = {result.mi:.4f} {result.units}")
        print(f"{f'{100 * options.level:g} % interval':<14} {low:.4f} to {high:.4f} {result.units}")
        print(f"points         {result.n}, dims {result.dim_x} and {result.dim_y}")
        print(f"checkpoint     {result.checkpoint}{' (preliminary)' if estimator.checkpoint.preliminary else ''}")
    for message in result.warnings:
        print(f"mist-mi: warning: {message}", file=sys.stderr)
    return 0


def _info(options: argparse.Namespace) -> int:
    estimator = mist.load(options.checkpoint, device="cpu")
    checkpoint = estimator.checkpoint
    if options.json:
        print(json.dumps(estimator.config, indent=2))
        return 0
    levels = estimator.config["levels"]
    rows: dict[str, object] = {
        "name": checkpoint.name + (" (preliminary)" if checkpoint.preliminary else ""),
        "folder": checkpoint.path,
        "sha256": checkpoint.sha256,
        "written by": f"mist-mi {estimator.config['package_version']}, format {estimator.config['format_version']}",
        "parameters": f"{sum(p.numel() for p in estimator.network.parameters()):,}",
        "levels": f"{len(levels)}, {levels[0]:g} to {levels[-1]:g}",
    }
    for quantity, title in (("num_points", "n"), ("dim_x", "dim_x"), ("dim_y", "dim_y"), ("mi", "mi (nats)")):
        low, high = checkpoint.trained_range(quantity)
        rows[f"trained {title}"] = f"{low:g} to {high:g}"
    if few := checkpoint.few_dims:
        rows["trained n"] = (
            f"{rows['trained n']}, to {checkpoint.trained_points(few, few)[1]:g} at up to {few} dims a side"
        )
    rows["predictions"] = "as trained" if estimator.network.calibration is None else "recalibrated"
    rows["novelty"] = "unknown" if estimator.network.novelty is None else "known"
    rows["categories"] = "trained" if checkpoint.trained_on_categories else "not trained"
    rows |= {f"lineage {key}": value for key, value in estimator.config["lineage"].items()}
    rows["available"] = ", ".join(available_checkpoints()) or "none"
    width = max(map(len, rows))
    for key, value in rows.items():
        print(f"{key:<{width}}  {value}")
    return 0


def _benchmark(arguments: list[str]) -> int:
    from mist.evaluation.__main__ import main as evaluate

    if {"-h", "--help"} & set(arguments):
        print(f"{_BENCHMARK_EXAMPLE}\n")
    return int(evaluate(arguments) or 0)


def _chosen(text: str, table: Mapping[str, object], option: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in table]
    if unknown or not names:
        raise InputError(f"{option} {text!r} names no column {unknown}: expected some of {', '.join(table)}")
    return names


def _cells(table: dict[str, list[str]], names: list[str], categories: list[str]) -> NDArray[np.object_]:
    """The chosen columns (n, d): numbers, None where missing, and the text itself for categories."""
    cells = np.empty((len(table[names[0]]), len(names)), dtype=object)
    for j, name in enumerate(names):
        for row, text in enumerate(table[name]):
            cells[row, j] = _cell(text, name, row, name in categories)
    return cells


def _cell(text: str, name: str, row: int, is_category: bool) -> object:
    if text.lower() in MISSING:
        return None
    if is_category:
        return text
    try:
        return float(text)
    except ValueError:
        raise InputError(
            f"column {name!r} holds {text!r} (line {row + 2}): expected numbers; "
            f"convert it, or declare an unordered category with --category {name}"
        ) from None


if __name__ == "__main__":
    sys.exit(main())
