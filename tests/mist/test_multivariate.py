"""Conditional MI, total correlation and O-information against closed forms, and how their intervals are made."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import mist
from mist.inference import Estimator, load
from mist.multivariate import difference

pytestmark = pytest.mark.usefixtures("unmoved_global_state")

LEVELS = (np.arange(50) + 0.5) / 50


def gaussian(covariance: list[list[float]], num_points: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).multivariate_normal(np.zeros(len(covariance)), covariance, num_points)


CHAIN = [[1.0, 0.7, 0.5], [0.7, 1.0, 0.6], [0.5, 0.6, 1.0]]


def log_determinant(*indices: int) -> float:
    return float(np.linalg.slogdet(np.array(CHAIN)[np.ix_(indices, indices)])[1])


class TestDifference:
    def test_of_independent_normals(self) -> None:
        from scipy import stats

        first, second = stats.norm(3, 0.3).ppf(LEVELS), stats.norm(1, 0.4).ppf(LEVELS)
        expected = stats.norm(2, 0.5).ppf(LEVELS)
        np.testing.assert_allclose(difference(LEVELS.tolist(), first, second), expected, atol=0.03)

    def test_of_certain_values(self) -> None:
        np.testing.assert_allclose(difference(LEVELS.tolist(), np.full(50, 2.0), np.full(50, 0.5)), 1.5)


class TestConditional:
    def test_against_the_closed_form(self) -> None:
        points = gaussian(CHAIN, 2000)
        truth = 0.5 * (log_determinant(0, 2) + log_determinant(1, 2) - log_determinant(0, 1, 2))  # |Σz| = 1
        found = load("default").estimate(points[:, 0], points[:, 1], given=points[:, 2])
        low, high = found.interval(0.9)
        assert low <= truth <= high and found.mi == pytest.approx(truth, abs=0.05)
        assert (found.dim_x, found.dim_y, found.dim_given, found.n) == (1, 1, 1, 2000) and "dim_given=1" in repr(found)
        bits = load("default").estimate(points[:, 0], points[:, 1], given=points[:, 2], units="bits")
        assert bits.mi == pytest.approx(found.mi / math.log(2), rel=1e-6)

    def test_a_common_cause_is_explained_away(self) -> None:
        generator = np.random.default_rng(1)
        z = generator.normal(size=1000)
        x, y = z + generator.normal(size=1000), z + generator.normal(size=1000)
        estimator = load("default")
        assert estimator.estimate(x, y).interval(0.9)[0] > 0.08
        assert estimator.estimate(x, y, given=z).interval(0.9)[0] < 0.01

    def test_is_symmetric_in_x_and_y(self, tiny_estimator: Estimator) -> None:
        x, y, z = gaussian(CHAIN, 100).T
        found = tiny_estimator.estimate(x, y, given=z), tiny_estimator.estimate(y, x, given=z)
        np.testing.assert_allclose(found[0].quantiles, found[1].quantiles, atol=1e-4)

    def test_a_constant_has_no_information(self, tiny_estimator: Estimator) -> None:
        x, _, z = gaussian(CHAIN, 100).T
        with pytest.warns(mist.MISTWarning, match="'y' is constant: it carries no information"):
            assert set(tiny_estimator.estimate(x, np.ones(100), given=z).quantiles) == {0.0}

    def test_a_constant_explains_nothing(self, tiny_estimator: Estimator) -> None:
        x, y, _ = gaussian(CHAIN, 100).T
        with pytest.warns(mist.MISTWarning) as caught:
            found = tiny_estimator.estimate(x, y, given=np.ones(100))
        assert "'given' is constant: it carries no information" in [str(warning.message) for warning in caught]
        assert found.median == pytest.approx(tiny_estimator.estimate(x, y).median, abs=1e-3)

    def test_missing_values_are_omitted_on_all_sides(self, tiny_estimator: Estimator) -> None:
        points = gaussian(CHAIN, 100)
        points[3, 0], points[5, 2] = np.nan, np.nan
        x, y, z = points.T
        with pytest.raises(mist.NonFiniteError, match="x column 0 has 1 missing value") as raised:
            tiny_estimator.estimate(x, y, given=z)
        assert "pairwise" not in str(raised.value)  # which is no way out here
        with pytest.warns(mist.MISTWarning, match="omitted 2 of 100 points with missing values"):
            assert tiny_estimator.estimate(x, y, given=z, nan_policy="omit").n == 98

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"given": np.arange(9)}, "x has 100 points and given has 9: expected as many"),
            ({"on_limit": "foo"}, "on_limit='foo' is unknown"),
            ({"given": None, "discrete_given": True}, "got discrete_given=True without given="),
            ({"on_limit": "subsample"}, "got on_limit='subsample' with given=, expected 'raise' or 'warn'"),
            ({"nan_policy": "pairwise"}, "nan_policy='pairwise' is unknown: expected 'raise' or 'omit'"),
            ({"discrete_given": [3]}, "discrete_given names 3"),
            ({"given": np.zeros((100, 9)) + np.arange(9) * np.arange(100)[:, None], "on_limit": "raise"}, "outside"),
        ],
    )
    def test_what_cannot_be_used(self, tiny_estimator: Estimator, arguments: dict[str, Any], message: str) -> None:
        x, y, z = gaussian(CHAIN, 100).T
        with pytest.raises(mist.InputError, match=message):
            tiny_estimator.estimate(x, y, **{"given": z, **arguments})


class TestMany:
    def test_total_correlation_of_a_normal(self) -> None:
        found = load("default").total_correlation(gaussian(CHAIN, 2000))
        low, high = found.interval(0.9)
        assert low <= -0.5 * log_determinant(0, 1, 2) <= high and found.quantity == "total correlation"
        assert found.value == pytest.approx(-0.5 * log_determinant(0, 1, 2), abs=0.05)

    def test_o_information_of_a_normal(self) -> None:
        """Ω = TC - DTC with DTC = H(X) - Σ H(X_i | the others)."""
        whole = log_determinant(0, 1, 2)
        given_others = [whole - log_determinant(*(j for j in range(3) if j != i)) for i in range(3)]
        truth = -0.5 * whole - 0.5 * (whole - sum(given_others))
        found = load("default").o_information(gaussian(CHAIN, 4000))
        low, high = found.interval(0.9)
        assert low <= truth <= high and found.value == pytest.approx(truth, abs=0.06) and truth > 0.1

    def test_synergy_is_negative(self) -> None:
        generator = np.random.default_rng(2)
        x = generator.normal(size=(3000, 2))
        y = x.sum(1) + 0.3 * generator.normal(size=3000)
        assert load("default").o_information(np.c_[x, y]).interval(0.9)[1] < 0

    def test_terms_add_up(self, tiny_estimator: Estimator) -> None:
        points = gaussian(CHAIN, 100)
        found = tiny_estimator.total_correlation(points, {"u": [0], "v": [1, 2]}, units="bits")
        single = tiny_estimator.estimate(points[:, 0], points[:, 1:], units="bits")
        np.testing.assert_allclose(found.quantiles, single.quantiles, atol=1e-4)
        assert found.names == ("u", "v") and found.to_dict()["units"] == "bits" and "2 variables" in repr(found)

    @pytest.mark.parametrize(("method", "least"), [("total_correlation", 2), ("o_information", 3)])
    def test_too_few_variables(self, tiny_estimator: Estimator, method: str, least: int) -> None:
        with pytest.raises(mist.InputError, match=f"got {least - 1} variables, expected at least {least}"):
            getattr(tiny_estimator, method)(np.zeros((20, least - 1)))
        with pytest.raises(mist.InputError, match="nan_policy='pairwise' is unknown"):
            getattr(tiny_estimator, method)(np.zeros((20, 3)), nan_policy="pairwise")
