"""The console script `mist-mi`: estimate from a CSV table, describe a checkpoint, run the benchmark."""

from __future__ import annotations

import argparse
import csv
import json
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import mist
from mist.checkpoint import available_checkpoints
from mist.errors import InputError, MISTError, MISTWarning

__all__ = ["main", "read_table"]

_MISSING = {"", "na", "n/a", "nan", "null", "none"}

_ESTIMATE_EXAMPLE = """example:
  mist-mi estimate data.csv --x age,bmi --y progression --units bits --level 0.9

The file has a header line. Empty cells, NA and NaN are missing values (see --nan-policy)."""

_INFO_EXAMPLE = """example:
  mist-mi info default"""

_BENCHMARK_EXAMPLE = """example:
  mist-mi benchmark --suite core"""

_EPILOG = """examples:
  mist-mi estimate data.csv --x age,bmi --y progression
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


def read_table(path: Path, delimiter: str | None = None) -> dict[str, list[str]]:
    """The columns of a CSV file with a header line, as text; a tab separates where the name ends in .tsv."""
    delimiter = delimiter or ("\t" if path.suffix.lower() == ".tsv" else ",")
    with path.open(newline="", encoding="utf-8-sig") as file:
        try:
            rows = [row for row in csv.reader(file, delimiter=delimiter) if row]
        except (csv.Error, UnicodeDecodeError) as error:
            raise InputError(
                f"{path} is not a text table ({error}): expected CSV in UTF-8; export it as such"
            ) from error
    if not rows:
        raise InputError(f"{path} is empty: expected a header line and one line for each point")
    header = [name.strip() for name in rows[0]]
    if len(set(header)) < len(header):
        raise InputError(f"{path} has repeated column names {header}: expected each once; rename them")
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(header):
            raise InputError(
                f"{path}, record {number}: {len(row)} cells, expected {len(header)} as in the header; "
                "mend the line or choose another --delimiter"
            )
    return {name: [row[j].strip() for row in rows[1:]] for j, name in enumerate(header)}


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


def _chosen(text: str, table: dict[str, list[str]], option: str) -> list[str]:
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
    if text.lower() in _MISSING:
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
