"""The triangular map: a density, one map whatever the seed, small variation out of the way of large."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from mist.finetuning.flow import FlowFit, dequantised_scores, fit_triangular
from mist.triangular import TriangularMap

pytestmark = pytest.mark.usefixtures("unmoved_global_state")


def bent(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """A side (count, 3): two columns follow its place, a third one bends with it; and the small variation (count,) of
    that column."""
    place, across, first, second = torch.randn(
        4, count, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)
    )
    columns = place + 0.2 * first, place + 0.2 * second, torch.cos(1.5 * place) + 0.2 * across
    return torch.stack(columns, dim=-1), across


def scores(columns: Tensor) -> Tensor:
    return dequantised_scores(columns, torch.Generator().manual_seed(9))


@pytest.fixture(scope="module")
def fitted() -> tuple[TriangularMap, FlowFit]:
    with torch.random.fork_rng(devices=[]):
        return fit_triangular(bent(1500)[0])


def test_its_density_is_that_of_the_map(fitted: tuple[TriangularMap, FlowFit]) -> None:
    """Against the determinant of a Jacobian by automatic differentiation, and the integral over a grid."""
    exact = TriangularMap.from_state(fitted[0].state_dict()).double()
    points = scores(bent(5, seed=4)[0]).double()
    base = exact.inverse(points)
    for row, start, found in zip(points, base, exact.log_likelihood(points), strict=True):
        jacobian = torch.autograd.functional.jacobian(exact, start)
        expected = -0.5 * start.square().sum() - 1.5 * math.log(2 * math.pi) - torch.linalg.slogdet(jacobian)[1]
        torch.testing.assert_close(found, expected)
        torch.testing.assert_close(exact(start), row)
    axis = torch.linspace(-6, 6, 121, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis, axis)
    assert float(exact.log_likelihood(grid).exp().sum() * (axis[1] - axis[0]) ** 3) == pytest.approx(1, abs=0.02)


def test_each_component_depends_on_larger_ones_only() -> None:
    made = TriangularMap(7)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=torch.Generator().manual_seed(3))
    mixed = torch.randn(500, 7, generator=torch.Generator().manual_seed(1)) @ torch.randn(
        7, 7, generator=torch.Generator().manual_seed(2)
    )
    made.standardise_by(mixed)
    exact = made.double()
    components = torch.autograd.functional.jacobian(exact.inverse, mixed[0].double()) @ exact.back.T
    assert float(components.triu(1).abs().max()) < 1e-5
    below = torch.ones(7, 7).tril(-1).bool()
    assert float(components.diagonal().min()) > 0 and float(components[below].abs().min()) > 1e-3
    spectrum = exact.back.square().sum(1)
    assert bool((spectrum.diff() < 0).all())
    torch.testing.assert_close(exact.axes @ exact.back, torch.eye(7, dtype=torch.float64), atol=1e-5, rtol=0)


def test_small_variation_comes_out_of_the_way_of_large(fitted: tuple[TriangularMap, FlowFit]) -> None:
    """What linear maps of the scores do not see."""
    made, fit = fitted
    assert fit.flow > fit.gaussian + 0.5
    columns, across = bent(3000, seed=5)
    found = {}
    for name, values in (("scores", scores(columns)), ("base", made.inverse(scores(columns)))):
        centred = (values - values.mean(0)).double()
        residual = across - centred @ torch.linalg.lstsq(centred, across.unsqueeze(-1)).solution.squeeze(-1)
        found[name] = 1 - float(residual.var() / across.var())
    assert found["scores"] < 0.2 and found["base"] > 0.5


def test_another_seed_finds_the_same_base(fitted: tuple[TriangularMap, FlowFit]) -> None:
    other, _ = fit_triangular(bent(1500, seed=6)[0], seed=7)
    points = scores(bent(2000, seed=8)[0])
    first, second = (one.inverse(points) for one in (fitted[0], other))
    for a, b in zip(first.T, second.T, strict=True):
        assert abs(float(torch.corrcoef(torch.stack([a, b]))[0, 1])) > 0.95


def test_one_column_needs_no_layers() -> None:
    made, fit = fit_triangular(torch.rand(300, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(5)))
    assert not len(made.layers) and fit.epoch == 0
    points = torch.linspace(-2, 2, 9).unsqueeze(-1)
    torch.testing.assert_close(made.inverse(points), points, atol=0.1, rtol=0.1)
    assert len(TriangularMap.from_state(made.state_dict()).layers) == 0


def test_a_state_of_something_else_is_refused(fitted: tuple[TriangularMap, FlowFit]) -> None:
    state = dict(fitted[0].state_dict())
    with pytest.raises(KeyError):
        TriangularMap.from_state({"weight": torch.zeros(3)})
    with pytest.raises(RuntimeError, match="Missing key"):
        TriangularMap.from_state({key: value for key, value in state.items() if not key.endswith("log_scale")})
