"""Errors on kinds of dependence held out of training, beside its own: `python -m mist.evaluation.generalization`

Every held-out data set is matched with one of the training law that has its n and dims and the nearest MI.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from data_gen.meta_distribution import MetaDistribution
from data_gen.stream import EVALUATION_SEED, generate_batch
from data_gen.streams import structure_generator
from mist.evaluation.command import command_parser, run_command
from mist.evaluation.metrics import Array, interpolate
from mist.evaluation.prediction import Records, evaluate_network
from mist.evaluation.suites import Dataset, held_out
from mist.inference import Estimator
from mist.quantiles import OFFSET

__all__ = ["format_generalization", "main", "matched", "usual_datasets"]

_SHAPE = 8  # data sets of one shape
_RESAMPLES = 1000


def usual_datasets(
    law: MetaDistribution, num_points: int, dims: tuple[int, int], num_datasets: int, seed: int = 0
) -> list[Dataset]:
    """Data sets of the law at this n and these dims, either side first; the law draws nothing of other n here."""
    law = replace(
        law,
        num_points=(num_points, num_points),
        max_num_points=num_points,
        uniform_points_probability=1.0,
        few_dims=max(dims),
        few_dims_probability=1.0,
        category_probability=0.0,
        datasets_per_batch=(_SHAPE, _SHAPE),
    )
    out: list[Dataset] = []
    index = 0
    while len(out) < num_datasets:
        shape = law.draw_shapes(structure_generator(EVALUATION_SEED + seed, index), held_out=True)[0]
        if sorted((shape.dim_x, shape.dim_y)) == sorted(dims):
            batch = generate_batch(law, EVALUATION_SEED + seed, index)
            out += [
                Dataset("usual", batch.family[i], batch.x[i].numpy(), batch.y[i].numpy(), float(batch.mi[i]))
                for i in range(len(batch.mi))
                if batch.weight[i] > 0
            ]
        index += 1
    return out[:num_datasets]


def matched(wanted: Array, offered: Array) -> np.ndarray:
    """For each MI wanted the index of the nearest offered on the scale log(mi + 0.05), (R,), (S,) -> (R,)."""
    distance = np.abs(np.log(wanted[:, None] + OFFSET) - np.log(offered[None] + OFFSET))
    return np.asarray(distance.argmin(-1))


def format_generalization(rows: Records, usual: Array, seed: int = 0) -> str:
    """By kind: MAE of the median, of the matched data sets (R,), their ratio with its bootstrap error, coverage."""
    error = np.abs(interpolate(rows.levels, rows.quantiles, 0.5) - rows.mi)
    inside = [
        (interpolate(rows.levels, rows.quantiles, (1 - level) / 2) <= rows.mi)
        & (rows.mi <= interpolate(rows.levels, rows.quantiles, (1 + level) / 2))
        for level in (0.5, 0.8, 0.9, 0.95)
    ]
    generator = np.random.default_rng(seed)
    head = f"{'kind':<34}{'data sets':>10}{'MAE':>8}{'matched':>9}{'ratio':>14}   50/80/90/95 % intervals hold"
    lines = [head]
    kinds = [(str(kind), rows.family == kind) for kind in dict.fromkeys(rows.family.tolist())]
    for kind, mask in [("all", np.ones(len(rows), dtype=bool)), *kinds]:
        own, other = error[mask], usual[mask]
        chosen = generator.integers(0, len(own), (_RESAMPLES, len(own)))
        spread = float(np.std(own[chosen].mean(-1) / other[chosen].mean(-1)))
        held = "/".join(f"{100 * hit[mask].mean():.1f}" for hit in inside)
        ratio = f"{own.mean() / other.mean():.2f} ± {spread:.2f}"
        lines.append(f"{kind:<34}{len(own):>10}{own.mean():>8.3f}{other.mean():>9.3f}{ratio:>14}   {held} %")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; 0, or 2 for what cannot be used."""
    parser = command_parser("mist.evaluation.generalization", __doc__)
    parser.add_argument("--num-points", type=int, default=1000, help="n of every data set (default: 1000)")
    parser.add_argument("--num-datasets", type=int, default=60, help="of each kind (default: 60)")
    return run_command(parser, argv, {"num_datasets": 8, "num_points": 10}, _measure)


def _measure(estimator: Estimator, arguments: argparse.Namespace) -> None:
    num_points, number, seed = arguments.num_points, arguments.num_datasets, arguments.seed
    law = MetaDistribution.from_dict(estimator.config["meta_distribution"])
    rows = evaluate_network(estimator.network, held_out(7 * number, seed, num_points=(num_points,)))
    usual = np.zeros(len(rows))
    for dims in dict.fromkeys(zip(rows.dim_x.tolist(), rows.dim_y.tolist(), strict=True)):
        mask = (rows.dim_x == dims[0]) & (rows.dim_y == dims[1])
        found = evaluate_network(estimator.network, usual_datasets(law, num_points, dims, 8 * number, seed))
        errors = np.abs(interpolate(found.levels, found.quantiles, 0.5) - found.mi)
        usual[mask] = errors[matched(rows.mi[mask], found.mi)]
    print(format_generalization(rows, usual, seed))


if __name__ == "__main__":
    sys.exit(main())
