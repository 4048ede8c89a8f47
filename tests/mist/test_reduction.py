"""Wide sides are read through components of their scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import mist
from mist.checkpoint import save_checkpoint
from mist.columns import to_columns
from mist.network import MISTNetwork
from mist.reduction import Reduction, column_scores, leading_components

GENERATOR = np.random.default_rng(0)
FACTORS = GENERATOR.normal(size=(400, 3))
WIDE = FACTORS @ GENERATOR.normal(size=(3, 12)) + 0.3 * GENERATOR.normal(size=(400, 12))


def test_components_are_those_of_the_scores() -> None:
    """Against the singular vectors; shares of the variance add up."""
    components, share = leading_components(WIDE, 3)
    assert components.dtype == torch.float64
    scores = column_scores(WIDE)
    _, singular, axes = np.linalg.svd(scores - scores.mean(0), full_matrices=False)
    np.testing.assert_allclose(np.abs(components.numpy().T @ axes[:3].T), np.eye(3), atol=1e-5)
    assert share == pytest.approx((singular[:3] ** 2).sum() / (singular**2).sum())
    assert share > 0.8 and leading_components(WIDE, 12)[1] == pytest.approx(1)


def test_axes_that_hold_nothing_are_left_out() -> None:
    copies = np.repeat(FACTORS, 4, axis=1)
    assert leading_components(copies, 6)[0].shape == (12, 3)


@pytest.fixture
def estimator(tmp_path: Path, tiny_network: MISTNetwork, tiny_arguments: dict[str, Any]) -> mist.Estimator:
    reduction = Reduction(leading_components(WIDE, 3)[0], None)
    return mist.load(save_checkpoint(tmp_path / "wide", tiny_network, reduction=reduction, **tiny_arguments))


def test_a_side_as_wide_as_the_samples_is_read_through_them(estimator: mist.Estimator) -> None:
    y = FACTORS[:, 0] + 0.5 * GENERATOR.normal(size=400)
    with pytest.warns(mist.MISTWarning, match="3 principal components of its 12 columns' scores") as told:
        found = estimator.estimate(WIDE, y)
    assert [warning.message.args[0].kind for warning in told] == ["reduced"]  # type: ignore[union-attr]
    reduced = column_scores(WIDE) @ leading_components(WIDE, 3)[0].numpy()
    assert found.mi == pytest.approx(estimator.estimate(reduced, y).mi, rel=1e-4)
    assert (found.n, found.dim_x, found.dim_y) == (400, 12, 1)


def test_other_sides_are_left_alone(estimator: mist.Estimator) -> None:
    narrow = estimator.estimate(FACTORS, WIDE[:, 0])
    assert not any(notice.kind == "reduced" for notice in narrow.warnings)
    labels = np.array(["a", "b"])[GENERATOR.integers(0, 2, (400, 12))]
    columns, _ = to_columns(labels, "x", None)
    assert estimator.checkpoint.reduction is not None
    assert estimator.checkpoint.reduction.apply(columns, "x") == (columns, ())


def test_sides_the_wrong_way_round_are_told(estimator: mist.Estimator) -> None:
    with pytest.warns(mist.MISTWarning, match="y has as many columns as the x that .* swap the sides"):
        estimator.estimate(FACTORS[:, 0], WIDE)


def test_inputs_are_checked_as_ever(estimator: mist.Estimator) -> None:
    y = FACTORS[:, 0]
    broken = WIDE.copy()
    broken[3, 7] = np.nan
    with pytest.raises(mist.NonFiniteError, match="x column 7 has 1 missing value"):
        estimator.estimate(broken, y)
    with pytest.warns(mist.MISTWarning, match="omitted 1 of 400"):
        omitted = estimator.estimate(broken, y, nan_policy="omit")
    rows = np.arange(400) != 3
    with pytest.warns(mist.MISTWarning, match="3 principal components"):
        assert omitted.mi == pytest.approx(estimator.estimate(WIDE[rows], y[rows]).mi, rel=1e-6)
    broken[3, 7] = np.inf
    with pytest.raises(mist.NonFiniteError):
        estimator.estimate(broken, y)


@pytest.mark.parametrize("shape", [(12,), (3, 12), (12, 0)])
def test_components_of_another_shape_are_refused(
    shape: tuple[int, ...], estimator: mist.Estimator, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="expected .columns, fewer components."):
        Reduction(torch.zeros(shape), None)


def test_it_travels_with_the_checkpoint(estimator: mist.Estimator, tmp_path: Path) -> None:
    again = mist.load(estimator.save(tmp_path / "copy"))
    assert again.checkpoint.reduction is not None and again.checkpoint.reduction.y is None
    torch.testing.assert_close(again.checkpoint.reduction.x, estimator.checkpoint.reduction.x)  # type: ignore[union-attr]
    assert again.checkpoint.sha256 == estimator.checkpoint.sha256 and again.checkpoint.card == estimator.checkpoint.card
    assert Reduction.from_state({}) is None
