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


def normal(centre: float, spread: float) -> Tensor:
    return (centre + spread * Z).unsqueeze(0)


def test_of_one_it_is_that_one() -> None:
    values = normal(0.3, 0.2)
    assert pool_quantiles([values], LEVELS, torch.tensor([5.0])) is values


def test_the_surer_counts_for_more() -> None:
    """Of normal laws the pool is normal; weights are inverse spreads."""
    pooled = pool_quantiles([normal(1.0, 0.1), normal(2.0, 0.3)], LEVELS, torch.zeros(2))
    weight = 0.3 / 0.4
    torch.testing.assert_close(
        pooled, normal(weight * 1 + (1 - weight) * 2, weight * 0.1 + (1 - weight) * 0.3), atol=2e-3, rtol=0
    )


def test_trust_counts_where_they_are_equally_sure() -> None:
    members = [normal(1.0, 0.2), normal(2.0, 0.2)]
    pooled = pool_quantiles(members, LEVELS, torch.tensor([math.log(3.0), 0.0]))
    torch.testing.assert_close(pooled, normal(1.25, 0.2))
    torch.testing.assert_close(pool_quantiles(members[::-1], LEVELS, torch.tensor([0.0, math.log(3.0)])), pooled)


def test_what_lies_below_0_nats_is_no_width() -> None:
    """Of two that both say 0 nats, the one that goes on further below is no less sure."""
    floor = math.log(OFFSET)
    low, lower = normal(floor - 1, 0.1), normal(floor - 5, 1.0)
    torch.testing.assert_close(pool_quantiles([low, lower], LEVELS, torch.zeros(2)), (low + lower) / 2)


@pytest.mark.parametrize("num_members", [2, 3])
def test_quantiles_do_not_cross(num_members: int) -> None:
    random = torch.Generator().manual_seed(0)
    steps = torch.rand(num_members, 200, 50, generator=random, dtype=torch.float64) ** 4
    members = steps.cumsum(-1) - 4 * torch.rand(num_members, 200, 1, generator=random, dtype=torch.float64)
    pooled = pool_quantiles(list(members), LEVELS, torch.randn(num_members, generator=random))
    assert (pooled.diff(dim=-1) >= 0).all()
    assert (pooled <= members.amax(0) + 1e-12).all() and (pooled >= members.amin(0) - 1e-12).all()
