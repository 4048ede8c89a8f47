"""Circles, ellipses and Lissajous figures with noise in both coordinates: dependence without any function of X.

X = cos(mT) + σ·N, Y = cos(nT + φ) + τ·N', T uniform on the circle. The density is a mean over T of products of two
normals; on a grid it is one matrix product, and the MI is h(X) + h(Y) - h(X, Y).
"""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor

from data_gen.coordinate_pairs import LabelledPairs
from data_gen.pools import Pool
from data_gen.streams import Streams

__all__ = ["SMALLEST_NOISE", "Loop", "loop_information", "loop_pool"]

SMALLEST_NOISE = 0.06
_ANGLES, _GRID, _CHUNK = 384, 96, 32  # points in T, points in x and in y, pairs at once
_REACH = 6.0  # standard deviations of the noise past the figure
_CHUNK_SIZE, _NUM_CHUNKS = 1024, 18


def loop_information(frequency: Tensor, phase: Tensor, noise: Tensor) -> Tensor:
    """MI in nats; frequency (R, 2) of 1, 2 or 3, phase (R,), noise (R, 2) of at least SMALLEST_NOISE -> (R,) float64.

    Trapezoids: over T exponentially exact (periodic), over x and y with a step of at most half a standard
    deviation of the noise.
    """
    if float(noise.min()) < SMALLEST_NOISE * (1 - 1e-6):
        raise ValueError(f"got noise of {float(noise.min()):.4g}, expected at least {SMALLEST_NOISE}")
    parts = [
        _information(frequency[i : i + _CHUNK], phase[i : i + _CHUNK], noise[i : i + _CHUNK])
        for i in range(0, len(phase), _CHUNK)
    ]
    return torch.cat(parts)


def _information(frequency: Tensor, phase: Tensor, noise: Tensor) -> Tensor:
    angle = torch.arange(_ANGLES, dtype=torch.float64) * (2 * math.pi / _ANGLES)
    densities, steps = [], []
    for i, shift in enumerate((torch.zeros_like(phase), phase)):
        centre = torch.cos(frequency[:, i : i + 1] * angle + shift.unsqueeze(-1))  # (R, T)
        scale = noise[:, i : i + 1]
        reach = 1 + _REACH * scale
        grid = reach * torch.linspace(-1, 1, _GRID, dtype=torch.float64)  # (R, G)
        offset = (grid.unsqueeze(-1) - centre.unsqueeze(-2)) / scale.unsqueeze(-1)
        densities.append(torch.exp(-0.5 * offset.square()) / (scale.unsqueeze(-1) * math.sqrt(2 * math.pi)))
        steps.append(2 * reach.squeeze(-1) / (_GRID - 1))
    both = densities[0] @ densities[1].mT / _ANGLES * (steps[0] * steps[1]).view(-1, 1, 1)  # mass of every cell
    both = both / both.sum((-2, -1), keepdim=True)
    product = both.sum(-1, keepdim=True) * both.sum(-2, keepdim=True)
    return (torch.special.xlogy(both, both) - torch.special.xlogy(both, product)).sum((-2, -1)).clamp(min=0)


class Loop(LabelledPairs):
    """Pairs on noisy loops; `frequency` and `noise` (B, P, 2), `phase`, `information` (B, P), nats, by quadrature."""

    def __init__(
        self, frequency: Tensor, phase: Tensor, noise: Tensor, dim_x: int, dim_y: int, information: Tensor
    ) -> None:
        super().__init__(dim_x, dim_y, information, torch.zeros_like(information))
        self.frequency, self.phase, self.noise = frequency.double(), phase.double(), noise.double()

    def draw_pairs(self, num_points: int, random: Streams) -> tuple[Tensor, Tensor]:
        """N points of every pair: (B, N, P) each."""
        pairs = self.phase.shape[-1]
        angle = random.uniform(num_points, pairs, high=2 * math.pi)
        noise = random.normal(2, num_points, pairs)
        shift = self.phase.unsqueeze(-2)
        frequency, scale = self.frequency.unsqueeze(-3), self.noise.unsqueeze(-3)
        x = torch.cos(frequency[..., 0] * angle) + scale[..., 0] * noise[:, 0]
        y = torch.cos(frequency[..., 1] * angle + shift) + scale[..., 1] * noise[:, 1]
        return x, y


def _make(random: Streams) -> dict[str, Tensor]:
    """Two in three are ellipses; noise of each coordinate from hardly any to some three times the figure."""
    figure = random.integers(1, 3, 2)
    frequency = torch.where(random.bernoulli(0.5, 1), 1, figure).double()
    phase = random.uniform(1, high=2 * math.pi).squeeze(-1)
    level = random.log_uniform(1, low=SMALLEST_NOISE, high=1.5)
    noise = (level * random.log_uniform(2, low=0.5, high=2.0)).clamp(min=SMALLEST_NOISE)
    return {
        "frequency": frequency,
        "phase": phase,
        "noise": noise,
        "mi": loop_information(frequency, phase, noise),
        "standard_error": torch.zeros(len(random), dtype=torch.float64),
    }


@cache
def loop_pool() -> Pool:
    """The pool of labelled loops."""
    return Pool("loop", _CHUNK_SIZE, _NUM_CHUNKS, _make, ("data_gen.loops",))
