"""The differentiable stand-in: the estimate at its points, its gradient that of a function, and of use."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor

import mist
from data_gen.meta_distribution import MetaDistribution
from data_gen.stream import generate_batch
from mist.evaluation.gradients import DISPLACED, PROJECTED, displacement_slopes, projection_slopes
from mist.inference import Estimator, load
from mist.reduction import Reduction, leading_components
from mist.surrogate import MOST_POINTS, Surrogate

pytestmark = pytest.mark.usefixtures("unmoved_global_state")


def pair(num_points: int, dim: int, seed: int = 0, power: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x, noise = (torch.randn(num_points, dim, generator=generator, dtype=torch.float64) for _ in range(2))
    return x, x**power + noise


@pytest.mark.parametrize("name", ["default", "elliptical"])
@pytest.mark.parametrize(("num_points", "dim", "power"), [(60, 1, 1), (200, 3, 1), (200, 2, 3), (120, 1, 2)])
def test_gradient_is_that_of_the_function_with_its_constants(name: str, num_points: int, dim: int, power: int) -> None:
    x, y = pair(num_points, dim, power=power)
    function = Surrogate(load(name), x, y)
    sides = [side.clone().requires_grad_() for side in (x, y)]
    function(*sides).backward()
    gradients = [side.grad for side in sides]
    assert all(gradient is not None for gradient in gradients)
    generator = torch.Generator().manual_seed(1)
    for steep in (True, False):
        moves = gradients if steep else [torch.randn(x.shape, generator=generator, dtype=torch.float64) for _ in sides]
        norm = torch.stack([move.norm() for move in moves]).norm()
        moves = [move / norm for move in moves]
        step = 2e-4
        ends = [float(function(x + sign * step * moves[0], y + sign * step * moves[1])) for sign in (1, -1)]
        slope = float(sum((gradient * move).sum() for gradient, move in zip(gradients, moves)))
        assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(slope, rel=0.03, abs=2e-3)


@pytest.mark.filterwarnings("ignore::mist.MISTWarning")  # of collinear columns
@pytest.mark.parametrize("name", ["default", "elliptical"])
def test_is_the_estimate_at_its_points(name: str) -> None:
    estimator = load(name)
    law = MetaDistribution(num_points=(60, 300), max_num_points=300, dims=(1, 8), max_dim=8, datasets_per_batch=(8, 8))
    for index in range(6):
        batch = generate_batch(law, 7, index)
        for x, y in zip(batch.x[:3], batch.y[:3]):
            plain = estimator.estimate(x, y, on_limit="warn").mi
            assert float(estimator.mutual_information(x, y)) == pytest.approx(plain, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("name", ["default", "elliptical"])
def test_ascent_of_a_parameter_goes_where_the_estimate_rises(name: str) -> None:
    """Cosine with coarse differences of the plain estimate, over the weights of a projection."""
    estimator = load(name)
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(500, 5, generator=generator, dtype=torch.float64)
        truth, weights = (torch.randn(5, generator=generator, dtype=torch.float64) for _ in range(2))
        y = torch.tanh(x @ truth / truth.norm()) + 0.3 * torch.randn(500, generator=generator, dtype=torch.float64)
        weights = (weights / weights.norm()).requires_grad_()
        estimator.mutual_information(x @ weights, y).backward()
        steps = 0.15 * torch.eye(5, dtype=torch.float64)
        fixed = weights.detach()
        rises = [estimator.estimate(x @ (fixed + s), y).mi - estimator.estimate(x @ (fixed - s), y).mi for s in steps]
        cosine = torch.nn.functional.cosine_similarity(torch.tensor(rises, dtype=torch.float64), weights.grad, dim=0)
        assert float(cosine) > 0.9, seed


@pytest.mark.parametrize(("kind", "least"), [("cube", 0.9), ("square", 0.85), ("Student-t", 0.9)])
def test_ascent_of_a_parameter_is_of_use_off_straight_lines(kind: str, least: float) -> None:
    """All weights of several projections side by side: at each of them alone differences are noise where it is flat.

    Differences of steps of .15 and .3 have a cosine of .92 themselves for squares.
    """
    estimator = load("default")
    generator = torch.Generator().manual_seed(3)
    found = [projection_slopes(estimator, PROJECTED[kind], generator) for _ in range(5)]
    gradient, differences = (torch.cat([getattr(s, name) for s in found]) for name in ("gradient", "differences"))
    assert float(torch.nn.functional.cosine_similarity(gradient, differences, dim=0)) > least
    assert float(gradient.norm() / differences.norm()) == pytest.approx(1, abs=0.4)


@pytest.mark.parametrize(("kind", "least"), [("Gaussian 3+3", 0.95), ("square 1+1", 0.7), ("cube 2+2", 0.6)])
def test_the_gradient_knows_where_points_that_move_smoothly_raise_the_estimate(kind: str, least: float) -> None:
    """Cosine with coarse differences of the plain estimate over smooth displacements of all normal scores."""
    generator = torch.Generator().manual_seed(5)
    found = [displacement_slopes(load("default"), DISPLACED[kind], generator) for _ in range(2)]
    gradient, differences = (torch.cat([getattr(s, name) for s in found]) for name in ("gradient", "differences"))
    assert float(torch.nn.functional.cosine_similarity(gradient, differences, dim=0)) > least


@pytest.mark.parametrize("name", ["default", "elliptical"])
@pytest.mark.parametrize("num_points", [4, 7, 100])
@pytest.mark.parametrize("kind", ["same", "copied", "constant", "tied", "independent"])
def test_gradients_are_finite(name: str, num_points: int, kind: str) -> None:
    x, y = pair(num_points, 2)
    y = {
        "same": x.clone(),
        "copied": torch.cat([y, y], dim=1),
        "constant": torch.cat([y, torch.ones_like(y)], dim=1),
        "tied": (2 * y).round(),
        "independent": pair(num_points, 2, seed=9)[0],
    }[kind]
    if all(bool((column == column[0]).all()) for column in y.T):
        pytest.skip("constant")
    sides = [side.requires_grad_() for side in (x, y)]
    value = load(name).mutual_information(*sides)
    value.backward()
    assert torch.isfinite(value) and float(value.detach()) >= 0
    assert all(side.grad is not None and torch.isfinite(side.grad).all() for side in sides)


def test_a_constant_has_no_information_and_no_gradient(tiny_estimator: Estimator) -> None:
    x, y = torch.ones(20, requires_grad=True), torch.arange(20.0, requires_grad=True)
    value = tiny_estimator.mutual_information(x, y)
    value.backward()
    assert float(value.detach()) == 0
    assert all(side.grad is not None and not side.grad.any() for side in (x, y))


def test_maps_of_a_modality_have_no_gradient(tiny_estimator: Estimator) -> None:
    columns = np.random.default_rng(0).normal(size=(60, 6))
    reduction = Reduction(leading_components(columns, 2)[0], None)
    tuned = Estimator(dataclasses.replace(tiny_estimator.checkpoint, reduction=reduction))
    with pytest.raises(mist.InputError, match="reads sides through the maps of its modality, which have no gradient"):
        tuned.mutual_information(torch.zeros(20, 6), torch.zeros(20, 1))


def test_plain_features_ask_for_no_neighbours_that_move(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are dear, and only a gradient needs them."""
    monkeypatch.setattr("mist.panel.ksg_change", None)
    assert load("default").estimate(*pair(60, 2)).mi > 0
    with pytest.raises(TypeError):
        load("default").mutual_information(*pair(60, 2))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_gradients_come_back_in_the_type_of_the_points(tiny_estimator: Estimator, dtype: torch.dtype) -> None:
    x, y = (side.to(dtype).requires_grad_() for side in pair(40, 2))
    tiny_estimator.mutual_information(x, y).backward()
    assert x.grad is not None and x.grad.dtype == dtype and x.grad.shape == x.shape


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.zeros(9), torch.zeros(9), "x is a ndarray: expected a torch tensor; estimate"),
        (torch.zeros(9), torch.zeros(9, 2, 2), r"y has shape \(9, 2, 2\): expected \(n,\) or \(n, d\)"),
        (torch.zeros(9), torch.zeros(8), "x has 9 points and y has 8"),
        (torch.arange(3.0), torch.arange(3.0), "got 3 points, expected at least 4"),
        (torch.zeros(MOST_POINTS + 1), torch.zeros(MOST_POINTS + 1), "expected at most 5,000: pass a batch"),
        (torch.tensor([0.0, 1, 2, torch.nan]), torch.zeros(4), "x holds NaN or infinite values"),
    ],
)
def test_what_cannot_be_used(tiny_estimator: Estimator, x: Tensor, y: Tensor, message: str) -> None:
    with pytest.raises(mist.InputError, match=message):
        tiny_estimator.mutual_information(x, y)
