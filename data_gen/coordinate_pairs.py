"""Joints made of independent pairs of coordinates (X_i, Y_i), vectorised over data sets and pairs."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from data_gen.streams import Streams

__all__ = ["CoordinatePairs", "LabelledPairs"]


class CoordinatePairs(ABC):
    """Pairs (X_i, Y_i), i < P = max(Dx, Dy), independent of one another; MI adds over the min(Dx, Dy) whole ones.

    Coordinates of the wider side past the narrower one have lost their partner: noise with the marginals of the rest.
    """

    def __init__(self, dim_x: int, dim_y: int, num_pairs: int) -> None:
        if num_pairs != max(dim_x, dim_y):
            raise ValueError(f"got parameters of {num_pairs} pairs, expected max({dim_x}, {dim_y}), one per coordinate")
        self.dim_x = dim_x
        self.dim_y = dim_y

    @property
    @abstractmethod
    def pair_information(self) -> Tensor:
        """MI of every pair in nats, (B, P) float64."""

    @abstractmethod
    def draw_pairs(self, num_points: int, random: Streams) -> tuple[Tensor, Tensor]:
        """N points of every pair: (B, N, P) each."""

    @property
    def mutual_information(self) -> Tensor:
        """True MI in nats, (B,) float64."""
        return self.pair_information[:, : min(self.dim_x, self.dim_y)].sum(-1)

    @property
    def pair_error(self) -> Tensor:
        """Standard error of `pair_information`, (B, P) or () float64: 0 unless a family says otherwise."""
        return torch.zeros((), dtype=torch.float64)

    @property
    def standard_error(self) -> Tensor:
        """Of the label, in nats, (B,) or () float64: the sum over pairs, since they may share one estimate."""
        error = self.pair_error
        return error if error.ndim == 0 else error[:, : min(self.dim_x, self.dim_y)].sum(-1)

    def sample(self, num_points: int, random: Streams) -> tuple[Tensor, Tensor]:
        """N points of each: x (B, N, Dx), y (B, N, Dy), float32."""
        x, y = self.draw_pairs(num_points, random)
        return x[..., : self.dim_x].float(), y[..., : self.dim_y].float()


class LabelledPairs(CoordinatePairs):
    """Pairs whose labels are known beforehand, as from a pool: `information` and its standard `error` (B, P), nats."""

    def __init__(self, dim_x: int, dim_y: int, information: Tensor, error: Tensor) -> None:
        super().__init__(dim_x, dim_y, information.shape[-1])
        self.information, self.error = information, error

    @property
    def pair_information(self) -> Tensor:
        """MI of every pair in nats, (B, P) float64."""
        return self.information

    @property
    def pair_error(self) -> Tensor:
        """Standard error of `pair_information`, (B, P) float64."""
        return self.error
