"""Two reports side by side: numbers by hand, kinds taken together, and files that cannot be compared."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from mist.evaluation.comparison import compare, main, read_rows

KEYS = {"suite": "core", "num_points": 50, "dim_x": 2, "dim_y": 1}


def write(path: Path, medians: list[float], families: tuple[str, ...], mi: float = 1.0) -> Path:
    rows = [
        {**KEYS, "family": f, "mi": mi, "mean": m + 0.5, "median": m, "low_90": m - 0.25, "high_90": m + 0.25}
        for f, m in zip(families, medians, strict=True)
    ]
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


FAMILIES = ("gaussian-dense", "gaussian-sparse", "additive")


def test_numbers_by_hand(tmp_path: Path) -> None:
    old = read_rows(write(tmp_path / "old.csv", [0.5, 1.25, 1.0], FAMILIES))
    new = read_rows(write(tmp_path / "new.csv", [0.75, 1.25, 3.0], FAMILIES))
    head, everything, gaussian, additive = compare(old, new)
    assert head.split()[:3] == ["suite", "and", "kind"]
    assert everything.split()[:3] == ["core", "all", "3"]
    # two of them: MAE (.5 + .25)/2 and .25, bias of the means .375 and .5, one and two of two inside
    numbers = "0.375 ± 0.12 0.25 ± 0 0.375 0.500 50.0% 100.0%"
    assert gaussian.split() == ["core", "gaussian", "2", *numbers.split()]
    assert additive.split()[-4:] == ["0.500", "2.500", "100.0%", "0.0%"]


def test_only_the_same_data_sets_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = write(tmp_path / "old.csv", [1.0] * 3, FAMILIES), write(tmp_path / "new.csv", [1.0] * 3, FAMILIES, 2.0)
    assert main([str(old), str(old)]) == 0
    assert main([str(old), str(new)]) == 2
    assert "got 3 and 3 rows that are not of the same data sets, expected one suite, seed" in capsys.readouterr().err
    (tmp_path / "empty.csv").write_text("suite,family\nx,y\n")
    assert main([str(old), str(tmp_path / "empty.csv")]) == 2
    assert "without columns ['dim_x', 'dim_y'" in capsys.readouterr().err
    assert main([str(old), str(tmp_path / "gone.csv")]) == 2
