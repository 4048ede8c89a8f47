"""Mutual information where scikit-learn asks for scores: for `SelectKBest`, and in a selector of its own.

```python
from sklearn.feature_selection import SelectKBest
from mist.sklearn import mutual_info_regression

SelectKBest(mutual_info_regression, k=5).fit(X, y)
```
"""

from __future__ import annotations

from functools import lru_cache
from numbers import Real
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.feature_selection import SelectorMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, check_X_y, validate_data

from mist.columns import MIN_POINTS
from mist.errors import InputError
from mist.inference import Estimator, load
from mist.screening import RelevanceMI

__all__ = ["MutualInformationSelector", "mutual_info_classif", "mutual_info_regression"]

DiscreteFeatures = Literal["auto"] | bool | ArrayLike


def mutual_info_regression(
    X: ArrayLike,
    y: ArrayLike,
    *,
    discrete_features: DiscreteFeatures = "auto",
    n_neighbors: int = 3,
    copy: bool = True,
    random_state: Any = None,
    n_jobs: int | None = None,
    checkpoint: str = "default",
) -> NDArray[np.float64]:
    """MI of each column of X (n, d) with a numeric target y (n,), nats, (d,).

    Takes the arguments of `sklearn.feature_selection.mutual_info_regression`; `n_neighbors`, `copy`, `random_state` and
    `n_jobs` have nothing to set here. discrete_features: columns that are unordered categories: a mask, indices, or a
    bool for all; "auto" for none (ties of numbers need no telling). checkpoint: name or path.
    """
    values, target = check_X_y(X, y, y_numeric=True, ensure_min_samples=MIN_POINTS)
    return _scores(values, target, discrete_features, False, checkpoint).mi


def mutual_info_classif(
    X: ArrayLike,
    y: ArrayLike,
    *,
    discrete_features: DiscreteFeatures = "auto",
    n_neighbors: int = 3,
    copy: bool = True,
    random_state: Any = None,
    n_jobs: int | None = None,
    checkpoint: str = "default",
) -> NDArray[np.float64]:
    """MI of each column of X (n, d) with class labels y (n,), nats, (d,).

    Arguments as in `mutual_info_regression`.
    """
    values, target = check_X_y(X, y, ensure_min_samples=MIN_POINTS)
    check_classification_targets(target)
    return _scores(values, target, discrete_features, True, checkpoint).mi


class MutualInformationSelector(SelectorMixin, BaseEstimator):
    """Keeps the k columns of the most mutual information with the target.

    k: how many, or "all". discrete_target: whether y holds unordered classes ("auto": where it is no number).
    discrete_features, checkpoint: as in `mutual_info_regression`. level: probability of the intervals.
    Once fitted: `scores_` (d,) nats, `intervals_` (d, 2), `n_features_in_`, `feature_names_in_` where X has names.
    """

    def __init__(
        self,
        k: int | Literal["all"] = 10,
        *,
        discrete_target: bool | Literal["auto"] = "auto",
        discrete_features: DiscreteFeatures = "auto",
        level: float = 0.9,
        checkpoint: str = "default",
    ) -> None:
        self.k = k
        self.discrete_target = discrete_target
        self.discrete_features = discrete_features
        self.level = level
        self.checkpoint = checkpoint

    def fit(self, X: ArrayLike, y: ArrayLike) -> MutualInformationSelector:
        """Score every column of X (n, d) against y (n,); InputError for a k that is neither "all" nor a count."""
        if self.k != "all" and (isinstance(self.k, bool) or not isinstance(self.k, int | np.integer) or self.k < 0):
            raise InputError(f"got k={self.k!r}, expected 'all' or a number of columns")
        values, target = validate_data(self, X, y, ensure_min_samples=MIN_POINTS)
        discrete = self.discrete_target
        if not isinstance(discrete, bool | np.bool_) and discrete != "auto":
            raise InputError(f"got discrete_target={discrete!r}, expected 'auto' or a bool")
        if target.dtype.kind == "O" and all(isinstance(value, Real) for value in target):
            target = target.astype(np.float64)
        if discrete == "auto":
            discrete = target.dtype.kind not in "fiu"
        found = _scores(values, target, self.discrete_features, bool(discrete), self.checkpoint, self.level)
        self.scores_ = found.mi
        self.intervals_ = np.stack([found.low, found.high], axis=1)
        return self

    def _get_support_mask(self) -> NDArray[np.bool_]:
        check_is_fitted(self)
        mask = np.ones(len(self.scores_), dtype=bool)
        if self.k != "all" and self.k < len(mask):
            mask[:] = False
            mask[np.argsort(-self.scores_, kind="stable")[: self.k]] = True
        return mask

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags


@lru_cache(maxsize=4)
def _estimator(checkpoint: str) -> Estimator:
    return load(checkpoint)


def _scores(
    X: NDArray[Any],
    y: NDArray[Any],
    discrete_features: DiscreteFeatures,
    discrete_target: bool,
    checkpoint: str,
    level: float = 0.9,
) -> RelevanceMI:
    return _estimator(checkpoint).relevance(
        X, y, discrete_x=_discrete_columns(discrete_features, X.shape[1]), discrete_y=discrete_target, level=level
    )


def _discrete_columns(chosen: DiscreteFeatures, dim: int) -> list[int]:
    """Indices of the columns declared as categories."""
    if isinstance(chosen, str):
        if chosen != "auto":
            raise InputError(f"got discrete_features={chosen!r}, expected 'auto', a bool, a mask or indices")
        return []
    if isinstance(chosen, bool | np.bool_):
        return list(range(dim)) if chosen else []
    given = np.atleast_1d(np.asarray(chosen))
    if given.dtype.kind == "b":
        if len(given) != dim:
            raise InputError(f"got a mask discrete_features of {len(given)} columns, expected {dim}")
        return np.flatnonzero(given).tolist()
    if given.size and (given.dtype.kind not in "iu" or given.min() < 0 or given.max() >= dim):
        raise InputError(f"got discrete_features={chosen!r}, expected a mask, or indices from 0 to {dim - 1}")
    return given.astype(int).tolist()
