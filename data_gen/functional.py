"""Y = f(X) + noise with random f: smooth, polynomial, stepwise or two-valued, of one input or of a sum of several.

X holds normal coordinates; a weighted sum u of them, of unit variance, is all that Y depends on, so I(X; Y) = I(u; Y)
(data processing with equality, Cover & Thomas 2006, §2.8). With q = Φ(u), uniform, Y is c(q) ± m(q) + s(q)·N, and
I = h(Y) - E h(Y | q): one density on a grid, and the entropy of two equal normal bumps, tabulated.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from data_gen.streams import Streams
from data_gen.tables import Array, Table

__all__ = ["CURVES", "Curve", "Functional", "draw_curve", "two_bump_entropy"]

_NODES, _GRID, _CHUNK = 512, 320, 8  # points in q, points in y, data sets at once
_STEEPEST = 1.2  # standard deviations of the noise between two nodes: the density's ripple stays below 1e-5
_NORMAL_ENTROPY = 0.5 * math.log(2 * math.pi * math.e)


@cache
def _bump_table() -> Table:
    z = np.linspace(-18, 18, 3601)

    def excess(distance: Array) -> Array:
        r = distance[:, None]
        density = 0.5 * (np.exp(-0.5 * (z - r) ** 2) + np.exp(-0.5 * (z + r) ** 2)) / math.sqrt(2 * math.pi)
        return -(density * np.log(density.clip(1e-300))).sum(1) * (z[1] - z[0]) - _NORMAL_ENTROPY

    return Table(excess, 0.0, 8.0, degree=64)


def two_bump_entropy(distance: Tensor) -> Tensor:
    """What the entropy of ½N(-r, 1) + ½N(r, 1) exceeds a normal's by, nats: 0 at r = 0, log 2 far apart."""
    return _bump_table()(distance.clamp(max=8.0)).clamp(0, math.log(2))


@dataclass(frozen=True)
class Curve:
    """Centre, half distance of the two branches and relative noise, functions of q in (0, 1), B of each.

    centre(q) = Σ a·sin(2πωq + φ) + Σ b·P_j(2q - 1) + Σ h·1{q > t}; half(q) = w·√(1 - (2q - 1)²) (w = 0: one branch);
    the noise is exp(γ·sin(2πκq + ψ)) times its scale. All coefficients are (B, ·), unused ones 0.
    """

    waves: tuple[Tensor, Tensor, Tensor]  # a, ω, φ (B, K)
    polynomial: Tensor  # b_j, j = 1 … J, (B, J)
    steps: tuple[Tensor, Tensor]  # h, t (B, S)
    width: Tensor  # w (B,)
    noise: tuple[Tensor, Tensor, Tensor]  # γ, κ, ψ (B,)

    def centre(self, q: Tensor) -> Tensor:
        """(B, M) -> (B, M)."""
        a, omega, phase = (values.unsqueeze(-2) for values in self.waves)
        total = (a * torch.sin(2 * math.pi * omega * q.unsqueeze(-1) + phase)).sum(-1)
        x = 2 * q - 1
        previous, current = torch.ones_like(x), x
        for j in range(self.polynomial.shape[-1]):
            total = total + self.polynomial[:, j : j + 1] * current
            previous, current = current, ((2 * j + 3) * x * current - (j + 1) * previous) / (j + 2)  # Legendre
        height, threshold = (values.unsqueeze(-2) for values in self.steps)
        return total + (height * (q.unsqueeze(-1) > threshold)).sum(-1)

    def half(self, q: Tensor) -> Tensor:
        """(B, M) -> (B, M)."""
        return self.width.unsqueeze(-1) * (1 - (2 * q - 1).square()).clamp(min=0).sqrt()

    def relative_noise(self, q: Tensor) -> Tensor:
        """(B, M) -> (B, M)."""
        gamma, kappa, psi = (values.unsqueeze(-1) for values in self.noise)
        return (gamma * torch.sin(2 * math.pi * kappa * q + psi)).exp()


CURVES = ("smooth", "polynomial", "steps", "branches")


def draw_curve(kind: str, random: Streams) -> Curve:
    """Random curves of one kind; the noise varies along half of them."""
    num_waves, degree, num_steps = 4, 5, 8
    use = {"smooth": kind in ("smooth", "branches"), "polynomial": kind == "polynomial", "steps": kind == "steps"}
    amplitude = random.normal(num_waves) / (1 + torch.arange(num_waves))
    frequency = random.log_uniform(num_waves, low=0.3, high=4.0)
    phase = random.uniform(num_waves, high=2 * math.pi)
    if kind == "branches":
        amplitude = amplitude * random.uniform(1)
    coefficients = random.normal(degree)
    heights = random.normal(num_steps) * (torch.arange(num_steps) < random.integers(1, num_steps, 1))
    thresholds = random.uniform(num_steps)
    if kind != "steps":  # they part the nodes of the label's quadrature
        thresholds = torch.linspace(0, 1, num_steps + 2, dtype=torch.float64)[1:-1].expand_as(thresholds)
    width = random.log_uniform(1, low=0.5, high=3.0).squeeze(-1)
    varies = random.bernoulli(0.5, 1).squeeze(-1)
    gamma = torch.where(varies, 0.8 * random.uniform(1).squeeze(-1), 0.0)
    return Curve(
        waves=(amplitude * use["smooth"], frequency, phase),
        polynomial=coefficients * use["polynomial"],
        steps=(heights * use["steps"], thresholds),
        width=width * (kind == "branches"),
        noise=(gamma, random.log_uniform(1, low=0.3, high=2.0).squeeze(-1), random.uniform(1, high=6.28).squeeze(-1)),
    )


class Functional:
    """X normal (B, Dx), Y one coordinate: c(q) ± m(q) + scale·s(q)·N with q = Φ(weight·X).

    `weight` (B, Dx) of unit norm; `noise` (B,) is the scale relative to the standard deviation of c ± m, raised where
    the curve is too steep or reaches too far for the label's quadrature. With `swap`, X and Y change places.
    """

    def __init__(self, curve: Curve, weight: Tensor, noise: Tensor, *, swap: bool = False) -> None:
        self.curve = curve
        self.weight = weight.double()
        self.swap = swap
        self.dim_x, self.dim_y = (1, weight.shape[-1]) if swap else (weight.shape[-1], 1)
        q, weights = self._nodes()
        centre, half, relative = curve.centre(q), curve.half(q), curve.relative_noise(q)
        mean = (weights * centre).sum(-1, keepdim=True)
        spread = (weights * ((centre - mean).square() + half.square())).sum(-1).sqrt()
        smooth = Curve(curve.waves, curve.polynomial, (0 * curve.steps[0], curve.steps[1]), curve.width, curve.noise)
        slope = smooth.centre(q).diff(dim=-1).abs() + half.diff(dim=-1).abs()  # between nodes
        steepest = (slope / relative[:, 1:]).amax(-1) / _STEEPEST
        reach = (centre + half).amax(-1) - (centre - half).amin(-1)
        finest = relative.amin(-1) * _STEEPEST * (_GRID - 1) - 12 * relative.amax(
            -1
        )  # grid of y: steps as fine as noise
        self.scale = torch.maximum(torch.maximum(noise.double() * spread, steepest), reach / finest)

    def _nodes(self) -> tuple[Tensor, Tensor]:
        """Midpoints between the steps and their weights, (B, M) each."""
        thresholds = self.curve.steps[1].sort(-1).values
        edge = torch.zeros_like(thresholds[:, :1])
        breaks = torch.cat([edge, thresholds, edge + 1], dim=-1)
        length = breaks.diff(dim=-1)
        parts = math.ceil(_NODES / length.shape[-1])
        middle = (torch.arange(parts, dtype=torch.float64) + 0.5) / parts
        nodes = breaks[:, :-1, None] + length.unsqueeze(-1) * middle
        return nodes.flatten(-2), (length / parts).unsqueeze(-1).expand(-1, -1, parts).flatten(-2)

    @property
    def mutual_information(self) -> Tensor:
        """True MI in nats, (B,) float64."""
        q, weights = self._nodes()
        centre, half = self.curve.centre(q), self.curve.half(q)
        scale = self.scale.unsqueeze(-1) * self.curve.relative_noise(q)  # (B, M)
        given = (weights * (scale.log() + two_bump_entropy(half / scale))).sum(-1) + _NORMAL_ENTROPY
        low, high = (centre - half - 6 * scale).amin(-1), (centre + half + 6 * scale).amax(-1)
        step = (high - low) / (_GRID - 1)
        grid = low.unsqueeze(-1) + step.unsqueeze(-1) * torch.arange(_GRID)
        density = torch.cat(
            [
                _mixture_density(grid[i : i + _CHUNK], *(v[i : i + _CHUNK] for v in (weights, centre, half, scale)))
                for i in range(0, len(grid), _CHUNK)
            ]
        )
        mass = density.sum(-1) * step
        marginal = (torch.special.entr(density).sum(-1) * step) / mass + mass.log()
        return (marginal - given).clamp(min=0)

    def sample(self, num_points: int, random: Streams) -> tuple[Tensor, Tensor]:
        """N points of each: x (B, N, Dx), y (B, N, 1)."""
        x = random.normal(num_points, self.weight.shape[-1])
        q = torch.special.ndtr((x * self.weight.unsqueeze(-2)).sum(-1))  # (B, N)
        branch = 1 - 2 * random.bernoulli(0.5, num_points).double()
        scale = self.scale.unsqueeze(-1) * self.curve.relative_noise(q)
        y = self.curve.centre(q) + branch * self.curve.half(q) + scale * random.normal(num_points)
        sides = x.float(), y.unsqueeze(-1).float()
        return (sides[1], sides[0]) if self.swap else sides


def _mixture_density(grid: Tensor, weights: Tensor, centre: Tensor, half: Tensor, scale: Tensor) -> Tensor:
    """Density of Y on a grid (B, S): the weighted mean over nodes (B, M) of one or two normal bumps."""
    means = [centre - half, centre + half] if bool((half > 0).any()) else [centre]
    total = torch.zeros_like(grid)
    inverse = scale.reciprocal()
    height = (weights * inverse).float()
    for mean in means:
        offset = (grid.unsqueeze(-1) - mean.unsqueeze(-2)).float() * inverse.unsqueeze(-2).float()
        exponent = offset.square_().mul_(-0.5).clamp_(min=-80)  # exp of less, subnormal, takes ten times as long
        total += torch.einsum("bsm,bm->bs", exponent.exp_(), height).double()
    return total / (len(means) * math.sqrt(2 * math.pi))
