"""The console script `mist-mi`: estimate from tables, screen them, describe a checkpoint, run the benchmark."""

from __future__ import annotations

import argparse
import csv
import importlib.util
import json
import re
import sys
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import mist
from mist.categories import is_missing
from mist.checkpoint import available_checkpoints
from mist.cli_options import BENCHMARK_EXAMPLE, build_parser
from mist.errors import InputError, MISTError, MISTWarning, plain_notices
from mist.html_report import html_report
from mist.screening import PairwiseMI, RelevanceMI
from mist.table_files import read_columns

__all__ = ["main"]

_PICTURES = (".png", ".pdf", ".svg")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (None: that of the process); 0 on success, 2 where the user can mend something."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["benchmark"]:  # its options are those of python -m mist.evaluation
        return _benchmark(arguments[1:])
    options = build_parser(_COMMANDS).parse_args(arguments)
    try:
        if getattr(options, "plot", None) is not None:
            _check_picture(options.plot)
        if getattr(options, "output", None) is not None:
            _check_folder("--output", options.output)
        top = getattr(options, "top", None)
        if top is not None and top < 1:
            raise InputError(f"got --top {top}, expected a positive number of rows")
        return int(options.run(options))
    except (MISTError, OSError) as error:
        print(f"mist-mi: error: {_as_options(str(error))}", file=sys.stderr)
        return 2


def _as_options(message: str) -> str:
    """A message of the library with its arguments as the options that they are here."""
    message = re.sub(r"nan_policy='(\w+)'", r"--nan-policy \1", message)
    message = re.sub(r"on_limit='(\w+)'", r"--on-limit \1", message)
    return re.sub(r"discrete\w*=\[\d+\]", "--category NAME", message)


def _check_picture(path: Path) -> None:
    """Now, not after the work."""
    if path.suffix.lower() not in _PICTURES:
        raise InputError(f"got --plot {path}, expected a name that ends in {', '.join(_PICTURES)}")
    _check_folder("--plot", path)
    if importlib.util.find_spec("matplotlib") is None:
        raise InputError("--plot needs matplotlib, which is not installed: pip install 'mist-mi[plot]'")


def _check_folder(option: str, path: Path) -> None:
    if not path.absolute().parent.is_dir():
        raise InputError(f"got {option} {path}, but there is no folder {path.absolute().parent}: make it first")


def _pairwise(options: argparse.Namespace) -> int:
    return _print_screened(_all_pairs(options)[0], options)


def _report(options: argparse.Namespace) -> int:
    found, columns = _all_pairs(options)
    page = html_report(found, columns, options.title or f"Mutual information in {options.file.name}", options.strongest)
    options.output.write_text(page, encoding="utf-8")
    _tell(found.warnings)
    print(f"wrote {options.output}")
    return 0


def _all_pairs(options: argparse.Namespace) -> tuple[PairwiseMI, dict[str, Any]]:
    """All pairs of the columns asked for, and the columns."""
    table = read_columns(options.file, options.delimiter)
    names = _chosen(options.columns, table, "--columns") if options.columns else list(table)
    columns = _columns(options, table, names)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MISTWarning)  # printed by the caller
        found = mist.load(options.checkpoint, device=options.device).pairwise(
            columns,
            units=options.units,
            level=options.level,
            nan_policy=options.nan_policy,
            progress=options.progress,
        )
    return found, columns


def _relevance(options: argparse.Namespace) -> int:
    table = read_columns(options.file, options.delimiter)
    targets = _chosen(options.y, table, "--y")
    names = _chosen(options.columns, table, "--columns") if options.columns else [n for n in table if n not in targets]
    columns = _columns(options, table, [*names, *targets])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MISTWarning)
        found = mist.load(options.checkpoint, device=options.device).relevance(
            {name: columns[name] for name in names},
            {name: columns[name] for name in targets},
            units=options.units,
            level=options.level,
            nan_policy=options.nan_policy,
            progress=options.progress,
        )
    return _print_screened(found, options)


def _columns(options: argparse.Namespace, table: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """The columns of these names, those declared with --category as names of their levels."""
    categories = _chosen(options.category, table, "--category") if options.category else []
    return {name: _category(table[name]) if name in categories else table[name] for name in names}


def _category(values: Any) -> NDArray[np.object_]:
    """Numbers as names, so that they say no more than equal or different; values (n,), an array or a series."""
    labels = values.tolist() if hasattr(values, "tolist") else values.to_list()
    return np.array([None if is_missing(label) else f"={label}" for label in labels], dtype=object)


def _print_screened(found: PairwiseMI | RelevanceMI, options: argparse.Namespace) -> int:
    rows = found.rows()
    count = len(rows["mi"]) if options.top is None else min(options.top, len(rows["mi"]))
    records = [{name: _plain(values[i]) for name, values in rows.items()} for i in range(max(count, 0))]
    style = options.format or ("table" if sys.stdout.isatty() else "csv")
    if style == "json":
        about = {"units": found.units, "level": found.level, "checkpoint": found.checkpoint}
        print(json.dumps({**about, **plain_notices(found.warnings), "pairs": records}))
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
    _tell(found.warnings)
    _draw(found, options)
    return 0


def _draw(found: Any, options: argparse.Namespace) -> None:
    """The picture of a result, where one is wanted."""
    if options.plot is not None:
        found.plot().figure.savefig(options.plot, dpi=150)
        print(f"mist-mi: wrote {options.plot}", file=sys.stderr)


def _tell(notices: Iterable[str]) -> None:
    for notice in notices:
        print(f"mist-mi: warning: {notice}", file=sys.stderr)


def _plain(value: Any) -> Any:
    """A value for CSV and JSON, None for NaN."""
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and value != value else value


def _short(value: Any) -> str:
    return "" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)


def _sides(options: argparse.Namespace) -> tuple[list[str], list[str], dict[str, Any]]:
    """Names of the columns of X and Y, and the arguments of an estimate of them."""
    table = read_columns(options.file, options.delimiter)
    names_x, names_y = _chosen(options.x, table, "--x"), _chosen(options.y, table, "--y")
    columns = _columns(options, table, [*names_x, *names_y])
    arguments = {
        "x": {name: columns[name] for name in names_x},
        "y": {name: columns[name] for name in names_y},
        "units": options.units,
        "nan_policy": options.nan_policy,
    }
    return names_x, names_y, arguments


def _check(options: argparse.Namespace) -> int:
    arguments = _sides(options)[2]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MISTWarning)
        found = mist.load(options.checkpoint, device=options.device).check(**arguments)
    print(json.dumps(found.to_dict()) if options.format == "json" else found)
    _draw(found, options)
    _tell(found.estimate.warnings)
    return 0 if found.passed else 1


def _estimate(options: argparse.Namespace) -> int:
    names_x, names_y, arguments = _sides(options)
    estimator = mist.load(options.checkpoint, device=options.device)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MISTWarning)  # printed below
        result = estimator.estimate(**arguments, on_limit=options.on_limit)
    low, high = result.interval(options.level)
    if options.format == "json":
        print(json.dumps({**result.to_dict(), "interval_level": options.level, "interval": [low, high]}))
    elif options.format == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(["x", "y", "mi", "low", "high", "n", "units"])
        writer.writerow(["+".join(names_x), "+".join(names_y), result.mi, low, high, result.n, result.units])
    else:
        print(f"I({', '.join(names_x)}; {', '.join(names_y)}) = {result.mi:.4f} {result.units}")
        print(f"{f'{100 * options.level:g} % interval':<14} {low:.4f} to {high:.4f} {result.units}")
        print(f"points         {result.n}, dims {result.dim_x} and {result.dim_y}")
        print(f"checkpoint     {result.checkpoint}{' (preliminary)' if estimator.checkpoint.preliminary else ''}")
    _draw(result, options)
    _tell(result.warnings)
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
        print(f"{BENCHMARK_EXAMPLE}\n")
    return int(evaluate(arguments) or 0)


def _chosen(text: str, table: Mapping[str, object], option: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in table]
    if len(set(names)) < len(names):
        raise InputError(f"{option} {text!r} names a column twice: expected each once")
    if unknown or not names:
        raise InputError(f"{option} {text!r} names no column {unknown}: expected some of {', '.join(table)}")
    return names


_COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "estimate": _estimate,
    "check": _check,
    "pairwise": _pairwise,
    "relevance": _relevance,
    "report": _report,
    "info": _info,
}


if __name__ == "__main__":
    sys.exit(main())
