"""Joints whose two sides are each exactly N(0, I), the base density of a flow: pushed through the flow of a modality,
the sides follow its law, whatever the dependence between them. Warps of one side leave MI unmoved.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import special
from torch import Tensor

from data_gen.composition import BlockProduct, LinearMixing, Warped
from data_gen.copulas import COPULAS, BivariateCopulas
from data_gen.covariance import draw_dispersion
from data_gen.elliptical import Gaussian, StudentT
from data_gen.joint import Joint
from data_gen.streams import Streams

__all__ = ["STANDARD_KINDS", "ChiRadius", "GaussianTurns", "draw_standard"]

STANDARD_KINDS = ("gaussian", *(f"copula-{name}" for name in COPULAS), "student", "independent")
_TURNS = 2  # layers of turns
_LARGEST_SCORE = 6.0  # of a uniform margin in float64, which float32 would round to 1


class NormalScores:
    """Uniform margins to standard normal ones, coordinate by coordinate."""

    def __call__(self, points: Tensor) -> Tensor:
        """(..., D) on (0, 1) -> (..., D)."""
        return torch.special.ndtri(points.double()).clamp(-_LARGEST_SCORE, _LARGEST_SCORE).to(points.dtype)

    def inverse(self, points: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        return torch.special.ndtr(points.double()).to(points.dtype)


class ChiRadius:
    """A spherical Student-t side to N(0, I) along its rays: the radius by its distribution function to that of χ.

    r²/(r² + ν) of t with ν degrees of freedom in D dims is Beta(D/2, ν/2); `df` ν is (B,).
    """

    def __init__(self, df: Tensor) -> None:
        self.df = df.double().numpy()[:, None]

    def __call__(self, points: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        square = points.double().square().sum(-1).numpy()
        half, share = points.shape[-1] / 2, square / (square + self.df)
        below = special.betainc(half, self.df / 2, share)
        above = special.betainc(self.df / 2, half, 1 - share)  # precise where `below` is all but 1
        chi = np.where(below < 0.5, special.gammaincinv(half, below), special.gammainccinv(half, above))
        return _along_rays(points, np.sqrt(2 * chi / np.maximum(square, 1e-300)))

    def inverse(self, points: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        square = points.double().square().sum(-1).numpy()
        half = points.shape[-1] / 2
        below, above = special.gammainc(half, square / 2), special.gammaincc(half, square / 2)
        share = np.where(
            below < 0.5,
            special.betaincinv(half, self.df / 2, below),
            1 - special.betaincinv(self.df / 2, half, above),
        )
        rest = np.where(below < 0.5, 1 - share, special.betaincinv(self.df / 2, half, above))
        return _along_rays(points, np.sqrt(self.df * share / rest / np.maximum(square, 1e-300)))


class GaussianTurns:
    """A bijection of one side that leaves N(0, I) what it is: pairs of coordinates turn by angles that depend on
    another coordinate and on the pair's own radius, between rotations. Given these a pair is isotropic, and stays so.

    A flow finds the points of its base density only up to such maps. `rotations` (L, B, D, D) are orthogonal, `speeds`
    (L, B, P, 2) radians a unit of the other coordinate and of half the squared radius, P = (D - 1) // 2 pairs, or one
    of two coordinates.
    """

    def __init__(self, rotations: Tensor, speeds: Tensor) -> None:
        self.rotations, self.speeds = rotations, speeds

    @classmethod
    def draw(cls, dim: int, random: Streams) -> GaussianTurns:
        """Two layers; the spread of the speeds is log-uniform, 0.03 to 0.4."""
        num_pairs = max((dim - 1) // 2, int(dim == 2))
        strength = random.log_uniform(1, 1, 1, low=0.03, high=0.4)
        rotations = torch.stack([random.orthogonal(dim) for _ in range(_TURNS)])
        speeds = torch.stack([strength.squeeze(1) * random.normal(num_pairs, 2) for _ in range(_TURNS)])
        return cls(rotations, speeds)

    def __call__(self, points: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        values = points.double()
        for rotation, speeds in zip(self.rotations, self.speeds, strict=True):
            values = self._turned(values @ rotation, speeds)
        return values.to(points.dtype)

    def inverse(self, points: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        values = points.double()
        for rotation, speeds in zip(self.rotations.flip(0), self.speeds.flip(0), strict=True):
            values = self._turned(values, -speeds) @ rotation.mT
        return values.to(points.dtype)

    def _turned(self, values: Tensor, speeds: Tensor) -> Tensor:
        num_pairs = speeds.shape[-2]
        first = values.shape[-1] - 2 * num_pairs
        a, b = values[..., first : first + num_pairs], values[..., first + num_pairs :]
        lead = values[..., :1] if first else 0.0
        angle = speeds[:, None, :, 0] * lead + speeds[:, None, :, 1] * (0.5 * (a.square() + b.square()) - 1)
        cosine, sine = angle.cos(), angle.sin()
        return torch.cat([values[..., :first], a * cosine - b * sine, a * sine + b * cosine], dim=-1)


def _along_rays(points: Tensor, factor: np.ndarray) -> Tensor:
    return (points.double() * torch.from_numpy(factor).unsqueeze(-1)).to(points.dtype)


def draw_standard(kind: str, dim_x: int, dim_y: int, num_pairs: int, random: Streams) -> Joint:
    """B joints of a kind; of copulas, `num_pairs` pairs depend, the rest of the coordinates is noise. ValueError for
    an unknown kind."""
    if kind == "independent":
        return Gaussian(torch.eye(dim_x + dim_y, dtype=torch.float64).repeat(len(random), 1, 1), dim_x)
    if kind in ("gaussian", "student"):
        dispersion = draw_dispersion("canonical", dim_x, dim_y, 0.15, random)
        if kind == "gaussian":
            return Gaussian(dispersion, dim_x)
        df = random.log_uniform(1, low=1.0, high=30.0).squeeze(-1)
        return Warped(StudentT(dispersion, df, dim_x), ChiRadius(df), ChiRadius(df))
    name = kind.removeprefix("copula-")
    if name not in COPULAS:
        raise ValueError(f"got kind {kind!r}, expected one of {STANDARD_KINDS}")
    copula = COPULAS[name]
    low, high = copula.coordinate(np.array([copula.low, copula.high]))
    coordinate = low + (high - low) * random.uniform(num_pairs)
    theta = torch.from_numpy(copula.parameter(coordinate.numpy())).clamp(copula.low, copula.high)
    reflected = [random.bernoulli(0.5, num_pairs) for _ in range(2)]
    joint: Joint = Warped(
        BivariateCopulas(name, theta, num_pairs, num_pairs, *reflected), NormalScores(), NormalScores()
    )
    left_x, left_y = dim_x - num_pairs, dim_y - num_pairs
    if left_x + left_y:
        eye = torch.eye(left_x + left_y, dtype=torch.float64).repeat(len(random), 1, 1)
        joint = BlockProduct([joint, Gaussian(eye, left_x)])
    return Warped(joint, *(LinearMixing(random.orthogonal(dim)) for dim in (dim_x, dim_y)))
