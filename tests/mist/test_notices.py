"""Warnings are data: every kind there is comes about, and says which it is wherever it goes."""

from __future__ import annotations

import copy
import json
from typing import get_args

import numpy as np
import pytest

import mist
from mist.errors import Notice, NoticeKind
from mist.inference import Estimator

pytestmark = pytest.mark.usefixtures("unmoved_global_state")

random = np.random.default_rng(0)
X, Y = random.normal(size=(60, 2)), random.normal(size=60)
NEAR = np.column_stack([X[:, 0], X[:, 0] + 1e-4 * random.normal(size=60)])
CLOSE = np.column_stack([X[:, 0], X[:, 0] + 0.05 * random.normal(size=60)])  # in another order
HOLES = np.where(np.arange(60) == 3, np.nan, Y)
RARE = np.array([f"level {i % 40}" for i in range(60)])

ESTIMATES = {
    "missing": {"x": X, "y": HOLES, "nan_policy": "omit"},
    "subsampled": {"x": np.arange(600.0), "y": np.arange(600.0) % 37, "on_limit": "subsample"},
    "constant": {"x": np.column_stack([X, np.ones(60)]), "y": Y},
    "ties": {"x": X, "y": Y > 0},
    "rare levels": {"x": RARE, "y": Y},
    "collinear": {"x": NEAR, "y": Y},
    "range": {"x": np.tile(X, 5) + random.normal(size=(60, 10)), "y": Y},
    "categories": {"x": RARE, "y": Y},
    "deterministic": {"x": X, "y": -np.exp(X[:, 1])},
}


@pytest.mark.parametrize("kind", ESTIMATES)
def test_estimates_say_what_kind_of_thing_to_know(tiny_estimator: Estimator, kind: str) -> None:
    with pytest.warns(mist.MISTWarning) as caught:
        result = tiny_estimator.estimate(**ESTIMATES[kind])
    kinds = [notice.kind for notice in result.warnings]
    assert kind in kinds and kinds == [warning.message.args[0].kind for warning in caught]  # type: ignore[union-attr]
    written = json.loads(json.dumps(result.to_dict()))
    assert written["warning_kinds"] == kinds and written["warnings"] == list(result.warnings)


def test_nothing_to_know_of_plain_data(tiny_estimator: Estimator) -> None:
    assert tiny_estimator.estimate(X, Y).to_dict()["warning_kinds"] == []


class TestSaturation:
    @pytest.fixture
    def low(self, tiny_estimator: Estimator, monkeypatch: pytest.MonkeyPatch) -> Estimator:
        """An estimator whose largest label is below anything that it says of dependent columns."""
        dependent, not_so = tiny_estimator.estimate(X[:, 0], CLOSE[:, 1]).median, tiny_estimator.estimate(X, Y).median
        assert dependent > 1.2 * not_so
        monkeypatch.setitem(tiny_estimator.checkpoint.config["trained_ranges"], "mi", [0.0, dependent])
        return tiny_estimator

    def test_of_pairs(self, low: Estimator) -> None:
        with pytest.warns(mist.MISTWarning, match="1 of 3 pairs saturate: checkpoint tiny@.* was trained on up to"):
            found = low.pairwise(np.column_stack([CLOSE, Y]))
        assert [notice.kind for notice in found.warnings] == ["saturation"]

    def test_of_more_than_two_variables(self, low: Estimator) -> None:
        with pytest.warns(mist.MISTWarning, match="pairs saturate"):
            found = low.total_correlation(CLOSE)
        assert [notice.kind for notice in found.warnings] == ["saturation"]
        assert found.to_dict()["warning_kinds"] == ["saturation"]

    def test_of_one_of_many(self, low: Estimator) -> None:
        with pytest.warns(mist.MISTWarning, match="data set 1: the estimate saturates"):
            quiet, full = low.estimate_many([(X, Y), (X[:, 0], CLOSE[:, 1])])
        assert quiet.warnings == () and full.warnings[0].kind == "saturation"


def test_pairs_that_are_functions_of_each_other(tiny_estimator: Estimator) -> None:
    with pytest.warns(mist.MISTWarning, match="2 of 6 pairs hold columns that order the points alike"):
        found = tiny_estimator.pairwise(np.column_stack([X, X[:, 0] ** 3, -X[:, 1]]))
    assert "deterministic" in [notice.kind for notice in found.warnings]


def test_levels_that_agree_are_no_function_of_infinite_information(tiny_estimator: Estimator) -> None:
    grades = np.arange(60) % 4
    with pytest.warns(mist.MISTWarning):
        assert "deterministic" not in [notice.kind for notice in tiny_estimator.estimate(grades, 2 * grades).warnings]


def test_pairs_without_enough_points(tiny_estimator: Estimator) -> None:
    half = np.arange(60) < 30
    table = np.column_stack([np.where(half, Y, np.nan), np.where(half, np.nan, Y), X])
    with pytest.warns(mist.MISTWarning, match="1 of 6 pairs have fewer than 4 points in common: NaN"):
        found = tiny_estimator.pairwise(table, nan_policy="pairwise")
    assert [notice.kind for notice in found.warnings] == ["few points"]


def test_a_kind_travels() -> None:
    notice = Notice("look here", "ties")
    for twin in (copy.copy(notice), copy.deepcopy(notice)):  # what other processes and dataclasses make of it
        assert twin == "look here" and twin.kind == "ties"


def test_every_kind_is_tried() -> None:
    # the last three: test_novelty, test_reduction, test_unwarping
    elsewhere = {"saturation", "few points", "novelty", "reduced", "unrecognised"}
    assert set(get_args(NoticeKind)) == {*ESTIMATES, *elsewhere}
