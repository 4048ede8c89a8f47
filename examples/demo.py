"""`make demo`: mutual information in two real tables that scikit-learn ships, with intervals; works offline."""

from __future__ import annotations

import sys
import textwrap
import warnings
from collections.abc import Iterator
from typing import Any

import mist

__all__ = ["main"]

Question = tuple[str, str, Any, Any]  # table, what against what, x, y


def main() -> int:
    """Print one line for each question: estimate, 90 % interval, unit, n, dims; then who answered."""
    estimator = mist.load("default")
    print(f"{'table':<9} {'I(X; Y)':<40} {'MI':>7} {'90 % interval':>17} {'unit':>5} {'n':>4} {'dims':>6}  note")
    notes: list[str] = []
    for table, title, x, y in _questions():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", mist.MISTWarning)  # they are printed below the table
            result = estimator.estimate(x, y)
        low, high = result.interval(0.9)
        marks = []
        for message in result.warnings:
            if message not in notes:
                notes.append(message)
            marks.append(f"[{notes.index(message) + 1}]")
        dims = f"{result.dim_x}, {result.dim_y}"
        print(
            f"{table:<9} {title:<40} {result.mi:>7.3f} {f'{low:.3f} to {high:.3f}':>17} "
            f"{result.units:>5} {result.n:>4} {dims:>6}  {' '.join(marks)}".rstrip()
        )
    for number, note in enumerate(notes, start=1):
        print(textwrap.fill(f"[{number}] {note}", width=100, subsequent_indent="    "))
    checkpoint = estimator.checkpoint
    kind = "preliminary: trained for a short time" if checkpoint.preliminary else "released"
    print(f"\nAnswered by checkpoint {checkpoint.name}, weights sha256 {checkpoint.sha256[:8]} ({kind}).")
    return 0


def _questions() -> Iterator[Question]:
    from sklearn.datasets import load_diabetes, load_wine

    diabetes = load_diabetes()
    column = {name: diabetes.data[:, j] for j, name in enumerate(diabetes.feature_names)}
    everything_else = [j for j, name in enumerate(diabetes.feature_names) if name not in ("sex", "s1")]
    yield "diabetes", "body mass index; progression", column["bmi"], diabetes.target
    yield "diabetes", "blood pressure; progression", column["bp"], diabetes.target
    yield "diabetes", "age; progression", column["age"], diabetes.target
    yield "diabetes", "total cholesterol; LDL", column["s1"], column["s2"]
    yield "diabetes", "8 measurements; progression", diabetes.data[:, everything_else], diabetes.target

    wine = load_wine()
    column = {name: wine.data[:, j] for j, name in enumerate(wine.feature_names)}
    acids = wine.data[:, [wine.feature_names.index(name) for name in ("malic_acid", "ash", "alcalinity_of_ash")]]
    phenols = [wine.feature_names.index(name) for name in ("total_phenols", "flavanoids", "proanthocyanins")]
    yield "wine", "flavanoids; total phenols", column["flavanoids"], column["total_phenols"]
    yield "wine", "alcohol; colour intensity", column["alcohol"], column["color_intensity"]
    yield "wine", "ash; hue", column["ash"], column["hue"]
    yield "wine", "acid, ash, alcalinity; 3 phenols", acids, wine.data[:, phenols]


if __name__ == "__main__":
    sys.exit(main())
