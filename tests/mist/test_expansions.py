"""Functions of a side, against joints whose MI they should show."""

import math

import pytest
import torch
from torch import Tensor

from data_gen.warps import Spiral
from mist.expansions import EXPANSION_MAX_DIM, as_correlation, radial_covariance
from mist.features import FeatureConfig, extract_features
from mist.panel import CANDIDATES


def pairs(num_points: int, dim: int, rho: float, seed: int = 0) -> tuple[Tensor, Tensor]:
    """(4, N, dim) each: x_i and y_i correlate by rho."""
    generator = torch.Generator().manual_seed(seed)
    x, noise = (torch.randn(4, num_points, dim, generator=generator, dtype=torch.float64) for _ in range(2))
    return x, rho * x + math.sqrt(1 - rho**2) * noise


def candidate(name: str, x: Tensor, y: Tensor) -> Tensor:
    features = extract_features(x, y, FeatureConfig())
    index = CANDIDATES.index(name)
    assert features.candidate_mask[:, index].all()
    return features.candidates[:, index]


@pytest.mark.parametrize(("dim", "speed"), [(4, 0.25), (8, 0.15)])
def test_turns_see_through_a_spiral(dim: int, speed: float) -> None:
    x, y = pairs(6000, dim, 0.7)
    y[..., 2:] = pairs(6000, dim, 0.0, seed=1)[1][..., 2:]  # common norms would be read a second time
    truth = -math.log(1 - 0.7**2)
    turned = Spiral((0, 1), speed)(x), Spiral((1, 2), speed)(y)
    assert float(candidate("gaussian_ridge_0_debiased", *turned).max()) < truth - 0.3
    found = candidate("turns_debiased", *turned)
    assert float((found - truth).abs().max()) < 0.1, found


def test_squares_see_an_even_function() -> None:
    x, noise = pairs(4000, 2, 0.0)
    y = x.square().sum(-1, keepdim=True) + noise[..., :1]
    assert float(candidate("gaussian_ridge_0_debiased", x, y).max()) < 0.01
    assert float(candidate("squares_debiased", x, y).min()) > 0.3


@pytest.mark.parametrize("name", ["squares_debiased", "turns_debiased"])
def test_independent_sides_read_nothing(name: str) -> None:
    x, y = pairs(1000, 6, 0.0)
    assert float(candidate(name, x, y).mean()) < 0.03


@pytest.mark.parametrize(
    ("num_points", "dim", "squares", "turns"),
    [(20, 3, True, True), (19, 3, True, False), (13, 3, False, False), (400, EXPANSION_MAX_DIM // 2 + 1, False, False)],
)
def test_masks(num_points: int, dim: int, squares: bool, turns: bool) -> None:
    features = extract_features(*pairs(num_points, dim, 0.5), FeatureConfig())
    for name, defined in (("squares_debiased", squares), ("turns_debiased", turns)):
        assert bool(features.candidate_mask[:, CANDIDATES.index(name)].all()) == defined, name


def test_radial_covariance_is_that_of_its_functions() -> None:
    x, y = (side.mT for side in pairs(300, 2, 0.6))
    found = radial_covariance(torch.cat([x, y], dim=1), 2)
    norms = [side.square().mean(1).sqrt() for side in (x, y)]
    norms = [(norm - norm.mean(-1, keepdim=True)) / norm.std(-1, correction=0, keepdim=True) for norm in norms]
    for i in range(4):
        left, right = x[i, 1] * norms[0][i], y[i, 0] * (norms[1][i] ** 2 - 1)  # functions 3 and 6 + 4 of 12
        expected = torch.cov(torch.stack([left, right]), correction=0)[0, 1]
        assert float(found[i, 3, 10]) == pytest.approx(float(expected), abs=1e-12)


def test_what_does_not_vary_is_independent() -> None:
    covariance = torch.tensor([[[4.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]], dtype=torch.float64)
    expected = torch.tensor([[1.0, 0.5, 0.0], [0.5, 1.0, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float64)
    torch.testing.assert_close(as_correlation(covariance)[0], expected)
