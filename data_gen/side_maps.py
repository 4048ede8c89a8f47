"""Random invertible maps of one side, a different one for each of B data sets: they leave mutual information unmoved.

Points are (B, N, D), standardised by `Standardise` first, so that the laws of the parameters here have one meaning.
Every map also inverts, in float64, and knows log |det Jacobian|; embeddings, which add coordinates, invert only.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from data_gen.composition import invert_increasing
from data_gen.streams import Streams

__all__ = [
    "AdditiveCoupling",
    "DerivedCoordinate",
    "RandomSpiral",
    "SignedPower",
    "SinhArcsinh",
    "Standardise",
    "StudentCdf",
    "SwissRollEmbedding",
    "Wiggly",
    "coordinate_order",
]


def coordinate_order(dim: int, random: Streams) -> Tensor:
    """Numbers of the coordinates in an order at random or, in half of the data sets, nearly in their own, (B, D).

    Where few of many coordinates depend on the other side they stand first, and would hardly ever be met at random.
    """
    nearly = torch.arange(dim) + 3 * random.uniform(dim)
    return torch.where(random.bernoulli(0.5, 1), nearly, random.uniform(dim)).argsort(-1)


_UNIFORM = 12**0.5  # width of a uniform law of variance 1


class _Affine:
    """x -> (x - shift) / scale, coordinate by coordinate; shift and scale (B, D)."""

    def __init__(self, shift: Tensor, scale: Tensor) -> None:
        self.shift = shift.unsqueeze(-2)
        self.scale = scale.unsqueeze(-2)

    def __call__(self, points: Tensor) -> Tensor:
        return (points - self.shift.to(points.dtype)) / self.scale.to(points.dtype)

    def inverse(self, points: Tensor) -> Tensor:
        return points * self.scale.to(points.dtype) + self.shift.to(points.dtype)

    def log_abs_det(self, points: Tensor) -> Tensor:
        return -self.scale.log().sum(-1).expand(points.shape[:-1])


class Standardise(_Affine):
    """Median 0 and interquartile range 1.35 (a standard normal's), estimated on a pilot sample of the joint's own law.

    The pilot is not the data set: the map is a parameter, fixed before the points are drawn.
    """

    @classmethod
    def fit(cls, pilot: Tensor) -> Standardise:
        """pilot (B, M, D); constant coordinates keep their scale."""
        ordered = np.sort(pilot.double().mT.contiguous().numpy(), axis=-1)  # vectorised; quantiles alone are not
        low, middle, high = torch.from_numpy(np.quantile(ordered, (0.25, 0.5, 0.75), axis=-1, overwrite_input=True))
        scale = (high - low) / 1.349
        return cls(middle, torch.where(scale > 1e-6, scale, 1.0))


class SinhArcsinh:
    """sinh(δ·(asinh x + ε)), skew and other tails (Jones & Pewsey 2009); `tail` δ and `skew` ε are (B, D)."""

    def __init__(self, tail: Tensor, skew: Tensor) -> None:
        self.tail = tail.unsqueeze(-2)
        self.skew = skew.unsqueeze(-2)

    @classmethod
    def draw(cls, dim: int, random: Streams) -> SinhArcsinh:
        """From asinh-like (δ = 0.4) to beyond quadratic (δ = 2.2) tails."""
        return cls(random.log_uniform(dim, low=0.4, high=2.2), 0.5 * random.normal(dim))

    def __call__(self, points: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        return torch.sinh(self.tail * (torch.asinh(points.double()) + self.skew)).to(points.dtype)

    def inverse(self, points: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        return torch.sinh(torch.asinh(points.double()) / self.tail - self.skew).to(points.dtype)

    def log_abs_det(self, points: Tensor) -> Tensor:
        """(B, N, D) -> (B, N)."""
        x = points.double()
        inner = self.tail * (torch.asinh(x) + self.skew)
        return (self.tail.log() + inner.cosh().log() - 0.5 * torch.log1p(x * x)).sum(-1)


class SignedPower:
    """sign(x)·|x|^p, `power` (B, D): square root to cubic."""

    def __init__(self, power: Tensor) -> None:
        self.power = power.unsqueeze(-2)

    @classmethod
    def draw(cls, dim: int, random: Streams) -> SignedPower:
        """p log-uniform on [½, 3]."""
        return cls(random.log_uniform(dim, low=0.5, high=3.0))

    def __call__(self, points: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        x = points.double()
        return (x.sign() * x.abs() ** self.power).to(points.dtype)

    def inverse(self, points: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        y = points.double()
        return (y.sign() * y.abs() ** (1 / self.power)).to(points.dtype)

    def log_abs_det(self, points: Tensor) -> Tensor:
        """(B, N, D) -> (B, N)."""
        return (self.power.log() + (self.power - 1) * points.double().abs().log()).sum(-1)


class Wiggly:
    """x + Σ a_k·sin(ω_k x + φ_k) with Σ |a_k ω_k| < 1; `amplitude`, `frequency`, `phase` are (B, D, K)."""

    def __init__(self, amplitude: Tensor, frequency: Tensor, phase: Tensor) -> None:
        self.amplitude, self.frequency, self.phase = (values.unsqueeze(-3) for values in (amplitude, frequency, phase))
        assert float((amplitude * frequency).abs().sum(-1).max()) < 1, "the map would not rise"

    @classmethod
    def draw(cls, dim: int, random: Streams, num_waves: int = 3) -> Wiggly:
        """Slopes between 1/20 and 2, waves from broad to fine."""
        frequency = random.log_uniform(dim, num_waves, low=0.4, high=6.0)
        share = random.uniform(dim, num_waves)
        share = 0.95 * random.uniform(dim, 1) ** 0.5 * share / share.sum(-1, keepdim=True)
        sign = 1 - 2 * random.bernoulli(0.5, dim, num_waves).double()
        return cls(sign * share / frequency, frequency, random.uniform(dim, num_waves, high=2 * math.pi))

    def _forward(self, x: Tensor) -> Tensor:
        return x + (self.amplitude * torch.sin(self.frequency * x.unsqueeze(-1) + self.phase)).sum(-1)

    def __call__(self, points: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        return self._forward(points.double()).to(points.dtype)

    def inverse(self, points: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D), by bisection."""
        y = points.double()
        reach = self.amplitude.abs().sum(-1) + 1e-9
        return invert_increasing(self._forward, y, y - reach, y + reach).to(points.dtype)

    def log_abs_det(self, points: Tensor) -> Tensor:
        """(B, N, D) -> (B, N)."""
        waves = torch.cos(self.frequency * points.double().unsqueeze(-1) + self.phase)
        return (1 + (self.amplitude * self.frequency * waves).sum(-1)).log().sum(-1)


class StudentCdf:
    """The distribution function of Student's t with 2 degrees of freedom at x/s, less ½ and times √12: bounded margins,
    of mean 0 and variance 1 where they are uniform; `scale` s (B, D).

    ½ + t/(2√(2 + t²)) approaches its ends so slowly that float32 tells points apart up to |t| of about 1,000, where a
    normal's would press heavy tails into ties.
    """

    def __init__(self, scale: Tensor) -> None:
        self.scale = scale.unsqueeze(-2)

    @classmethod
    def draw(cls, dim: int, random: Streams) -> StudentCdf:
        """s log-uniform on [½, 3]: from uniform margins to nearly linear."""
        return cls(random.log_uniform(dim, low=0.5, high=3.0))

    def __call__(self, points: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        return ((_student_cdf(points.double() / self.scale) - 0.5) * _UNIFORM).to(points.dtype)

    def inverse(self, points: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        return (_student_quantile(points.double() / _UNIFORM + 0.5) * self.scale).to(points.dtype)

    def log_abs_det(self, points: Tensor) -> Tensor:
        """(B, N, D) -> (B, N)."""
        t = points.double() / self.scale
        return (math.log(_UNIFORM) - 1.5 * torch.log(2 + t * t) - self.scale.log()).sum(-1)


def _student_cdf(t: Tensor) -> Tensor:
    return 0.5 + 0.5 * t * (2 + t * t).rsqrt()


def _student_quantile(p: Tensor) -> Tensor:
    centred = 2 * p - 1
    return centred * (2 / (1 - centred * centred)).sqrt()


class RandomSpiral:
    """Planes through a centre, each turned by an angle that grows with the distance from it, which is kept.

    `centre` (B, D), `basis` (B, D, D) orthogonal, `speed` (B, P) radians for the P = ⌊D/2⌋ planes. What the angle grows
    with is the whole vector's mean square |x - centre|²/D (a sum would hide all information in high dims) or, where
    `planar` (B,) is true, the plane's own; `logarithmic` (B,) slows its growth to log(1 + r²). |det| = 1 as for the
    spiral of Czyż et al. (2023).
    """

    def __init__(self, centre: Tensor, basis: Tensor, speed: Tensor, planar: Tensor, logarithmic: Tensor) -> None:
        self.centre = centre.unsqueeze(-2)
        self.basis = basis
        self.speed = speed
        self.planar = planar.view(-1, 1, 1)
        self.logarithmic = logarithmic.view(-1, 1, 1)

    @classmethod
    def draw(cls, dim: int, random: Streams) -> RandomSpiral:
        """Speeds up to a few radians at the typical radius of one plane, or of some; planes of two coordinates as often
        as of any directions; the centre is the median or any point about it."""
        return cls._draw(dim, random, random.bernoulli(0.5, 1), random.bernoulli(0.5, 1, 1))

    @classmethod
    def draw_plane(cls, dim: int, random: Streams) -> RandomSpiral:
        """The same in one plane, of two coordinates: the others are left as they are."""
        one = torch.ones(len(random), 1, dtype=torch.bool)
        return cls._draw(dim, random, one, ~one.unsqueeze(-1))

    @classmethod
    def _draw(cls, dim: int, random: Streams, one_plane: Tensor, any_directions: Tensor) -> RandomSpiral:
        planes = dim // 2
        speed = random.log_uniform(1, low=0.1, high=3.0) * (1 - 2 * random.bernoulli(0.5, planes).double())
        turned = random.bernoulli(0.7, planes) & ~one_plane
        turned[:, :1] = True
        speed = torch.where(turned, speed, 0.0)
        dealt = coordinate_order(dim, random)
        dealt = torch.cat([dealt[:, : 2 * planes : 2], dealt[:, 1 : 2 * planes : 2], dealt[:, 2 * planes :]], dim=-1)
        order = torch.nn.functional.one_hot(dealt, dim).double().mT
        basis = torch.where(any_directions, random.orthogonal(dim), order)
        centre = random.normal(dim) * random.uniform(1, high=2.0) * random.bernoulli(0.5, 1)
        return cls(centre, basis, speed, random.bernoulli(0.5, 1), random.bernoulli(0.5, 1))

    def __call__(self, points: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        return self._turn(points, 1.0)

    def inverse(self, points: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D): the radii are unmoved, so the way back is the same angle the other way round."""
        return self._turn(points, -1.0)

    def log_abs_det(self, points: Tensor) -> Tensor:
        """Zeros, (B, N)."""
        return torch.zeros(points.shape[:-1], dtype=torch.float64)

    def _turn(self, points: Tensor, direction: float) -> Tensor:
        planes = self.speed.shape[-1]
        turned = (points.double() - self.centre) @ self.basis
        first, second = turned[..., :planes], turned[..., planes : 2 * planes]
        square = torch.where(
            self.planar, (first.square() + second.square()) / 2, turned.square().mean(-1, keepdim=True)
        )
        angle = direction * self.speed.unsqueeze(-2) * torch.where(self.logarithmic, torch.log1p(square), square)
        cos, sin = angle.cos(), angle.sin()
        parts = [cos * first - sin * second, sin * first + cos * second, turned[..., 2 * planes :]]
        return (torch.cat(parts, dim=-1) @ self.basis.mT + self.centre).to(points.dtype)


class AdditiveCoupling:
    """Half of the coordinates move by smooth functions of the others, x_b += W·sin(Ω x_a + φ) (Dinh et al. 2015).

    `order` (B, D) deals the coordinates; Ω (B, K, Da), φ (B, K), W (B, Db, K). |det| = 1.
    """

    def __init__(self, order: Tensor, frequency: Tensor, phase: Tensor, weight: Tensor) -> None:
        self.order = order.unsqueeze(-2)
        self.frequency = frequency
        self.phase = phase.unsqueeze(-2)
        self.weight = weight

    @classmethod
    def draw(cls, dim: int, random: Streams, num_waves: int = 6) -> AdditiveCoupling:
        """Each moved coordinate sees a few waves; shifts of about one standard deviation."""
        given = dim // 2
        frequency = random.log_uniform(1, 1, low=0.3, high=2.0) * random.normal(num_waves, given) / max(given, 1) ** 0.5
        strength = random.log_uniform(1, 1, low=0.2, high=2.0)
        weight = strength * random.normal(dim - given, num_waves) * (2 / num_waves) ** 0.5
        order = random.uniform(dim).argsort(-1)
        return cls(order, frequency, random.uniform(num_waves, high=2 * math.pi), weight)

    def _shift(self, given: Tensor) -> Tensor:
        return torch.sin(given @ self.frequency.mT + self.phase) @ self.weight.mT

    def _apply(self, points: Tensor, direction: float) -> Tensor:
        order = self.order.expand(points.shape)
        dealt = points.double().gather(-1, order)
        num_given = self.frequency.shape[-1]
        given, moved = dealt[..., :num_given], dealt[..., num_given:]
        dealt = torch.cat([given, moved + direction * self._shift(given)], dim=-1)
        return torch.empty_like(dealt).scatter_(-1, order, dealt).to(points.dtype)

    def __call__(self, points: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        return self._apply(points, 1.0)

    def inverse(self, points: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        return self._apply(points, -1.0)

    def log_abs_det(self, points: Tensor) -> Tensor:
        """Zeros, (B, N)."""
        return torch.zeros(points.shape[:-1], dtype=torch.float64)


class SwissRollEmbedding:
    """The first coordinate rolled up in a plane, D -> D + 1: t·(cos t, sin t), t = t₀ + (t₁ - t₀)·F(x₁).

    F is that of `StudentCdf`; `start` t₀ and `stop` t₁ are (B,), 0 < t₀ < t₁. The roll of Marsland (2014), as used by
    Czyż et al. (2023), with random ends.
    """

    def __init__(self, start: Tensor, stop: Tensor) -> None:
        self.start = start.view(-1, 1, 1)
        self.stop = stop.view(-1, 1, 1)

    @classmethod
    def draw(cls, dim: int, random: Streams) -> SwissRollEmbedding:
        """From half a turn to two turns and a half."""
        start = random.uniform(1, low=0.5 * math.pi, high=2 * math.pi)
        return cls(start, start + random.uniform(1, low=math.pi, high=5 * math.pi))

    def __call__(self, points: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D + 1)."""
        first = _student_cdf(points[..., :1].double())
        t = self.start + (self.stop - self.start) * first
        rolled = torch.cat([t * t.cos(), t * t.sin()], dim=-1) / self.stop * 2
        return torch.cat([rolled.to(points.dtype), points[..., 1:]], dim=-1)

    def inverse(self, points: Tensor) -> Tensor:
        """(B, N, D + 1) -> (B, N, D): t is the distance from the middle."""
        t = torch.linalg.vector_norm(points[..., :2].double(), dim=-1, keepdim=True) * self.stop / 2
        first = _student_quantile((t - self.start) / (self.stop - self.start))
        return torch.cat([first.to(points.dtype), points[..., 2:]], dim=-1)


class DerivedCoordinate:
    """A further coordinate computed from the others, D -> D + 1: w·x + a·sin(v·x + φ). It tells nothing new.

    `linear` w and `inner` v are (B, D), `amplitude` a and `phase` φ (B,).
    """

    def __init__(self, linear: Tensor, inner: Tensor, amplitude: Tensor, phase: Tensor) -> None:
        self.linear, self.inner = linear.unsqueeze(-1), inner.unsqueeze(-1)
        self.amplitude, self.phase = amplitude.view(-1, 1, 1), phase.view(-1, 1, 1)

    @classmethod
    def draw(cls, dim: int, random: Streams) -> DerivedCoordinate:
        """Sums, curves and copies: the linear part is 0 for a quarter, the curved one for another."""
        kind = random.uniform(1)
        linear = torch.where(kind < 0.25, 0.0, random.normal(dim) / dim**0.5)
        amplitude = torch.where(kind > 0.75, 0.0, random.log_uniform(1, low=0.5, high=3.0))
        inner = random.log_uniform(1, low=0.5, high=2.0) * random.normal(dim) / dim**0.5
        return cls(linear, inner, amplitude, random.uniform(1, high=2 * math.pi))

    def __call__(self, points: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D + 1)."""
        x = points.double()
        new = x @ self.linear + self.amplitude * torch.sin(x @ self.inner + self.phase)
        return torch.cat([points, new.to(points.dtype)], dim=-1)

    def inverse(self, points: Tensor) -> Tensor:
        """(B, N, D + 1) -> (B, N, D)."""
        return points[..., :-1]
