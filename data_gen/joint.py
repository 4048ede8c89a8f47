"""A joint distribution of (X, Y) whose mutual information is known, batched over B parameter sets of one shape.

Shapes: B data sets, N points, Dx and Dy coordinates. Mutual information is in nats, always.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor

from data_gen.streams import Streams

__all__ = ["Joint"]


@runtime_checkable
class Joint(Protocol):
    """B joint distributions of one family and one shape."""

    @property
    def dim_x(self) -> int:
        """Number of coordinates of X."""
        ...

    @property
    def dim_y(self) -> int:
        """Number of coordinates of Y."""
        ...

    @property
    def mutual_information(self) -> Tensor:
        """True I(X;Y) of each parameter set in nats, (B,) float64."""
        ...

    def sample(self, num_points: int, random: Streams) -> tuple[Tensor, Tensor]:
        """N points of each: x (B, N, Dx) and y (B, N, Dy), float32."""
        ...
