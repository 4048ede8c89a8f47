"""The options of the console script `mist-mi`, command by command."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path

import mist

__all__ = ["BENCHMARK_EXAMPLE", "build_parser"]

_ESTIMATE_EXAMPLE = """example:
  mist-mi estimate data.csv --x age,bmi --y progression --units bits --level 0.9

The file has a header line. Empty cells, NA and NaN are missing values (see --nan-policy); columns of text are unordered
categories."""

_PAIRWISE_EXAMPLE = """examples:
  mist-mi pairwise data.csv
  mist-mi pairwise data.parquet --columns age,bmi,sex --category sex --format json
  mist-mi pairwise data.csv --plot pairs.png > pairs.csv

Columns of text are unordered categories. Missing cells leave out the point in their pairs alone (see --nan-policy)."""

_REPORT_EXAMPLE = """example:
  mist-mi report data.csv -o report.html

One page that needs no network: heat map, sortable table, scatter plots of the strongest pairs."""

_CHECK_EXAMPLE = """example:
  mist-mi check data.csv --x age,bmi --y progression --plot check.png

Exit code 1 where a check fails."""

_RELEVANCE_EXAMPLE = """example:
  mist-mi relevance data.csv --y progression --top 10

Every other column against the target, the most informative first."""

_INFO_EXAMPLE = """example:
  mist-mi info default"""

_FILE = "CSV with a header line (.tsv: separated by tabs), or Parquet"

BENCHMARK_EXAMPLE = """example:
  mist-mi benchmark --suite core"""

_EPILOG = """examples:
  mist-mi estimate data.csv --x age,bmi --y progression
  mist-mi pairwise data.csv --plot pairs.png
  mist-mi relevance data.csv --y progression
  mist-mi report data.csv -o report.html
  mist-mi check data.csv --x age,bmi --y progression
  mist-mi info
  mist-mi benchmark --suite core"""


def build_parser(commands_run: Mapping[str, Callable[[argparse.Namespace], int]]) -> argparse.ArgumentParser:
    """The parser of `mist-mi`; `commands_run` gives every command its function."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="mist-mi", description=mist.__doc__, epilog=_EPILOG, formatter_class=raw)
    parser.add_argument("--version", action="version", version=f"mist-mi {mist.__version__}")
    commands = parser.add_subparsers(metavar="command", required=True)

    estimate = commands.add_parser(
        "estimate",
        help="mutual information between columns of a table",
        description="Mutual information between columns of a table, with an interval.",
        epilog=_ESTIMATE_EXAMPLE,
        formatter_class=raw,
    )
    _add_sides(estimate)
    estimate.add_argument("--level", type=float, default=0.9, help="probability of the interval (default: %(default)s)")
    estimate.add_argument(
        "--on-limit", choices=["raise", "warn", "subsample"], default="warn", help="n or dims outside the trained range"
    )
    estimate.add_argument(
        "--format", choices=["table", "csv", "json"], default="table", help="json: quantiles included"
    )
    estimate.add_argument("--json", dest="format", action="store_const", const="json", help="the same as --format json")
    estimate.add_argument("--plot", type=Path, default=None, help="write a picture there (needs matplotlib)")
    estimate.set_defaults(run=commands_run["estimate"])

    check = commands.add_parser(
        "check",
        help="is an estimate to be believed",
        description="What an estimate must satisfy whatever the data, tried on columns of a table.",
        epilog=_CHECK_EXAMPLE,
        formatter_class=raw,
    )
    _add_sides(check)
    check.add_argument("--format", choices=["table", "json"], default="table")
    check.add_argument("--plot", type=Path, default=None, help="write a picture there (needs matplotlib)")
    check.set_defaults(run=commands_run["check"])

    pairwise = commands.add_parser(
        "pairwise",
        help="mutual information between all pairs of columns",
        description="Mutual information between all pairs of columns of a table, with intervals.",
        epilog=_PAIRWISE_EXAMPLE,
        formatter_class=raw,
    )
    _add_screening(pairwise)
    pairwise.add_argument("--columns", default="", metavar="A,B", help="columns to take (default: all)")
    pairwise.set_defaults(run=commands_run["pairwise"])

    report = commands.add_parser(
        "report",
        help="one HTML page of all pairs of columns",
        description="One self-contained HTML page of all pairs of columns of a table.",
        epilog=_REPORT_EXAMPLE,
        formatter_class=raw,
    )
    _add_table(report)
    report.add_argument("--columns", default="", metavar="A,B", help="columns to take (default: all)")
    report.add_argument("-o", "--output", type=Path, required=True, help="HTML file to write")
    report.add_argument("--title", default=None, help="of the page (default: the name of the file)")
    report.add_argument("--strongest", type=int, default=12, help="scatter plots (default: %(default)s)")
    report.set_defaults(run=commands_run["report"])

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
    relevance.set_defaults(run=commands_run["relevance"])

    info = commands.add_parser(
        "info",
        help="what a checkpoint is and was trained on",
        description="What a checkpoint is and was trained on.",
        epilog=_INFO_EXAMPLE,
        formatter_class=raw,
    )
    info.add_argument("checkpoint", nargs="?", default="default", help="name or folder (default: %(default)s)")
    info.add_argument("--json", action="store_true", help="print config.json")
    info.set_defaults(run=commands_run["info"])

    commands.add_parser("benchmark", help="the evaluation report of a checkpoint (needs no more than matplotlib)")
    return parser


def _add_sides(parser: argparse.ArgumentParser) -> None:
    """Options of commands about one X and one Y."""
    parser.add_argument("file", type=Path, help=_FILE)
    parser.add_argument("--x", required=True, metavar="A,B", help="columns of X, separated by commas")
    parser.add_argument("--y", required=True, metavar="C", help="columns of Y")
    parser.add_argument("--category", default="", metavar="A,C", help="columns of numbers that are categories")
    parser.add_argument("--nan-policy", choices=["raise", "omit"], default="raise", help="missing values")
    _add_common(parser)


def _add_table(parser: argparse.ArgumentParser) -> None:
    """Options of commands about many columns."""
    parser.add_argument("file", type=Path, help=_FILE)
    parser.add_argument("--category", default="", metavar="A,C", help="columns of numbers that are categories")
    parser.add_argument("--level", type=float, default=0.9, help="probability of the intervals (default: %(default)s)")
    parser.add_argument(
        "--nan-policy", choices=["raise", "omit", "pairwise"], default="pairwise", help="missing values"
    )
    parser.add_argument("--progress", action="store_true", help="count on standard error")
    _add_common(parser)


def _add_screening(parser: argparse.ArgumentParser) -> None:
    """Options of commands that print pairs."""
    _add_table(parser)
    parser.add_argument("--format", choices=["table", "csv", "json"], help="default: a table for a terminal, else CSV")
    parser.add_argument("--top", type=int, default=None, help="only so many rows")
    parser.add_argument("--plot", type=Path, default=None, help="write a picture there (needs matplotlib)")


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--units", choices=["nats", "bits"], default="nats")
    parser.add_argument("--delimiter", default=None, help="column separator (default: a comma; a tab for .tsv)")
    parser.add_argument("--checkpoint", default="default", help="name or folder (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda (default: %(default)s)")
