"""Scores for scikit-learn's selectors, and the selector against scikit-learn's own checks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mist
from mist.inference import load

pytest.importorskip("sklearn")
from sklearn.feature_selection import SelectKBest
from sklearn.feature_selection import mutual_info_regression as theirs
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from mist.sklearn import MutualInformationSelector, mutual_info_classif, mutual_info_regression

KNOWS_CLASSES = "default"  # trained on unordered categories


def regression(num_points: int = 300) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(num_points, 6))
    return x, x[:, 1] + x[:, 4] + 0.3 * generator.normal(size=num_points)


def test_scores_are_those_of_relevance_and_like_those_of_scikit_learn() -> None:
    x, y = regression()
    scores = mutual_info_regression(x, y)
    np.testing.assert_allclose(scores, load("default").relevance(x, y).mi, atol=1e-6)
    assert set(np.argsort(-scores)[:2]) == {1, 4}
    np.testing.assert_allclose(scores, theirs(x, y, random_state=0), atol=0.12)


def test_classes_may_be_of_any_kind_and_relabelled() -> None:
    x, y = regression()
    label = np.digitize(x[:, 2], [-0.5, 0.5])
    scores = mutual_info_classif(x, label)
    assert scores.argmax() == 2
    names = np.array(["one", "two", "three"])[[2, 0, 1]][label]
    np.testing.assert_allclose(mutual_info_classif(x, names), scores, atol=1e-4)


def test_in_a_pipeline() -> None:
    x, y = regression()
    kept = SelectKBest(mutual_info_regression, k=2).fit(x, y)
    assert kept.get_support(indices=True).tolist() == [1, 4]
    assert make_pipeline(StandardScaler(), MutualInformationSelector(k=2)).fit_transform(x, y).shape == (300, 2)


def test_declared_categories() -> None:
    x, y = regression()
    x[:, 0] = np.digitize(y, [-1, 0, 1])[::-1]
    x[:, 3] = np.array([2, 0, 3, 1])[np.digitize(y, [-1, 0, 1])]  # no order in the codes
    expected = mutual_info_regression(x, y, discrete_features=[3], checkpoint=KNOWS_CLASSES)
    by_mask = mutual_info_regression(x, y, discrete_features=np.arange(6) == 3, checkpoint=KNOWS_CLASSES)
    np.testing.assert_array_equal(by_mask, expected)
    as_numbers = mutual_info_regression(x, y, checkpoint=KNOWS_CLASSES)
    np.testing.assert_allclose(expected[[1, 2, 4, 5]], as_numbers[[1, 2, 4, 5]], atol=1e-4)
    assert expected[3] == pytest.approx(theirs(x[:, 3:4], y, discrete_features=True, random_state=0)[0], abs=0.15)


def test_selector_tells_scores_and_intervals() -> None:
    x, y = regression()
    fitted = MutualInformationSelector(k="all", level=0.8).fit(x, y)
    assert fitted.transform(x).shape == x.shape and fitted.intervals_.shape == (6, 2)
    assert (fitted.intervals_[:, 0] <= fitted.scores_ + 1e-9).all()
    assert MutualInformationSelector(k=1).fit(x, np.where(x[:, 3] > 0, "a", "b")).get_support().argmax() == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"discrete_features": "all"}, "got discrete_features='all', expected 'auto', a bool, a mask or indices"),
        ({"discrete_features": [True]}, "got a mask discrete_features of 1 columns, expected 6"),
        ({"discrete_features": [6]}, "expected a mask, or indices from 0 to 5"),
        ({"discrete_features": [0.5]}, "expected a mask, or indices"),
    ],
)
def test_what_cannot_be_used(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(mist.InputError, match=message):
        mutual_info_regression(*regression(30), **arguments)


def test_numbers_kept_as_objects_are_numbers() -> None:
    x, y = regression()
    found = MutualInformationSelector(k=1).fit(x, y.astype(object))
    np.testing.assert_allclose(found.scores_, MutualInformationSelector(k=1).fit(x, y).scores_)
    with pytest.raises(mist.InputError, match="got discrete_target='foo', expected 'auto' or a bool"):
        MutualInformationSelector(discrete_target="foo").fit(x, y)


def test_classes_that_the_checkpoint_does_not_know_are_warned_of(tiny_checkpoint: Path) -> None:
    x, y = regression()
    with pytest.warns(mist.MISTWarning, match="with three levels or more its numbers may be nonsense"):
        mutual_info_classif(x, np.digitize(y, [-1, 1]), checkpoint=str(tiny_checkpoint))


@pytest.mark.parametrize("k", [-1, 1.5, "some", True])
def test_k(k: Any) -> None:
    with pytest.raises(mist.InputError, match="expected 'all' or a number of columns"):
        MutualInformationSelector(k=k).fit(*regression(30))


@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks([MutualInformationSelector(k=1, checkpoint=KNOWS_CLASSES)])
def test_selector_passes_the_checks_of_scikit_learn(estimator: Any, check: Any) -> None:
    check(estimator)
