"""KSG and Ross: the tree, all pairs, brute-force and other packages' witnesses and known laws agree."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import digamma
from sklearn.feature_selection import mutual_info_classif
from torch import Tensor

from mist import nearest_neighbours
from mist.discrete import Levels, side_levels
from mist.nearest_neighbours import (
    _counts_by_pairs,
    _counts_by_tree,
    _level_counts_by_pairs,
    _level_counts_by_tree,
    ksg_change,
    ksg_mutual_information,
    ross_mutual_information,
)
from mist.scores import double_ranks, gaussian_scores

pytestmark = pytest.mark.usefixtures("unmoved_global_state")


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def sides(num_datasets: int, num_points: int, dim_x: int, dim_y: int, rho: float = 0.7) -> tuple[Tensor, Tensor]:
    """Columns of one side that correlate with their like on the other, (B, Dx, N) and (B, Dy, N)."""
    x, y = normal(num_datasets, dim_x, num_points), normal(num_datasets, dim_y, num_points, seed=1)
    shared = min(dim_x, dim_y)
    y[:, :shared] = rho * x[:, :shared] + math.sqrt(1 - rho**2) * y[:, :shared]
    return x, y


def brute_force(x: NDArray[np.float64], y: NDArray[np.float64], k: int) -> float:
    """Algorithm 1 of Kraskov et al. (2004) word by word: (Dx, N), (Dy, N) -> nats."""
    num_points = x.shape[1]
    terms = []
    for i in range(num_points):
        to_x = np.abs(np.delete(x, i, axis=1) - x[:, [i]]).max(0)
        to_y = np.abs(np.delete(y, i, axis=1) - y[:, [i]]).max(0)
        radius = np.sort(np.maximum(to_x, to_y))[k - 1]
        terms.append(digamma((to_x < radius).sum() + 1) + digamma((to_y < radius).sum() + 1))
    return float(digamma(k) + digamma(num_points) - np.mean(terms))


@pytest.mark.parametrize("dims", [(1, 1), (1, 2), (2, 2)])
@pytest.mark.parametrize("num_neighbours", [1, 3])
def test_equals_a_brute_force_search(dims: tuple[int, int], num_neighbours: int) -> None:
    x, y = sides(3, 80, *dims)
    found = ksg_mutual_information(x, y, num_neighbours)
    assert found.dtype == torch.float64
    for value, a, b in zip(found, x.numpy(), y.numpy()):
        assert value == pytest.approx(brute_force(a, b, num_neighbours), abs=1e-12)


@pytest.mark.parametrize("dims", [(1, 1), (1, 3), (2, 2)])
@pytest.mark.parametrize("kind", ["continuous", "scores", "rounded", "binary"])
def test_tree_equals_all_pairs(dims: tuple[int, int], kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mist.nearest_neighbours._CHUNK", 3 * 60 * 7)  # seven points at once
    x, y = sides(3, 60, *dims)
    if kind == "scores":
        x, y = (gaussian_scores(double_ranks(side)) for side in (x, y))
    if kind == "rounded":
        x, y = (2 * x).round(), y
    if kind == "binary":
        x, y = (x > 0).double(), (y > 0).double()
    for by_tree, by_pairs in zip(_counts_by_tree(x, y, 3), _counts_by_pairs(x, y, 3)):
        assert torch.equal(by_tree.long(), by_pairs.long())


def test_the_order_of_points_and_the_signs_of_scores_do_not_matter() -> None:
    x, y = (gaussian_scores(double_ranks(side)) for side in sides(8, 100, 1, 1))
    permutation = torch.randperm(100, generator=torch.Generator().manual_seed(2))
    found = ksg_mutual_information(x, y)
    moved = [gaussian_scores(double_ranks(side[..., permutation])) for side in (x, y)]
    torch.testing.assert_close(ksg_mutual_information(moved[0], moved[1]), found, rtol=0, atol=1e-12)
    torch.testing.assert_close(ksg_mutual_information(-x, y), found, rtol=0, atol=1e-12)
    torch.testing.assert_close(ksg_mutual_information(y, x), found, rtol=0, atol=1e-12)


@pytest.mark.parametrize("rho", [0.0, 0.6, 0.95])
@pytest.mark.parametrize("ranked", [False, True])
def test_gaussian_mutual_information(rho: float, ranked: bool) -> None:
    x, y = sides(30, 400, 1, 1, rho)
    if ranked:
        x, y = (gaussian_scores(double_ranks(side)) for side in (x, y))
    found = ksg_mutual_information(x, y)
    truth = -0.5 * math.log(1 - rho**2)
    assert float(found.mean()) == pytest.approx(truth, abs=0.025)


def classes(num_datasets: int, num_points: int, dim: int, shift: float) -> tuple[Levels, Tensor]:
    """Two unequal classes and a rare third, whose normal values differ by `shift` in mean."""
    label = (normal(num_datasets, 1, num_points, seed=2) > 0.3).double()
    label[:, :, 0] = 2.0
    return side_levels(double_ranks(label)), normal(num_datasets, dim, num_points) + shift * label


EVERY = torch.ones(3, dtype=torch.bool)


class TestRoss:
    @pytest.mark.parametrize("num_neighbours", [1, 3])
    @pytest.mark.parametrize("shift", [0.0, 1.5])
    def test_equals_scikit_learn(self, num_neighbours: int, shift: float) -> None:
        levels, values = classes(3, 150, 1, shift)
        found = ross_mutual_information(levels, values, EVERY, num_neighbours)
        for value, index, y in zip(found, levels.index.numpy(), values.numpy()):
            [expected] = mutual_info_classif(y.T, index, n_neighbors=num_neighbours, random_state=0)
            assert max(float(value), 0) == pytest.approx(expected, abs=1e-9)

    @pytest.mark.parametrize("dim", [1, 2, 3])
    @pytest.mark.parametrize("rounded", [False, True])
    def test_tree_equals_all_pairs(self, dim: int, rounded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("mist.nearest_neighbours._CHUNK", 3 * 70 * 8)  # eight points at once
        levels, values = classes(3, 70, dim, 1.0)
        values = values.round() if rounded else values
        trees, pairs = (f(levels, values, EVERY, 3) for f in (_level_counts_by_tree, _level_counts_by_pairs))
        kept = levels.size > 1
        assert all(torch.equal(a[kept], b[kept]) for a, b in zip(trees, pairs, strict=True))

    @pytest.mark.parametrize("num_points", [4, 5, 41])
    @pytest.mark.parametrize("rounded", [False, True])
    def test_tree_equals_all_pairs_where_levels_are_small(self, num_points: int, rounded: bool) -> None:
        """Levels of one, two and three points, with more neighbours asked for than there are."""
        label = (torch.arange(num_points).clamp(max=num_points - 2) // 2).double().expand(3, 1, -1)
        levels, values = side_levels(double_ranks(label)), normal(3, 2, num_points)
        assert {2, 3} <= set(levels.size.flatten().tolist()) or num_points < 41
        values = values.round() if rounded else values
        trees, pairs = (f(levels, values, EVERY, 3) for f in (_level_counts_by_tree, _level_counts_by_pairs))
        kept = levels.size > 1
        assert all(torch.equal(a[kept], b[kept]) for a, b in zip(trees, pairs, strict=True))

    def test_two_normal_classes(self) -> None:
        """Two equally likely unit normals 2 apart: the mean of the sample's own log density ratio."""
        label = (torch.arange(2000) % 2).double().expand(8, 1, -1)
        values = normal(8, 1, 2000) + 2 * label
        density = [torch.exp(-0.5 * (values - mean) ** 2) for mean in (0, 2)]
        ratio = torch.where(label > 0, density[1], density[0]) / (0.5 * (density[0] + density[1]))
        found = ross_mutual_information(side_levels(double_ranks(label)), values, torch.ones(8, dtype=torch.bool))
        assert float((found - ratio.log().mean((1, 2))).abs().max()) < 0.03
        assert float(found.mean()) == pytest.approx(float(ratio.log().mean()), abs=0.01)

    @pytest.mark.parametrize("spread", [8.0, 40.0])
    def test_ties_of_the_values_make_no_information(self, spread: float) -> None:
        """Rounded values independent of the class: nothing, not the 0.15 nats of counting one side strictly."""
        label = (torch.arange(200) % 2).double().expand(40, 1, -1)
        values = (spread * normal(40, 1, 200)).round()
        found = ross_mutual_information(side_levels(double_ranks(label)), values, torch.ones(40, dtype=torch.bool))
        assert abs(float(found.mean())) < 0.05

    def test_values_that_tie_within_their_levels(self) -> None:
        """A variable of three levels against itself: log 3 up to the digammas of n and n/3."""
        label = (torch.arange(90) % 3).double().view(1, 1, -1)
        found = ross_mutual_information(side_levels(double_ranks(label)), label, EVERY[:1])
        assert float(found) == pytest.approx(digamma(90) - digamma(30), abs=1e-9)

    def test_only_where_it_is_wanted(self) -> None:
        levels, values = classes(3, 60, 1, 1.0)
        which = torch.tensor([True, False, True])
        found = ross_mutual_information(levels, values, which)
        assert found[1] == 0 and torch.equal(found[which], ross_mutual_information(levels, values, EVERY)[which])

    def test_levels_of_one_point_each(self) -> None:
        values = normal(3, 1, 20)
        assert torch.equal(
            ross_mutual_information(side_levels(double_ranks(values)), values, EVERY),
            torch.zeros(3, dtype=torch.float64),
        )


@pytest.mark.parametrize("dims", [(1, 3), (2, 1)])
def test_trees_count_in_the_boxes_of_many_points_as_bits_do(
    dims: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = (torch.randn(2, dim, 200, generator=torch.Generator().manual_seed(dim), dtype=torch.float64) for dim in dims)
    expected = ksg_mutual_information(x, y)
    monkeypatch.setattr(nearest_neighbours, "_MOST_BITS", 100)
    assert torch.equal(ksg_mutual_information(x, y), expected)


ORDER = torch.arange(4_000).unsqueeze(0)


@pytest.mark.parametrize(("dim_x", "dim_y"), [(1, 1), (2, 1), (1, 3)])
def test_the_change_by_a_larger_correlation_is_that_of_gaussian_information(dim_x: int, dim_y: int) -> None:
    """The first column of a side of one moves from r = .6 to .65 with the other side's first: ½ log 1/(1 - r²)."""
    scores = normal(1, dim_x + dim_y, 4_000).double()
    moving, still = (0, dim_x) if dim_x == 1 else (dim_x, 0)

    def joint(r: float) -> Tensor:
        points = scores.clone()
        points[:, moving] = r * scores[:, still] + math.sqrt(1 - r * r) * scores[:, moving]
        return points

    found = ksg_change(joint(0.6), joint(0.65), dim_x, ORDER)
    assert float(found) == pytest.approx(0.5 * math.log((1 - 0.6**2) / (1 - 0.65**2)), rel=0.15)
    for same in (joint(0.6), joint(0.6).requires_grad_()):  # without a search, and by one
        assert float(ksg_change(joint(0.6), same, dim_x, ORDER).detach()) == 0


def test_the_change_is_0_where_a_side_is_scaled() -> None:
    start = normal(1, 4, 2_000).double()
    start[:, 2] += start[:, 0]
    end = start.clone()
    end[:, :2] *= 1.2
    assert float(ksg_change(start, end, 2, ORDER[:, :2_000])) == pytest.approx(0, abs=0.03)
    assert float(ksg_change(start, end, 1, ORDER[:, :2_000])) < -0.1  # of columns that are not to change


def test_the_change_is_the_mean_over_the_first_points_of_many(monkeypatch: pytest.MonkeyPatch) -> None:
    start = normal(1, 3, 300).double()
    end = start + 0.1 * normal(1, 3, 300, seed=2).double()
    parts = []
    monkeypatch.setattr(nearest_neighbours, "_MOST_ANCHORS", 100)
    for which in range(3):
        parts.append(ksg_change(start, end, 1, torch.arange(300).roll(-100 * which).unsqueeze(0)))
    monkeypatch.setattr(nearest_neighbours, "_MOST_ANCHORS", 300)
    torch.testing.assert_close(torch.stack(parts).mean(0), ksg_change(start, end, 1, ORDER[:, :300]))
    assert torch.stack(parts).std() > 1e-4


@pytest.mark.parametrize("num_points", [4, 60])
def test_the_change_by_points_at_one_place_is_finite(num_points: int) -> None:
    start = normal(1, 2, num_points).double()
    start[..., : num_points // 2] = start[..., num_points // 2 : 2 * (num_points // 2)]
    end = start.clone().requires_grad_()
    change = ksg_change(start, end, 1, torch.arange(num_points).unsqueeze(0))
    change.sum().backward()
    assert end.grad is not None and torch.isfinite(end.grad).all() and torch.isfinite(change).all()
