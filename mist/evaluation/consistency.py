"""Error against n from 30 to 100,000 beside KSG, CCA and the floor: `python -m mist.evaluation.consistency --out FILE`.

Six joints that estimators are often shown on, each fixed; samples of smaller n are the first points of larger ones.
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from data_gen.additive_noise import UniformAdditiveNoise
from data_gen.composition import Warped
from data_gen.copulas import BivariateCopulas
from data_gen.elliptical import Gaussian, StudentT
from data_gen.joint import Joint
from data_gen.normal_mixtures import NormalMixture
from data_gen.stream import EVALUATION_SEED
from data_gen.streams import Streams
from data_gen.warps import Spiral
from mist.evaluation.baselines import gaussian_cca, ksg
from mist.evaluation.command import command_parser, run_command
from mist.evaluation.efficiency import likelihood_floor
from mist.evaluation.metrics import interpolate
from mist.evaluation.prediction import predict
from mist.evaluation.suites import Dataset
from mist.inference import Estimator

__all__ = ["CURVES", "Curve", "main", "measure", "plot_curves"]

NUM_POINTS = (30, 100, 300, 1_000, 3_000, 10_000, 30_000, 100_000)
_MOST_KSG = 30_000  # points, past 2 coordinates


def _pairs(dim: int, correlation: float) -> torch.Tensor:
    """Dispersion of dim + dim coordinates whose i-th ones correlate."""
    eye = torch.eye(dim, dtype=torch.float64)
    return torch.cat([torch.cat([eye, correlation * eye], -1), torch.cat([correlation * eye, eye], -1)]).unsqueeze(0)


def _cross() -> Joint:
    share, rho = torch.full((1, 1, 2), 0.5), torch.tensor([[[0.8, -0.8]]])
    return NormalMixture(share, torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2), rho, 1, 1)


def _spiral() -> Joint:
    return Warped(Gaussian(_pairs(3, 0.7), 3), Spiral((0, 1), 1 / 3), Spiral((1, 2), 1 / 3))


@dataclass(frozen=True)
class Curve:
    """A joint and, where the known floor √(Σρ²/n + dx·dy/(2n²)) holds, its Σρ²."""

    make: Callable[[], Joint]
    strength: float | None = None


CURVES = {
    "Gaussian, 5 + 5 dims": Curve(lambda: Gaussian(_pairs(5, 0.5), 5), 5 * 0.5**2),
    "Student-t, 2 degrees of freedom, 3 + 3": Curve(lambda: StudentT(_pairs(3, 0.6), torch.tensor([2.0]), 3)),
    "uniform noise, 1 + 1": Curve(lambda: UniformAdditiveNoise(torch.tensor([[0.5]]), 1, 1)),
    "Clayton copula, 1 + 1": Curve(lambda: BivariateCopulas("clayton", torch.tensor([[3.0]]), 1, 1)),
    "cross of two normals, 1 + 1": Curve(_cross),
    "Gaussian behind spirals, 3 + 3": Curve(_spiral, 3 * 0.7**2),
}


@dataclass(frozen=True)
class Measurement:
    """Mean absolute errors in nats of S samples by joint, n and estimator."""

    joint: str
    truth: float
    num_points: int
    errors: dict[str, float]
    interval_width: float
    floor: float  # NaN where unknown


def measure(network: torch.nn.Module, num_samples: int, num_points: Sequence[int], seed: int = 0) -> list[Measurement]:
    """Errors of the network's median, of KSG (k = 3; past 2 coordinates up to 30,000 points) and of CCA (of ranks)."""
    out = []
    levels = np.asarray(network.config.levels)  # type: ignore[union-attr]
    for index, (name, curve) in enumerate(CURVES.items()):
        joint = curve.make()
        truth = float(joint.mutual_information[0])
        estimates: dict[int, dict[str, list[float]]] = {n: {"mist": [], "KSG": [], "CCA": []} for n in num_points}
        widths: dict[int, list[float]] = {n: [] for n in num_points}
        for sample in range(num_samples):
            random = Streams.for_batch(EVALUATION_SEED + seed, 1000 * index + sample, 0, 1)
            x, y = (side[0].numpy() for side in joint.sample(max(num_points), random))
            for n in num_points:
                data = Dataset(name, name, x[:n], y[:n], truth)
                quantiles = predict(SimpleNamespace(network=network), [data])[0]
                low, middle, high = (float(interpolate(levels, quantiles, tau)) for tau in (0.05, 0.5, 0.95))
                estimates[n]["mist"].append(middle)
                widths[n].append(high - low)
                few = data.x.shape[1] + data.y.shape[1] <= 2
                estimates[n]["KSG"].append(ksg(data.x, data.y, 3) if few or n <= _MOST_KSG else math.nan)
                estimates[n]["CCA"].append(gaussian_cca(data.x, data.y, scores="rank"))
        dim_x, dim_y = x.shape[1], y.shape[1]
        for n in num_points:
            errors = {key: float(np.abs(np.array(values) - truth).mean()) for key, values in estimates[n].items()}
            floor = math.nan
            if curve.strength is not None:
                floor = math.sqrt(2 / math.pi) * likelihood_floor(curve.strength, n, dim_x, dim_y)
            out.append(Measurement(name, truth, n, errors, float(np.mean(widths[n])), floor))
    return out


def plot_curves(measurements: Sequence[Measurement], path: Path, title: str, trained_points: float) -> None:
    """One panel a joint, both axes logarithmic; a dotted line at the largest n of training."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(m.joint for m in measurements))
    figure = Figure(figsize=(11.5, 6.6), layout="constrained")
    for axes, name in zip(figure.subplots(2, 3, sharex=True).flat, names):
        rows = [m for m in measurements if m.joint == name]
        n = [m.num_points for m in rows]
        for key, colour in (("KSG", "tab:orange"), ("CCA", "tab:green"), ("mist", "tab:blue")):
            axes.plot(n, [m.errors[key] for m in rows], "o-", color=colour, markersize=3.5, label=key)
        axes.plot(n, [m.floor for m in rows], "k--", linewidth=0.9, label="floor (Gaussian likelihood)")
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.axvline(trained_points, color="grey", linewidth=0.6, linestyle=":")
        axes.set_title(f"{name}: {rows[0].truth:.3f} nats", fontsize=9)
    figure.axes[0].legend(fontsize=8)
    figure.supxlabel("points n (dotted: the largest of training)", fontsize=9)
    figure.supylabel("mean absolute error (nats)", fontsize=9)
    figure.suptitle(title, fontsize=10)
    figure.savefig(path, dpi=130)


def _table(measurements: Sequence[Measurement]) -> str:
    lines = [f"{'joint':<40}{'n':>9}{'mist':>9}{'KSG':>9}{'CCA':>9}{'floor':>9}{'width':>9}"]
    for m in measurements:
        numbers = [m.errors["mist"], m.errors["KSG"], m.errors["CCA"], m.floor, m.interval_width]
        lines.append(f"{m.joint:<40}{m.num_points:>9,}" + "".join(f"{value:>9.4f}" for value in numbers))
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table and write the figure and a CSV; 0, or 2 for what cannot be used."""
    parser = command_parser("mist.evaluation.consistency", __doc__)
    parser.add_argument("--samples", type=int, default=8, help="of each joint (default: 8)")
    parser.add_argument("--max-points", type=int, default=NUM_POINTS[-1])
    parser.add_argument("--out", type=Path, help="PNG to write, with a CSV of the same name beside it")
    return run_command(parser, argv, {"samples": 1, "max_points": NUM_POINTS[0]}, _measure)


def _measure(estimator: Estimator, arguments: argparse.Namespace) -> None:
    num_points = [n for n in NUM_POINTS if n <= arguments.max_points]
    measurements = measure(estimator.network, arguments.samples, num_points, arguments.seed)
    print(_table(measurements))
    if arguments.out is not None:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        with arguments.out.with_suffix(".csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["joint", "mi", "num_points", "mist", "ksg", "cca", "floor", "interval_width"])
            for m in measurements:
                writer.writerow([m.joint, m.truth, m.num_points, *m.errors.values(), m.floor, m.interval_width])
        trained_points = estimator.checkpoint.trained_points(1, 1)[1]
        plot_curves(measurements, arguments.out, estimator.checkpoint.label, trained_points)
        print(f"wrote {arguments.out}")


if __name__ == "__main__":
    sys.exit(main())
