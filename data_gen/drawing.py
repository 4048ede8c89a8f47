"""Joints of the shapes that a meta-distribution draws: their parameters, composition and warps."""

from __future__ import annotations

import torch

from data_gen.categories import draw_categories
from data_gen.composition import BlockProduct, LinearMixing, Warped
from data_gen.families import TIED_KINDS, ParameterLaw, draw_family
from data_gen.independence import IndependentSides
from data_gen.joint import Joint
from data_gen.meta_distribution import BatchShape, FamilyName, MetaDistribution
from data_gen.side_warps import EMBEDDINGS, draw_recipe
from data_gen.streams import Streams

__all__ = ["draw_joint"]

_PILOT = 128  # points that fix the scales of a warp
_NO_DEPENDENCE = 0.12  # share of data sets about categories without any


def draw_joint(meta: MetaDistribution, shape: BatchShape, random: Streams) -> Joint:
    """Parameters of B joints of one shape."""
    law = ParameterLaw(weak_probability=meta.weak_probability, df=meta.df, chunk=shape.chunk)
    joint: Joint
    if shape.family == "categories":
        parts: list[Joint] = [draw_categories(*shape.levels, _NO_DEPENDENCE, random)]
        joint = BlockProduct([*parts, *(draw_family(*block, law, random) for block in shape.blocks)])
    elif shape.family == "product":
        joint = BlockProduct([_draw_block(meta, block, law, random) for block in shape.blocks])
    elif shape.family == "independent":
        first, second = (draw_family(*block, law, random) for block in shape.blocks)
        joint = IndependentSides(first, second, len(random))
    else:
        added_x, added_y = (EMBEDDINGS.get(name or "", 0) for name in (shape.warp_x, shape.warp_y))
        joint = draw_family(shape.family, shape.dim_x - added_x, shape.dim_y - added_y, law, random)
    if shape.warp_x or shape.warp_y:
        joint = _warped(joint, shape, random)
    warp_x = (
        LinearMixing.draw(shape.dim_x, meta.max_condition_number, random) if shape.mixed_x and shape.dim_x > 1 else None
    )
    warp_y = (
        LinearMixing.draw(shape.dim_y, meta.max_condition_number, random) if shape.mixed_y and shape.dim_y > 1 else None
    )
    return Warped(joint, warp_x, warp_y) if warp_x is not None or warp_y is not None else joint


def _draw_block(
    meta: MetaDistribution, block: tuple[FamilyName, int, int], law: ParameterLaw, random: Streams
) -> Joint:
    """A block of a product; some data sets mix its sides, so that products of mixed joints are mixed again."""
    family, dim_x, dim_y = block
    joint = draw_family(family, dim_x, dim_y, law, random)
    if meta.block_mixed_probability == 0 or family.partition("-")[0] in TIED_KINDS:
        return joint
    warps = []
    for dim in (dim_x, dim_y):
        mixing = LinearMixing.draw(dim, meta.max_condition_number, random).matrix
        share = meta.share_mixed(dim, {family.partition("-")[0]})
        mixed = random.bernoulli(meta.block_mixed_probability * share, 1, 1)
        warps.append(LinearMixing(torch.where(mixed, mixing, torch.eye(dim, dtype=mixing.dtype))))
    return Warped(joint, *warps)


def _warped(joint: Joint, shape: BatchShape, random: Streams) -> Joint:
    """The joint with its sides warped by the shape's recipes, which are scaled by a pilot sample."""
    pilot_x, pilot_y = joint.sample(_PILOT, random)
    return Warped(
        joint,
        draw_recipe(shape.warp_x, pilot_x, random, shape.flows[0], shape.bent_x) if shape.warp_x else None,
        draw_recipe(shape.warp_y, pilot_y, random, shape.flows[1], shape.bent_y) if shape.warp_y else None,
        added_x=shape.dim_x - joint.dim_x,
        added_y=shape.dim_y - joint.dim_y,
    )
