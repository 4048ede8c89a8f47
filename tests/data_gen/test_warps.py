"""The warp contract: round trip, Jacobian, finite, not the identity, one coordinate."""

import math

import pytest
import torch
from scipy import stats

from data_gen import Streams
from data_gen.composition import Chain
from data_gen.warps import (
    ASINH,
    BIMODAL_X,
    BIMODAL_Y,
    HALF_CUBE,
    NORMAL_CDF,
    WIGGLY_X,
    WIGGLY_Y,
    Spiral,
    SwissRoll,
)

MONOTONE = [ASINH, HALF_CUBE, NORMAL_CDF, WIGGLY_X, WIGGLY_Y, BIMODAL_X, BIMODAL_Y]
WARPS = [
    *((warp, dim) for warp in MONOTONE for dim in (1, 3)),
    (Spiral((0, 1), 1 / 3), 3),
    (Spiral((1, 2), 0.2), 5),
    (Chain((NORMAL_CDF, Spiral((0, 1), 0.5))), 2),
    (Chain((WIGGLY_X, ASINH)), 1),
]
IDS = [f"{getattr(warp, 'name', type(warp).__name__)}-{dim}" for warp, dim in WARPS]


def points(dim):
    return Streams([0, 1]).normal(200, dim)


@pytest.mark.parametrize(("warp", "dim"), WARPS, ids=IDS)
def test_round_trip_finite_and_not_the_identity(warp, dim):
    x = points(dim)
    z = warp(x)
    assert z.shape == x.shape and z.isfinite().all()
    assert torch.allclose(warp.inverse(z), x, atol=1e-8)
    assert (z - x).abs().mean() > 0.01
    single = warp(x.float())
    assert single.dtype == torch.float32 and torch.allclose(single.double(), z, atol=1e-4)


@pytest.mark.parametrize(("warp", "dim"), WARPS, ids=IDS)
def test_jacobian_by_central_differences(warp, dim):
    x = points(dim)[0, :20]
    step = 1e-5
    columns = []
    for j in range(dim):
        shift = torch.zeros(dim, dtype=torch.float64)
        shift[j] = step
        columns.append((warp(x + shift) - warp(x - shift)) / (2 * step))
    numeric = torch.linalg.slogdet(torch.stack(columns, -1)).logabsdet
    assert torch.allclose(warp.log_abs_det(x), numeric, atol=1e-4)


@pytest.mark.parametrize("warp", MONOTONE, ids=lambda warp: warp.name)
def test_strictly_increasing(warp):
    grid = torch.linspace(-4.5, 4.5, 4001, dtype=torch.float64).unsqueeze(-1)
    assert (warp(grid).diff(dim=0) > 0).all()


def test_spiral_keeps_the_norm_and_turns_by_the_square_of_it():
    spiral = Spiral((0, 1), 0.25)
    x = points(4)
    assert torch.allclose(spiral(x).norm(dim=-1), x.norm(dim=-1))
    assert torch.equal(spiral(x)[..., 2:], x[..., 2:])
    one = torch.tensor([[math.sqrt(2 * math.pi), 0.0]], dtype=torch.float64)  # |x|² / 4 = π / 2
    assert torch.allclose(spiral(one), one.flip(-1), atol=1e-9)


def test_spiral_needs_its_plane():
    with pytest.raises(ValueError, match="got points of 1 coordinates, expected at least 2"):
        Spiral((0, 1), 1.0)(torch.zeros(3, 1))


def test_swiss_roll_embeds_one_coordinate():
    roll = SwissRoll()
    x = Streams([0]).uniform(500, 1)
    z = roll(x)
    assert z.shape == (1, 500, SwissRoll.dim_out) and z.isfinite().all()
    assert torch.allclose(roll.inverse(z), x, atol=1e-12)
    with pytest.raises(ValueError, match="got points of 2 coordinates, expected 1"):
        roll(z)


def test_bimodal_marginals_are_the_mixtures():
    for warp, weight, modes in ((BIMODAL_X, 0.3, (0, 5)), (BIMODAL_Y, 0.5, (-1, 3))):
        z = warp(Streams([1]).normal(4000, 1))[0, :, 0].numpy()

        def mixture(v, weight=weight, modes=modes):
            return weight * stats.norm.cdf(v, modes[0]) + (1 - weight) * stats.norm.cdf(v, modes[1])

        assert stats.kstest(z, mixture).pvalue > 1e-3
