"""Joints made of joints: block products, whose information adds, and warps of one side, which leave it unmoved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from data_gen.joint import Joint, label_error
from data_gen.streams import Streams

__all__ = ["BlockProduct", "Chain", "LinearMixing", "Warp", "Warped", "invert_increasing"]


class Warp(Protocol):
    """An injective map of one side."""

    def __call__(self, points: Tensor) -> Tensor:
        """(..., D) -> (..., D')."""
        ...

    def inverse(self, points: Tensor) -> Tensor:
        """(..., D') -> (..., D)."""
        ...


def invert_increasing(function: Callable[[Tensor], Tensor], target: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Bisection in float64; `low` and `high` bracket the solution."""
    for _ in range(64):
        middle = (low + high) / 2
        below = function(middle) < target
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return (low + high) / 2


@dataclass(frozen=True)
class Chain:
    """Warps applied one after the other, the first of the tuple first."""

    warps: tuple[Any, ...]  # of `Warp`; those of `log_abs_det` know theirs

    def __call__(self, points: Tensor) -> Tensor:
        """(..., D) -> (..., D')."""
        for warp in self.warps:
            points = warp(points)
        return points

    def inverse(self, points: Tensor) -> Tensor:
        """(..., D') -> (..., D)."""
        for warp in reversed(self.warps):
            points = warp.inverse(points)
        return points

    def log_abs_det(self, points: Tensor) -> Tensor:
        """log |det Jacobian| at the points, (..., D) -> (...); AttributeError where a warp adds coordinates."""
        total = torch.zeros(points.shape[:-1], dtype=torch.float64)
        for warp in self.warps:
            total = total + warp.log_abs_det(points)
            points = warp(points)
        return total


class BlockProduct:
    """Independent joints side by side: I(X₁X₂; Y₁Y₂) = I(X₁; Y₁) + I(X₂; Y₂). Cover & Thomas (2006), Theorem 2.5.2."""

    def __init__(self, joints: Sequence[Joint]) -> None:
        self.joints = list(joints)

    @property
    def dim_x(self) -> int:
        """Coordinates of X."""
        return sum(joint.dim_x for joint in self.joints)

    @property
    def dim_y(self) -> int:
        """Coordinates of Y."""
        return sum(joint.dim_y for joint in self.joints)

    @property
    def mutual_information(self) -> Tensor:
        """Sum of the blocks' MI in nats, (B,) float64."""
        return torch.stack([joint.mutual_information for joint in self.joints]).sum(0)

    @property
    def standard_error(self) -> Tensor:
        """Of the label: the sum of those of the blocks, since they may share one estimate; (B,) or () nats."""
        return torch.stack(torch.broadcast_tensors(*map(label_error, self.joints))).sum(0)

    def sample(self, num_points: int, random: Streams) -> tuple[Tensor, Tensor]:
        """N points of each: x (B, N, Dx), y (B, N, Dy)."""
        xs, ys = zip(*(joint.sample(num_points, random) for joint in self.joints), strict=True)
        return torch.cat(xs, dim=-1), torch.cat(ys, dim=-1)


class LinearMixing:
    """x -> x Aᵀ with A = Q diag(s) R, Q and R orthogonal, so that its condition number is known; A is (B, D, D)."""

    def __init__(self, matrix: Tensor) -> None:
        self.matrix = matrix.double()

    @classmethod
    def draw(cls, dim: int, max_condition_number: float, random: Streams) -> LinearMixing:
        """Condition number log-uniform on [1, max]; singular values log-uniform between its ends."""
        log_condition = random.uniform(1) * float(torch.tensor(max_condition_number).log())  # (B, 1)
        log_scales = random.uniform(dim) * log_condition
        log_scales = torch.cat([torch.zeros_like(log_condition), log_condition, log_scales], dim=-1)[:, :dim]
        left, right = random.orthogonal(dim), random.orthogonal(dim)
        return cls(left @ (log_scales.exp().unsqueeze(-1) * right))

    def __call__(self, points: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        return points @ self.matrix.to(points.dtype).mT

    def inverse(self, points: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        return torch.linalg.solve(self.matrix, points.double().mT).mT.to(points.dtype)

    def log_abs_det(self, points: Tensor) -> Tensor:
        """log |det A|, (B, N, D) -> (B, N)."""
        return torch.linalg.slogdet(self.matrix)[1].unsqueeze(-1).expand(points.shape[:-1])


class Warped:
    """A joint with an invertible map applied to X alone and one to Y alone: MI is unmoved.

    Kraskov, Stögbauer & Grassberger (2004), Appendix: invariance under homeomorphisms of the marginals. `added_x` and
    `added_y` say how many coordinates the maps add, where they embed a side.
    """

    def __init__(
        self,
        joint: Joint,
        warp_x: Callable[[Tensor], Tensor] | None = None,
        warp_y: Callable[[Tensor], Tensor] | None = None,
        *,
        added_x: int = 0,
        added_y: int = 0,
    ) -> None:
        self.joint = joint
        self.warp_x = warp_x
        self.warp_y = warp_y
        self.added_x = added_x
        self.added_y = added_y

    @property
    def dim_x(self) -> int:
        """Coordinates of X."""
        return self.joint.dim_x + self.added_x

    @property
    def dim_y(self) -> int:
        """Coordinates of Y."""
        return self.joint.dim_y + self.added_y

    @property
    def mutual_information(self) -> Tensor:
        """The MI of the joint inside, nats, (B,) float64."""
        return self.joint.mutual_information

    @property
    def standard_error(self) -> Tensor:
        """Of the label of the joint inside, (B,) or () nats."""
        return label_error(self.joint)

    def sample(self, num_points: int, random: Streams) -> tuple[Tensor, Tensor]:
        """N points of each: x (B, N, Dx), y (B, N, Dy)."""
        x, y = self.joint.sample(num_points, random)
        return (
            self.warp_x(x) if self.warp_x is not None else x,
            self.warp_y(y) if self.warp_y is not None else y,
        )
