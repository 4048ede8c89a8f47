"""Levels, interpolation, the pinball loss against closed forms, and the atom at zero."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from mist.quantiles import (
    OFFSET,
    compress,
    expand,
    interpolate_levels,
    interpolate_quantiles,
    level_grid,
    pinball,
    precision_weight,
    quantile_distance,
    quantile_loss,
)

pytestmark = pytest.mark.usefixtures("unmoved_global_state")
LEVELS = level_grid(20)


def test_level_grid() -> None:
    assert level_grid(4) == (0.125, 0.375, 0.625, 0.875)
    assert np.mean(level_grid(50)) == pytest.approx(0.5)


def test_compression_is_inverted_and_cut_at_zero() -> None:
    mi = torch.tensor([0.0, 1e-3, 0.5, 30.0], dtype=torch.float64)
    torch.testing.assert_close(expand(compress(mi)), mi, rtol=1e-12, atol=1e-12)
    assert expand(torch.tensor([-10.0, math.log(OFFSET) - 1e-3])).tolist() == [0, 0]


def test_interpolation() -> None:
    values = np.array(LEVELS) ** 2
    np.testing.assert_array_equal(interpolate_quantiles(LEVELS, values, LEVELS), values)
    between = interpolate_quantiles(LEVELS, values, 0.05)
    assert between == pytest.approx((0.025**2 + 0.075**2) / 2)
    fine = interpolate_quantiles(LEVELS, values, np.linspace(LEVELS[0], LEVELS[-1], 301))
    assert (np.diff(fine) >= 0).all()
    stacked = interpolate_quantiles(LEVELS, np.stack([values, 2 * values]), [[0.1, 0.5], [0.6, 0.9], [0.3, 0.3]])
    assert stacked.shape == (2, 3, 2)
    np.testing.assert_allclose(stacked[1], 2 * stacked[0])


@pytest.mark.parametrize("level", [0.0, 0.0249, 0.976, 1.0, -1.0, float("nan")])
def test_a_level_outside_the_grid_is_an_error(level: float) -> None:
    message = rf"got level {level:g}, expected a level inside the grid \[0.025, 0.975\]; choose a less extreme level"
    with pytest.raises(ValueError, match=message):
        interpolate_quantiles(LEVELS, np.arange(20), [0.5, level])


def test_tensors_are_interpolated_like_arrays() -> None:
    values = torch.rand(5, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64).cumsum(-1)
    wanted = (0.025, 0.05, 0.31, 0.5, 0.95, 0.975)
    found = interpolate_levels(torch.tensor(LEVELS, dtype=torch.float64), values, wanted)
    np.testing.assert_allclose(found, interpolate_quantiles(LEVELS, values.numpy(), wanted), rtol=1e-12)


@pytest.mark.parametrize("target", [-1.5, 0.0, 0.7, 3.0])
def test_mean_pinball_is_half_the_crps(target: float) -> None:
    levels = np.array(level_grid(4000))
    predicted = torch.from_numpy(stats.norm.ppf(levels)).unsqueeze(0)
    found = pinball(predicted, torch.tensor([target], dtype=torch.float64), torch.from_numpy(levels)).mean()
    # CRPS of a standard normal prediction: Gneiting & Raftery (2007), Eq. 21
    crps = target * (2 * stats.norm.cdf(target) - 1) + 2 * stats.norm.pdf(target) - 1 / math.sqrt(math.pi)
    assert 2 * float(found) == pytest.approx(crps, abs=1e-3)


def test_pinball_is_least_at_the_quantiles() -> None:
    levels = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    sample = torch.linspace(0, 1, 2001, dtype=torch.float64)
    grid = torch.linspace(0, 1, 101, dtype=torch.float64)
    losses = torch.stack([pinball(value.expand(2001, 3), sample, levels).mean(0) for value in grid])
    torch.testing.assert_close(grid[losses.argmin(0)], levels, rtol=0, atol=0.011)


class TestQuantileLoss:
    levels = torch.tensor(LEVELS)

    def loss(self, nats: float, mi: float, root_weight: float = 0.5) -> float:
        """Loss of 20 equal quantiles, given in nats above -OFFSET."""
        predicted = torch.full((1, 20), math.log(nats + OFFSET))
        weight = torch.ones(1)
        return float(quantile_loss(predicted, torch.tensor([mi]), self.levels, weight, root_weight))

    @pytest.mark.parametrize("root_weight", [0.0, 0.5])
    def test_independent_data_are_satisfied_by_anything_below_zero(self, root_weight: float) -> None:
        for nats in (-0.0499, -0.01, 0.0):
            assert self.loss(nats, 0.0, root_weight) == pytest.approx(0, abs=1e-6)
        assert self.loss(0.01, 0.0, root_weight) > 1e-3
        assert self.loss(0.02, 0.0, root_weight) > self.loss(0.01, 0.0, root_weight)

    def test_dependent_data_are_not(self) -> None:
        assert self.loss(-0.02, 0.01) > self.loss(0.0, 0.01) > self.loss(0.01, 0.01) == pytest.approx(0, abs=1e-6)

    def test_no_gradient_below_zero(self) -> None:
        predicted = torch.tensor([[-4.0, -3.5, -2.0, -1.0]], requires_grad=True)
        quantile_loss(predicted, torch.zeros(1), torch.tensor(level_grid(4)), torch.ones(1), 0.5).backward()
        assert predicted.grad is not None
        assert predicted.grad[0, :2].tolist() == [0, 0] and (predicted.grad[0, 2:] > 0).all()

    def test_value_on_both_scales(self) -> None:
        predicted, mi = torch.tensor([[0.1, 0.2, 0.3, 0.4]]), torch.tensor([0.9])
        levels = torch.tensor(level_grid(4))
        logarithmic = pinball(predicted, compress(mi), levels).mean()
        root = pinball(2 * (predicted.exp()).sqrt(), 2 * (mi + OFFSET).sqrt(), levels).mean()
        found = quantile_loss(predicted, mi, levels, torch.ones(1), 0.7)
        torch.testing.assert_close(found, logarithmic + 0.7 * root)

    def test_distance_is_of_what_is_predicted(self) -> None:
        """Nothing where both are 0 nats, however far below; else the shift on both scales."""
        low = compress(torch.zeros(())) - torch.rand(2, 1, 5, generator=torch.Generator().manual_seed(0))
        one = torch.ones(1)
        assert float(quantile_distance(*low, one, 0.5)) == 0
        at = torch.full((1, 5), 0.3)
        expected = 0.2 + 0.5 * 2 * (math.exp(0.25) - math.exp(0.15))
        assert float(quantile_distance(at + 0.2, at, one, 0.5)) == pytest.approx(expected, rel=1e-5)
        assert float(quantile_distance(at, at + 0.2, 3 * one, 0.0)) == pytest.approx(0.6, rel=1e-5)

    def test_data_sets_of_no_weight_add_nothing(self) -> None:
        predicted = torch.randn(3, 20, generator=torch.Generator().manual_seed(0)).sort(-1).values
        mi, weight = torch.tensor([0.3, 9.0, 1.0]), torch.tensor([1.0, 0.0, 1.0])
        found = quantile_loss(predicted, mi, self.levels, weight, 0.5)
        kept = quantile_loss(predicted[[0, 2]], mi[[0, 2]], self.levels, torch.ones(2), 0.5)
        torch.testing.assert_close(found, kept * 2 / 3)  # a mean over the whole batch, as ranks must average to
        assert quantile_loss(predicted, mi, self.levels, torch.zeros(3), 0.5) == 0


class TestPrecisionWeight:
    def test_is_a_power_of_the_relative_floor_within_bounds(self) -> None:
        floors = torch.tensor([1e-9, 0.005, 0.1, 0.4, 1.0, 7.0])
        expected = torch.tensor([20**0.5, 20**0.5, 1.0, 0.5, 0.1**0.5, 0.1**0.5])
        torch.testing.assert_close(precision_weight(floors, 0.5), expected)
        assert (precision_weight(floors, 0.0) == 1).all()

    def test_leaves_the_best_quantiles_of_each_floor_where_they_are(self) -> None:
        levels = torch.tensor(LEVELS)
        normal = stats.norm(0.3, 0.1)
        mi = expand(torch.from_numpy(normal.ppf((np.arange(4000) + 0.5) / 4000)))
        best = torch.from_numpy(normal.ppf(LEVELS))
        predicted = best.clone().requires_grad_()
        weight = precision_weight(torch.full((4000,), 0.01), 0.5)
        quantile_loss(predicted.expand(4000, -1), mi, levels, weight, 0.0).backward()
        assert predicted.grad is not None and float(predicted.grad.abs().max()) < 1e-3
