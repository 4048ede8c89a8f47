"""Levels, ties and the plug-in estimates: against counting by dictionaries and exact contingency sums."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch
from sklearn.metrics import mutual_info_score
from torch import Tensor

from mist.discrete import joint_levels, miller_madow, plug_in, side_levels, tied_share
from mist.scores import double_ranks

pytestmark = pytest.mark.usefixtures("unmoved_global_state")


def table(num_datasets: int, num_points: int, law: Tensor, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Pairs drawn from a joint law (Kx, Ky): two (B, 1, N) float64."""
    random = torch.Generator().manual_seed(seed)
    cell = torch.multinomial(law.flatten(), num_datasets * num_points, replacement=True, generator=random)
    cell = cell.view(num_datasets, 1, num_points)
    return (cell // law.shape[1]).double(), (cell % law.shape[1]).double()


def dependent_law(num_x: int, num_y: int, seed: int = 0) -> Tensor:
    law = torch.rand(num_x, num_y, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) ** 3
    return law / law.sum()


def information(law: Tensor) -> float:
    product = law.sum(1, keepdim=True) * law.sum(0, keepdim=True)
    return float(torch.special.xlogy(law, law / product).sum())


def test_levels_are_equal_rows() -> None:
    random = torch.Generator().manual_seed(0)
    values = torch.randint(0, 3, (4, 3, 60), generator=random).double()
    values[2] = values[2][torch.randperm(3, generator=random)]
    levels = side_levels(double_ranks(values))
    for i in range(4):
        rows = [tuple(row) for row in values[i].T.tolist()]
        sizes = Counter(rows)
        assert levels.size[i].tolist() == [sizes[row] for row in rows]
        assert levels.count[i] == len(sizes)
        assert len({*zip(levels.index[i].tolist(), rows, strict=True)}) == len(sizes)  # an index is a row


def test_the_same_rank_in_two_columns_is_no_tie() -> None:
    x = torch.tensor([[[0.0, 1, 2, 3], [1, 0, 2, 3]]])
    assert side_levels(double_ranks(x)).size.tolist() == [[1, 1, 1, 1]]


@pytest.mark.parametrize(("num_levels", "num_points", "expected"), [(2, 10, True), (4, 10, False), (20, 100, True)])
def test_a_side_is_discrete_when_its_levels_hold_three_points(num_levels: int, num_points: int, expected: bool) -> None:
    x = (torch.arange(num_points) % num_levels).double().view(1, 1, -1)
    assert side_levels(double_ranks(x)).discrete.tolist() == [expected]


@pytest.mark.parametrize("share", [0.6, 0.7, 0.8])
def test_zero_inflated_columns_are_not_discrete(share: float) -> None:
    x = torch.randn(2, 1, 1000, generator=torch.Generator().manual_seed(0))
    x[..., : int(1000 * share)] = 0
    assert side_levels(double_ranks(x)).discrete.tolist() == [False, False]


@pytest.mark.parametrize("num_levels", [1, 2, 7])
def test_tied_share(num_levels: int) -> None:
    x = torch.randint(0, num_levels, (3, 2, 50), generator=torch.Generator().manual_seed(0)).double()
    pairs = (x.unsqueeze(-1) == x.unsqueeze(-2)).double().sum((-2, -1)) - 50
    torch.testing.assert_close(tied_share(double_ranks(x)), pairs / (50 * 49))


def test_no_ties() -> None:
    x = torch.randn(2, 3, 40, generator=torch.Generator().manual_seed(0))
    assert tied_share(double_ranks(x)).tolist() == [[0.0] * 3] * 2


def test_plug_in_equals_the_sum_over_the_contingency_table() -> None:
    x, y = table(5, 80, dependent_law(4, 6))
    levels = side_levels(double_ranks(x)), side_levels(double_ranks(y))
    found = plug_in(*levels, joint_levels(*levels))
    expected = [mutual_info_score(a, b) for a, b in zip(x[:, 0].numpy(), y[:, 0].numpy())]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)


def test_several_columns_are_one_variable() -> None:
    """Three bits are one variable of eight levels."""
    code, y = table(3, 200, dependent_law(8, 3))
    bits = torch.cat([code // 4, code // 2 % 2, code % 2], dim=1)
    levels, whole, other = (side_levels(double_ranks(values)) for values in (bits, code, y))
    torch.testing.assert_close(
        plug_in(levels, other, joint_levels(levels, other)), plug_in(whole, other, joint_levels(whole, other))
    )


@pytest.mark.parametrize("independent", [True, False])
def test_miller_madow_removes_the_bias_of_first_order(independent: bool) -> None:
    law = dependent_law(4, 4, seed=2).clamp(min=0.02)
    law = law / law.sum()
    if independent:
        law = law.sum(1, keepdim=True) * law.sum(0, keepdim=True)
    levels = [side_levels(double_ranks(values)) for values in table(4000, 150, law)]
    joint = joint_levels(levels[0], levels[1])
    raw, corrected = (f(levels[0], levels[1], joint) - information(law) for f in (plug_in, miller_madow))
    assert float(raw.mean()) == pytest.approx(9 / 300, rel=0.15)  # (Kx - 1)(Ky - 1) / 2n
    error = float(corrected.std()) / math.sqrt(4000)
    assert abs(float(corrected.mean())) < 0.003 + 3 * error
