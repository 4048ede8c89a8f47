"""Functions of a side, against joints whose MI they should show."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from data_gen.warps import Spiral
from mist.expansions import (
    EXPANSION_CANDIDATES,
    EXPANSION_MAX_DIM,
    as_correlation,
    expansion_candidates,
    norm_level,
    num_products,
    products,
    radial_covariance,
    turned_by_cosines,
)
from mist.features import FeatureConfig, extract_features
from mist.gaussian import gaussian_bias, gaussian_information
from mist.panel import CANDIDATES
from mist.scores import double_ranks, gaussian_scores

COSINES = tuple(name for name in EXPANSION_CANDIDATES if name.endswith("_cosines"))


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


def test_cosines_come_near_what_is_behind_a_faster_spiral() -> None:
    x, y = pairs(8000, 3, 0.8)
    y[..., 1:] = pairs(8000, 3, 0.0, seed=1)[1][..., 1:]
    truth = -0.5 * math.log(1 - 0.8**2)
    turned = Spiral((0, 1), 0.4)(x), y
    found = [candidate(name, *turned) for name in COSINES]
    assert len(found) == 3
    for less, more in itertools.pairwise([candidate("gaussian_ridge_0_debiased", *turned), *found]):
        assert (more > less + 0.03).all(), found
    assert float((found[-1] - truth).abs().max()) < 0.15, found


def test_a_product_of_two_columns_is_seen_from_its_side() -> None:
    x, noise = pairs(4000, 2, 0.0)
    y = (x[..., :1] * x[..., 1:]).sign() * noise[..., :1].abs()  # half of it is the sign of the product: ln 2 in all
    for name in ("gaussian_ridge_0_debiased", "squares_debiased", "regression_2_low", "regression_3_low"):
        assert float(candidate(name, x, y).max()) < 0.02, name
    expected = -0.5 * math.log(1 - (2 / math.pi) ** 3)  # E|xx'| E|y| squared, of variance 1 each
    for name in ("regression_2_high", "regression_3_high"):
        assert float((candidate(name, x, y) - expected).abs().max()) < 0.03, name
        torch.testing.assert_close(candidate(name, y, x), candidate(name, x, y), rtol=0, atol=1e-5)


def test_regression_on_products_adds_nothing_to_gaussian_pairs() -> None:
    x, y = pairs(4000, 3, 0.7)
    truth = -1.5 * math.log(1 - 0.7**2)
    for name in EXPANSION_CANDIDATES:
        if name.startswith("regression"):
            assert float((candidate(name, x, y) - truth).abs().max()) < 0.06, name


def test_independent_sides_read_nothing_on_average() -> None:
    """Before what is negative is cut; functions of degree 3 have heavier tails than the law of the bias supposes."""
    generator = torch.Generator().manual_seed(0)
    sample = torch.randn(64, 6, 1000, generator=generator, dtype=torch.float64)
    scores = gaussian_scores(double_ranks(sample))
    squares = torch.stack([scores[:, :3], scores[:, :3] ** 2 - 1, scores[:, 3:], scores[:, 3:] ** 2 - 1], dim=1)
    functions = squares.flatten(1, 2)
    values, masks = expansion_candidates(scores, functions @ functions.mT / 1000, 3)
    assert len(values) == len(masks) == len(EXPANSION_CANDIDATES)
    for name, value, mask in zip(EXPANSION_CANDIDATES, values, masks, strict=True):
        assert mask.all(), name
        assert abs(float(value.mean())) < (0.02 if name == "products_3" else 0.01), (name, value.mean())


@pytest.mark.parametrize(
    ("num_points", "dim", "undefined"),
    [
        (400, 3, ""),
        (20, 3, "turns_by products regression"),
        (37, 3, "turns_by_4 products_3 regression_3"),  # 18 functions
        (36, 3, "turns_by_2 turns_by_4 products regression"),
        (19, 3, "turns products regression"),
        (13, 3, "squares turns products regression"),
        (1000, 5, ""),  # 110 functions of degrees up to 3
        (1000, (6, 4), "products_3 regression_3"),  # 117
        (1000, 8, "products_3 regression_3"),  # turned ones: 80
        (1000, 9, "turns_by_4 products_3 regression_3"),  # 108 of degrees up to 2
        (1000, (10, 9), "turns_by_4 products regression"),  # 119
        (400, EXPANSION_MAX_DIM // 2 + 1, "squares turns products regression"),
    ],
)
def test_masks(num_points: int, dim: int | tuple[int, int], undefined: str) -> None:
    dims = dim if isinstance(dim, tuple) else (dim, dim)
    x, y = pairs(num_points, max(dims), 0.5)
    features = extract_features(x[..., : dims[0]], y[..., : dims[1]], FeatureConfig())
    for name in EXPANSION_CANDIDATES:
        there = features.candidate_mask[:, CANDIDATES.index(name)]
        assert there.tolist() == [not any(name.startswith(start) for start in undefined.split())] * 4, name


def test_products_are_orthonormal_for_independent_gaussian_scores() -> None:
    side = torch.randn(1, 3, 400_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    blocks = products(side, 3)
    assert [block.shape[1] for block in blocks] == [3, 6, 10]
    assert sum(block.shape[1] for block in blocks) == num_products(3, 3)
    functions = torch.cat(blocks, dim=1)[0]
    gram = functions @ functions.mT / side.shape[-1]
    torch.testing.assert_close(gram, torch.eye(19, dtype=torch.float64), rtol=0, atol=0.05)
    x0, x1, x2 = side[0]
    assert any(torch.allclose(f, (x0**2 - 1) * x2 / math.sqrt(2)) for f in blocks[2][0])
    assert any(torch.allclose(f, x0 * x1 * x2) for f in blocks[2][0])
    assert any(torch.allclose(f, (x1**3 - 3 * x1) / math.sqrt(6)) for f in blocks[2][0])


def cosines(side: Tensor, count: int) -> Tensor:
    norm = side.square().mean(1, keepdim=True).sqrt()
    score = (norm - norm.mean(-1, keepdim=True)) / norm.std(-1, correction=0, keepdim=True)
    level = (1 + (score / math.sqrt(2)).erf()) / 2
    return torch.cat([side * (j * math.pi * level).cos() for j in range(count + 1)], dim=1)


def test_scores_turned_by_cosines() -> None:
    side = pairs(300, 2, 0.0)[0].mT
    found = turned_by_cosines(side, norm_level(side), 4)
    torch.testing.assert_close(torch.cat(found, dim=1), cosines(side, 4))


@pytest.mark.parametrize("chunk", [1 << 20, 4 * 50 * 18])
def test_nested_functions_read_what_each_set_reads_alone(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mist.expansions._CHUNK", chunk)
    x, y = pairs(500, 2, 0.6)
    a, b = (gaussian_scores(double_ranks(side.mT.contiguous())) for side in (x, y))
    for count in (1, 2, 4):
        expected = alone(cosines(a, count), cosines(b, count))
        torch.testing.assert_close(candidate(f"turns_by_{count}_cosines", x, y), expected.float(), rtol=0, atol=1e-5)
    for degree in (2, 3):
        f, g = (torch.cat(products(side, degree), dim=1) for side in (a, b))
        torch.testing.assert_close(candidate(f"products_{degree}", x, y), alone(f, g).float(), rtol=0, atol=1e-5)
        ways = torch.stack([alone(f, b), alone(a, g)]).sort(0).values
        for which, expected in zip(("low", "high"), ways, strict=True):
            found = candidate(f"regression_{degree}_{which}", x, y)
            torch.testing.assert_close(found, expected.float(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["a score at 0", "equal columns", "constant", "binary", "equal sides"])
def test_no_slope_is_lost_where_functions_do_not_vary(kind: str) -> None:
    x, y = (side.mT.clone() for side in pairs(201, 1 if kind == "a score at 0" else 2, 0.5))
    if kind == "equal columns":
        x[:, 1] = x[:, 0]
    elif kind == "constant":
        x[:, 1] = 0
    elif kind == "binary":
        x = x.sign()
    elif kind == "equal sides":
        y = x.clone()
    scores = torch.cat([x, y], dim=1)
    if kind == "a score at 0":
        scores = scores - scores[..., :1]
    scores.requires_grad_()
    dim = len(scores[0])
    values, masks = expansion_candidates(scores, torch.eye(2 * dim, dtype=torch.float64).expand(4, -1, -1), dim // 2)
    assert all(bool(mask.all()) for mask in masks)
    torch.stack(values).sum().backward()
    assert scores.grad is not None and scores.grad.isfinite().all() and bool((scores.grad != 0).any())


def alone(f: Tensor, g: Tensor) -> Tensor:
    """Debiased Gaussian MI of functions (B, F, N), (B, G, N) by the ridge of the panel."""
    functions = torch.cat([f, g], dim=1)
    correlation = torch.stack([torch.corrcoef(rows) for rows in functions])
    eye = torch.eye(functions.shape[1], dtype=torch.float64)
    value, defined = gaussian_information((correlation + 1e-3 * eye) / (1 + 1e-3), f.shape[1])
    assert defined.all()
    return value - gaussian_bias(f.shape[-1], f.shape[1], g.shape[1])


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
