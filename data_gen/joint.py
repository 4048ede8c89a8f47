"""A joint distribution of (X, Y) whose mutual information is known, batched over B parameter sets of one shape.

Shapes: B data sets, N points, Dx and Dy coordinates. Mutual information is in nats, always.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from data_gen.streams import Streams

__all__ = ["Joint", "label_error"]


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


def label_error(joint: Joint) -> Tensor:
    """Standard error of a joint's label in nats, (B,) or () float64.

    It is the joint's `standard_error` where it has one: then the label, or a part of it, is an estimate. Else 0: the
    label comes from a formula or from quadrature.
    """
    error: Tensor | None = getattr(joint, "standard_error", None)
    return torch.zeros((), dtype=torch.float64) if error is None else error
