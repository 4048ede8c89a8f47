"""Gaussian and Student-t joints with any dispersion matrix."""

from __future__ import annotations

import torch
from torch import Tensor

from data_gen.streams import Streams

__all__ = ["Gaussian", "StudentT", "gaussian_mutual_information", "student_t_excess"]


def gaussian_mutual_information(dispersion: Tensor, dim_x: int) -> Tensor:
    """½ log(|Σxx||Σyy|/|Σ|) in nats; (..., D, D) -> (...). Cover & Thomas (2006), Eq. 8.35 and Theorem 8.6.5.

    Raises ValueError where the matrix is not positive definite.
    """
    dispersion = dispersion.double()
    blocks = (dispersion[..., :dim_x, :dim_x], dispersion[..., dim_x:, dim_x:], dispersion)
    signs, logs = zip(*(torch.linalg.slogdet(block) for block in blocks), strict=True)
    if not all(bool((sign > 0).all()) for sign in signs):
        raise ValueError("got a dispersion matrix that is not positive definite, expected positive definite")
    return 0.5 * (logs[0] + logs[1] - logs[2]).clamp(min=0.0)


def student_t_excess(df: Tensor, dim_x: int, dim_y: int) -> Tensor:
    """What a multivariate Student-t's MI exceeds its Gaussian part by, in nats; df (...) -> (...).

    Arellano-Valle, Contreras-Reyes & Genton (2013), as quoted by Czyż et al. (2023), Appendix; it tends to 0 as df
    grows and is positive also where the dispersion is block diagonal.
    """
    df = df.double()

    def f(dim: int) -> Tensor:
        half = (df + dim) / 2
        return torch.special.gammaln(half) - half * torch.special.digamma(half)

    return f(0) + f(dim_x + dim_y) - f(dim_x) - f(dim_y)


class Gaussian:
    """Multivariate normal joint; `dispersion` is (B, Dx+Dy, Dx+Dy), x first."""

    def __init__(self, dispersion: Tensor, dim_x: int) -> None:
        self.dispersion = dispersion.double()
        self.dim_x = dim_x
        self.dim_y = dispersion.shape[-1] - dim_x

    @property
    def mutual_information(self) -> Tensor:
        """True MI in nats, (B,) float64."""
        return gaussian_mutual_information(self.dispersion, self.dim_x)

    def sample(self, num_points: int, random: Streams) -> tuple[Tensor, Tensor]:
        """N points of each: x (B, N, Dx), y (B, N, Dy)."""
        factor = torch.linalg.cholesky(self.dispersion).float()
        noise = random.normal(num_points, factor.shape[-1], dtype=torch.float32)
        points = noise @ factor.mT  # (B, N, D)
        return points[..., : self.dim_x], points[..., self.dim_x :]


class StudentT(Gaussian):
    """Multivariate Student-t joint; `df` is (B,): Gaussian points divided by √(χ²_df / df), one radius a point."""

    def __init__(self, dispersion: Tensor, df: Tensor, dim_x: int) -> None:
        super().__init__(dispersion, dim_x)
        self.df = df.double()

    @property
    def mutual_information(self) -> Tensor:
        """True MI in nats, (B,) float64."""
        return super().mutual_information + student_t_excess(self.df, self.dim_x, self.dim_y)

    def sample(self, num_points: int, random: Streams) -> tuple[Tensor, Tensor]:
        """N points of each: x (B, N, Dx), y (B, N, Dy)."""
        x, y = super().sample(num_points, random)
        chi_square_over_df = random.gamma(self.df / 2, num_points) * (2 / self.df).unsqueeze(-1)
        radius = chi_square_over_df.clamp(min=1e-30).rsqrt().float().unsqueeze(-1)  # (B, N, 1)
        return x * radius, y * radius
