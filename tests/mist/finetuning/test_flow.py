"""A flow learns how the columns of a side go together, and its density is one."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from mist.finetuning import flow as flow_module
from mist.finetuning.flow import SideFlow, dequantised_scores, fit_flow

pytestmark = pytest.mark.usefixtures("unmoved_global_state")


def banana(count: int, seed: int = 0) -> Tensor:
    """A curved side whose columns are uncorrelated: (count, 2)."""
    points = torch.randn(count, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return torch.stack([points[:, 0], points[:, 0].square() + 0.3 * points[:, 1]], dim=-1)


@pytest.fixture(scope="module")
def fitted() -> tuple[SideFlow, flow_module.FlowFit]:
    with torch.random.fork_rng(devices=[]):
        return fit_flow(banana(1500))


def test_a_curved_side_is_learned(fitted: tuple[SideFlow, flow_module.FlowFit]) -> None:
    flow, fit = fitted
    assert fit.flow > fit.gaussian + 0.3 and fit.epoch > 0
    base = torch.randn(4000, 2, generator=torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(2)
    made = dequantised_scores(flow(base).double(), generator)
    real = dequantised_scores(banana(4000, seed=3), generator)
    bent = [float(torch.corrcoef(torch.stack([side[:, 0].square(), side[:, 1]]))[0, 1]) for side in (made, real)]
    assert bent[1] > 0.5 and bent[0] == pytest.approx(bent[1], abs=0.15)


def test_its_density_is_that_of_the_map(fitted: tuple[SideFlow, flow_module.FlowFit]) -> None:
    """Against the determinant of a Jacobian by automatic differentiation, and the integral over a grid."""
    flow, _ = fitted
    exact = flow.double()
    points = torch.randn(5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    base = exact.inverse(points)
    for row, start, found in zip(points, base, exact.log_likelihood(points), strict=True):
        jacobian = torch.autograd.functional.jacobian(exact, start)
        expected = -0.5 * start.square().sum() - math.log(2 * math.pi) - torch.linalg.slogdet(jacobian)[1]
        torch.testing.assert_close(found, expected)
        torch.testing.assert_close(exact(start), row)
    axis = torch.linspace(-6, 6, 241, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    assert float(exact.log_likelihood(grid).exp().sum() * (axis[1] - axis[0]) ** 2) == pytest.approx(1, abs=0.01)
    flow.float()


def test_one_column_needs_no_flow() -> None:
    columns = torch.rand(300, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(5)).square()
    flow, fit = fit_flow(columns)
    assert not len(flow.layers) and fit.flow == fit.gaussian and fit.epoch == 0
    base = torch.randn(2000, 1, generator=torch.Generator().manual_seed(5))
    assert float(flow(base).std()) == pytest.approx(1, abs=0.1)


def test_a_gaussian_side_stays_one() -> None:
    """What no epoch makes better on samples kept aside is left as it was."""
    points = torch.randn(200, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(6))
    _, fit = fit_flow(points @ torch.tensor([[1.0, 0.5, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0.8], [0, 0, 0, 1]]).double())
    assert fit.flow < fit.gaussian + 0.1


def test_scores_of_tied_columns_are_normal_and_keep_the_order() -> None:
    columns = torch.randint(0, 3, (900, 2), generator=torch.Generator().manual_seed(7)).double()
    scores = dequantised_scores(columns, torch.Generator().manual_seed(8))
    assert len(scores[:, 0].unique()) == 900
    for values, found in zip(columns.T, scores.T, strict=True):
        for low, high in ((0, 1), (1, 2)):
            assert found[values == low].max() < found[values == high].min()
    other = dequantised_scores(columns, torch.Generator().manual_seed(9))
    assert not torch.equal(scores, other)


def test_a_flow_that_does_not_invert_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_module, "_TOLERANCE", 0.0)
    with pytest.raises(FloatingPointError, match="inverse misses by up to .* give more samples"):
        fit_flow(banana(150))
