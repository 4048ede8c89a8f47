"""Both sides are N(0, I) whatever stands between them, and the maps that make them so are injective."""

import pytest
import torch
from scipy import stats

from data_gen import Streams
from data_gen.elliptical import StudentT
from data_gen.standard_sides import STANDARD_KINDS, ChiRadius, GaussianTurns, NormalScores, draw_standard

NUM_POINTS = 20_000


@pytest.mark.parametrize("kind", STANDARD_KINDS)
@pytest.mark.parametrize(("dim_x", "dim_y", "num_pairs"), [(1, 1, 1), (3, 2, 2), (5, 4, 1)])
def test_sides_are_standard_normal(kind, dim_x, dim_y, num_pairs):
    joint = draw_standard(kind, dim_x, dim_y, num_pairs, Streams([1, 2]))
    mi = joint.mutual_information
    assert mi.shape == (2,) and bool((mi == 0).all() if kind == "independent" else (mi > 0).all())
    for side, dim in zip(joint.sample(NUM_POINTS, Streams([1, 2])), (dim_x, dim_y), strict=True):
        assert side.shape == (2, NUM_POINTS, dim)
        for points in side.double():
            generator = torch.Generator().manual_seed(dim)
            directions = torch.linalg.qr(torch.randn(dim, dim, dtype=torch.float64, generator=generator)).Q
            for column in (points @ directions).T.numpy():
                assert stats.kstest(column, "norm").pvalue > 1e-4
            assert stats.kstest(points.square().sum(-1).numpy(), "chi2", args=(dim,)).pvalue > 1e-4
            assert (torch.cov(points.T).view(dim, dim) - torch.eye(dim)).abs().max() < 0.05


@pytest.mark.parametrize("df", [1.0, 4.0, 30.0])
@pytest.mark.parametrize("dim", [1, 3, 32])
def test_the_radius_comes_back(df, dim):
    df = torch.tensor([df, df + 1])
    x, _ = StudentT(torch.eye(dim + 1, dtype=torch.float64).repeat(2, 1, 1), df, dim).sample(2000, Streams([3, 4]))
    warp = ChiRadius(df)
    x = x.double()
    z = warp(x)
    assert z.isfinite().all() and torch.allclose(warp.inverse(z), x, rtol=1e-6)
    order = x.norm(dim=-1).argsort(-1)
    assert (z.norm(dim=-1).gather(-1, order).diff() >= 0).all()


def test_normal_scores_come_back():
    u = torch.linspace(1e-6, 1 - 1e-6, 1001, dtype=torch.float64)
    assert torch.allclose(NormalScores().inverse(NormalScores()(u)), u)
    assert torch.allclose(NormalScores()(u), torch.from_numpy(stats.norm.ppf(u.numpy())))


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="got kind 'foo', expected one of"):
        draw_standard("foo", 2, 2, 1, Streams([1]))


@pytest.mark.parametrize("dim", [1, 2, 3, 4, 7])
def test_turns_leave_a_standard_normal_side_what_it_is_and_come_back(dim):
    random = Streams([5, 6])
    turns = GaussianTurns.draw(dim, random)
    turns.speeds = turns.speeds / turns.speeds.abs().amax() if turns.speeds.numel() else turns.speeds
    points = random.normal(NUM_POINTS, dim)
    moved = turns(points)
    assert torch.allclose(turns.inverse(moved), points, atol=1e-9)
    if dim > 1:
        assert (moved - points @ turns.rotations[0] @ turns.rotations[1]).abs().max() > 0.1
    for side in moved:
        generator = torch.Generator().manual_seed(dim)
        directions = torch.linalg.qr(torch.randn(dim, dim, dtype=torch.float64, generator=generator)).Q
        for column in (side @ directions).T.numpy():
            assert stats.kstest(column, "norm").pvalue > 1e-4
        assert stats.kstest(side.square().sum(-1).numpy(), "chi2", args=(dim,)).pvalue > 1e-4
        if dim > 1:  # products of coordinates, too, whose correlation with others a wrong map would show
            products = side[:, 0] * side[:, -1]
            assert abs(float(products.mean())) < 0.04 and abs(float((products * side[:, 0].square()).mean())) < 0.15


def test_turns_change_more_than_a_rotation():
    """Two coordinates that were a linear function of each other's latents are no more: turned data lose correlation."""
    random = Streams([7])
    points = random.normal(NUM_POINTS, 5)
    turns = GaussianTurns.draw(5, random)
    turns.speeds = torch.ones_like(turns.speeds)
    joint = torch.corrcoef(torch.cat([points, turns(points)], dim=-1)[0].T)[:5, 5:]
    assert torch.linalg.svdvals(joint).amin() < 0.7
