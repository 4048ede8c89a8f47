"""Does novelty point at what an estimator cannot read? `python -m mist.evaluation.novelty`

Alarms where they should be (kinds of dependence held out of training, beside how often the interval misses there) and
where they should not (fresh data sets of the training law; pairs and groups of columns of the real tables that
scikit-learn ships).
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import warnings
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from data_gen.meta_distribution import MetaDistribution
from data_gen.stream import EVALUATION_SEED
from mist.errors import MISTWarning
from mist.evaluation.command import command_parser, run_command
from mist.evaluation.metrics import wilson_interval
from mist.evaluation.suites import Dataset, bmi_40, core, held_out
from mist.inference import Estimator
from mist.novelty import LIMIT

__all__ = ["CHOSEN_ON", "alarms", "choose_limit", "main", "real_tables"]

CHOSEN_ON = ("parity", "multiplicative")  # kinds that the limit is chosen on; the others tell how it does
_LIMITS = (0.9, 0.95, 0.97, 0.98, 0.99, 0.995, 0.998)
_COST = 5


def real_tables(num_groups: int, seed: int = 0) -> list[Dataset]:
    """Pairs of columns, and two groups of two to five, of four tables; their MI is not known (NaN)."""
    from sklearn import datasets  # scikit-learn's own tables need no network

    generator = np.random.default_rng([EVALUATION_SEED + seed, 0])
    out = []
    for load in (datasets.load_iris, datasets.load_wine, datasets.load_breast_cancer, datasets.load_diabetes):
        table = np.asarray(load().data, dtype=np.float32)
        for index in range(num_groups):
            most = min(5, table.shape[1] // 2)
            sizes = (1, 1) if index % 2 == 0 else tuple(generator.integers(2, most + 1, 2).tolist())
            columns = generator.permutation(table.shape[1])[: sum(sizes)]
            x, y = table[:, columns[: sizes[0]]], table[:, columns[sizes[0] :]]
            out.append(Dataset("real tables", load.__name__.removeprefix("load_"), x, y, float("nan")))
    return out


def alarms(estimator: Estimator, datasets: Sequence[Dataset]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Novelty (R,) of data sets, and whether the 90 % interval misses the truth (False where that is unknown)."""
    if estimator.network.novelty is None:
        raise ValueError(
            f"got checkpoint {estimator.checkpoint.label} without novelty, expected one that was recalibrated "
            "(optimization.calibration_datasets > 0)"
        )
    novelty, missed = [], []
    for data in datasets:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MISTWarning)
            found = estimator.estimate(data.x, data.y)
        low, high = found.interval(0.9)
        novelty.append(0.0 if found.novelty is None else found.novelty)  # a side without spread is known to be 0 nats
        missed.append(not low <= data.mi <= high and np.isfinite(data.mi))
    return np.array(novelty), np.array(missed, dtype=bool)


def _row(name: str, novelty: NDArray[np.float64], missed: NDArray[np.bool_], known: bool = True) -> str:
    flagged = novelty > LIMIT
    low, high = wilson_interval(float(flagged.sum()), len(flagged))
    misses = f"{missed.mean():.0%}" if known else ""
    return (
        f"{name:<34}{len(novelty):>6}{np.median(novelty):>10.3f}"
        f"{f'{flagged.mean():.1%} [{low:.1%}, {high:.1%}]':>26}{misses:>10}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; 0, or 2 for what cannot be used."""
    parser = command_parser("mist.evaluation.novelty", __doc__)
    parser.add_argument("--num-datasets", type=int, default=40, help="of each kind and n (default: 40)")
    return run_command(parser, argv, {"num_datasets": 8}, _measure)


def choose_limit(usual: NDArray[np.float64], novel: NDArray[np.float64]) -> tuple[float, float, float]:
    """The limit past which to warn, and the shares of novel and of usual data sets beyond it.

    Of the limits looked at the one of the largest share of alarms on novel data sets less `_COST` times that on usual
    ones: Youden's index, but for false alarms that cost more than alarms that were missed.
    """
    found = [(limit, float((novel > limit).mean()), float((usual > limit).mean())) for limit in _LIMITS]
    return max(found, key=lambda row: row[1] - _COST * row[2])


def _measure(estimator: Estimator, arguments: argparse.Namespace) -> None:
    number, seed = arguments.num_datasets, arguments.seed
    if importlib.util.find_spec("sklearn") is None:
        raise ValueError("scikit-learn, whose tables are read, is missing: pip install 'mist-mi[sklearn]'")
    law = MetaDistribution.from_dict(estimator.config["meta_distribution"])
    law = replace(law, category_probability=0.0)  # their group marks are not columns of a table
    usual = alarms(estimator, core(10 * number, seed + 1, law))
    lines = [_row("training law", *usual)]
    kinds = held_out(7 * 2 * number, seed, num_points=(1000, 5000))
    novel = []
    for kind in dict.fromkeys(data.family for data in kinds):
        for size in (1000, 5000):
            chosen = [data for data in kinds if data.family == kind and len(data.x) == size]
            found = alarms(estimator, chosen)
            novel += [found[0]] if kind.startswith(CHOSEN_ON) else []
            lines.append(_row(f"{kind}, n = {size:,}", *found))
    lines.append(_row("BMI-40, n = 1,000", *alarms(estimator, bmi_40(40, seed, num_points=(1000,)))))
    tables = real_tables(number, seed)
    for table in dict.fromkeys(data.family for data in tables):
        found = alarms(estimator, [data for data in tables if data.family == table])
        lines.append(_row(f"real: {table}", *found, known=False))
    print(f"{'data sets of':<34}{'':>6}{'novelty':>10}{f'alarms (> {LIMIT:g})':>26}{'missed':>10}")
    print("\n".join(lines))
    limit, right, wrong = choose_limit(usual[0], np.concatenate(novel))
    print(
        f"chosen on {' and '.join(CHOSEN_ON)}, false alarms costing {_COST} times as much: a limit of {limit:g} "
        f"({right:.1%} of theirs past it, {wrong:.1%} of the law's)"
    )


if __name__ == "__main__":
    sys.exit(main())
