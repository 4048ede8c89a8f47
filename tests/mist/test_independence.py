"""The permutation test: exact under independence, powerful where the estimate sees something, reproducible."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import mist
from mist.inference import Estimator

pytestmark = pytest.mark.usefixtures("unmoved_global_state")


def test_the_statistic_of_the_true_pairs_is_the_estimate(tiny_estimator: Estimator) -> None:
    x, y = np.random.default_rng(0).normal(size=(2, 50, 2))
    found = tiny_estimator.independence_test(x, y, num_permutations=19, units="bits")
    assert found.mi == pytest.approx(tiny_estimator.estimate(x, y, units="bits").mi, abs=1e-4)
    assert found.null.shape == (19,) and found.num_permutations == 19 and "num_permutations=19" in repr(found)
    again = tiny_estimator.independence_test(x, y, num_permutations=19, units="bits")
    assert np.array_equal(again.null, found.null) and again.p_value == found.p_value
    other = tiny_estimator.independence_test(x, y, num_permutations=19, random_state=1)
    assert not np.array_equal(other.null, found.null)


def test_permuted_ranks_are_ranks_of_permuted_points(tiny_estimator: Estimator) -> None:
    x, y = np.random.default_rng(1).normal(size=(2, 40, 3))
    order = np.random.default_rng(0).permutation(40)
    found = tiny_estimator.independence_test(x, y, num_permutations=1)
    assert found.null[0] == pytest.approx(tiny_estimator.estimate(x, y[order]).mi, abs=1e-4)


def test_p_values_are_uniform_under_independence(tiny_estimator: Estimator) -> None:
    """Even of an untrained network: the test leans on exchangeability alone. Ties are broken by no atom at 0 nats."""
    generator = np.random.default_rng(2)
    values = [
        tiny_estimator.independence_test(
            *generator.normal(size=(2, 20)), num_permutations=19, random_state=seed
        ).p_value
        for seed in range(300)
    ]
    counts = np.bincount(np.round(20 * np.array(values)).astype(int), minlength=21)[1:]
    assert stats.chisquare(counts).pvalue > 0.01


def test_dependence_is_seen() -> None:
    generator = np.random.default_rng(3)
    x = generator.normal(size=200)
    found = mist.load("default").independence_test(x, 0.5 * x + generator.normal(size=200), num_permutations=99)
    assert found.p_value == 0.01 and found.mi > np.quantile(found.null, 0.95)


def test_a_constant_is_independent_of_everything(tiny_estimator: Estimator) -> None:
    found = tiny_estimator.independence_test(np.arange(30), np.ones(30), num_permutations=9)
    assert found.p_value == 1 and found.mi == 0 and found.null.tolist() == [0.0] * 9


@pytest.mark.parametrize("num_permutations", [0, 1.5, True])
def test_number_of_permutations(tiny_estimator: Estimator, num_permutations: int) -> None:
    with pytest.raises(mist.InputError, match="got num_permutations=.*, expected a positive integer such as 199"):
        tiny_estimator.independence_test(np.arange(30), np.arange(30), num_permutations=num_permutations)


def test_warnings_are_kept_and_given(tiny_estimator: Estimator) -> None:
    x, y = np.random.default_rng(4).normal(size=(2, 9))
    with pytest.warns(mist.MISTWarning, match="n=8 is outside"):
        found = tiny_estimator.independence_test(
            np.r_[np.nan, x[1:]], y, num_permutations=np.int64(3), nan_policy="omit"
        )
    assert len(found.warnings) == 2 and found.warnings[0] == "omitted 1 of 9 points with missing values"


def test_many_levels_do_not_make_dependence(tiny_estimator: Estimator) -> None:
    """Which of equally common levels are pooled must not hang on the other side."""
    generator = np.random.default_rng(5)
    labels = np.repeat([f"level {i}" for i in range(60)], 3)
    values = []
    for seed in range(12):
        with pytest.warns(mist.MISTWarning):
            found = tiny_estimator.independence_test(
                labels, generator.normal(size=180), num_permutations=9, random_state=seed
            )
        values.append(found.p_value)
    assert max(values) > 0.3 and values.count(0.1) < 6
