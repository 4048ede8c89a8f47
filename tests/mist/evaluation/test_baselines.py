"""KSG and Gaussian CCA against what is known of Gaussian data, and a brute-force witness."""

import math

import numpy as np
import pytest
from scipy import stats
from scipy.special import digamma

from mist.evaluation.baselines import BASELINES, gaussian_cca, ksg
from mist.gaussian import gaussian_bias


def normal_sample(num_points, rho, dim=1, seed=0):
    generator = np.random.default_rng(seed)
    x = generator.standard_normal((num_points, dim))
    return x, rho * x + math.sqrt(1 - rho**2) * generator.standard_normal((num_points, dim))


@pytest.mark.parametrize("rho", [0.0, 0.6, 0.95])
def test_ksg_near_the_known_gaussian_information(rho):
    estimates = [ksg(*normal_sample(1000, rho, seed=seed)) for seed in range(8)]
    error = np.std(estimates, ddof=1) / math.sqrt(8)
    assert abs(np.mean(estimates) + 0.5 * math.log(1 - rho**2)) < 4 * error + 0.01


def test_ksg_against_brute_force():
    x, y = normal_sample(60, 0.7, dim=2)
    k, n = 5, 60
    distances = [np.abs(s[:, None] - s[None]).max(-1) for s in (x / x.std(0), y / y.std(0))]
    joint = np.maximum(*distances)
    total = 0.0
    for i in range(n):
        radius = np.sort(np.delete(joint[i], i))[k - 1]
        counts = [(np.delete(d[i], i) < radius).sum() for d in distances]
        total += digamma(counts[0] + 1) + digamma(counts[1] + 1)
    assert ksg(x, y, k) == pytest.approx(digamma(k) + digamma(n) - total / n, abs=1e-9)


def test_ksg_averages_over_fewer_query_points_in_many_dims():
    x, y = normal_sample(1600, 0.5, dim=6)
    few = ksg(x, y)
    assert few == pytest.approx(ksg(x[:, :5], y[:, :5]) * 6 / 5, abs=0.25)  # not the number, its neighbourhood
    assert ksg(x[::2], y[::2]) == pytest.approx(few, abs=0.25)


@pytest.mark.parametrize(("num_points", "dim_x", "dim_y"), [(8, 2, 3), (12, 2, 3), (30, 5, 5), (100, 1, 8)])
def test_bias_correction_is_exact_for_gaussian_data(num_points, dim_x, dim_y):
    generator = np.random.default_rng(1)
    mixing = generator.standard_normal((dim_x + dim_y, dim_x + dim_y))
    covariance = mixing @ mixing.T
    logs = [np.linalg.slogdet(m)[1] for m in (covariance[:dim_x, :dim_x], covariance[dim_x:, dim_x:], covariance)]
    truth = 0.5 * (logs[0] + logs[1] - logs[2])
    estimates = []
    for _ in range(600):
        points = generator.standard_normal((num_points, dim_x + dim_y)) @ mixing.T
        estimates.append(gaussian_cca(points[:, :dim_x], points[:, dim_x:]))
    error = np.std(estimates, ddof=1) / math.sqrt(600)
    assert abs(np.mean(estimates) - truth) < 4 * error
    assert gaussian_bias(num_points, dim_x, dim_y) > 4 * error  # without the correction the test would fail


def test_rank_scores_see_through_monotone_maps():
    x, y = normal_sample(400, 0.8, dim=2)
    assert gaussian_cca(np.exp(3 * x), y**3, "rank") == pytest.approx(gaussian_cca(x, y, "rank"), abs=1e-9)
    assert gaussian_cca(x, y, "rank") == pytest.approx(-math.log(1 - 0.64), abs=0.2)
    assert gaussian_cca(np.exp(3 * x), y**3) < 0.5


def test_undefined_where_there_are_too_few_points():
    x, y = normal_sample(10, 0.5, dim=5)
    assert math.isnan(gaussian_cca(x, y)) and math.isnan(BASELINES["rank_cca"](x, y))
    assert math.isfinite(gaussian_cca(x, y[:, :4]))
    assert math.isnan(ksg(x[:5], y[:5])) and math.isnan(BASELINES["ksg"](x[:5], y[:5]))


def test_baselines_are_never_negative():
    for seed in range(20):
        x, y = (stats.norm.rvs(size=(30, 2), random_state=2 * seed + i) for i in range(2))
        assert all(baseline(x, y) >= 0 for baseline in BASELINES.values())
