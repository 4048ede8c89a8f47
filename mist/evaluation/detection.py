"""How much dependence is seen at which n: `python -m mist.evaluation.detection`

Share of data sets whose 90 % interval begins above 0.005 nats: false alarms where X and Y are independent, power where
the MI is 0.05, 0.2 and 0.5 nats.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from scipy.optimize import brentq

from data_gen.elliptical import Gaussian
from data_gen.joint import Joint
from data_gen.normal_mixtures import NormalMixture
from data_gen.stream import EVALUATION_SEED
from data_gen.streams import Streams
from mist.evaluation.command import command_parser, run_command
from mist.evaluation.metrics import interpolate, wilson_interval
from mist.evaluation.prediction import evaluate_network
from mist.evaluation.suites import Dataset
from mist.inference import Estimator

__all__ = ["INFORMATIONS", "JOINTS", "cross", "detections", "main", "pairs"]

INFORMATIONS = (0.0, 0.05, 0.2, 0.5)
NUM_POINTS = (30, 100, 300, 1_000, 3_000)
LEAST = 0.005  # nats: an interval that begins below says "maybe nothing"


def pairs(dim: int, num_pairs: int, information: float, batch: int = 1) -> Joint:
    """Gaussian coordinates, dim + dim, the first `num_pairs` of which correlate alike; I in nats in all."""
    rho = math.sqrt(-math.expm1(-2 * information / num_pairs))
    dispersion = torch.eye(2 * dim, dtype=torch.float64)
    first = torch.arange(num_pairs)
    dispersion[first, dim + first] = dispersion[dim + first, first] = rho
    return Gaussian(dispersion.repeat(batch, 1, 1), dim)


def cross(information: float, batch: int = 1) -> Joint:
    """Half of the points correlate by ρ, the other half by -ρ: dependence without correlation; I in nats."""

    def joint(rho: float, size: int = 1) -> NormalMixture:
        rhos = torch.tensor([rho, -rho]).expand(size, 1, 2)
        share, mean, scale = torch.full((size, 1, 2), 0.5), torch.zeros(size, 1, 2, 2), torch.ones(size, 1, 2, 2)
        return NormalMixture(share, mean, scale, rhos, 1, 1)

    def excess(rho: float) -> float:
        return float(joint(rho).mutual_information[0]) - information

    return joint(0.0 if information == 0 else brentq(excess, 0.01, 0.999, xtol=1e-6), batch)


JOINTS: dict[str, Callable[[float, int], Joint]] = {
    "1+1 Gaussian": partial(pairs, 1, 1),
    "1+1 cross": cross,
    "5+5, one pair": partial(pairs, 5, 1),
    "5+5, all pairs": partial(pairs, 5, 5),
    "25+25, one pair": partial(pairs, 25, 1),
    "25+25, all pairs": partial(pairs, 25, 25),
}


def detections(network: Any, name: str, information: float, num_points: int, num_datasets: int, seed: int = 0) -> int:
    """Of `num_datasets` samples of a joint, in how many the 90 % interval begins above `LEAST`."""
    random = Streams.for_batch(EVALUATION_SEED + seed, list(JOINTS).index(name), 0, num_datasets)
    x, y = JOINTS[name](information, num_datasets).sample(num_points, random)
    datasets = [Dataset(name, name, a, b, information) for a, b in zip(x.numpy(), y.numpy(), strict=True)]
    records = evaluate_network(network, datasets)
    return int((interpolate(records.levels, records.quantiles, 0.05) > LEAST).sum())


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; 0, or 2 for what cannot be used."""
    parser = command_parser("mist.evaluation.detection", __doc__)
    parser.add_argument("--num-datasets", type=int, default=200, help="of each joint, MI and n (default: 200)")
    return run_command(parser, argv, {"num_datasets": 8}, _measure)


def _measure(estimator: Estimator, arguments: argparse.Namespace) -> None:
    number = arguments.num_datasets
    print(f"share of 90 % intervals that begin above {LEAST:g} nats [95 % interval of the share]")
    print(f"{'joint':<18}{'MI (nats)':<10}" + "".join(f"{f'n = {n:,}':>20}" for n in NUM_POINTS))
    for name in JOINTS:
        for information in INFORMATIONS:
            row = f"{name:<18}{information:<10g}"
            for n in NUM_POINTS:
                found = detections(estimator.network, name, information, n, number, arguments.seed)
                low, high = wilson_interval(found, number)
                row += f"{f'{found / number:.1%} [{100 * low:.0f}, {100 * high:.0f}]':>20}"
            print(row, flush=True)


if __name__ == "__main__":
    sys.exit(main())
