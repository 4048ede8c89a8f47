"""Widths and errors on Gaussian data beside the floor of the likelihood: `python -m mist.evaluation.efficiency`.

With canonical correlations ρ the maximum-likelihood estimate of a Gaussian's MI has standard deviation
√(Σρ²/n + dx·dy/(2n²)) nats at large n: Σρ²/n is the inverse Fisher information of ½ Σ log 1/(1 - ρ²) (each ρ̂ has
variance (1 - ρ²)²/n, Hsu 1941), and what independent coordinates add is that of χ²(dx·dy)/(2n)
(Wilks 1938). A 90 % interval can then be no narrower than 2·1.645 of these, unless by knowledge of the prior.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence

import numpy as np
import torch

from data_gen.covariance import ENSEMBLES, draw_dispersion
from data_gen.elliptical import Gaussian
from data_gen.stream import EVALUATION_SEED
from data_gen.streams import Streams
from mist.evaluation.command import command_parser, run_command
from mist.evaluation.metrics import Array, interpolate, mean_and_standard_error
from mist.evaluation.prediction import Records, evaluate_network
from mist.evaluation.suites import Dataset
from mist.evaluation.summary import DIM_BINS, Measured
from mist.inference import Estimator

__all__ = ["canonical_strength", "format_efficiency", "gaussian_suite", "likelihood_floor", "main"]

_CELL = 4
_MOST_POINTS, _RATIO = 4000, 5
_RATIOS = (("5-15", 5, 15), ("15-50", 15, 50), ("> 50", 50, np.inf))


def canonical_strength(dispersion: torch.Tensor, dim_x: int) -> torch.Tensor:
    """Σρ² over the canonical correlations, trace Σxx⁻¹ Σxy Σyy⁻¹ Σyx; (B, D, D) -> (B,)."""
    xx, yy, xy = (
        dispersion[:, :dim_x, :dim_x],
        dispersion[:, dim_x:, dim_x:],
        dispersion[:, :dim_x, dim_x:],
    )
    return (torch.linalg.solve(xx, xy) @ torch.linalg.solve(yy, xy.mT)).diagonal(dim1=-2, dim2=-1).sum(-1)


def likelihood_floor(strength: float, num_points: int, dim_x: int, dim_y: int) -> float:
    """√(Σρ²/n + dx·dy/(2n²)) in nats, from Σρ²."""
    return math.sqrt(strength / num_points + dim_x * dim_y / (2 * num_points**2))


def gaussian_suite(num_datasets: int, seed: int = 0) -> tuple[list[Dataset], Array]:
    """Gaussian data of every ensemble of dispersions and their floors in nats (R,).

    Dims log-uniform on 1…32 a side, n log-uniform from 5 (dx + dy), at least 30, to 4,000.
    """
    out: list[Dataset] = []
    floors: list[float] = []
    ensembles = list(ENSEMBLES)
    for index in range(math.ceil(num_datasets / _CELL)):
        generator = np.random.default_rng([EVALUATION_SEED + seed, index])
        dim_x, dim_y = (int(math.exp(generator.uniform(0, math.log(33)))) for _ in range(2))
        least = max(30, _RATIO * (dim_x + dim_y))
        num_points = int(math.exp(generator.uniform(math.log(least), math.log(_MOST_POINTS))))
        ensemble = ensembles[index % len(ensembles)]
        random = Streams.for_batch(EVALUATION_SEED + seed, index, 0, _CELL)
        joint = Gaussian(draw_dispersion(ensemble, dim_x, dim_y, 0.15, random), dim_x)
        strength = canonical_strength(joint.dispersion, dim_x)
        x, y = joint.sample(num_points, random)
        for i in range(_CELL):
            label = float(joint.mutual_information[i])
            out.append(Dataset("gaussian", ensemble, x[i].numpy(), y[i].numpy(), label))
            floors.append(likelihood_floor(float(strength[i]), num_points, dim_x, dim_y))
    return out[:num_datasets], np.array(floors[:num_datasets])


def format_efficiency(records: Records, floors: Array) -> str:
    """By dims and n over dims: width of the 90 % interval over that of the floor, error of the median over the mean
    absolute error of a normal law with the floor's deviation, and coverage."""
    low, middle, high = (interpolate(records.levels, records.quantiles, tau) for tau in (0.05, 0.5, 0.95))
    width = (high - low) / (2 * 1.6449 * floors)
    error = np.abs(middle - records.mi) / (math.sqrt(2 / math.pi) * floors)
    covered = (low <= records.mi) & (records.mi <= high)
    dim = records.dim_x + records.dim_y
    ratio = records.num_points / dim
    head = f"{'dims or ensemble':<18}{'n/(dx+dy)':<12}{'data sets':>10}"
    head += f"{'width / floor':>18}{'error / floor':>18}{'90 % holds':>12}"
    lines, all_rows = [head], np.ones(len(records), dtype=bool)
    rows = [("all", "all", all_rows)]
    for name, least, most in DIM_BINS:
        for label, start, stop in _RATIOS:
            mask = (dim >= least) & (dim < most) & (ratio >= start) & (ratio < stop)
            rows.append((name, label, mask))
    rows += [(family, "all", records.family == family) for family in dict.fromkeys(records.family.tolist())]
    for name, label, mask in rows:
        if mask.sum() >= 2:
            means = [Measured(*mean_and_standard_error(values[mask])) for values in (width, error)]
            numbers = f"{int(mask.sum()):>10}{means[0]!s:>18}{means[1]!s:>18}{covered[mask].mean():>12.1%}"
            lines.append(f"{name:<18}{label:<12}{numbers}")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; 0, or 2 for what cannot be used."""
    parser = command_parser("mist.evaluation.efficiency", __doc__)
    parser.add_argument("--num-datasets", type=int, default=2000)
    return run_command(parser, argv, {"num_datasets": 8}, _measure)


def _measure(estimator: Estimator, arguments: argparse.Namespace) -> None:
    datasets, floors = gaussian_suite(arguments.num_datasets, arguments.seed)
    print(format_efficiency(evaluate_network(estimator.network, datasets), floors))


if __name__ == "__main__":
    sys.exit(main())
