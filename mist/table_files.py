"""Tables on disk: CSV as text or numbers, Parquet."""

from __future__ import annotations

import csv
import importlib.util
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import narwhals as nw
import numpy as np
from numpy.typing import NDArray

from mist.errors import InputError

__all__ = ["MISSING", "read_columns", "read_table"]

MISSING = {"", "na", "n/a", "nan", "null", "none"}  # cells, in lower case


def read_table(path: Path, delimiter: str | None = None) -> dict[str, list[str]]:
    """The columns of a CSV file with a header line, as text; a tab separates where the name ends in .tsv."""
    delimiter = (delimiter or ("\t" if path.suffix.lower() == ".tsv" else ",")).replace("\\t", "\t")
    if len(delimiter) != 1:
        raise InputError(f"got delimiter {delimiter!r}, expected one character, such as ';' or '\\t'")
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


def read_columns(path: Path, delimiter: str | None = None) -> Mapping[str, Any]:
    """The columns of a CSV file, numbers (n,) float64 with NaN where missing, else text with None; or those of a
    Parquet file, series of polars or pandas.

    A column of text among numbers is an `InputError` when it is asked for.
    """
    if path.suffix.lower() in (".parquet", ".pq"):
        return _read_parquet(path)
    return _TextColumns(path, read_table(path, delimiter))


class _TextColumns(Mapping[str, NDArray[Any]]):
    """Columns of text, read as numbers or names one by one."""

    def __init__(self, path: Path, cells: Mapping[str, list[str]]) -> None:
        self._path, self._cells = path, cells

    def __iter__(self) -> Iterator[str]:
        return iter(self._cells)

    def __len__(self) -> int:
        return len(self._cells)

    def __getitem__(self, name: str) -> NDArray[Any]:
        cells = self._cells[name]
        present = [None if text.lower() in MISSING else text for text in cells]
        numbers = [_number(text) for text in present]
        strange = [row for row, number in enumerate(numbers) if number is None]
        if not strange:
            return np.array(numbers, dtype=np.float64)
        if 2 * len(strange) > sum(text is not None for text in present):
            return np.array(present, dtype=object)
        raise InputError(
            f"{self._path}: column {name!r} holds {cells[strange[0]]!r} (record {strange[0] + 2}) among numbers: "
            "expected numbers or names; mend the cell, or leave it empty where it means a missing value"
        )


def _number(text: str | None) -> float | None:
    """NaN for a missing cell, None for what is no number."""
    try:
        return float("nan") if text is None else float(text)
    except ValueError:
        return None


def _read_parquet(path: Path) -> dict[str, Any]:
    for backend, needed in (("polars", "polars"), ("pandas", "pyarrow")):
        if all(importlib.util.find_spec(name) is not None for name in (backend, needed)):
            try:
                frame = nw.read_parquet(str(path), backend=backend)  # type: ignore[arg-type]
            except FileNotFoundError:
                raise
            except Exception as error:  # whatever the library calls a file that it cannot read
                raise InputError(f"{path} is no Parquet file ({error}): expected one; export it as such") from error
            return {name: frame[name].to_native() for name in frame.columns}
    raise InputError(f"reading {path} needs polars, or pandas and pyarrow: pip install polars, or export CSV")
