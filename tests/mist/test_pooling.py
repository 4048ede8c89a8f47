"""Pools of predictions, against what is known of means."""

import math

import pytest
import torch
from torch import Tensor

from mist.pooling import pool_quantiles
from mist.quantiles import OFFSET, level_grid

pytestmark = pytest.mark.usefixtures("unmoved_global_state")

LEVELS = torch.tensor(level_grid(50), dtype=torch.float64)
Z = torch.special.ndtri(LEVELS)
NOTHING = torch.zeros(1, dtype=torch.float64)  # no least width


def normal(centre: float, spread: float) -> Tensor:
    return (centre + spread * Z).unsqueeze(0)


def test_of_one_it_is_that_one() -> None:
    values = normal(0.3, 0.2)
    assert pool_quantiles([values], LEVELS, torch.tensor([5.0]), NOTHING) is values


def test_the_surer_counts_for_more() -> None:
    """Of normal laws the pool is normal; weights are inverse variances, or inverse spreads."""
    for options, weight in (((), 0.9), ((1,), 0.75)):
        pooled = pool_quantiles([normal(1.0, 0.1), normal(2.0, 0.3)], LEVELS, torch.zeros(2), NOTHING, *options)
        expected = normal(weight * 1 + (1 - weight) * 2, weight * 0.1 + (1 - weight) * 0.3)
        torch.testing.assert_close(pooled, expected, atol=2e-3, rtol=0)


def test_nobody_counts_as_surer_than_the_least_width() -> None:
    """Weights are inverse squares of widths and the least one: 2·1.645·spread + .1."""
    pooled = pool_quantiles([normal(1.0, 0.0), normal(2.0, 0.3)], LEVELS, torch.zeros(2), NOTHING + 0.1)
    width = 2 * 1.645 * 0.3 + 0.1
    weight = width**2 / (width**2 + 0.1**2)
    torch.testing.assert_close(pooled, normal(weight * 1 + (1 - weight) * 2, (1 - weight) * 0.3), atol=2e-3, rtol=0)


def test_trust_counts_where_they_are_equally_sure() -> None:
    members = [normal(1.0, 0.2), normal(2.0, 0.2)]
    pooled = pool_quantiles(members, LEVELS, torch.tensor([math.log(3.0), 0.0]), NOTHING)
    torch.testing.assert_close(pooled, normal(1.25, 0.2))
    other = pool_quantiles(members[::-1], LEVELS, torch.tensor([0.0, math.log(3.0)]), NOTHING)
    torch.testing.assert_close(other, pooled)


def test_what_lies_below_0_nats_is_no_width() -> None:
    """Of two that both say 0 nats, the one that goes on further below is no less sure."""
    floor = math.log(OFFSET)
    low, lower = normal(floor - 0.8, 0.01), normal(floor - 0.4, 0.1)
    pooled = pool_quantiles([low, lower], LEVELS, torch.zeros(2), NOTHING + 0.1)
    torch.testing.assert_close(pooled, (low + lower) / 2)


def test_how_far_below_0_nats_one_lies_does_not_take_the_pool() -> None:
    """One says 0 nats and goes on far below, the other half a nat: the pool's median lies between."""
    other = normal(math.log(0.5 + OFFSET), 0.1)
    pooled = [
        pool_quantiles([normal(math.log(OFFSET) - below, 0.05), other], LEVELS, torch.zeros(2), NOTHING + 2)
        for below in (2.0, 20.0)
    ]
    torch.testing.assert_close(*pooled)
    assert 0 < float((pooled[0].exp() - OFFSET)[0, 25]) < 0.5


@pytest.mark.parametrize("num_members", [2, 3])
def test_quantiles_do_not_cross(num_members: int) -> None:
    random = torch.Generator().manual_seed(0)
    steps = torch.rand(num_members, 200, 50, generator=random, dtype=torch.float64) ** 4
    members = steps.cumsum(-1) - 4 * torch.rand(num_members, 200, 1, generator=random, dtype=torch.float64)
    pooled = pool_quantiles(list(members), LEVELS, torch.randn(num_members, generator=random), NOTHING + 0.01)
    assert (pooled.diff(dim=-1) >= 0).all()
    assert (pooled <= members.amax(0) + 1e-12).all() and (pooled >= members.amin(0) - 1e-12).all()
