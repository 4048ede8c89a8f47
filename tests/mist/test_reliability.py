"""The checks pass where the estimate is right and fail where something is planted."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import mist
from mist.inference import Estimator, load
from mist.reliability import _extrapolate

pytestmark = pytest.mark.usefixtures("unmoved_global_state")


def gaussian(num_points: int = 400, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(num_points, 2))
    return x, x[:, :1] + generator.normal(size=(num_points, 1))


def check_of(found: mist.Reliability, name: str) -> mist.Check:
    return next(check for check in found.checks if check.name == name)


def test_a_gaussian_passes() -> None:
    estimator = load("default")
    found = estimator.check(*gaussian(), units="bits")
    assert found.passed and len(found.checks) == 6 and found.verdict.startswith("Consistent: 0.")
    assert found.sizes.tolist() == [400, 200, 100, 50] and found.means[0] == pytest.approx(found.estimate.mi, abs=1e-3)
    assert math.isnan(found.errors[0]) and (found.errors[1:] > 0).all()
    assert found.extrapolated[0] == pytest.approx(0.5, abs=0.1)  # ½ log2(1 + 1)
    assert "ok   additivity" in str(found) and "Consistent" in repr(found)
    again = estimator.check(*gaussian(), units="bits")
    assert np.array_equal(again.means, found.means)
    assert not np.array_equal(estimator.check(*gaussian(), units="bits", random_state=1).means, found.means)


def test_time_series_fail() -> None:
    walks = np.cumsum(np.random.default_rng(0).normal(size=(400, 2)), axis=0)
    found = load("default").check(walks[:, 0], walks[:, 1])
    assert not found.passed and found.verdict.startswith("Doubtful")
    serial = check_of(found, "independent points")
    assert not serial.passed and "0.99 in x" in serial.detail


def test_halves_that_differ_fail(monkeypatch: pytest.MonkeyPatch, tiny_estimator: Estimator) -> None:
    def by_size(estimator: Any, pairs: Any) -> tuple[np.ndarray, np.ndarray]:
        value = 1.0 if len(pairs[0][0].missing) == 400 else 0.5
        return np.full((1, len(estimator.config["levels"])), value), np.zeros(1)

    monkeypatch.setattr("mist.reliability.predict_pairs", by_size)
    found = tiny_estimator.check(*gaussian())
    failed = [check.name for check in found.checks if not check.passed]
    assert failed == ["agreement of halves", "independence of shuffled pairs", "additivity"]


def test_extrapolation_finds_the_limit() -> None:
    sizes = np.array([800, 400, 200, 100])
    value, error, slope = _extrapolate(sizes, 0.7 + 20 / sizes)
    assert (value, slope) == pytest.approx((0.7, 20)) and error == pytest.approx(0, abs=1e-9)
    value, error, slope = _extrapolate(sizes[:2], 0.7 + 20 / sizes[:2])
    assert (value, slope) == pytest.approx((0.7, 20)) and math.isnan(error)
    noise = np.array([0.01, -0.01, 0.01, -0.01])
    assert _extrapolate(sizes, 0.7 + 20 / sizes + noise)[1] > 0.003


def test_sorted_rows_and_columns_that_hardly_vary_are_no_time_series() -> None:
    x, y = gaussian()
    order = np.argsort(x[:, 0])
    found = check_of(load("default").check(x[order, 0], y[order]), "independent points")
    assert found.passed and "the rows are sorted by a column, which is left out here" in found.detail
    last = np.r_[np.zeros(399), 1]
    assert check_of(load("default").check(last, y), "independent points").passed


def test_categories_are_checked_too(tiny_estimator: Estimator) -> None:
    labels = np.array(list("abc"))[np.random.default_rng(0).integers(3, size=90)]
    with pytest.warns(mist.MISTWarning, match="not trained on unordered categories"):
        found = tiny_estimator.check(labels, labels[::-1])
    assert check_of(found, "data processing").detail == "not tried: both sides are categories"


def test_plot(tiny_estimator: Estimator) -> None:
    pytest.importorskip("matplotlib")
    found = tiny_estimator.check(*gaussian(70))
    axes = found.plot()
    assert (axes.get_title() == "all checks passed") == found.passed and len(axes.get_xticks()) == 3


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.arange(59), np.arange(59), "got 59 points, expected at least 60"),
        (np.ones(80), np.arange(80), "got a side that is constant, expected one that varies"),
        (np.arange(80), np.arange(81), "x has 80 points and y has 81"),
    ],
)
def test_what_cannot_be_used(tiny_estimator: Estimator, x: np.ndarray, y: np.ndarray, message: str) -> None:
    with pytest.raises(mist.InputError, match=message):
        tiny_estimator.check(x, y)
    with pytest.raises(mist.InputError, match="nan_policy='pairwise' is unknown"):
        tiny_estimator.check(x, y, nan_policy="pairwise")
