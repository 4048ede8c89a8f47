"""`MIEstimate`: quantiles, intervals, units and words."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest

from mist import InputError, MIEstimate, Notice

LEVELS = [(i + 0.5) / 20 for i in range(20)]
FIELDS = {"n": 100, "dim_x": 2, "dim_y": 1}


def make(units: str = "nats", **fields: object) -> MIEstimate:
    return MIEstimate.from_nats(LEVELS, [0.1 * i for i in range(20)], units=units, **FIELDS, **fields)  # type: ignore


def test_point_estimate_is_the_mean_of_the_grid() -> None:
    assert make().mi == pytest.approx(0.95)
    assert make().median == pytest.approx(0.95)
    skewed = MIEstimate.from_nats([0.25, 0.5, 0.75], [0, 0, 3], units="nats", **FIELDS)
    assert (skewed.mi, skewed.median) == (1.0, 0.0)


def test_quantiles_and_intervals() -> None:
    result = make()
    assert isinstance(result.quantile(0.525), float) and result.quantile(0.525) == pytest.approx(1.0)
    np.testing.assert_allclose(result.quantile([0.025, 0.05, 0.975]), [0.0, 0.05, 1.9])
    assert result.interval(0.9) == pytest.approx((0.05, 1.85))
    assert result.interval(0.9) == result.interval()
    assert result.interval(0.95) == pytest.approx((0.0, 1.9))  # the edge of the grid


def test_levels_outside_the_grid_are_refused() -> None:
    with pytest.raises(InputError, match=r"got level 0.01, expected a level inside the grid \[0.025, 0.975\]"):
        make().quantile([0.5, 0.01])
    with pytest.raises(InputError, match=r"the widest interval is 0.95"):
        make().interval(0.99)
    for level in (0.0, 1.0, 90):
        with pytest.raises(InputError, match="expected a probability between 0 and 1, such as 0.9"):
            make().interval(level)
    with pytest.raises(InputError, match="got level nan"):
        make().quantile(math.nan)


def test_bits() -> None:
    nats, bits = make(), make("bits")
    assert bits.units == "bits"
    assert bits.mi == pytest.approx(nats.mi / math.log(2))
    assert bits.interval(0.5) == pytest.approx(tuple(v / math.log(2) for v in nats.interval(0.5)))
    with pytest.raises(InputError, match="units='hartleys' is unknown: expected one of nats, bits"):
        make("hartleys")


def test_is_frozen_and_explains_itself() -> None:
    result = make(warnings=(Notice("careful", "ties"),), checkpoint="tiny@01234567")
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.n = 3  # type: ignore[misc]
    assert repr(result) == "MIEstimate(0.95 nats, 90% interval [0.05, 1.85], n=100, dim_x=2, dim_y=1, 1 warning)"
    as_dict = json.loads(json.dumps(result.to_dict()))
    assert (
        as_dict["mi"] == result.mi and as_dict["warnings"] == ["careful"] and as_dict["checkpoint"] == "tiny@01234567"
    )
    assert as_dict["levels"] == LEVELS and len(as_dict["quantiles"]) == 20


def test_repr_of_a_narrow_grid_gives_the_widest_interval() -> None:
    narrow = MIEstimate.from_nats([0.25, 0.5, 0.75], [1, 2, 3], units="nats", **FIELDS)
    assert "50% interval [1, 3]" in repr(narrow)
