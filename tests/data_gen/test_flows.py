"""Random flows: the warp contract, numbered draws, no global randomness, information kept."""

import pytest
import torch

from data_gen import Streams
from data_gen.composition import Warped
from data_gen.elliptical import Gaussian
from data_gen.flows import FLOW_KINDS, POOL_SIZE, random_flow
from data_gen.side_warps import MOST_AUTOREGRESSIVE_DIMS, draw_recipe
from mist.nearest_neighbours import ksg_mutual_information

pytestmark = pytest.mark.usefixtures("unmoved_global_state")
DIMS = [1, 2, 5, 8, 64]


def points(dim, num_points=200):
    return torch.randn(num_points, dim, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("kind", FLOW_KINDS)
def test_round_trip_not_the_identity_and_single_precision(kind, dim):
    for index in range(3):
        if kind == "autoregressive_spline" and dim > MOST_AUTOREGRESSIVE_DIMS:
            with pytest.raises(ValueError, match=f"got an autoregressive flow of {dim} dims, expected at most 8"):
                random_flow(kind, dim, index)
            continue
        flow, x = random_flow(kind, dim, index), points(dim)
        z = flow(x)
        assert z.shape == x.shape and z.isfinite().all()
        assert (flow.inverse(z) - x).abs().max() < 1e-3 and (z - x).abs().mean() > 0.05
        single = flow(x.float().view(4, 50, dim))
        assert single.dtype == torch.float32 and torch.allclose(single.double().view_as(z), z, atol=1e-3)


@pytest.mark.parametrize("dim", [1, 3])
@pytest.mark.parametrize("kind", FLOW_KINDS)
def test_jacobian_by_central_differences(kind, dim):
    flow, x, step = random_flow(kind, dim, 1), 0.7 * points(dim, 12), 1e-5
    columns = [
        (flow(x + step * unit) - flow(x - step * unit)) / (2 * step) for unit in torch.eye(dim, dtype=torch.float64)
    ]
    expected = torch.linalg.slogdet(torch.stack(columns, dim=-1))[1]
    assert torch.allclose(flow.log_abs_det(x), expected, atol=1e-3)


@pytest.mark.parametrize("kind", FLOW_KINDS)
def test_flows_are_numbered(kind):
    x = points(4)
    first, other = random_flow(kind, 4, 0)(x), random_flow(kind, 4, 1)(x)
    assert not torch.allclose(first, other, atol=1e-2)
    random_flow.cache_clear()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(99)  # the global state has no say
        assert torch.equal(random_flow(kind, 4, 0)(x), first)
    with pytest.raises(ValueError, match=f"got flow {POOL_SIZE}, expected 0 to"):
        random_flow(kind, 4, POOL_SIZE)
    with pytest.raises(ValueError, match="got flow kind 'glow'"):
        random_flow("glow", 4, 0)


@pytest.mark.parametrize("kind", FLOW_KINDS)
def test_shapes_are_not_affine(kind):
    """A warp that a rotation and scaling could undo would teach nothing."""
    x = points(2, 2000)
    residuals = []
    for index in range(8):
        z = random_flow(kind, 2, index)(x)
        design = torch.cat([x, torch.ones(len(x), 1)], dim=-1)
        fit = design @ torch.linalg.lstsq(design, z).solution
        residuals.append(((z - fit).square().sum() / (z - z.mean(0)).square().sum()).item())
    assert sorted(residuals)[2] > 0.01


@pytest.mark.parametrize("kind", FLOW_KINDS)
def test_information_is_unmoved_for_an_independent_estimator(kind):
    matrix = torch.tensor([[1.0, 0.5, 0.8], [0.5, 1.0, 0.1], [0.8, 0.1, 1.0]], dtype=torch.float64)
    joint = Gaussian(matrix.expand(4, -1, -1), 2)
    pilot = joint.sample(64, Streams(range(4)))[0]
    warp = draw_recipe(f"flow_{kind}", pilot, Streams(range(4)), flow=2)
    x, y = Warped(joint, warp, None).sample(4000, Streams(range(50, 54)))
    plain, _ = joint.sample(4000, Streams(range(50, 54)))
    assert (warp.inverse(x) - plain).abs().quantile(0.99) < 1e-2  # points are float32
    x = (x - x.mean(1, keepdim=True)) / x.std(1, keepdim=True)
    found = ksg_mutual_information(x.mT, y.mT)
    assert (found - joint.mutual_information).abs().max() < 0.12 and joint.mutual_information.max() > 0.3


def test_a_kind_that_never_inverts_is_an_error(monkeypatch):
    monkeypatch.setattr("data_gen.flows._is_exact", lambda flow, probe: False)
    with pytest.raises(ValueError, match="got no exactly invertible real_nvp flow in 3 dims after 20 draws"):
        random_flow(kind="real_nvp", dim=3, index=7)
