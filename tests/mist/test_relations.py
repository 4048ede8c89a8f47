"""The relation graph against scipy, numpy and the exact law of elliptical copulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from mist.features import FeatureConfig, extract_features
from mist.relations import (
    NUM_RELATIONS,
    Covariances,
    hermite,
    kendall_change,
    kendall_correlation,
    relation_features,
)
from mist.scores import canonical_order, double_ranks, gaussian_scores

pytestmark = pytest.mark.usefixtures("unmoved_global_state")


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def pairs(num_datasets: int, num_points: int, rho: float) -> Tensor:
    """Bivariate normal data, (B, 2, N)."""
    sample = normal(num_datasets, 2, num_points)
    sample[:, 1] = rho * sample[:, 0] + math.sqrt(1 - rho**2) * sample[:, 1]
    return sample


def kendall(sample: Tensor, num_shifts: int) -> Tensor:
    ranks = double_ranks(sample)
    return kendall_correlation(gaussian_scores(ranks), canonical_order(ranks), num_shifts)


@pytest.mark.parametrize("round_to", [0, 1])
@pytest.mark.parametrize("num_points", [5, 40])
def test_all_shifts_are_kendalls_tau_b(num_points: int, round_to: int) -> None:
    sample = pairs(4, num_points, 0.5)
    sample = sample.round() if round_to else sample
    found = kendall(sample, num_points - 1)
    for row, (x, y) in zip(found, sample.numpy()):
        tau = stats.kendalltau(x, y).statistic
        assert row[0, 1] == pytest.approx(math.sin(math.pi * tau / 2), abs=1e-6)
        assert row[1, 0] == pytest.approx(float(row[0, 1])) and row[0, 0] == row[1, 1] == 1


@pytest.mark.parametrize("rho", [-0.95, -0.3, 0.0, 0.6, 0.99])
def test_a_few_shifts_find_the_correlation_of_a_normal_law(rho: float) -> None:
    sample = pairs(1, 20_000, rho)
    found = float(kendall(sample, 8)[0, 0, 1])
    assert found == pytest.approx(rho, abs=0.03)
    tau = stats.kendalltau(*sample[0].numpy()).statistic
    assert 2 / math.pi * math.asin(found) == pytest.approx(tau, abs=0.015)


def test_a_few_shifts_under_ties() -> None:
    sample = (pairs(1, 20_000, 0.7) > torch.tensor([0.0, 0.4]).unsqueeze(-1)).double()
    tau = stats.kendalltau(*sample[0].numpy()).statistic
    assert 2 / math.pi * math.asin(float(kendall(sample, 8)[0, 0, 1])) == pytest.approx(tau, abs=0.015)


@pytest.mark.parametrize("rho", [-0.5, 0.0, 0.8])
def test_the_change_by_a_larger_correlation_is_that_of_kendalls(rho: float) -> None:
    """sin(πτ/2) is the correlation in the limit, and what is smooth moves nearly as much."""
    independent = normal(1, 2, 20_000)
    start, end = independent.clone(), independent.clone()
    for points, r in ((start, rho), (end, rho + 0.1)):
        points[:, 1] = r * independent[:, 0] + math.sqrt(1 - r * r) * independent[:, 1]
    order = torch.arange(20_000).unsqueeze(0)
    change = kendall_change(start, end, order, 8)
    assert float(change[0, 0, 1]) == pytest.approx(0.1, abs=0.02)
    assert change[0].diagonal().abs().max() < 1e-6
    assert not kendall_change(start, start, order, 8).any()


def test_balanced_binary_columns_have_their_exact_tau() -> None:
    sample = pairs(3, 40, 0.7)
    sample = (sample > sample.median(-1, keepdim=True).values).double().mT  # (B, N, 2)
    relations = extract_features(sample[..., :1], sample[..., 1:], FeatureConfig()).relations
    for row, (x, y) in zip(relations, sample.mT.numpy()):
        tau = stats.kendalltau(x, y).statistic
        assert row[1, 0, 1] == pytest.approx(abs(math.sin(math.pi * tau / 2)), abs=1e-6)


def test_hermite_polynomials() -> None:
    scores = gaussian_scores(double_ranks(normal(2, 3, 100)))
    z = scores.numpy()
    polynomials, scale_second, scale_third = hermite(scores)
    first, second, third = polynomials.chunk(3, dim=1)
    assert torch.equal(first, scores)
    for found, scale, raw in ((second, scale_second, z**2 - 1), (third, scale_third, z**3 - 3 * z)):
        deviation = raw.std(-1, keepdims=True)
        np.testing.assert_allclose(scale, deviation, atol=1e-10)
        np.testing.assert_allclose(found, (raw - raw.mean(-1, keepdims=True)) / deviation, atol=1e-10)
        assert found.dtype == torch.float64


def test_relation_features_are_the_covariances_computed_directly() -> None:
    num_points, dim_x, dim_y = 60, 2, 3
    x, y = normal(2, num_points, dim_x), normal(2, num_points, dim_y, seed=1)
    y[..., 0] += x[..., 1].square()
    relations = extract_features(x, y, FeatureConfig()).relations.double().numpy()
    assert relations.shape == (2, NUM_RELATIONS, 5, 5)
    for data, row in zip(np.concatenate([x, y], axis=-1), relations):
        z = stats.norm.ppf((stats.rankdata(data, axis=0) - 0.5) / num_points)
        z = (z - z.mean(0)) / z.std(0)
        polynomials = [z, z**2 - 1, z**3 - 3 * z]
        polynomials = [(p - p.mean(0)) / p.std(0) for p in polynomials]
        c = {(a + 1, b + 1): polynomials[a].T @ polynomials[b] / num_points for a in range(3) for b in range(3)}
        r = c[1, 1]
        residual = z[:, :, None] - r * z[:, None, :]  # of coordinate i on j, (N, D, D)
        variance = np.where(np.eye(5, dtype=bool), 1.0, (residual**2).mean(0))
        kurtosis = np.clip((residual**4).mean(0) / variance**2 - 3, -3, 3)
        expected = {
            0: np.abs(r),
            3: 4 * (c[2, 2] - r**2),
            4: np.abs(c[3, 3]),
            5: 4 * r * c[1, 3],
            6: 4 * r * c[3, 1],
            7: 4 * (r * c[3, 3] - r**4),
            17: kurtosis,
            18: kurtosis.T,
            8: np.abs(c[1, 2]),
            9: np.abs(c[2, 1]),
            10: c[1, 2] * c[3, 2],
            11: c[2, 1] * c[2, 3],
            12: np.clip(np.abs(c[1, 1]) * math.sqrt(num_points), None, 12) / 4,
            13: np.clip(c[2, 2] * math.sqrt(num_points), -12, 12) / 4,
        }
        for channel, value in expected.items():
            np.testing.assert_allclose(row[channel], value, atol=1e-5, err_msg=f"channel {channel}")
        off = ~np.eye(5, dtype=bool)
        np.testing.assert_allclose(row[14][off], -np.log1p(-(c[1, 1][off] ** 2)), atol=1e-5)
        np.testing.assert_array_equal(row[16], 0)  # no ties
        np.testing.assert_array_equal(row[19], np.eye(5))
        side = np.arange(5) < dim_x
        np.testing.assert_array_equal(row[20], side[:, None] == side)


def test_group_marks() -> None:
    x, y = normal(1, 30, 3), normal(1, 30, 2, seed=1)
    groups_x, groups_y = torch.tensor([1, 0, 1]), torch.tensor([1, 1])
    group = extract_features(x, y, FeatureConfig(), groups_x, groups_y).relations[0, 21]
    expected = torch.zeros(5, 5, dtype=torch.bool)
    expected[[0, 0, 2, 2, 3, 3, 4, 4], [0, 2, 0, 2, 3, 4, 3, 4]] = True  # equal marks on two sides are two groups
    assert torch.equal(group.bool(), expected)


def test_a_pair_is_marked_by_the_more_tied_of_its_columns() -> None:
    nothing, scale = torch.zeros(1, 3, 3), torch.ones(1, 3, 1)
    mask = torch.ones(3, 3, dtype=torch.bool)
    tied = torch.tensor([[0.0, 0.25, 1.0]])
    marks = relation_features(Covariances(*[nothing] * 6, scale, scale), nothing, mask, mask, tied, 30)[0, 16]
    assert marks.tolist() == [[0, 0.25, 1], [0.25, 0.25, 1], [1, 1, 1]]


@pytest.mark.parametrize("kind", ["continuous", "rounded"])
def test_a_falling_map_changes_no_relation(kind: str) -> None:
    x, y = normal(4, 80, 3), normal(4, 80, 2, seed=1)
    y[..., 0] += x[..., 0] + x[..., 1].square()
    if kind == "rounded":
        x, y = (2 * x).round(), (2 * y).round()
    found = extract_features(x, y, FeatureConfig()).relations
    moved = extract_features(x * torch.tensor([-1.0, 1, -1]), y * torch.tensor([-1.0, 1]), FeatureConfig()).relations
    assert (found - moved).abs().max() < 1e-5


def test_perfect_correlation_is_finite() -> None:
    ones, scale = torch.ones(1, 2, 2, dtype=torch.float64), torch.ones(1, 2, 1, dtype=torch.float64)
    mask = torch.ones(2, 2, dtype=torch.bool)
    tied = torch.zeros(1, 2)
    assert relation_features(Covariances(*[ones] * 6, scale, scale), ones, mask, mask, tied, 50).isfinite().all()
