"""What a test can detect: thresholds against simulated likelihood ratios; the table of a law."""

import math

import numpy as np
import pytest
from scipy import stats

from data_gen import MetaDistribution
from data_gen.report import detectable_fitted, detectable_informed, format_report, summarise_law


def power(num_points, rho, fitted, repeats=4000):
    """Of the Gaussian likelihood ratio test of one pair at level 5 %, by simulation."""
    generator = np.random.default_rng(0)

    def statistic(r):
        x = generator.normal(size=(repeats, num_points))
        y = r * x + math.sqrt(1 - r * r) * generator.normal(size=(repeats, num_points))
        if fitted:
            x, y = x - x.mean(1, keepdims=True), y - y.mean(1, keepdims=True)
            found = (x * y).sum(1) / np.sqrt((x * x).sum(1) * (y * y).sum(1))
            return -num_points * np.log1p(-(found**2))
        ratio = -0.5 * math.log(1 - rho**2) - (rho**2 * (x**2 + y**2) - 2 * rho * x * y) / (2 * (1 - rho**2))
        return ratio.sum(1)

    return (statistic(rho) > np.quantile(statistic(0.0), 0.95)).mean()


@pytest.mark.parametrize("fitted", [False, True])
def test_at_the_threshold_the_test_has_its_power(fitted):
    num_points = 800
    needed = 5.411 if not fitted else 0.5 * stats_noncentrality()
    rho = math.sqrt(-math.expm1(-2 * needed / num_points))
    assert power(num_points, rho, fitted) == pytest.approx(0.95, abs=0.02)
    mi, one = np.array([0.99, 1.01]) * needed / num_points, np.ones(2, dtype=int)
    points = np.full(2, num_points)
    found = detectable_fitted(mi, points, one, one) if fitted else detectable_informed(mi, points)
    assert found.tolist() == [False, True]


def stats_noncentrality():
    """Where (Z + √c)² exceeds the 5 % point of a chi-square of one degree in 95 %: a normal tail, up to the other."""
    return (math.sqrt(stats.chi2.isf(0.05, 1)) + stats.norm.ppf(0.95)) ** 2


def test_more_unknowns_need_more():
    mi, points = np.full(3, 0.02), np.full(3, 1000)
    dims = np.array([1, 8, 32])
    assert detectable_fitted(mi, points, dims, dims).tolist() == [True, False, False]


def test_the_table_of_a_law():
    meta = MetaDistribution(
        families={"gaussian-dense": 1.0, "independent": 1.0}, max_num_points=100, datasets_per_batch=(8, 8)
    )
    kinds = summarise_law(meta, 12)
    assert set(kinds) == {"gaussian", "independent"} and sum(len(k.mi) for k in kinds.values()) == 12 * 8
    assert set(kinds["independent"].mi) == {0.0} and min(kinds["gaussian"].mi) > 0
    lines = list(format_report(kinds))
    assert lines[0].split()[0] == "kind" and lines[-2].startswith("all") and "100%" in lines[1] + lines[2]
