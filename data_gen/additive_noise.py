"""Y = X + N, coordinate by coordinate: uniform, triangular, normal or Laplace inputs and noise.

MI is h(X + N) - h(N): in closed form for the uniform pair of Czyż et al. (2023), by quadrature of the convolution for
every other pair of laws.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from data_gen.coordinate_pairs import CoordinatePairs
from data_gen.streams import Streams
from data_gen.tables import Array, Table, gauss_legendre

__all__ = [
    "NOISE_LAWS",
    "RATIO_RANGE",
    "AdditiveNoise",
    "UniformAdditiveNoise",
    "additive_noise_mutual_information",
    "uniform_additive_noise_mutual_information",
]


def uniform_additive_noise_mutual_information(epsilon: Tensor) -> Tensor:
    """MI in nats of X ~ U(0, 1) and X + N, N ~ U(-ε, ε). Czyż et al. (2023), Appendix (additive noise).

    h(X + N) of the trapezoidal sum less h(N) = log 2ε: ε - log 2ε where ε <= ½, else 1/(4ε).
    """
    epsilon = epsilon.double()
    return torch.where(epsilon <= 0.5, epsilon - torch.log(2 * epsilon), 1 / (4 * epsilon))


class UniformAdditiveNoise:
    """K independent pairs Y_i = X_i + N_i, X_i ~ U(0, 1), N_i ~ U(-ε_i, ε_i); further coordinates are U(0, 1) noise.

    `epsilon` is (B, K) with K <= min(Dx, Dy), positive.
    """

    def __init__(self, epsilon: Tensor, dim_x: int, dim_y: int) -> None:
        assert epsilon.shape[-1] <= min(dim_x, dim_y), "more pairs than coordinates"
        self.epsilon = epsilon.double()
        self.dim_x = dim_x
        self.dim_y = dim_y

    @property
    def mutual_information(self) -> Tensor:
        """True MI in nats, (B,) float64."""
        return uniform_additive_noise_mutual_information(self.epsilon).sum(-1)

    def sample(self, num_points: int, random: Streams) -> tuple[Tensor, Tensor]:
        """N points of each: x (B, N, Dx), y (B, N, Dy)."""
        x = random.uniform(num_points, self.dim_x, dtype=torch.float32)
        y = random.uniform(num_points, self.dim_y, dtype=torch.float32)  # becomes the noise of the first K
        pairs = self.epsilon.shape[-1]
        epsilon = self.epsilon.float().unsqueeze(-2)  # (B, 1, K)
        y[..., :pairs] = x[..., :pairs] + (2 * y[..., :pairs] - 1) * epsilon
        return x, y


_SQRT2, _SQRT3, _SQRT6 = np.sqrt([2.0, 3.0, 6.0])


@dataclass(frozen=True)
class _Law:
    """A symmetric law of unit variance."""

    breaks: tuple[float, ...]  # where its density has corners, or changes within reach of a quadrature rule
    entropy: float  # nats

    def density(self, values: Array) -> Array:
        raise NotImplementedError

    def draw(self, random: Streams, *shape: int) -> Tensor:
        raise NotImplementedError


class _Uniform(_Law):
    def density(self, values: Array) -> Array:
        return np.where(np.abs(values) <= _SQRT3, 0.5 / _SQRT3, 0.0)

    def draw(self, random: Streams, *shape: int) -> Tensor:
        return random.uniform(*shape, low=-float(_SQRT3), high=float(_SQRT3), dtype=torch.float32)


class _Triangular(_Law):
    def density(self, values: Array) -> Array:
        return np.maximum(0.0, 1 - np.abs(values) / _SQRT6) / _SQRT6

    def draw(self, random: Streams, *shape: int) -> Tensor:
        return float(_SQRT6) * (random.uniform(2, *shape, dtype=torch.float32).sum(1) - 1)


class _Normal(_Law):
    def density(self, values: Array) -> Array:
        return np.exp(-0.5 * values**2) / np.sqrt(2 * np.pi)

    def draw(self, random: Streams, *shape: int) -> Tensor:
        return random.normal(*shape, dtype=torch.float32)


class _Laplace(_Law):
    def density(self, values: Array) -> Array:
        return np.exp(-_SQRT2 * np.abs(values)) / _SQRT2

    def draw(self, random: Streams, *shape: int) -> Tensor:
        # a difference of two exponentials; 1 - u lies in (0, 1]
        exponentials = -torch.log1p(-random.uniform(2, *shape, dtype=torch.float32))
        return (exponentials[:, 0] - exponentials[:, 1]) / float(_SQRT2)


NOISE_LAWS: dict[str, _Law] = {
    "uniform": _Uniform((-_SQRT3, 0.0, _SQRT3), float(np.log(2 * _SQRT3))),
    "triangular": _Triangular((-_SQRT6, 0.0, _SQRT6), float(0.5 + np.log(_SQRT6))),
    "normal": _Normal((-9.0, -5.0, -2.0, 0.0, 2.0, 5.0, 9.0), float(0.5 * np.log(2 * np.pi * np.e))),
    "laplace": _Laplace((-21.0, -9.0, -3.0, -1.0, 0.0, 1.0, 3.0, 9.0, 21.0), float(1 + np.log(_SQRT2))),
}
RATIO_RANGE = (0.02, 50.0)  # of the noise's standard deviation to the input's
_DEGREE = 96


def _entropy_of_sum(law_x: _Law, law_noise: _Law, ratio: float, order: int = 10) -> float:
    """h(X + ratio·N) in nats, by Gauss-Legendre rules between the corners of the convolution and of its integrand."""
    corners_x, corners_noise = np.array(law_x.breaks), ratio * np.array(law_noise.breaks)
    total, weights = gauss_legendre(np.unique(corners_x[:, None] + corners_noise), order)
    inner = np.concatenate(
        [np.broadcast_to(corners_x, (len(total), len(corners_x))), total[:, None] - corners_noise], axis=-1
    )
    inner = np.sort(inner.clip(corners_x[0], corners_x[-1]), axis=-1)
    nodes, inner_weights = gauss_legendre(inner, order)
    noise = law_noise.density((total[:, None] - nodes) / ratio) / ratio
    density = (law_x.density(nodes) * noise * inner_weights).sum(-1)
    return float(-(weights * density * np.log(density.clip(1e-300))).sum())


@cache
def _table(law_x: str, law_noise: str) -> Table:
    """MI in nats by log ratio."""
    x, noise = NOISE_LAWS[law_x], NOISE_LAWS[law_noise]

    def information(log_ratio: Array) -> Array:
        ratios = np.exp(log_ratio)
        return np.array([_entropy_of_sum(x, noise, r) - noise.entropy - np.log(r) for r in ratios])

    low, high = np.log(RATIO_RANGE)
    return Table(information, low, high, _DEGREE)


def additive_noise_mutual_information(law_x: str, law_noise: str, ratio: Tensor) -> Tensor:
    """MI in nats of X and X + N of the named laws, by the ratio of N's standard deviation to X's, on RATIO_RANGE."""
    if law_x == law_noise == "normal":
        return 0.5 * torch.log1p(ratio.double() ** -2)
    return _table(law_x, law_noise)(ratio.double().log()).clamp(min=0)


class AdditiveNoise(CoordinatePairs):
    """Pairs Y_i = X_i + N_i of the named laws, sd(N_i) = ratio_i · sd(X_i); `ratio` (B, max(Dx, Dy)) on RATIO_RANGE.

    Laws: "uniform", "triangular", "normal", "laplace".
    """

    def __init__(self, law_x: str, law_noise: str, ratio: Tensor, dim_x: int, dim_y: int) -> None:
        super().__init__(dim_x, dim_y, ratio.shape[-1])
        if unknown := {law_x, law_noise} - set(NOISE_LAWS):
            raise ValueError(f"got unknown laws {sorted(unknown)}, expected some of {sorted(NOISE_LAWS)}")
        self.law_x = law_x
        self.law_noise = law_noise
        self.ratio = ratio.double()

    @property
    def pair_information(self) -> Tensor:
        """MI of every pair in nats, (B, P) float64."""
        return additive_noise_mutual_information(self.law_x, self.law_noise, self.ratio)

    def draw_pairs(self, num_points: int, random: Streams) -> tuple[Tensor, Tensor]:
        """N points of every pair: (B, N, P) each."""
        shape = (num_points, self.ratio.shape[-1])
        x = NOISE_LAWS[self.law_x].draw(random, *shape)
        return x, x + NOISE_LAWS[self.law_noise].draw(random, *shape) * self.ratio.float().unsqueeze(-2)
