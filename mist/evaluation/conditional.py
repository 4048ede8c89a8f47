"""Do intervals of conditional MI hold the truth? `python -m mist.evaluation.conditional`

Gaussian variables of random covariance, one to three coordinates each, and three discrete variables of random tables:
both have an exact conditional MI.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from data_gen.stream import EVALUATION_SEED
from mist.errors import MISTWarning
from mist.evaluation.command import command_parser, run_command
from mist.evaluation.metrics import mean_and_standard_error, wilson_interval
from mist.evaluation.summary import COVERAGES, Measured
from mist.inference import Estimator

__all__ = ["draw_discrete", "draw_gaussian", "main"]

Array = NDArray[np.float64]
Drawn = tuple[Array, Array, Array, float]  # x, y, z (n, d) and I(X;Y|Z) in nats

NUM_POINTS = (200, 1_000)


def draw_gaussian(generator: np.random.Generator, num_points: int) -> Drawn:
    """x, y, z of 1 to 3 coordinates each; I = ½ log |Σxz||Σyz| / (|Σz||Σxyz|)."""
    dims = generator.integers(1, 4, 3)
    ends = np.cumsum([0, *dims])
    x, y, z = (np.arange(ends[i], ends[i + 1]) for i in range(3))
    mixing = generator.normal(size=(ends[-1], ends[-1] + 2))
    covariance = mixing @ mixing.T / (ends[-1] + 2)

    def log_determinant(*parts: Array) -> float:
        indices = np.concatenate(parts).astype(int)
        return float(np.linalg.slogdet(covariance[np.ix_(indices, indices)])[1])

    information = log_determinant(x, z) + log_determinant(y, z) - log_determinant(z) - log_determinant(x, y, z)
    points = generator.normal(size=(num_points, ends[-1])) @ np.linalg.cholesky(covariance).T
    return points[:, x], points[:, y], points[:, z], 0.5 * information


def draw_discrete(generator: np.random.Generator, num_points: int) -> Drawn:
    """x, y, z of two or three ordered levels each, from a table drawn from a Dirichlet law; I is its exact sum."""
    table = generator.dirichlet(np.full(np.prod(sizes := tuple(generator.integers(2, 4, 3).tolist())), 1.0)).reshape(
        sizes
    )
    of_z, of_xz, of_yz = table.sum((0, 1)), table.sum(1), table.sum(0)
    ratio = table * of_z / (of_xz[:, None, :] * of_yz[None])
    information = float((table * np.log(np.where(table > 0, ratio, 1.0))).sum())
    cells = generator.choice(table.size, num_points, p=table.ravel())
    x, y, z = (level.astype(np.float64)[:, None] for level in np.unravel_index(cells, sizes))
    return x, y, z, information


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; 0, or 2 for what cannot be used."""
    parser = command_parser("mist.evaluation.conditional", __doc__)
    parser.add_argument("--num-datasets", type=int, default=200, help="of each kind and n (default: 200)")
    return run_command(parser, argv, {"num_datasets": 8}, _measure)


def _measure(estimator: Estimator, arguments: argparse.Namespace) -> None:
    number = arguments.num_datasets
    print(f"{'kind':<14}{'n':>7}{'MAE of median':>20}   {'/'.join(f'{100 * c:g}' for c in COVERAGES)} % intervals hold")
    kinds: dict[str, Callable[[np.random.Generator, int], Drawn]] = {
        "Gaussian": draw_gaussian,
        "discrete": draw_discrete,
    }
    for index, (name, draw) in enumerate(kinds.items()):
        for num_points in NUM_POINTS:
            generator = np.random.default_rng([EVALUATION_SEED + arguments.seed, index, num_points])
            errors, held = [], np.zeros(len(COVERAGES))
            for _ in range(number):
                x, y, z, truth = draw(generator, num_points)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", MISTWarning)
                    found = estimator.estimate(x, y, given=z)
                errors.append(abs(found.median - truth))
                ends = [found.interval(level) for level in COVERAGES]
                held += [low <= truth <= high for low, high in ends]
            low, high = wilson_interval(float(held[2]), number)
            shares = "/".join(f"{100 * count / number:.1f}" for count in held)
            error = Measured(*mean_and_standard_error(errors))
            print(f"{name:<14}{num_points:>7,}{error!s:>20}   {shares} % [90 %: {100 * low:.1f}, {100 * high:.1f}]")


if __name__ == "__main__":
    sys.exit(main())
