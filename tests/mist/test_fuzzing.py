"""Whatever numbers come: an estimate with ordered quantiles that are no less than 0, or an error of the library."""

from __future__ import annotations

import warnings
from typing import Any

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mist
from mist.inference import Estimator, load

SETTINGS = settings(max_examples=1000, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))

FINITE = st.floats(allow_nan=False, allow_infinity=False, width=64)
NUMBERS = st.one_of(
    FINITE,
    st.floats(-1e-300, 1e-300),
    st.integers(-3, 3).map(float),
    st.sampled_from([0.0, -0.0, 1.0, 1e308, -1e308, 5e-324]),
)


@st.composite
def sides(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Few points in few columns, of any numbers, copied, negated, tied, constant or of small integer types."""
    num_points = draw(st.integers(4, 24))
    made = []
    for _ in range(2):
        dim = draw(st.integers(1, 4))
        kind = draw(st.sampled_from(["any", "normal", "few", "bool", "int8"]))
        if kind == "any":
            side = draw(arrays.arrays(np.float64, (num_points, dim), elements=NUMBERS, fill=st.nothing()))
        else:
            generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
            side = generator.normal(size=(num_points, dim)) * 10.0 ** draw(st.integers(-200, 200))
            side = {
                "normal": side,
                "few": generator.integers(draw(st.integers(1, 4)), size=side.shape).astype(float),
                "bool": side > 0,
                "int8": generator.integers(-128, 128, side.shape).astype(np.int8),
            }[kind]
        made.append(side)
    x, y = made
    change = draw(st.sampled_from(["none", "same", "negated", "copied column", "constant column", "swapped rows"]))
    if change in ("same", "negated"):
        y = x.copy() if change == "same" else -x.astype(float)
    elif change == "copied column":
        x = np.concatenate([x.astype(float), x[:, :1].astype(float)], axis=1)
    elif change == "constant column":
        x = np.concatenate([x.astype(float), np.full((num_points, 1), 7.0)], axis=1)
    elif change == "swapped rows":
        y = y[::-1]
    return x, y


@pytest.mark.slow
@pytest.mark.parametrize("name", ["default", "elliptical"])
@given(data=sides(), categories=st.booleans())
@SETTINGS
def test_any_numbers(name: str, data: tuple[np.ndarray, np.ndarray], categories: bool) -> None:
    _hold(_loaded(name), *data, discrete_x=True if categories else None)


@pytest.mark.slow
@given(
    values=st.lists(
        st.one_of(FINITE, st.just(float("nan")), st.just(float("inf")), st.none(), st.booleans(), st.text(max_size=2)),
        max_size=20,
    ),
    options=st.fixed_dictionaries(
        {},
        optional={"nan_policy": st.sampled_from(["raise", "omit"]), "discrete_x": st.sampled_from([None, True, False])},
    ),
)
@SETTINGS
def test_any_list(values: list[Any], options: dict[str, Any]) -> None:
    _hold(_loaded("default"), values, list(range(len(values))), **options)


_estimators: dict[str, Estimator] = {}


def _loaded(name: str) -> Estimator:
    if name not in _estimators:
        _estimators[name] = load(name)
    return _estimators[name]


def _hold(estimator: Estimator, x: Any, y: Any, **options: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)  # no overflow or division by zero passes unseen
        warnings.simplefilter("ignore", mist.MISTWarning)
        try:
            found = estimator.estimate(x, y, **options)
        except mist.InputError as error:
            assert str(error)
            return
    quantiles = np.array(found.quantiles)
    assert np.isfinite(quantiles).all() and (quantiles >= 0).all() and (np.diff(quantiles) >= 0).all()
    assert quantiles[-1] < 500
