"""Features: shapes, finiteness at the extremes, and the symmetries of mutual information."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mist import discrete, panel, scores
from mist.features import FeatureConfig, Features, extract_features, global_width, point_width
from mist.panel import CANDIDATES
from mist.relations import NUM_RELATIONS

pytestmark = pytest.mark.usefixtures("unmoved_global_state")
CONFIG = FeatureConfig(ties=True)


def data(kind: str, num_points: int, dim_x: int, dim_y: int, num_datasets: int = 4) -> tuple[Tensor, Tensor]:
    """Dependent data sets with columns that are continuous, rounded or of two levels; none is constant."""
    random = torch.Generator().manual_seed(num_points + 100 * dim_x + dim_y)
    x = torch.randn(num_datasets, num_points, dim_x, generator=random, dtype=torch.float64)
    y = torch.randn(num_datasets, num_points, dim_y, generator=random, dtype=torch.float64)
    y[..., 0] += x[..., 0] + 0.5 * x.square().mean(-1)
    if kind == "rounded":
        x, y = (2 * x).round(), (2 * y).round()
    if kind == "binary":
        x, y = (x > x.median(1, keepdim=True).values).double(), (y > 0).double()
    if kind == "mixed":
        x = (x > x.median(1, keepdim=True).values).double()
    for side in (x, y):
        side[:, 0], side[:, 1] = (0, 1) if kind in ("binary", "mixed") else (-3, 3)
    return x, y


def assert_finite(features: Features) -> None:
    for name in ("relations", "points", "summary", "candidates", "floor"):
        values = getattr(features, name)
        assert values.dtype == torch.float32 and values.isfinite().all(), name
        assert values.abs().max() < 1e3, name
    assert (features.floor > 0).all()


@pytest.mark.parametrize("kind", ["continuous", "rounded", "binary"])
@pytest.mark.parametrize(
    ("num_points", "dim_x", "dim_y"), [(4, 1, 1), (4, 5, 3), (10, 64, 64), (30, 1, 64), (50, 64, 1), (300, 2, 2)]
)
def test_shapes_and_finiteness(kind: str, num_points: int, dim_x: int, dim_y: int) -> None:
    features = extract_features(*data(kind, num_points, dim_x, dim_y), CONFIG)
    assert_finite(features)
    dim = dim_x + dim_y
    assert features.relations.shape == (4, NUM_RELATIONS, dim, dim)
    assert features.points.shape == (4, num_points, point_width(CONFIG))
    assert features.summary.shape == (4, global_width(CONFIG))
    assert features.candidates.shape == features.candidate_mask.shape == (4, len(CANDIDATES))
    assert features.floor.shape == (4,) and features.dim_x == dim_x


@pytest.mark.parametrize("ties", [True, False])
@pytest.mark.parametrize("num_points", [30, 60])
def test_an_accelerator_that_works_on_every_row_finds_the_same(
    monkeypatch: pytest.MonkeyPatch, num_points: int, ties: bool
) -> None:
    config = FeatureConfig(ties=ties)
    kinds = [data(kind, num_points, 1, 2) for kind in ("continuous", "rounded", "binary", "mixed")]
    x, y = (torch.cat(sides) for sides in zip(*kinds, strict=True))
    found = extract_features(x, y, config)
    assert bool(found.candidate_mask[:, CANDIDATES.index("plug_in")].any()) == ties
    for module in (scores, discrete, panel):
        monkeypatch.setattr(module, "rows_where", lambda wanted: torch.arange(len(wanted)))
    every = extract_features(x, y, config)
    for name in ("relations", "points", "summary", "candidates", "candidate_mask", "floor"):
        torch.testing.assert_close(getattr(every, name), getattr(found, name), rtol=1e-6, atol=1e-6)


def test_copied_columns_and_repeated_points_are_finite() -> None:
    x, y = data("continuous", 40, 3, 2)
    assert_finite(extract_features(x, x, CONFIG))
    assert_finite(extract_features(torch.cat([x, x], -1), y, CONFIG))
    assert_finite(extract_features(x.repeat(1, 2, 1), y.repeat(1, 2, 1), CONFIG))


def test_sizes_follow_the_configuration() -> None:
    config = FeatureConfig(num_canonical_pairs=2, num_expanded_pairs=1, num_shifts=3, num_informations=5)
    features = extract_features(*data("continuous", 30, 3, 2), config)
    assert features.points.shape[-1] == point_width(config) == 15
    assert features.summary.shape[-1] == global_width(config)
    with pytest.raises(ValueError, match="got num_shifts=0, expected at least 1"):
        FeatureConfig(num_shifts=0)


def test_no_gradient_flows_and_autocast_changes_nothing() -> None:
    x, y = data("continuous", 40, 3, 2)
    plain = extract_features(x, y, CONFIG)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = extract_features(x.requires_grad_(), y, CONFIG)
    assert torch.equal(cast.summary, plain.summary) and torch.equal(cast.relations, plain.relations)
    assert not cast.summary.requires_grad


def test_float32_data_are_ranked_like_float64() -> None:
    x, y = data("rounded", 40, 3, 2)
    assert torch.equal(extract_features(x.float(), y.float(), CONFIG).summary, extract_features(x, y, CONFIG).summary)


class TestTies:
    names = ("plug_in", "miller_madow", "ross")

    def defined(self, x: Tensor, y: Tensor, config: FeatureConfig) -> list[bool]:
        mask = extract_features(x, y, config).candidate_mask[:, [CANDIDATES.index(name) for name in self.names]]
        assert (mask == mask[0]).all()
        return mask[0].tolist()

    def test_candidates_by_kind_of_pair(self) -> None:
        (x, y), (a, b) = data("continuous", 60, 2, 1), data("binary", 60, 2, 1)
        assert self.defined(a, b, CONFIG) == [True, True, False]
        assert self.defined(a, y, CONFIG) == self.defined(x, b, CONFIG) == [False, False, True]
        assert self.defined(x, y, CONFIG) == [False, False, False]
        assert self.defined(data("continuous", 60, 4, 1)[0], b, CONFIG) == [False, False, False]  # too many dims

    def test_networks_trained_without_ties_see_none(self) -> None:
        x, y = data("binary", 60, 2, 1)
        assert self.defined(x, y, FeatureConfig()) == [False, False, False]
        assert not extract_features(x, y, FeatureConfig()).relations[:, 16].any()

    def test_columns_are_marked_by_the_share_of_tied_pairs(self) -> None:
        x, y = data("continuous", 60, 2, 1)
        x[..., 1] = torch.arange(60) % 2
        marks = extract_features(x, y, CONFIG).relations[0, 16]
        share = (29 / 59) ** 0.5
        expected = torch.tensor([[0, share, 0], [share, share, share], [0, share, 0]])
        torch.testing.assert_close(marks, expected)


SHAPES = [(4, 1, 1), (6, 3, 2), (10, 2, 3), (50, 1, 1), (40, 1, 2), (200, 5, 3), (60, 20, 30), (300, 6, 6)]
symmetric = pytest.mark.parametrize("kind", ["continuous", "rounded", "binary", "mixed"])
shapes = pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "x".join(map(str, shape)))


def assert_same(moved: Features, features: Features, points: Tensor | None = None) -> None:
    """Equal up to rounding; `points` is the expected order of the point tokens."""
    assert torch.equal(moved.candidate_mask, features.candidate_mask)
    for name in ("summary", "candidates", "floor"):
        found, expected = getattr(moved, name), getattr(features, name)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=2e-5, msg=lambda text, name=name: f"{name}: {text}")
    expected = features.points if points is None else features.points[:, points]
    torch.testing.assert_close(moved.points, expected, rtol=1e-3, atol=1e-3)


@symmetric
@shapes
class TestSymmetries:
    def test_points(self, kind: str, shape: tuple[int, int, int]) -> None:
        x, y = data(kind, *shape)
        permutation = torch.randperm(shape[0], generator=torch.Generator().manual_seed(0))
        moved = extract_features(x[:, permutation], y[:, permutation], CONFIG)
        features = extract_features(x, y, CONFIG)
        assert_same(moved, features, permutation)
        torch.testing.assert_close(moved.relations, features.relations, rtol=1e-5, atol=2e-5)

    def test_coordinates(self, kind: str, shape: tuple[int, int, int]) -> None:
        x, y = data(kind, *shape)
        random = torch.Generator().manual_seed(0)
        in_x, in_y = torch.randperm(shape[1], generator=random), torch.randperm(shape[2], generator=random)
        moved, features = extract_features(x[..., in_x], y[..., in_y], CONFIG), extract_features(x, y, CONFIG)
        assert_same(moved, features)
        index = torch.cat([in_x, shape[1] + in_y])
        torch.testing.assert_close(moved.relations, features.relations[:, :, index][..., index], rtol=1e-5, atol=2e-5)

    def test_swap(self, kind: str, shape: tuple[int, int, int]) -> None:
        x, y = data(kind, *shape)
        assert_same(extract_features(y, x, CONFIG), extract_features(x, y, CONFIG))

    def test_monotone_maps(self, kind: str, shape: tuple[int, int, int]) -> None:
        x, y = data(kind, *shape)
        features = extract_features(x, y, CONFIG)
        assert torch.equal(extract_features(x.exp(), y**3, CONFIG).summary, features.summary)  # rising
        falls_x, falls_y = 1 - 2 * (torch.arange(shape[1]) % 2), 2 * (torch.arange(shape[2]) % 2) - 1
        moved = extract_features(x * falls_x, y * falls_y, CONFIG)
        assert_same(moved, features)
        torch.testing.assert_close(moved.relations, features.relations, rtol=1e-5, atol=2e-5)
