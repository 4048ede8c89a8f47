"""Maps of one side of a joint that leave its mutual information unmoved: monotone maps, the spiral, the Swiss roll.

Evaluation only: no training configuration draws the maps of a public benchmark. Points are (..., D).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from data_gen.composition import invert_increasing

__all__ = [
    "ASINH",
    "BIMODAL_X",
    "BIMODAL_Y",
    "HALF_CUBE",
    "NORMAL_CDF",
    "WIGGLY_X",
    "WIGGLY_Y",
    "MonotoneMap",
    "Spiral",
    "SwissRoll",
]


@dataclass(frozen=True)
class MonotoneMap:
    """An increasing map applied to every coordinate by itself; computed in float64, returned in the input's type."""

    name: str
    forward: Callable[[Tensor], Tensor]
    backward: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor], Tensor]

    def __call__(self, points: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        return self.forward(points.double()).to(points.dtype)

    def inverse(self, points: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        return self.backward(points.double()).to(points.dtype)

    def log_abs_det(self, points: Tensor) -> Tensor:
        """log |det Jacobian| at the points, (..., D) -> (...)."""
        return self.slope(points.double()).log().sum(-1)


@dataclass(frozen=True)
class Spiral:
    """x -> exp(A |x|²) x with A turning the plane of two coordinates. Czyż et al. (2023), §2.2; |det| = 1.

    The angle is speed · |x|²; `plane` names the two coordinates. ValueError where the points lack them: a rotation
    needs two coordinates.
    """

    plane: tuple[int, int]
    speed: float

    def __call__(self, points: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        return self._turn(points, self.speed)

    def inverse(self, points: Tensor) -> Tensor:
        """(..., D) -> (..., D); the norm is unmoved, so the way back is the same angle the other way round."""
        return self._turn(points, -self.speed)

    def log_abs_det(self, points: Tensor) -> Tensor:
        """Zeros, (..., D) -> (...): det(I + 2 A x xᵀ) = 1 + 2 xᵀ A x = 1."""
        return torch.zeros(points.shape[:-1], dtype=torch.float64)

    def _turn(self, points: Tensor, speed: float) -> Tensor:
        first, second = self.plane
        if points.shape[-1] <= max(first, second):
            raise ValueError(
                f"got points of {points.shape[-1]} coordinates, expected at least {max(first, second) + 1} to turn the "
                f"plane {self.plane}; use a monotone map for fewer"
            )
        exact = points.double()
        angle = speed * exact.square().sum(-1)
        cos, sin = angle.cos(), angle.sin()
        columns = list(exact.unbind(-1))
        columns[first], columns[second] = (
            cos * exact[..., first] - sin * exact[..., second],
            sin * exact[..., first] + cos * exact[..., second],
        )
        return torch.stack(columns, dim=-1).to(points.dtype)


class SwissRoll:
    """[0, 1] -> the plane, (..., 1) -> (..., 2): t (cos t, sin t) / 21 with t = 1.5 π (1 + 2x). Czyż et al. (2023)."""

    dim_out = 2

    def __call__(self, points: Tensor) -> Tensor:
        """(..., 1) -> (..., 2)."""
        if points.shape[-1] != 1:
            raise ValueError(
                f"got points of {points.shape[-1]} coordinates, expected 1; embed one coordinate at a time"
            )
        t = 1.5 * math.pi * (1 + 2 * points.double())
        return torch.cat([t * t.cos(), t * t.sin()], dim=-1).div(21).to(points.dtype)

    def inverse(self, points: Tensor) -> Tensor:
        """(..., 2) -> (..., 1): t is the distance from the middle."""
        t = 21 * torch.linalg.vector_norm(points.double(), dim=-1, keepdim=True)
        return ((t / (1.5 * math.pi) - 1) / 2).to(points.dtype)


def _signed_power(points: Tensor, exponent: float) -> Tensor:
    return points.sign() * points.abs() ** exponent


def _wiggly(name: str, waves: tuple[tuple[float, float, float], ...]) -> MonotoneMap:
    """x + Σ a sin(ωx + φ), increasing because Σ |aω| < 1."""
    reach = sum(abs(amplitude) for amplitude, _, _ in waves) + 1e-9

    def forward(x: Tensor) -> Tensor:
        return sum((a * torch.sin(omega * x + phase) for a, omega, phase in waves), start=x)

    def slope(x: Tensor) -> Tensor:
        return sum((a * omega * torch.cos(omega * x + phase) for a, omega, phase in waves), start=torch.ones_like(x))

    return MonotoneMap(name, forward, lambda y: invert_increasing(forward, y, y - reach, y + reach), slope)


def _normal_density(x: Tensor) -> Tensor:
    return torch.exp(-0.5 * x.square()) / math.sqrt(2 * math.pi)


def _bimodal(name: str, weight: float, first: float, second: float) -> MonotoneMap:
    """Normal scores -> the mixture weight·N(first, 1) + (1 - weight)·N(second, 1), by quantiles."""

    def mixture_cdf(z: Tensor) -> Tensor:
        return weight * torch.special.ndtr(z - first) + (1 - weight) * torch.special.ndtr(z - second)

    def forward(x: Tensor) -> Tensor:
        # The mixture's quantile lies between its components' quantiles.
        low, high = x + min(first, second), x + max(first, second)
        return invert_increasing(mixture_cdf, torch.special.ndtr(x), low, high)

    def slope(x: Tensor) -> Tensor:
        z = forward(x)
        density = weight * _normal_density(z - first) + (1 - weight) * _normal_density(z - second)
        return _normal_density(x) / density

    return MonotoneMap(name, forward, lambda z: torch.special.ndtri(mixture_cdf(z)), slope)


ASINH = MonotoneMap("asinh", torch.asinh, torch.sinh, lambda x: (1 + x.square()).rsqrt())
HALF_CUBE = MonotoneMap(
    "half_cube", lambda x: _signed_power(x, 1.5), lambda y: _signed_power(y, 2 / 3), lambda x: 1.5 * x.abs().sqrt()
)
NORMAL_CDF = MonotoneMap("normal_cdf", torch.special.ndtr, torch.special.ndtri, _normal_density)
WIGGLY_X = _wiggly("wiggly_x", ((0.4, 1.0, 0.0), (0.2, 1.7, 1.0), (0.03, 3.3, -2.5)))
WIGGLY_Y = _wiggly("wiggly_y", ((-0.4, 0.4, 0.0), (0.17, 1.3, 3.5), (0.02, 4.3, -2.5)))
BIMODAL_X = _bimodal("bimodal_x", 0.3, 0.0, 5.0)
BIMODAL_Y = _bimodal("bimodal_y", 0.5, -1.0, 3.0)
