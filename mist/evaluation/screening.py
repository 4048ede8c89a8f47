"""Time and memory of screening beside scikit-learn's KSG: `python -m mist.evaluation.screening`

All pairs of 100 columns of 1,000 points, and 2,000 columns of 500 points against a target, one after the other in one
process, on the threads that torch and joblib find.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import resource
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch

from data_gen.stream import EVALUATION_SEED
from mist.evaluation.command import command_parser, run_command
from mist.inference import Estimator

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Print the times; 0, or 2 for what cannot be used."""
    parser = command_parser("mist.evaluation.screening", __doc__)
    parser.add_argument("--columns", type=int, default=100, help="of the table of all pairs (default: 100)")
    parser.add_argument("--features", type=int, default=2000, help="columns against a target (default: 2000)")
    return run_command(parser, argv, {"columns": 2, "features": 1}, _measure)


def _measure(estimator: Estimator, arguments: argparse.Namespace) -> None:
    if importlib.util.find_spec("sklearn") is None:
        raise ValueError("scikit-learn, whose KSG stands beside, is missing: pip install 'mist-mi[sklearn]'")
    from sklearn.feature_selection import mutual_info_regression

    generator = np.random.default_rng([EVALUATION_SEED + arguments.seed, 0])
    factors = generator.normal(size=(1000, 10))
    columns = factors @ generator.normal(size=(10, arguments.columns)) + 2 * generator.normal(
        size=(1000, arguments.columns)
    )
    features = generator.normal(size=(500, arguments.features))
    target = features[:, 0] + generator.normal(size=500)
    warm = columns[:, :2]
    estimator.pairwise(warm)
    mutual_info_regression(warm, warm[:, 0])
    print(f"{os.cpu_count()} cores, {torch.get_num_threads()} threads of torch")
    times = {}
    times["mist, all pairs"] = _seconds(lambda: estimator.pairwise(columns))
    times["KSG, all pairs"] = _seconds(
        lambda: [
            mutual_info_regression(columns[:, :i], columns[:, i], random_state=0, n_jobs=os.cpu_count())
            for i in range(1, arguments.columns)
        ]
    )
    times["mist, relevance"] = _seconds(lambda: estimator.relevance(features, target))
    times["KSG, relevance"] = _seconds(
        lambda: mutual_info_regression(features, target, random_state=0, n_jobs=os.cpu_count())
    )
    counts = {"all pairs": arguments.columns * (arguments.columns - 1) // 2, "relevance": arguments.features}
    for name, seconds in times.items():
        count = counts[name.split(", ")[1]]
        print(f"{name:<18}{seconds:>8.2f} s for {count:,} pairs, {1e3 * seconds / count:.2f} ms each")
    print(f"most memory of the process {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    sys.exit(main())
