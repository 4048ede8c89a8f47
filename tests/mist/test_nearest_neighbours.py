"""KSG: the tree, all pairs, a brute-force witness and the Gaussian law agree."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import digamma
from torch import Tensor

from mist.nearest_neighbours import _counts_by_pairs, _counts_by_tree, ksg_mutual_information
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
