"""Does the gradient of MI as a loss point where the estimate rises? `python -m mist.evaluation.gradients`

The cosine between the gradient of `Estimator.mutual_information` and coarse central differences of the plain estimate,
all directions of all data sets of a kind side by side: over the weights of a random linear projection of five columns,
and over smooth displacements of all points. Differences with another step say what their own noise allows.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from data_gen.stream import EVALUATION_SEED
from mist.evaluation.command import command_parser, run_command
from mist.inference import Estimator
from mist.scores import double_ranks, gaussian_scores

__all__ = ["DISPLACED", "PROJECTED", "Slopes", "displacement_slopes", "main", "projection_slopes"]

STEP, OTHER_STEP = 0.15, 0.3  # of a weight, where all together have norm 1, and of a normal score
NUM_POINTS, NUM_DISPLACED = 500, 300
_COLUMNS, _DISPLACEMENTS = 5, 25

Draw = Callable[[int, torch.Generator], tuple[Tensor, Tensor]]


class Slopes(NamedTuple):
    """By direction, (K,) each: of the gradient, and by differences with either step."""

    gradient: Tensor
    differences: Tensor
    other: Tensor


def _normal(generator: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def _drawn(
    function: Callable[[Tensor, Callable[..., Tensor]], Tensor],
    num_columns: int = _COLUMNS,
    *,
    each: bool = False,
    heavy: bool = False,
) -> Draw:
    """Normal columns, and a function of a direction in them, or of `each`, with noise; with heavy tails in common."""

    def draw(num_points: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        def noise(*shape: int) -> Tensor:
            return _normal(generator, *shape)

        x = source = noise(num_points, num_columns)
        if not each:
            direction = noise(num_columns, 1)
            source = x @ (direction / direction.norm())
        y = function(source, noise)
        if heavy:
            radius = noise(num_points, 3).square().mean(1, keepdim=True).rsqrt()
            x, y = x * radius, y * radius
        return x, y

    return draw


def _circle(num_points: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    angle = 2 * torch.pi * torch.rand(num_points, 1, generator=generator, dtype=torch.float64)
    return angle.cos() + 0.1 * _normal(generator, num_points, 1), angle.sin() + 0.1 * _normal(generator, num_points, 1)


PROJECTED: dict[str, Draw] = {
    "linear": _drawn(lambda s, noise: s + 0.5 * noise(*s.shape)),
    "tanh": _drawn(lambda s, noise: torch.tanh(s) + 0.3 * noise(*s.shape)),
    "cube": _drawn(lambda s, noise: s**3 + noise(*s.shape)),
    "square": _drawn(lambda s, noise: s**2 + 0.3 * noise(*s.shape)),
    "sine": _drawn(lambda s, noise: torch.sin(2 * s) + 0.3 * noise(*s.shape)),
    "Student-t": _drawn(lambda s, noise: s + 0.5 * noise(*s.shape), heavy=True),
}
DISPLACED: dict[str, Draw] = {
    "Gaussian 1+1": _drawn(lambda x, noise: x + noise(*x.shape), 1, each=True),
    "Gaussian 3+3": _drawn(lambda x, noise: x + noise(*x.shape), 3, each=True),
    "Student-t 3+3": _drawn(lambda x, noise: x + noise(*x.shape), 3, each=True, heavy=True),
    "square 1+1": _drawn(lambda x, noise: x**2 + noise(*x.shape), 1, each=True),
    "cube 2+2": _drawn(lambda x, noise: x**3 + noise(*x.shape), 2, each=True),
    "sine 2+2": _drawn(lambda x, noise: torch.sin(2 * x) + 0.3 * noise(*x.shape), 2, each=True),
    "circle 1+1": _circle,
    "independent 2+2": _drawn(lambda x, noise: noise(*x.shape), 2, each=True),
}


def projection_slopes(estimator: Estimator, draw: Draw, generator: torch.Generator) -> Slopes:
    """Over the weights of a random projection of x, of norm 1."""
    x, y = draw(NUM_POINTS, generator)
    weights = _normal(generator, x.shape[1])
    weights = (weights / weights.norm()).requires_grad_()
    gradient = torch.autograd.grad(estimator.mutual_information(x @ weights, y), weights)[0]
    fixed = weights.detach()

    def rise(step: float) -> Tensor:
        moves = step * torch.eye(len(fixed), dtype=torch.float64)
        ends = [[estimator.estimate(x @ (fixed + sign * move), y).mi for sign in (1, -1)] for move in moves]
        return torch.tensor([(up - down) / (2 * step) for up, down in ends], dtype=torch.float64)

    return Slopes(gradient, rise(STEP), rise(OTHER_STEP))


def displacement_slopes(estimator: Estimator, draw: Draw, generator: torch.Generator) -> Slopes:
    """Over smooth displacements of all points, as normal scores."""
    x, y = draw(NUM_DISPLACED, generator)
    scores = gaussian_scores(double_ranks(torch.cat([x, y], dim=1).T.contiguous())).T
    dim_x, dim = x.shape[1], scores.shape[1]
    sides = [side.clone().requires_grad_() for side in (scores[:, :dim_x], scores[:, dim_x:])]
    gradient = torch.cat(torch.autograd.grad(estimator.mutual_information(*sides), sides), dim=1)
    slopes, rises = [], []
    for _ in range(_DISPLACEMENTS):
        frequencies = 1.5 * _normal(generator, dim, dim) / dim**0.5
        phases = 2 * torch.pi * torch.rand(dim, generator=generator, dtype=torch.float64)
        move = torch.sin(scores @ frequencies + phases)
        slopes.append((gradient * move).sum())
        for step in (STEP, OTHER_STEP):
            ends = [scores + sign * step * move for sign in (1, -1)]
            up, down = (estimator.estimate(end[:, :dim_x], end[:, dim_x:]).mi for end in ends)
            rises.append((up - down) / (2 * step))
    differences = torch.tensor(rises, dtype=torch.float64).view(-1, 2)
    return Slopes(torch.stack(slopes), differences[:, 0], differences[:, 1])


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; 0, or 2 for what cannot be used."""
    parser = command_parser("mist.evaluation.gradients", __doc__)
    parser.add_argument("--num-datasets", type=int, default=8, help="of each kind (default: 8)")
    return run_command(parser, argv, {"num_datasets": 1}, _measure)


def _measure(estimator: Estimator, arguments: argparse.Namespace) -> None:
    kinds = [("weights", name, draw, projection_slopes) for name, draw in PROJECTED.items()]
    kinds += [("points", name, draw, displacement_slopes) for name, draw in DISPLACED.items()]
    print(f"{'of':<9}{'kind':<17}{'cosine':>8}{'size':>8}{'cosine of differences with each other':>40}")
    for index, (of, name, draw, slopes) in enumerate(kinds):
        found = []
        for which in range(arguments.num_datasets):
            seed = np.random.SeedSequence([EVALUATION_SEED + arguments.seed, index, which]).generate_state(1)[0]
            found.append(slopes(estimator, draw, torch.Generator().manual_seed(int(seed))))
        all_of = Slopes(*(torch.cat(part) for part in zip(*found, strict=True)))
        size = float(all_of.gradient.norm() / all_of.differences.norm().clamp(min=1e-12))
        cosines = [_cosine(part, all_of.differences) for part in (all_of.gradient, all_of.other)]
        print(f"{of:<9}{name:<17}{cosines[0]:>8.2f}{size:>8.2f}{cosines[1]:>40.2f}", flush=True)


def _cosine(a: Tensor, b: Tensor) -> float:
    return float(torch.nn.functional.cosine_similarity(a, b, dim=0))


if __name__ == "__main__":
    sys.exit(main())
