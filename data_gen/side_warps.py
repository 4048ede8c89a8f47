"""Recipes of random warps of one side: which maps follow one another, and on how many coordinates they can be seen.

A recipe bends all coordinates of a side or some, the others left as they are (`SomeCoordinates`).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from data_gen.composition import Chain, LinearMixing, Warp
from data_gen.side_maps import (
    AdditiveCoupling,
    DerivedCoordinate,
    RandomSpiral,
    SignedPower,
    SinhArcsinh,
    Standardise,
    StudentCdf,
    SwissRollEmbedding,
    Wiggly,
    coordinate_order,
)
from data_gen.streams import Streams

__all__ = [
    "EMBEDDINGS",
    "MOST_AUTOREGRESSIVE_DIMS",
    "RECIPES",
    "SomeCoordinates",
    "applicable_recipes",
    "draw_recipe",
    "num_bent",
]


def _rotation(dim: int, random: Streams) -> LinearMixing:
    return LinearMixing(random.orthogonal(dim))


def _mixing(dim: int, random: Streams) -> LinearMixing:
    return LinearMixing.draw(dim, 30.0, random)


_MAPS: dict[str, Callable[[int, Streams], Warp]] = {
    "rotation": _rotation,
    "mixing": _mixing,
    "sinh_arcsinh": SinhArcsinh.draw,
    "power": SignedPower.draw,
    "wiggly": Wiggly.draw,
    "cdf": StudentCdf.draw,
    "spiral": RandomSpiral.draw,
    "plane": RandomSpiral.draw_plane,
    "coupling": AdditiveCoupling.draw,
    "swiss_roll": SwissRollEmbedding.draw,
    "derived": DerivedCoordinate.draw,
}
EMBEDDINGS = {"swiss_roll": 1, "derived": 1}  # coordinates that a recipe adds
MOST_AUTOREGRESSIVE_DIMS = 8
# A monotone map alone cannot be seen in ranks, so each is followed by a mixing.
RECIPES: dict[str, tuple[str, ...]] = {
    "flow_coupling_spline": ("rotation", "flow"),
    "flow_autoregressive_spline": ("rotation", "flow"),
    "flow_real_nvp": ("rotation", "flow"),
    "rotation": ("rotation",),
    "sinh_arcsinh": ("sinh_arcsinh", "mixing"),
    "power": ("power", "mixing"),
    "wiggly": ("wiggly", "mixing"),
    "cdf": ("cdf", "mixing"),
    "spiral": ("spiral",),
    "spiral_plane": ("plane",),
    "spiral_cdf": ("cdf", "plane"),
    "coupling": ("coupling", "rotation"),
    "swiss_roll": ("swiss_roll",),
    "derived": ("derived",),
    "stack": ("coupling", "sinh_arcsinh", "spiral", "mixing"),
}
_BENT = {"swiss_roll": 1, "derived": 1, "spiral_plane": 2, "spiral_cdf": 2}  # coordinates, all of them in the others


def num_bent(name: str, dim: int) -> int:
    """Coordinates that a recipe bends, of the `dim` that it is given: what others depend on may be hidden in them."""
    return min(dim, _BENT.get(name, dim))


class SomeCoordinates:
    """A warp of some coordinates, which come first then, their images in their stead; the others are left as they are.

    `order` (B, D) deals the coordinates, of which the first `num` are warped.
    """

    def __init__(self, order: Tensor, num: int, warp: Chain) -> None:
        self.order = order.unsqueeze(-2)
        self.num = num
        self.warp = warp

    def _deal(self, points: Tensor) -> tuple[Tensor, Tensor]:
        dealt = points.gather(-1, self.order.expand(points.shape))
        return dealt[..., : self.num], dealt[..., self.num :]

    def __call__(self, points: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D')."""
        first, others = self._deal(points)
        return torch.cat([self.warp(first), others], dim=-1)

    def inverse(self, points: Tensor) -> Tensor:
        """(B, N, D') -> (B, N, D)."""
        num_others = self.order.shape[-1] - self.num
        first, others = points.split([points.shape[-1] - num_others, num_others], dim=-1)
        dealt = torch.cat([self.warp.inverse(first), others], dim=-1)
        return torch.empty_like(dealt).scatter_(-1, self.order.expand(dealt.shape), dealt)

    def log_abs_det(self, points: Tensor) -> Tensor:
        """log |det Jacobian| at the points, (B, N, D) -> (B, N); AttributeError where the warp adds coordinates."""
        return self.warp.log_abs_det(self._deal(points)[0])


def applicable_recipes(dim: int, embed: bool) -> set[str]:
    """Recipes that can be seen on a side of `dim` coordinates; with `embed` those, too, whose embedding ends there.

    None on one coordinate: ranks do not see monotone maps, and there is nothing to mix.
    """
    if dim == 1:
        return set()
    return {
        name
        for name in RECIPES
        if (name not in EMBEDDINGS or (embed and EMBEDDINGS[name] < dim))
        and (name != "flow_autoregressive_spline" or dim <= MOST_AUTOREGRESSIVE_DIMS)
    }


def draw_recipe(
    name: str, pilot: Tensor, random: Streams, flow: int = 0, num: int | None = None
) -> Chain | SomeCoordinates:
    """B random warps of one recipe for points like the pilot's, (B, M, D); they are standardised first.

    With `num`, so many coordinates are warped, others in each data set (`coordinate_order`). A normalizing flow is one
    for all B, number `flow` of the pool, after a rotation of each data set's own.
    """
    if num is not None and num < pilot.shape[-1]:
        order = coordinate_order(pilot.shape[-1], random)
        chosen = pilot.gather(-1, order.unsqueeze(-2).expand(pilot.shape))[..., :num]
        return SomeCoordinates(order, num, _draw_chain(name, chosen, random, flow))
    return _draw_chain(name, pilot, random, flow)


def _draw_chain(name: str, pilot: Tensor, random: Streams, flow: int) -> Chain:
    dim = pilot.shape[-1]
    warps: list[Warp] = [Standardise.fit(pilot)]
    for part in RECIPES[name]:
        if part == "flow":
            from data_gen.flows import random_flow  # imports normflows, which few runs need

            warps.append(random_flow(name.removeprefix("flow_"), dim, flow))
        else:
            warps.append(_MAPS[part](dim, random))
        dim += EMBEDDINGS.get(part, 0)
    return Chain(tuple(warps))
