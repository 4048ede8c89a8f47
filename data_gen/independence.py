"""Joints whose mutual information is exactly zero, with any marginals and any dependence inside a side."""

from __future__ import annotations

import torch
from torch import Tensor

from data_gen.joint import Joint
from data_gen.streams import Streams

__all__ = ["IndependentCoordinates", "IndependentSides"]


class IndependentCoordinates:
    """All coordinates independent; each has a sinh-arcsinh marginal: sinh(δ·(arcsinh z + ε)), z ~ N(0, 1).

    Jones & Pewsey (2009): `skew` ε and `tail` δ > 0, (B, Dx+Dy) each, cover skew and light to heavy tails.
    """

    def __init__(self, skew: Tensor, tail: Tensor, dim_x: int) -> None:
        self.skew = skew
        self.tail = tail
        self.dim_x = dim_x
        self.dim_y = skew.shape[-1] - dim_x

    @property
    def mutual_information(self) -> Tensor:
        """Zeros, (B,) float64."""
        return torch.zeros(self.skew.shape[0], dtype=torch.float64)

    def sample(self, num_points: int, random: Streams) -> tuple[Tensor, Tensor]:
        """N points of each: x (B, N, Dx), y (B, N, Dy)."""
        noise = random.normal(num_points, self.skew.shape[-1], dtype=torch.float32)
        points = torch.sinh(self.tail.float().unsqueeze(-2) * (torch.asinh(noise) + self.skew.float().unsqueeze(-2)))
        return points[..., : self.dim_x], points[..., self.dim_x :]


class IndependentSides:
    """X of one joint beside Y of an independent draw of another: the marginals of both, no information."""

    def __init__(self, joint_of_x: Joint, joint_of_y: Joint, num_datasets: int) -> None:
        self.joint_of_x = joint_of_x
        self.joint_of_y = joint_of_y
        self.num_datasets = num_datasets

    @property
    def dim_x(self) -> int:
        """Coordinates of X."""
        return self.joint_of_x.dim_x

    @property
    def dim_y(self) -> int:
        """Coordinates of Y."""
        return self.joint_of_y.dim_y

    @property
    def mutual_information(self) -> Tensor:
        """Zeros, (B,) float64."""
        return torch.zeros(self.num_datasets, dtype=torch.float64)  # the joints' own labels may be costly

    def sample(self, num_points: int, random: Streams) -> tuple[Tensor, Tensor]:
        """N points of each: x (B, N, Dx), y (B, N, Dy)."""
        x, _ = self.joint_of_x.sample(num_points, random)
        _, y = self.joint_of_y.sample(num_points, random)
        return x, y
