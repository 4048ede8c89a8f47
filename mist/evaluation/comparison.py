"""Two checkpoints on the same data sets: `python -m mist.evaluation.comparison OLD/datasets.csv NEW/datasets.csv`.

Reads what two runs of `python -m mist.evaluation` wrote and prints, for every suite and every kind of family in it,
both errors and coverages side by side.
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import fmean, stdev

__all__ = ["compare", "main", "read_rows"]

_KEYS = ("suite", "family", "num_points", "dim_x", "dim_y", "mi")
_COLUMNS = (*_KEYS, "mean", "median", "low_90", "high_90")
Row = dict[str, str]


def read_rows(path: Path) -> list[Row]:
    """Rows of a datasets.csv. FileNotFoundError where there is none, ValueError where it lacks columns or rows."""
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows or (missing := set(_COLUMNS) - set(rows[0])):
        lack = f"columns {sorted(missing)}" if rows else "rows"
        raise ValueError(f"got {path} without {lack}, expected a datasets.csv of python -m mist.evaluation")
    return rows


def _name(row: Row) -> tuple[str, str]:
    return row["suite"], row["family"].partition("-")[0] if row["suite"] in ("core", "shards") else row["family"]


def _mean_and_error(values: Sequence[float]) -> str:
    error = stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return f"{fmean(values):.3g} ± {error:.2g}"


def compare(old: Sequence[Row], new: Sequence[Row]) -> Iterator[str]:
    """The table, line by line: MAE of the median and bias of the mean (nats), coverage of the 90 % interval.

    Families of a training law are taken together by kind. ValueError where the rows are not of the same data sets.
    """
    if [[row[key] for key in _KEYS] for row in old] != [[row[key] for key in _KEYS] for row in new]:
        raise ValueError(
            f"got {len(old)} and {len(new)} rows that are not of the same data sets, expected one suite, seed and size "
            "in both; evaluate both checkpoints with the same options"
        )
    cells: dict[tuple[str, str], list[int]] = defaultdict(list)
    for index, row in enumerate(old):
        cells[row["suite"], "all"].append(index)
        cells[_name(row)].append(index)
    columns = (("sets", 6), ("MAE old", 20), ("new", 20), ("bias old", 10), ("new", 9), ("90 % old", 10), ("new", 7))
    yield f"{'suite and kind':<34}" + "".join(f"{name:>{width}}" for name, width in columns)
    for (suite, kind), indices in cells.items():
        line = f"{suite + ' ' + kind:<34}{len(indices):>6}"
        chosen = [[rows[index] for index in indices] for rows in (old, new)]
        for rows in chosen:
            line += f"{_mean_and_error([abs(float(row['median']) - float(row['mi'])) for row in rows]):>20}"
        for rows, width in zip(chosen, (10, 9), strict=True):
            line += f"{fmean(float(row['mean']) - float(row['mi']) for row in rows):>{width}.3f}"
        for rows, width in zip(chosen, (10, 7), strict=True):
            inside = [float(row["low_90"]) <= float(row["mi"]) <= float(row["high_90"]) for row in rows]
            line += f"{fmean(inside):>{width}.1%}"
        yield line


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; 0, or 2 where the files cannot be compared."""
    parser = argparse.ArgumentParser(prog="python -m mist.evaluation.comparison", description=__doc__)
    parser.add_argument("old", type=Path, help="datasets.csv of the one checkpoint")
    parser.add_argument("new", type=Path, help="datasets.csv of the other")
    arguments = parser.parse_args(argv)
    try:
        for line in compare(read_rows(arguments.old), read_rows(arguments.new)):
            print(line)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
