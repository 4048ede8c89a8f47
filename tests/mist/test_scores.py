"""Ranks, scores and the canonical order of the points, against scipy and under every symmetry."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from mist.scores import (
    argsort_last,
    break_ties,
    canonical_order,
    double_ranks,
    gaussian_scores,
    score_table,
    student_table,
    take,
)

pytestmark = pytest.mark.usefixtures("unmoved_global_state")
CPU = torch.device("cpu")


def values(kind: str, *shape: int, seed: int = 0) -> Tensor:
    """(B, D, N) numbers: continuous, rounded, of two levels, or of two levels equally often."""
    drawn = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    if kind == "rounded":
        return drawn.round()
    if kind == "binary":
        return (drawn > 0.3).double()
    if kind == "balanced":
        return (drawn > drawn.median(-1, keepdim=True).values).double()
    return drawn


@pytest.mark.parametrize("kind", ["continuous", "rounded", "binary"])
@pytest.mark.parametrize("num_points", [4, 37, 500])
def test_double_ranks_are_those_of_scipy(kind: str, num_points: int) -> None:
    sample = values(kind, 2, 3, num_points)
    expected = 2 * (stats.rankdata(sample.numpy(), axis=-1) - 1)
    np.testing.assert_array_equal(double_ranks(sample).numpy(), expected)
    assert double_ranks(sample.float()).dtype == torch.int64


def test_double_ranks_of_a_tensor_that_needs_gradients() -> None:
    assert double_ranks(torch.tensor([3.0, 1.0, 2.0], requires_grad=True)).tolist() == [4, 0, 2]


@pytest.mark.parametrize("kind", ["continuous", "rounded", "binary"])
def test_a_falling_map_negates_scores_exactly(kind: str) -> None:
    sample = values(kind, 2, 3, 50)
    ranks, falling = double_ranks(sample), double_ranks(-sample)
    assert torch.equal(falling, 2 * 49 - ranks)
    assert torch.equal(gaussian_scores(falling), -gaussian_scores(ranks))


@pytest.mark.parametrize("kind", ["continuous", "rounded", "binary"])
def test_a_rising_map_changes_no_score(kind: str) -> None:
    sample = values(kind, 2, 3, 50)
    assert torch.equal(double_ranks(sample.exp() - 7), double_ranks(sample))


def test_scores_are_centred_of_unit_variance_and_ordered() -> None:
    sample = values("rounded", 2, 3, 200)
    scores = gaussian_scores(double_ranks(sample))
    assert scores.dtype == torch.float64
    assert scores.mean(-1).abs().max() < 1e-12 and (scores.square().mean(-1) - 1).abs().max() < 1e-12
    order = sample.argsort(-1)
    assert (scores.gather(-1, order).diff(dim=-1) >= 0).all()


@pytest.mark.parametrize("num_points", [4, 5, 301])
def test_score_table(num_points: int) -> None:
    table = score_table(num_points, CPU)
    levels = (np.arange(2 * num_points - 1) + 1) / (2 * num_points)  # (rank + 1/2) / N by double rank
    np.testing.assert_allclose(table, stats.norm.ppf(levels), atol=1e-12)
    assert torch.equal(table, -table.flip(0))


@pytest.mark.parametrize(
    ("df", "tolerance"), [(1.0, 1e-9), (2.0, 1e-9), (4.0, 1e-7), (8.0, 2e-2), (16.0, 2e-3), (1e9, 1e-6)]
)
@pytest.mark.parametrize("num_points", [5, 300])
def test_student_table(df: float, tolerance: float, num_points: int) -> None:
    table = student_table(num_points, df, CPU)
    levels = (np.arange(2 * num_points - 1) + 1) / (2 * num_points)
    np.testing.assert_allclose(table, stats.t.ppf(levels, df), rtol=tolerance, atol=1e-7)
    assert torch.equal(table, -table.flip(0))


def test_argsort_and_take() -> None:
    sample = values("continuous", 2, 3, 20)
    assert torch.equal(argsort_last(sample), sample.argsort(-1))
    assert torch.equal(take(torch.arange(10.0), torch.tensor([[3, 1], [9, 0]])), torch.tensor([[3.0, 1.0], [9.0, 0.0]]))


def arranged(ranks: Tensor) -> Tensor:
    """The points in canonical order, (B, D, N)."""
    order = canonical_order(ranks)
    assert torch.equal(order.sort(-1).values, torch.arange(ranks.shape[-1]).expand_as(order))
    return ranks.gather(-1, order.unsqueeze(-2).expand_as(ranks))


@pytest.mark.parametrize("kind", ["continuous", "rounded", "binary", "balanced"])
@pytest.mark.parametrize(("num_points", "dim"), [(10, 5), (50, 2), (50, 6), (500, 2), (2000, 3)])
class TestCanonicalOrder:
    def ranks(self, kind: str, num_points: int, dim: int) -> Tensor:
        sample = values(kind, 16, dim, num_points)
        if kind != "continuous":  # a continuous column beside discrete ones
            sample[:, 0] = values("continuous", 16, num_points, seed=1)
        return double_ranks(sample)

    def test_points(self, kind: str, num_points: int, dim: int) -> None:
        ranks = self.ranks(kind, num_points, dim)
        moved = ranks[..., torch.randperm(num_points, generator=torch.Generator().manual_seed(2))]
        assert torch.equal(arranged(moved), arranged(ranks))

    def test_coordinates_and_swap(self, kind: str, num_points: int, dim: int) -> None:
        ranks = self.ranks(kind, num_points, dim)
        permutation = torch.randperm(dim, generator=torch.Generator().manual_seed(2))
        for index in (permutation, torch.arange(dim).flip(0)):
            assert torch.equal(arranged(ranks[:, index]), arranged(ranks)[:, index])

    def test_falling_maps(self, kind: str, num_points: int, dim: int) -> None:
        ranks = self.ranks(kind, num_points, dim)
        for falls in (torch.arange(dim) == 0, torch.arange(dim) % 2 == 1, torch.ones(dim, dtype=torch.bool)):
            falls = falls.unsqueeze(-1)
            top = 2 * (num_points - 1)
            moved = torch.where(falls, top - ranks, ranks)
            expected = arranged(ranks)
            assert torch.equal(arranged(moved), torch.where(falls, top - expected, expected))


def test_canonical_order_keeps_equal_points_apart() -> None:
    sample = values("binary", 8, 2, 400)
    laid_out = arranged(double_ranks(sample))
    neighbours = (laid_out[..., 1:] == laid_out[..., :-1]).all(-2).double().mean()
    anywhere = (laid_out.unsqueeze(-1) == laid_out.unsqueeze(-2)).all(1).double().mean()
    assert abs(neighbours - anywhere) < 0.05


class TestBrokenTies:
    """Equal values spread evenly within their step, alike under every symmetry of MI."""

    @pytest.mark.parametrize("kind", ["rounded", "binary", "balanced"])
    def test_no_tie_is_left_and_the_order_is_kept(self, kind: str) -> None:
        sample = values(kind, 2, 3, 40)
        broken = break_ties(double_ranks(sample))
        assert torch.equal(broken.sort(-1).values, torch.arange(0, 80, 2).expand(2, 3, 40))
        lower = sample.unsqueeze(-1) < sample.unsqueeze(-2)
        assert bool((broken.unsqueeze(-1) < broken.unsqueeze(-2))[lower].all())

    def test_columns_without_ties_are_left_as_they_are(self) -> None:
        sample = torch.cat([values("continuous", 2, 1, 40), values("rounded", 2, 2, 40)], dim=1)
        ranks = double_ranks(sample)
        broken = break_ties(ranks)
        assert torch.equal(broken[:, 0], ranks[:, 0]) and not torch.equal(broken[:, 1:], ranks[:, 1:])
        continuous = double_ranks(values("continuous", 2, 3, 40))
        assert break_ties(continuous) is continuous

    @pytest.mark.parametrize("kind", ["rounded", "binary"])
    def test_symmetries(self, kind: str) -> None:
        sample = values(kind, 1, 3, 40)
        broken = break_ties(double_ranks(sample))
        order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
        moved = break_ties(double_ranks(sample[..., order]))
        assert sorted(map(tuple, broken[0].T.tolist())) == sorted(map(tuple, moved[0].T.tolist()))
        assert torch.equal(break_ties(double_ranks(-sample)), 78 - broken)
        assert torch.equal(break_ties(double_ranks(sample[:, [2, 0, 1]])), broken[:, [2, 0, 1]])

    def test_equal_columns_are_broken_apart_and_alike_on_average(self) -> None:
        """The noise of a balanced binary pair of equal columns: halves of the ranks each, in unrelated orders."""
        column = values("balanced", 1, 1, 2000)
        broken = break_ties(double_ranks(column.expand(1, 2, 2000).contiguous()))[0].double()
        for level in (0, 1):
            inside = broken[:, column[0, 0] == level]
            assert abs(float(torch.corrcoef(inside)[0, 1])) < 0.1
