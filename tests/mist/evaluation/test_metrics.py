"""Scores against closed forms and against scipy."""

import math

import numpy as np
import pytest
from scipy import integrate, stats

from mist.evaluation.metrics import (
    coverage_agrees,
    crps,
    interpolate,
    interval_covers,
    level_weights,
    mean_and_standard_error,
    pinball_loss,
    probability_integral_transform,
    wilson_interval,
)

LEVELS = (np.arange(400) + 0.5) / 400


def test_pinball_loss_by_hand_and_its_minimum():
    assert pinball_loss([0.1, 0.9], [[1.0, 1.0]], [3.0])[0] == pytest.approx([0.2, 1.8])
    assert pinball_loss([0.1, 0.9], [[4.0, 4.0]], [3.0])[0] == pytest.approx([0.9, 0.1])
    truth = stats.gamma(2).rvs(20_000, random_state=0)
    candidates = np.linspace(0.1, 6, 200)
    losses = [pinball_loss([0.8], np.full((len(truth), 1), c), truth).mean() for c in candidates]
    assert candidates[np.argmin(losses)] == pytest.approx(stats.gamma(2).ppf(0.8), abs=0.08)


@pytest.mark.parametrize("truth", [-2.0, 0.1, 1.0, 4.0])
def test_crps_of_a_normal_against_its_closed_form(truth):
    """Gneiting & Raftery (2007), Eq. 21."""
    mean, spread = 1.0, 0.7
    z = (truth - mean) / spread
    closed = spread * (z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z) - 1 / math.sqrt(math.pi))
    value = crps(LEVELS, stats.norm(mean, spread).ppf(LEVELS)[None], [truth])[0]
    assert value == pytest.approx(closed, rel=5e-3)


def test_crps_on_an_uneven_grid_against_the_integral_over_the_distribution_function():
    levels = np.array([0.01, 0.02, 0.05, *np.linspace(0.1, 0.9, 60), 0.95, 0.98, 0.99])
    law, truth = stats.gamma(3), 2.2
    value = crps(levels, law.ppf(levels)[None], [truth])[0]
    direct = integrate.quad(lambda v: (law.cdf(v) - (v >= truth)) ** 2, 0, 40, points=[truth], limit=200)[0]
    assert value == pytest.approx(direct, rel=0.02)
    assert level_weights(levels).sum() == pytest.approx(1.0)


def test_crps_of_a_point_is_the_absolute_error():
    assert crps(LEVELS, np.full((1, 400), 2.0), [3.5])[0] == pytest.approx(1.5)


def test_interpolation_is_linear_and_ends_with_the_grid():
    assert interpolate([0.2, 0.4, 0.8], [[1.0, 2.0, 6.0]], 0.6)[0] == pytest.approx(4.0)
    assert interpolate([0.2, 0.4, 0.8], [[1.0, 2.0, 6.0]], 0.8)[0] == pytest.approx(6.0)
    assert np.isnan(interpolate([0.2, 0.4, 0.8], [[1.0, 2.0, 6.0]], 0.1)).all()


@pytest.mark.parametrize("probability", [0.5, 0.8, 0.9, 0.95])
def test_coverage_of_a_normal_that_is_right_and_of_one_that_is_too_narrow(probability):
    generator = np.random.default_rng(0)
    centre = generator.uniform(1, 5, 4000)
    truth = centre + 0.3 * generator.standard_normal(4000)
    for spread in (0.3, 0.15):
        quantiles = centre[:, None] + spread * stats.norm.ppf(LEVELS)
        inside = interval_covers(LEVELS, quantiles, truth, probability)
        expected = 2 * stats.norm.cdf(stats.norm.ppf((1 + probability) / 2) * spread / 0.3) - 1
        assert inside.mean() == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / 4000))
        assert coverage_agrees(inside.sum(), 4000, probability) == (spread == 0.3)


def test_coverage_counts_the_ends_and_is_undefined_outside_the_grid():
    zeros = np.zeros((1, 4))
    assert interval_covers([0.1, 0.3, 0.7, 0.9], zeros, [0.0], 0.5)[0] == 1.0
    assert np.isnan(interval_covers([0.1, 0.3, 0.7, 0.9], zeros, [0.0], 0.95)[0])


@pytest.mark.parametrize(("successes", "trials"), [(0, 10), (5, 10), (88, 96), (192, 192)])
def test_wilson_interval_against_scipy(successes, trials):
    reference = stats.binomtest(successes, trials).proportion_ci(0.95, method="wilson")
    assert wilson_interval(successes, trials) == pytest.approx((reference.low, reference.high), abs=1e-9)
    assert math.isnan(wilson_interval(0, 0)[0])


def test_mean_and_standard_error_skip_what_is_undefined():
    values = [1.0, 2.0, math.nan, 4.0, math.inf]
    mean, error, count = mean_and_standard_error(values)
    assert (mean, count) == (pytest.approx(7 / 3), 3)
    assert error == pytest.approx(stats.sem([1.0, 2.0, 4.0]))
    assert mean_and_standard_error([math.nan])[2] == 0
    assert math.isnan(mean_and_standard_error([3.0])[1])


class TestProbabilityIntegralTransform:
    def test_is_uniform_where_predictions_are_right(self) -> None:
        generator = np.random.default_rng(0)
        levels = (np.arange(50) + 0.5) / 50
        centre = generator.normal(size=20_000)
        truth = centre + generator.normal(size=20_000)
        quantiles = centre[:, None] + stats.norm.ppf(levels)
        found = probability_integral_transform(levels, quantiles, truth, generator)
        assert stats.kstest(found, "uniform").pvalue > 0.01
        np.testing.assert_allclose(found[5:9], stats.norm.cdf(truth - centre)[5:9], atol=0.02)

    def test_is_uniform_at_an_atom(self) -> None:
        generator = np.random.default_rng(1)
        levels = (np.arange(500) + 0.5) / 500  # the atom ends between two levels
        quantiles = np.maximum(0, np.tile(stats.norm.ppf(levels), (20_000, 1)))
        truth = np.maximum(0, generator.normal(size=20_000))
        found = probability_integral_transform(levels, quantiles, truth, generator)
        assert stats.kstest(found, "uniform").pvalue > 0.01
        assert found[truth == 0].max() < 0.5 < found[truth > 0].min() + 0.03

    def test_beyond_the_grid(self) -> None:
        levels, quantiles = np.array([0.25, 0.75]), np.array([[0.4, 0.6]] * 400)
        generator = np.random.default_rng(2)
        for truth, low, high in ((0.1, 0.0, 0.25), (0.0, 0.0, 0.25), (9.0, 0.75, 1.0)):
            found = probability_integral_transform(levels, quantiles, np.full(400, truth), generator)
            assert low <= found.min() < low + 0.01 and high - 0.01 < found.max() <= high
        inside = probability_integral_transform(levels, quantiles, np.full(400, 0.45), generator)
        np.testing.assert_allclose(inside, 0.375)

    def test_an_atom_that_is_everything(self) -> None:
        levels = (np.arange(50) + 0.5) / 50
        found = probability_integral_transform(levels, np.zeros((4000, 50)), np.zeros(4000), np.random.default_rng(3))
        assert stats.kstest(found, "uniform").pvalue > 0.01
