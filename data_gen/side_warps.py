"""Recipes of random warps of one side: which maps follow one another, and on how many coordinates they can be seen."""

from __future__ import annotations

from collections.abc import Callable

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
)
from data_gen.streams import Streams

__all__ = ["EMBEDDINGS", "MOST_AUTOREGRESSIVE_DIMS", "RECIPES", "applicable_recipes", "draw_recipe"]


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
    "coupling": ("coupling", "rotation"),
    "swiss_roll": ("swiss_roll",),
    "derived": ("derived",),
    "stack": ("coupling", "sinh_arcsinh", "spiral", "mixing"),
}


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


def draw_recipe(name: str, pilot: Tensor, random: Streams, flow: int = 0) -> Chain:
    """B random warps of one recipe for points like the pilot's, (B, M, D); they are standardised first.

    A normalizing flow is one for all B, number `flow` of the pool, after a rotation of each data set's own.
    """
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
