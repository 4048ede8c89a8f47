"""The warp contract for random maps: round trip, Jacobian, finite, not the identity, information kept."""

import pytest
import torch

from data_gen import Streams
from data_gen.composition import Chain, Warped
from data_gen.covariance import draw_dispersion
from data_gen.elliptical import Gaussian, StudentT
from data_gen.side_maps import AdditiveCoupling, RandomSpiral, Standardise, Wiggly, coordinate_order
from data_gen.side_warps import _MAPS, EMBEDDINGS, RECIPES, SomeCoordinates, draw_recipe, num_bent
from mist.nearest_neighbours import ksg_mutual_information

SEEDS = range(6)
SQUARE = [name for name in _MAPS if name not in EMBEDDINGS]


def points(dim, num_points=300):
    return Streams([100 + seed for seed in SEEDS]).normal(num_points, dim)


@pytest.mark.parametrize("dim", [1, 2, 5, 16])
@pytest.mark.parametrize("name", _MAPS)
def test_round_trip_finite_and_single_precision(name, dim):
    warp, x = _MAPS[name](dim, Streams(SEEDS)), points(dim)
    z = warp(x)
    assert z.shape == (*x.shape[:-1], dim + EMBEDDINGS.get(name, 0)) and z.isfinite().all()
    assert torch.allclose(warp.inverse(z), x, atol=1e-6)
    single = warp(x.float())
    assert single.dtype == torch.float32 and torch.allclose(single.double(), z, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", SQUARE)
def test_no_map_is_the_identity_and_data_sets_have_their_own(name):
    warp, x = _MAPS[name](4, Streams(SEEDS)), points(4)
    assert ((warp(x) - x).abs().mean((1, 2)) > 0.01).all()
    same = warp(x[:1].expand(len(SEEDS), -1, -1))
    assert all(not torch.allclose(same[0], same[i], atol=1e-3) for i in range(1, len(SEEDS)))


@pytest.mark.parametrize("name", _MAPS)
def test_a_slice_of_the_seeds_gives_a_slice_of_the_maps(name):
    x = points(3)
    whole, part = _MAPS[name](3, Streams(SEEDS))(x), _MAPS[name](3, Streams(SEEDS[2:4]))(x[2:4])
    assert torch.allclose(part, whole[2:4], atol=1e-9)


@pytest.mark.parametrize("dim", [1, 3, 4])
@pytest.mark.parametrize("name", SQUARE)
def test_jacobian_by_central_differences(name, dim):
    warp, x = _MAPS[name](dim, Streams(SEEDS)), points(dim, 5)
    step = 1e-5
    columns = []
    for j in range(dim):
        shift = torch.zeros(dim, dtype=torch.float64)
        shift[j] = step
        columns.append((warp(x + shift) - warp(x - shift)) / (2 * step))
    jacobian = torch.stack(columns, dim=-1)
    log_abs_det = torch.linalg.slogdet(jacobian)[1]
    assert torch.allclose(warp.log_abs_det(x), log_abs_det, atol=1e-4)


def test_swiss_roll_by_hand():
    """No two points of the line meet: distance from the middle rises with the coordinate."""
    warp = _MAPS["swiss_roll"](2, Streams(SEEDS))
    x = torch.linspace(-3, 3, 200, dtype=torch.float64).view(1, -1, 1).expand(len(SEEDS), -1, 2)
    z = warp(x)
    assert (torch.linalg.vector_norm(z[..., :2], dim=-1).diff(dim=1) > 0).all()
    assert torch.equal(z[..., 2:], x[..., 1:])


def test_spiral_keeps_norms_and_turns():
    warp, x = RandomSpiral.draw(6, Streams(SEEDS)), points(6)
    before, after = (torch.linalg.vector_norm(z - warp.centre, dim=-1) for z in (x, warp(x)))
    assert torch.allclose(after, before) and ((warp(x) - x).abs().amax((1, 2)) > 0.1).all()


def test_coordinates_in_any_order_or_nearly_their_own():
    order = coordinate_order(12, Streams(range(1500)))
    assert torch.equal(order.sort(-1).values, torch.arange(12).expand(1500, -1))
    nearly = (order - torch.arange(12)).abs().amax(-1) <= 2
    assert nearly.double().mean() == pytest.approx(0.5, abs=0.04) and len({tuple(row.tolist()) for row in order}) > 800


def test_spirals_turn_planes_of_any_kind():
    warp = RandomSpiral.draw(6, Streams(range(400)))
    one_plane = (warp.speed != 0).sum(-1) == 1
    of_coordinates = (warp.basis.abs().amax(-1) == 1).all(-1)
    for share, expected in ((one_plane, 0.545), (of_coordinates, 0.5), ((warp.centre == 0).all(-1), 0.5)):
        assert share.double().mean() == pytest.approx(expected, abs=0.08)


def test_a_spiral_of_one_plane_moves_two_coordinates():
    warp, x = RandomSpiral.draw_plane(7, Streams(SEEDS)), points(7)
    moved = (warp(x) - x).abs().amax(1) > 1e-9
    assert (moved.sum(-1) == 2).all() and len({tuple(row.tolist()) for row in moved}) > 1


def test_coupling_moves_the_other_half_only():
    warp, x = AdditiveCoupling.draw(6, Streams(SEEDS)), points(6)
    moved = ((warp(x) - x).abs().amax(1) > 1e-9).sum(-1)
    assert moved.tolist() == [3] * len(SEEDS)


def test_a_falling_wave_is_refused():
    one = torch.ones(1, 1, 1)
    with pytest.raises(AssertionError, match="would not rise"):
        Wiggly(one, one, one)


def test_standardise_is_fitted_on_the_pilot_alone():
    pilot = 5 + 3 * points(2, 4000)
    pilot[..., 1] = 7.0  # a constant keeps its scale
    warp = Standardise.fit(pilot)
    z = warp(pilot)
    assert z[..., 0].median(1).values.abs().max() < 0.01 and (z[..., 0].std(1) - 1).abs().max() < 0.1
    assert torch.equal(z[..., 1], torch.zeros_like(z[..., 1]))
    assert torch.allclose(warp.inverse(warp(pilot + 100)), pilot + 100)


@pytest.mark.parametrize("dim", [1, 3, 8])
@pytest.mark.parametrize("name", RECIPES)
def test_recipes_invert(name, dim):
    x = 4 * points(dim) - 1
    warp = draw_recipe(name, x[:, :64], Streams(SEEDS))
    z = warp(x)
    assert isinstance(warp, Chain) and z.shape[-1] == dim + EMBEDDINGS.get(name, 0)
    assert z.isfinite().all() and torch.allclose(warp.inverse(z), x, atol=1e-3)


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_of_some_coordinates_leave_the_others(name):
    """Those come last, in an order of each data set's own, and all are found again."""
    x = 4 * points(7) - 1
    warp = draw_recipe(name, x[:, :64], Streams(SEEDS), num=3)
    z = warp(x)
    assert isinstance(warp, SomeCoordinates) and z.shape[-1] == 7 + EMBEDDINGS.get(name, 0)
    left = (x.unsqueeze(-1) == z[..., -4:].unsqueeze(-2)).all(1)  # (B, D, 4)
    assert (left.sum((1, 2)) == 4).all() and len({tuple(rows.any(-1).tolist()) for rows in left}) > 1
    assert torch.allclose(warp.inverse(z), x, atol=1e-3)
    assert isinstance(draw_recipe(name, x[:, :64], Streams(SEEDS), num=7), Chain)


def test_jacobian_of_a_warp_of_some_coordinates_by_central_differences():
    x = points(5)[:, :6]
    warp, step = draw_recipe("spiral_cdf", points(5), Streams(SEEDS), num=3), 1e-5
    shifts = step * torch.eye(5, dtype=torch.float64)
    jacobian = torch.stack([(warp(x + shift) - warp(x - shift)) / (2 * step) for shift in shifts], dim=-1)
    assert torch.allclose(warp.log_abs_det(x), torch.linalg.slogdet(jacobian)[1], atol=1e-4)
    assert warp.log_abs_det(x).abs().mean() > 0.1


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_bends_as_many_coordinates_as_it_says(name):
    """Columns whose ranks are as they were, or turned over, are not bent; a derived one is new."""
    x = points(6)
    z = draw_recipe(name, x[:, :64], Streams(SEEDS))(x)
    ranks, images = (values.argsort(1).argsort(1).unsqueeze(i) for values, i in ((x, -1), (z, -2)))
    same = (ranks == images).all(1) | (ranks == 299 - images).all(1)  # (B, 6, D')
    left = same.any(-1).sum(-1)
    expected = 6 if name == "derived" else 6 - num_bent(name, 6)
    assert left.min() == expected and (name == "spiral" or left.max() == expected)  # some spirals turn fewer planes


@pytest.mark.parametrize("name", ["cdf", "swiss_roll", "sinh_arcsinh", "power"])
def test_heavy_tails_are_not_pressed_into_ties(name):
    """Cauchy tails in single precision: hardly a point is lost."""
    joint = StudentT(torch.eye(3, dtype=torch.float64).expand(6, -1, -1), torch.ones(6), 2)
    x, _ = joint.sample(4000, Streams(SEEDS))
    z = draw_recipe(name, joint.sample(128, Streams(range(60, 66)))[0], Streams(SEEDS))(x)
    distinct = min(len(z[i].unique(dim=0)) for i in range(6))
    assert z.dtype == torch.float32 and distinct > 3980


@pytest.mark.parametrize("name", RECIPES)
def test_information_is_unmoved_for_an_independent_estimator(name):
    """KSG before and after, two coordinates against one, 4,000 points: it reads smooth warps in few dims."""
    joint = Gaussian(draw_dispersion("factor", 2, 1, 0.0, Streams(SEEDS)), 2)
    warp = draw_recipe(name, joint.sample(64, Streams(SEEDS))[0], Streams(SEEDS))
    x, y = Warped(joint, warp, None).sample(4000, Streams(range(50, 56)))
    found = ksg_mutual_information(x.mT, y.mT)
    # scaling a coordinate is a warp, too, but not for KSG: standardise
    scaled = (x - x.mean(1, keepdim=True)) / x.std(1, keepdim=True)
    found = torch.maximum(found, ksg_mutual_information(scaled.mT, y.mT))
    assert (found - joint.mutual_information).abs().max() < 0.12
    assert joint.mutual_information.max() > 0.3
