"""The law itself: validation, plain-number round trip, what it draws, and that benchmarks are none of it."""

import dataclasses
import json
import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from data_gen import Joint, MetaDistribution, Streams
from data_gen.composition import BlockProduct
from data_gen.drawing import draw_joint
from data_gen.families import FAMILIES, KINDS, POOLED_KINDS, TIED_KINDS
from data_gen.meta_distribution import BatchShape
from data_gen.side_warps import RECIPES
from data_gen.stream import generate_batch
from data_gen.streams import structure_generator

NAMES = [*FAMILIES, "independent", "product"]


def blocks_of(family, dim_x, dim_y):
    if family == "product":
        return (("gaussian-sparse", dim_x - 1, dim_y - 1), ("noise", 1, 1))
    return (("gaussian-factor", dim_x, dim_y), ("noise", dim_x, dim_y)) if family == "independent" else ()


@pytest.mark.parametrize("dims", [(2, 2), (5, 3), (2, 9)])
@pytest.mark.parametrize("family", NAMES)
def test_every_family_draws_joints_of_the_shape_asked_for(family, dims):
    shape = BatchShape(family, 12, *dims, 4, blocks=blocks_of(family, *dims), mixed_x=True, mixed_y=True)
    random = Streams(range(4))
    joint = draw_joint(MetaDistribution(), shape, random)
    assert isinstance(joint, Joint) and (joint.dim_x, joint.dim_y) == dims
    x, y = joint.sample(12, random)
    assert x.shape == (4, 12, dims[0]) and y.shape == (4, 12, dims[1])
    assert x.dtype == y.dtype == torch.float32 and x.isfinite().all() and y.isfinite().all()
    labels = joint.mutual_information
    assert labels.shape == (4,) and labels.dtype == torch.float64 and (labels >= 0).all()
    if family in ("independent", "noise"):
        assert (labels == 0).all()
    else:
        few = family.partition("-")[0] in POOLED_KINDS  # the tests' pools are small: a row may come twice
        assert labels.unique().numel() >= (2 if few else 4)


@pytest.mark.parametrize("family", FAMILIES)
def test_parameters_of_a_data_set_depend_on_its_seed_only(family):
    shape = BatchShape(family, 12, 4, 3, 4, mixed_x=True)
    whole = draw_joint(MetaDistribution(), shape, Streams(range(4))).mutual_information
    part = draw_joint(MetaDistribution(), shape, Streams([2, 3])).mutual_information
    assert torch.allclose(part, whole[2:], rtol=1e-12)


@pytest.mark.parametrize("family", FAMILIES)
def test_labels_are_finite_and_spread(family):
    """Over dims as users have them, no family is all trivial or all beyond reach."""
    labels = []
    for dims in [(1, 1), (3, 3), (1, 12)]:
        random = Streams(range(64))
        joint = draw_joint(MetaDistribution(), BatchShape(family, 10, *dims, 64), random)
        labels.append(joint.mutual_information)
    labels = torch.cat(labels)
    assert labels.isfinite().all() and (labels >= 0).all()
    if "fgm_" in family:  # never more than 0.06 nats a pair
        assert labels.quantile(0.9) > 0.004
    elif family != "noise":
        assert (labels > 0.05).float().mean() > 0.1 and (labels < 5).float().mean() > 0.4
        assert labels.quantile(0.9) > 3 * labels.quantile(0.2)


def test_the_bare_name_of_a_kind_draws_every_variant():
    meta = MetaDistribution(families={"copula": 1.0, "cut_normal": 1.0, "zero_inflated": 1.0})
    shapes = [shape for k in range(100) for shape in meta.draw_shapes(structure_generator(0, k))]
    drawn = {shape.family for shape in shapes}
    variants = [f"{kind}-{variant}" for kind in ("copula", "cut_normal") for variant in KINDS[kind].variants]
    assert drawn == {*variants, "zero_inflated"}


@pytest.mark.parametrize("recipe", RECIPES)
def test_warped_sides_keep_shape_and_label(recipe):
    shape = BatchShape("gaussian-factor", 40, 3, 2, 4, warp_x=recipe, warp_y=recipe)
    random = Streams(range(4))
    joint = draw_joint(MetaDistribution(), shape, random)
    assert (joint.dim_x, joint.dim_y) == (3, 2)
    x, y = joint.sample(40, random)
    assert x.shape == (4, 40, 3) and y.shape == (4, 40, 2) and x.isfinite().all() and y.isfinite().all()
    assert torch.equal(joint.mutual_information, joint.joint.mutual_information)


def test_blocks_of_a_product_may_be_mixed_and_mixed_again():
    meta = MetaDistribution(block_mixed_probability=1.0)
    shape = BatchShape("product", 40, 4, 4, 4, blocks=(("gaussian-sparse", 2, 2), ("additive", 2, 2)), mixed_x=True)
    plain, mixed = (draw_joint(m, shape, Streams(range(4))) for m in (MetaDistribution(), meta))
    assert (mixed.mutual_information > 0).all() and mixed.joint.joints[0].joint.dim_x == 2
    x, y = mixed.sample(3000, Streams(range(4)))
    within = np.abs(np.corrcoef(y[0].numpy().T))  # y is not mixed as a whole, its blocks are
    assert max(within[0, 1], within[2, 3]) > 0.1 and within[:2, 2:].max() < 0.08
    assert isinstance(plain.joint, BlockProduct) and not hasattr(plain.joint.joints[0], "joint")


def test_warps_are_drawn_as_often_as_asked_and_never_on_levels():
    meta = MetaDistribution(
        families={"student": 1.0, "contingency": 1.0, "product": 1.0},
        warps={"spiral": 1.0, "swiss_roll": 2.0},
        warp_probability=0.5,
    )
    shapes = [shape for k in range(600) for shape in meta.draw_shapes(structure_generator(0, k))]
    for shape in shapes:
        names = [name for name, _, _ in shape.blocks] or [shape.family]
        if "contingency" in names:
            assert (shape.warp_x, shape.warp_y, shape.mixed_x, shape.mixed_y) == (None, None, False, False)
        if shape.warp_x == "swiss_roll":
            assert shape.dim_x > 1 and not shape.blocks
    plain = [shape for shape in shapes if shape.family.startswith("student") and shape.dim_x > 1]
    counts = Counter(shape.warp_x for shape in plain)
    for name, share in ((None, 1 / 2), ("spiral", 1 / 6), ("swiss_roll", 1 / 3)):
        assert counts[name] / len(plain) == pytest.approx(share, abs=0.05)


def test_sides_past_the_visible_dims_are_bent_less_often():
    meta = MetaDistribution(
        families={"student": 1.0, "copula": 1.0},
        warps={"spiral": 1.0},
        warp_probability=0.5,
        mixed_probability=0.5,
        visible_dims=4.0,
        equal_dims_probability=0.0,
    )
    shapes = [shape for k in range(1500) for shape in meta.draw_shapes(structure_generator(0, k))]
    for low, high, expected in ((2, 4, 0.5), (14, 18, 0.125)):
        group = [shape for shape in shapes if low <= shape.dim_x <= high]
        curved, elliptical = (
            [shape for shape in group if shape.family.startswith(kind)] for kind in ("copula", "student")
        )
        assert np.mean([shape.warp_x is not None for shape in group]) == pytest.approx(expected, abs=0.06)
        assert np.mean([shape.mixed_x for shape in curved]) == pytest.approx(expected, abs=0.08)
        bent = [shape.mixed_x for shape in elliptical if shape.warp_x is not None]  # no longer elliptical
        assert bent and np.mean(bent) < expected + 0.12
        plain = [shape.mixed_x for shape in elliptical if shape.warp_x is None]
        assert np.mean(plain) == pytest.approx(0.5, abs=0.08)


def test_warps_of_some_coordinates():
    """They bend two coordinates to all, Y as many as X of the same recipe; few of many as often as few of few."""
    meta = MetaDistribution(
        families={"student": 1.0},
        mixed_probability=0.0,
        warps={"spiral": 1.0, "swiss_roll": 1.0},
        warp_probability=0.5,
        same_warp_probability=1.0,
        local_warp_probability=1.0,
        visible_dims=4.0,
        equal_dims_probability=0.0,
    )
    shapes = [shape for k in range(1000) for shape in meta.draw_shapes(structure_generator(0, k)) if shape.dim_x > 20]
    spirals = [shape for shape in shapes if shape.warp_x == "spiral"]
    assert all(2 <= shape.bent_x <= shape.dim_x for shape in spirals)
    few = [shape for shape in spirals if shape.bent_x <= 4]
    many = [shape for shape in spirals if shape.bent_x >= 16]
    # half of all are spirals, of log-uniformly many coordinates: of 2 to 4 log(5/2) are drawn, next to all of which are
    # kept (past 20 columns, of five groups of four some is bent), of 16 and more log(D/16), a quarter of which at most
    expected = np.mean([0.5 * math.log(5 / 2) / math.log((shape.dim_x + 1) / 2) for shape in shapes])
    assert len(few) / len(shapes) == pytest.approx(expected, abs=0.03)
    assert 0 < len(many) < len(few) / 2
    narrow = replace(meta, max_dim=6)
    shapes = [shape for k in range(1000) for shape in narrow.draw_shapes(structure_generator(0, k)) if shape.dim_x == 4]
    assert np.mean([shape.warp_x is not None for shape in shapes]) == pytest.approx(0.5, abs=0.05)
    for shape in spirals:
        if shape.dim_y > 1:
            assert shape.warp_y == "spiral" and (shape.bent_y or shape.dim_y) == min(shape.bent_x, shape.dim_y)
    wide = next(shape for shape in spirals if shape.dim_y > 3 and shape.bent_x < shape.dim_x)
    shape = replace(wide, num_datasets=3, num_points=50)
    warped = draw_joint(meta, shape, Streams(range(3)))
    plain = draw_joint(meta, replace(shape, warp_x=None, warp_y=None), Streams(range(3)))
    assert torch.equal(warped.mutual_information, plain.mutual_information)
    x, _ = warped.sample(50, Streams(range(3)))
    before, _ = warped.joint.sample(50, Streams(range(3)))
    left = (before.unsqueeze(-1) == x.unsqueeze(-2)).all(1).sum((1, 2))
    assert (left == shape.dim_x - shape.bent_x).all()


def test_blocks_past_the_visible_dims_are_mixed_less_often():
    shape = BatchShape("product", 40, 12, 12, 200, blocks=(("additive", 12, 12),))
    everywhere = MetaDistribution(block_mixed_probability=1.0)
    for meta, expected in ((everywhere, 1.0), (replace(everywhere, visible_dims=3.0), 0.25)):
        matrix = draw_joint(meta, shape, Streams(range(200))).joints[0].warp_x.matrix
        mixed = (matrix - torch.eye(12, dtype=matrix.dtype)).abs().amax((-1, -2)) > 0
        assert mixed.double().mean() == pytest.approx(expected, abs=0.08)


def test_a_law_with_every_kind_and_warp_streams():
    meta = MetaDistribution(
        families={**dict.fromkeys(KINDS, 1.0), "independent": 1.0, "product": 3.0},
        warps=dict.fromkeys(RECIPES, 1.0),
        warp_probability=0.5,
        num_points=(10, 60),
        max_num_points=100,
        cost_per_batch=1e4,
        block_mixed_probability=0.5,
        dims=(1, 8),
        max_dim=24,
        flow_pool_size=1,
    )
    assert MetaDistribution.from_dict(json.loads(json.dumps(meta.to_dict()))) == meta
    weights = []
    for k in range(40):
        whole = generate_batch(meta, 0, k)
        part = generate_batch(meta, 0, k, slice_index=1, num_slices=2)
        half = len(whole.mi) // 2
        assert torch.allclose(part.x, whole.x[half:], rtol=1e-4, atol=1e-5)
        assert torch.allclose(part.mi, whole.mi[half:], rtol=1e-9)
        assert (whole.mi >= 0).all()
        weights.append(whole.weight)
    assert torch.cat(weights).mean() > 0.9  # few labels beyond max_mi, few overflows


def test_ties_are_known():
    assert not MetaDistribution().has_ties
    assert not MetaDistribution(families={"additive": 1.0, "contingency": 0.0}).has_ties
    for name in ("contingency", "cut_normal", "cut_normal-one"):
        assert MetaDistribution(families={"additive": 1.0, name: 0.1}).has_ties
    for family in FAMILIES:
        random = Streams(range(4))
        x, y = draw_joint(MetaDistribution(), BatchShape(family, 400, 2, 2, 4), random).sample(400, random)
        tied = any(len(side[i, :, j].unique()) < 300 for side in (x, y) for i in range(4) for j in range(2))
        assert tied == (family.partition("-")[0] in TIED_KINDS), family


def test_shapes_stay_inside_the_ranges_and_reach_them():
    meta = MetaDistribution()
    batches = [meta.draw_shapes(structure_generator(0, k)) for k in range(3000)]
    shapes = [shape for groups in batches for shape in groups]
    ranges = meta.ranges
    for name in ("num_points", "dim_x", "dim_y"):
        values = [getattr(shape, name) for shape in shapes]
        low, high = ranges[name]
        assert low <= min(values) and max(values) <= high
        assert min(values) <= low + 1 and max(values) > 0.8 * high
    counts = Counter(shape.family for shape in shapes)
    total = sum(meta.families.values())
    for family, weight in meta.families.items():
        expected = len(shapes) * weight / total
        assert abs(counts[family] - expected) < 5 * np.sqrt(expected)
    for groups in batches:
        assert len({(shape.num_points, shape.dim_x, shape.dim_y) for shape in groups}) == 1
        size = sum(shape.num_datasets for shape in groups)
        assert size % 8 == 0 and meta.datasets_per_batch[0] <= size <= meta.datasets_per_batch[1]
    for shape in shapes:
        if shape.family == "product":
            assert sum(block[1] for block in shape.blocks) == shape.dim_x
            assert sum(block[2] for block in shape.blocks) == shape.dim_y


def test_half_of_the_data_sets_are_small_and_a_tenth_carries_no_or_weak_information():
    meta = MetaDistribution()
    shapes = [meta.draw_shapes(structure_generator(1, k))[0] for k in range(2000)]
    assert np.mean([shape.num_points <= 500 for shape in shapes]) > 0.5
    assert np.mean([shape.dim_x != shape.dim_y for shape in shapes]) > 0.3
    weak = 0
    for k, shape in enumerate(shapes[:400]):
        random = Streams.for_batch(1, k, 0, 4)
        weak += (draw_joint(meta, shape, random).mutual_information < 0.05).sum().item()
    assert weak / 1600 > 0.1


def test_narrow_law_draws_equal_dims_and_uniform_points():
    meta = MetaDistribution(
        num_points=(20, 30), uniform_points_probability=1.0, dims=(3, 4), equal_dims_probability=1.0
    )
    assert meta.ranges == {"num_points": [20, 30], "dim_x": [3, 4], "dim_y": [3, 4], "mi": [0.0, meta.max_mi]}
    shapes = [meta.draw_shapes(structure_generator(0, k))[0] for k in range(200)]
    assert {shape.num_points for shape in shapes} == set(range(20, 31))
    assert {(shape.dim_x, shape.dim_y) for shape in shapes} == {(3, 3), (4, 4)}


def test_few_dims_come_as_often_as_asked():
    meta = replace(MetaDistribution(dims=(8, 16), equal_dims_probability=1.0), few_dims_probability=0.4)
    shapes = [meta.draw_shapes(structure_generator(0, k))[0] for k in range(1000)]
    few = [(shape.dim_x, shape.dim_y) for shape in shapes if shape.dim_x < 8]
    assert len(few) / 1000 == pytest.approx(0.4, abs=0.05)
    counts = Counter(dim for dims in few for dim in dims)
    assert set(counts) == {1, 2, 3} and counts[1] / (2 * len(few)) == pytest.approx(0.5, abs=0.05)  # log 2 / log 4
    assert all(dim_x == dim_y for dim_x, dim_y in ((s.dim_x, s.dim_y) for s in shapes) if dim_x >= 8)
    assert meta.ranges["dim_x"] == [1, 16]


def test_n_is_stretched_at_few_dims_alone():
    law = MetaDistribution(dims=(8, 16), max_dim=16, few_dims_probability=0.5)
    further = replace(law, few_dims_max_num_points=50_000)
    drawn = [[meta.draw_shapes(structure_generator(0, k))[0] for k in range(1000)] for meta in (law, further)]
    few = [(a.num_points, b.num_points) for a, b in zip(*drawn) if max(b.dim_x, b.dim_y) <= 3]
    more = [b.num_points for b in drawn[1] if max(b.dim_x, b.dim_y) > 3]
    assert max(more) <= 4000 < 30_000 < max(n for _, n in few) <= 50_000
    stretched = np.array([(a, b) for a, b in few if a != b], dtype=float)
    power = math.log(5000) / math.log(400)  # of n / 10
    np.testing.assert_allclose(stretched[:, 1], 10 * (stretched[:, 0] / 10) ** power, atol=0.5 + 1e-6)
    assert "few_dims" not in law.ranges
    assert further.ranges["few_dims"] == [1, 3] and further.ranges["num_points_few_dims"] == [10, 50_000]
    assert further.ranges["num_points"] == [10, 4000]


def test_round_trip_through_json():
    meta = MetaDistribution(name="mine", families={"additive": 2.0, "product": 1.0}, dims=(2, 5), df=(2.0, 8.0))
    again = MetaDistribution.from_dict(json.loads(json.dumps(meta.to_dict())))
    assert again == meta and again.to_dict() == meta.to_dict()


def test_unknown_keys_are_refused():
    with pytest.raises(ValueError, match=r"got unknown meta-distribution keys \['dimz'\], expected some of"):
        MetaDistribution.from_dict({"dimz": [1, 2]})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"flow_pool_size": 0}, "got flow_pool_size=0, expected 1 to 1024"),
        ({"warps": {"twirl": 1.0}}, r"got unknown warps \['twirl'\], expected some of"),
        (
            {"warp_probability": 0.5},
            "got warp_probability=0.5 and warp weights {}, expected non-negative weights, one of",
        ),
        ({"warps": {"spiral": 2.0, "rotation": -1.0}}, "expected non-negative weights"),
        ({"visible_dims": -1.0}, "got visible_dims=-1.0, expected a number of dims"),
        ({"warp_probability": 1.5, "warps": {"spiral": 1.0}}, "expected a probability in"),
        ({"families": {"gaussian-spiky": 1.0}}, r"got unknown families \['gaussian-spiky'\], expected some of"),
        ({"families": {}}, "expected non-negative weights, one positive"),
        ({"families": {"additive": -1.0, "product": 2.0}}, "expected non-negative weights, one positive"),
        ({"families": {"additive": 0.0}}, "expected non-negative weights, one positive"),
        ({"num_points": (3, 50)}, "expected 4 <= low <= high and low <= max_num_points"),
        ({"num_points": (60, 50)}, "expected 4 <= low <= high and low <= max_num_points"),
        ({"num_points": (600, 700), "max_num_points": 500}, "low <= max_num_points"),
        ({"dims": (0, 5)}, r"got dims \(0, 5\) and max_dim 64, expected 1 <= low <= high"),
        ({"dims": (6, 5)}, "expected 1 <= low <= high"),
        ({"max_dim": 0}, "and max_dim 0, expected"),
        ({"few_dims": 65, "few_dims_probability": 0.1}, "got few_dims=65, expected 1 to max_dim=64"),
        ({"groups_per_batch": 3}, "got groups_per_batch=3, expected 1, 2, 4 or 8"),
    ],
)
def test_impossible_laws_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(MetaDistribution(), **changes)


def test_training_laws_cannot_draw_the_public_benchmarks(modules_behind_the_stream):
    """Nothing that the meta-distribution is made of imports the warps and tasks of a benchmark."""
    evaluation_only = {"data_gen.warps", "data_gen.reference_tasks", "data_gen.reference_files", "data_gen.comparison"}
    assert {"data_gen.meta_distribution", "data_gen.elliptical"} <= modules_behind_the_stream
    assert not modules_behind_the_stream & evaluation_only


def test_ranges_claim_nothing_that_a_law_never_draws():
    meta = MetaDistribution(num_points=(20, 500), max_num_points=100, dims=(2, 32), max_dim=8)
    unequal = dataclasses.replace(meta, equal_dims_probability=0.0, uniform_points_probability=0.0).ranges
    assert unequal["dim_x"] == [1, 8] and unequal["num_points"] == [20, 100]
    assert meta.ranges["dim_x"] == [1, 32] and meta.ranges["num_points"] == [20, 500]
