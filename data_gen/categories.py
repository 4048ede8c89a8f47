"""Unordered categories beside numbers: one variable of K levels as K indicator columns, the way the estimator reads it.

A level's number means nothing, so a category enters as its indicators, which share a group mark (`Batch.groups_x`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from data_gen.discrete import Classes, Contingency
from data_gen.joint import Joint
from data_gen.streams import Streams

__all__ = ["MOST_LEVELS", "Indicators", "draw_categories"]

MOST_LEVELS = 12


class Indicators:
    """A joint of one coordinate each whose level numbers become indicator columns, `levels_x` of X, `levels_y` of Y.

    0 levels leave a side as it is. Level numbers can be read off the indicators, so the MI is that of the joint.
    """

    def __init__(self, joint: Joint, levels_x: int, levels_y: int = 0) -> None:
        if (joint.dim_x, joint.dim_y) != (1, 1):
            raise ValueError(f"got a joint of dims ({joint.dim_x}, {joint.dim_y}), expected one coordinate a side")
        self.joint = joint
        self.levels_x, self.levels_y = levels_x, levels_y
        self.dim_x, self.dim_y = max(1, levels_x), max(1, levels_y)

    @property
    def mutual_information(self) -> Tensor:
        """The MI of the joint inside, nats, (B,) float64."""
        return self.joint.mutual_information

    def sample(self, num_points: int, random: Streams) -> tuple[Tensor, Tensor]:
        """N points of each: x (B, N, Dx), y (B, N, Dy), float32."""
        x, y = self.joint.sample(num_points, random)
        return _indicate(x, self.levels_x), _indicate(y, self.levels_y)


def _indicate(values: Tensor, levels: int) -> Tensor:
    return (values == torch.arange(levels)).float() if levels else values


def _shares(levels: int, random: Streams) -> Tensor:
    weight = (random.uniform(1, high=1.5) * random.normal(levels)).exp()
    return weight / weight.sum(-1, keepdim=True)


def draw_categories(levels_x: int, levels_y: int, independent_share: float, random: Streams) -> Indicators:
    """X one unordered variable; Y another one, or, with 0 levels, a number that is normal given X.

    Strengths from hardly any to almost a function; none at all in `independent_share` of the data sets.
    """
    strength = 0.05 * 120 ** random.uniform(1)  # (B, 1)
    strength = torch.where(random.bernoulli(independent_share, 1), 0.0, strength)
    share = _shares(levels_x, random)
    if levels_y:
        table = share.unsqueeze(-1) * _shares(levels_y, random).unsqueeze(-2)
        table = table * (strength.unsqueeze(-1) * random.normal(levels_x, levels_y)).exp()
        table = table / table.sum((-2, -1), keepdim=True)
        return Indicators(Contingency(table.unsqueeze(1), 1, 1), levels_x, levels_y)
    mean = strength * random.normal(levels_x)
    scale = 2 ** random.uniform(levels_x, low=-1.0, high=1.0)
    scale = torch.where(random.bernoulli(0.5, 1) & (strength > 0), scale, 1.0)
    return Indicators(Classes(share.unsqueeze(1), mean.unsqueeze(1), scale.unsqueeze(1), 1, 1), levels_x)
