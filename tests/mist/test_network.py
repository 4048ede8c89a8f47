"""The network: configuration, quantiles that do not cross, and the symmetries of a trained one."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from data_gen.meta_distribution import MetaDistribution
from data_gen.stream import generate_batch
from mist.checkpoint import load_checkpoint, save_checkpoint
from mist.features import extract_features
from mist.inference import Estimator
from mist.network import MISTNetwork, NetworkConfig
from mist.quantiles import level_grid, quantile_loss

pytestmark = pytest.mark.usefixtures("unmoved_global_state")
TINY = NetworkConfig(
    coordinate_width=32, coordinate_layers=1, edge_width=4, edge_hidden=16, point_width=32, point_seeds=8, num_seeds=2
)


def train_briefly(num_steps: int = 30) -> MISTNetwork:
    """A tiny network after a few steps, its weights far enough from their start to tell features apart."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = MISTNetwork(TINY)
    meta = MetaDistribution(
        num_points=(10, 120), max_num_points=120, dims=(1, 8), max_dim=12, datasets_per_batch=(16, 16)
    )
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    for index in range(num_steps):
        batch = generate_batch(meta, 0, index)
        compressed = network.forward_features(extract_features(batch.x, batch.y, TINY.features))
        loss = quantile_loss(compressed, batch.mi.float(), network.levels, batch.weight, 0.5)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
    return network.eval().requires_grad_(False)


@pytest.fixture(scope="session", params=["default", "elliptical"])
def trained_network(request: pytest.FixtureRequest, default_checkpoint: Path) -> MISTNetwork:
    """Those of the checkpoints that ship, the one without a calibration and the other with one."""
    network = load_checkpoint(default_checkpoint.parent / request.param).network
    assert (network.calibration is not None) == (request.param == "default")
    return network


class TestConfig:
    def test_round_trip(self) -> None:
        config = NetworkConfig(num_levels=8, trunk_width=32)
        assert NetworkConfig.from_dict(config.to_dict()) == config
        assert NetworkConfig.from_dict({}) == NetworkConfig()
        assert config.levels == level_grid(8)

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({"width": 3}, r"got unknown NetworkConfig keys \['width'\], expected some of .*trunk_width"),
            (
                {"features": {"shifts": 3}},
                r"got unknown FeatureConfig keys \['shifts'\], expected some of .*num_shifts",
            ),
            ({"num_heads": 0}, "got num_heads=0, expected a positive integer"),
            ({"num_heads": 1.5}, "got num_heads=1.5, expected a positive integer"),
            ({"point_width": 30}, "got point_width=30, expected a multiple of num_heads=4"),
            ({"edge_width": 30}, "got edge_width=30, expected a multiple of num_heads=4"),
            ({"num_levels": 3}, "got num_levels=3, expected at least 4"),
            ({"features": {"num_shifts": 0}}, "got num_shifts=0, expected at least 1"),
        ],
    )
    def test_what_it_refuses(self, values: dict[str, object], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            NetworkConfig.from_dict(values)

    def test_sizes_are_built(self) -> None:
        sizes = {"num_canonical_pairs": 2, "num_expanded_pairs": 1, "num_shifts": 2, "num_informations": 3}
        config = NetworkConfig.from_dict({**TINY.to_dict(), "num_levels": 9, "features": sizes})
        with torch.random.fork_rng(devices=[]):
            network = MISTNetwork(config)
        assert network(*data("gaussian", 20, 3, 2)).shape == (3, 9)
        assert network.levels.tolist() == pytest.approx(config.levels)


def data(kind: str, num_points: int, dim_x: int, dim_y: int, num_datasets: int = 3) -> tuple[Tensor, Tensor]:
    """Dependent data sets x (B, N, Dx), y (B, N, Dy) without a constant column."""
    random = torch.Generator().manual_seed(num_points + 100 * dim_x + dim_y)

    def draw(distribution: Callable[..., Tensor], dim: int) -> Tensor:
        return distribution(num_datasets, num_points, dim, generator=random, dtype=torch.float64)

    shared = min(dim_x, dim_y)
    if kind == "additive":
        x, y = draw(torch.rand, dim_x), draw(torch.rand, dim_y)
        y[..., :shared] = x[..., :shared] + 0.6 * (y[..., :shared] - 0.5)
        return x, y
    x, y, common = draw(torch.randn, dim_x), draw(torch.randn, dim_y), 0.5 * draw(torch.randn, 1)
    x, y = x + common, y + common
    strength = torch.tensor([1.0, 0.1, 40.0], dtype=torch.float64)[:num_datasets].view(-1, 1, 1)
    y[..., :shared] += strength * x[..., :shared]
    if kind == "student":
        radius = draw(torch.rand, 1) + 0.05
        x, y = x / radius, y / radius
    if kind == "rounded":
        x, y = (2 * x).round(), y.round()
    if kind in ("binary", "binary x"):
        x = (x > x.median(1, keepdim=True).values).double()
        x[:, :2] = torch.tensor([[0.0], [1.0]])
    if kind == "binary":
        y = (y > 0).double()
    y[:, :2] = torch.tensor([[0.0], [1.0]])
    return x, y


KINDS = ("gaussian", "student", "additive", "rounded", "binary x", "binary")
SHAPES = ((4, 1, 1), (10, 2, 3), (50, 1, 1), (500, 1, 1), (60, 1, 3), (200, 5, 3), (100, 20, 30), (500, 10, 10))


@pytest.mark.parametrize("kind", KINDS)
def test_quantiles_do_not_cross_and_are_not_negative(trained_network: MISTNetwork, kind: str) -> None:
    for shape in SHAPES:
        quantiles = trained_network(*data(kind, *shape))
        assert quantiles.shape == (3, len(trained_network.config.levels)) and quantiles.isfinite().all()
        assert (quantiles.diff(dim=-1) >= 0).all() and (quantiles >= 0).all()


def test_exact_independence_is_representable(trained_network: MISTNetwork) -> None:
    random = torch.Generator().manual_seed(0)
    x, y = (torch.randn(8, 400, 2, generator=random) for _ in range(2))
    assert (trained_network(x, y)[:, 0] == 0).any()


def test_a_batch_equals_one_by_one(trained_network: MISTNetwork) -> None:
    for shape in SHAPES:
        x, y = data("gaussian", *shape)
        alone = torch.cat([trained_network(a, b) for a, b in zip(x.split(1), y.split(1))])
        assert_same(trained_network(x, y), alone)


def test_learning_reaches_every_parameter(tiny_network: MISTNetwork) -> None:
    x, y = data("gaussian", 60, 5, 3)
    compressed = tiny_network.forward_features(extract_features(x, y, tiny_network.config.features))
    loss = quantile_loss(compressed, torch.tensor([0.5, 1.0, 9.0]), tiny_network.levels, torch.ones(3), 0.5)
    parameters = dict(tiny_network.named_parameters())
    gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
    assert [name for name, gradient in zip(parameters, gradients) if gradient is None] == []
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)


def test_groups_are_read(trained_network: MISTNetwork) -> None:
    x, y = data("gaussian", 60, 3, 2)
    plain = trained_network(x, y)
    assert torch.equal(trained_network(x, y, torch.zeros(3, dtype=torch.long)), plain)
    assert trained_network(x, y, torch.tensor([1, 1, 0])).isfinite().all()
    assert_same(trained_network(x, y, torch.tensor([1, 1, 0])), trained_network(x, y, torch.tensor([7, 7, 0])))


def assert_same(found: Tensor, expected: Tensor) -> None:
    """The symmetries hold to 1e-4 * max(1, |q|) on every quantile."""
    deviation = ((found - expected).abs() / expected.abs().clamp(min=1)).max()
    assert deviation <= 1e-4, f"a quantile moved by {float(deviation):.2g} * max(1, |q|)"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "x".join(map(str, shape)))
class TestSymmetries:
    def test_points(self, trained_network: MISTNetwork, kind: str, shape: tuple[int, int, int]) -> None:
        x, y = data(kind, *shape)
        permutation = torch.randperm(shape[0], generator=torch.Generator().manual_seed(1))
        assert_same(trained_network(x[:, permutation], y[:, permutation]), trained_network(x, y))

    def test_coordinates(self, trained_network: MISTNetwork, kind: str, shape: tuple[int, int, int]) -> None:
        x, y = data(kind, *shape)
        random = torch.Generator().manual_seed(1)
        in_x, in_y = torch.randperm(shape[1], generator=random), torch.randperm(shape[2], generator=random)
        assert_same(trained_network(x[..., in_x], y[..., in_y]), trained_network(x, y))

    def test_swap(self, trained_network: MISTNetwork, kind: str, shape: tuple[int, int, int]) -> None:
        x, y = data(kind, *shape)
        assert_same(trained_network(y, x), trained_network(x, y))

    def test_rising_maps(self, trained_network: MISTNetwork, kind: str, shape: tuple[int, int, int]) -> None:
        x, y = data(kind, *shape)
        assert_same(trained_network(x.asinh(), y**3), trained_network(x, y))

    def test_falling_maps(self, trained_network: MISTNetwork, kind: str, shape: tuple[int, int, int]) -> None:
        x, y = data(kind, *shape)
        falls = 1 - 2 * (torch.arange(64) % 2)  # every other coordinate falls
        expected = trained_network(x, y)
        assert_same(trained_network(x * falls[1 : 1 + shape[1]], y * falls[: shape[2]]), expected)
        assert_same(trained_network(-x, y), expected)
        assert_same(trained_network(-x, -(y**3)), expected)


@pytest.fixture(scope="session")
def trained_estimator(tmp_path_factory: pytest.TempPathFactory, trained_network: MISTNetwork) -> Estimator:
    ranges = {"num_points": [4, 1000], "dim_x": [1, 64], "dim_y": [1, 64], "mi": [0.0, 30.0]}
    folder = save_checkpoint(
        tmp_path_factory.mktemp("checkpoints") / "trained",
        trained_network,
        trained_ranges=ranges,
        meta_distribution={},
        lineage={"parents": []},
        card="",
        extra={"trained_on_categories": True},
    )
    return Estimator(load_checkpoint(folder), device="cpu")


@pytest.mark.parametrize("levels", [2, 5])
def test_a_discrete_side_holds_no_more_than_its_levels(trained_network: MISTNetwork, levels: int) -> None:
    if not trained_network.config.features.ties:
        pytest.skip("it does not look for ties")
    x = (torch.arange(200) * 37 % levels).double().view(1, -1, 1)
    spread = torch.rand(1, 200, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for y in (x, torch.cat([x, -x], dim=-1), x + 0.9 * spread):
        for quantiles in (trained_network(x, y), trained_network(y, x)):
            assert float(quantiles.max()) <= math.log(levels) + 1e-5
    assert float(trained_network(x + spread, x + spread).max()) > 2 * math.log(levels)


@pytest.mark.filterwarnings("ignore::mist.MISTWarning")
@pytest.mark.parametrize("num_levels", [2, 3, 7])
@pytest.mark.parametrize("num_points", [30, 200])
def test_category_labels(trained_estimator: Estimator, num_levels: int, num_points: int) -> None:
    random = np.random.default_rng(num_points + num_levels)
    labels = np.arange(num_points) % num_levels
    random.shuffle(labels)
    y = np.stack([labels % 2 + random.normal(size=num_points), random.normal(size=num_points)], axis=1)
    other = random.normal(size=num_points) + labels
    permutation = random.permutation(num_points)

    def quantiles(codes: NDArray[np.int64], order: NDArray[np.int64] | slice = slice(None)) -> Tensor:
        x = np.stack([codes, other], axis=1)
        return torch.tensor(trained_estimator.estimate(x[order], y[order], discrete_x=[0]).quantiles)

    expected = quantiles(labels)
    for renamed in (random.permutation(num_levels)[labels], num_levels - labels, 10 * labels**2):
        assert_same(quantiles(renamed), expected)
        assert_same(quantiles(renamed, permutation), expected)
    words = np.array([f"level {label}" for label in labels])
    alone = trained_estimator.estimate(words, y, discrete_x=True).quantiles
    assert_same(torch.tensor(trained_estimator.estimate(-labels, y, discrete_x=True).quantiles), torch.tensor(alone))


def test_initial_weights_come_from_the_generator_alone() -> None:
    with torch.random.fork_rng(devices=[]):
        networks = [MISTNetwork(TINY) for _ in range(3)]
    for network, seed in zip(networks, (5, 5, 6), strict=True):
        network.initialise(torch.Generator().manual_seed(seed))
    same, again, other = (dict(network.named_parameters()) for network in networks)
    drawn = [name for name, value in same.items() if value.ndim > 1]
    assert all(torch.equal(same[name], again[name]) for name in same)
    assert not any(torch.equal(same[name], other[name]) for name in drawn)
    for name, module in networks[0].named_modules():
        if isinstance(module, torch.nn.Linear) and not name.endswith(
            ("head.weights", "head.remainder", "coordinates.additive")
        ):
            assert 0.9 < float(module.weight.detach().abs().max()) * module.in_features**0.5 <= 1 + 1e-6, name
    steps = torch.nn.functional.softplus(networks[0].members[0].head.remainder.bias[2:])
    normal = torch.special.ndtri(torch.tensor(TINY.levels, dtype=torch.float64)).diff()
    torch.testing.assert_close(steps, normal.float())


def test_autocast_rounds_the_attention_only() -> None:
    """What decides the last digits, the summary and the head, is the same in float32; the rest is rounded to bf16."""
    network = train_briefly(2)
    features = extract_features(*data("gaussian", 60, 3, 2), TINY.features)
    member = network.members[0]
    plain, _ = member.hidden(features)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden, additive = member.hidden(features)
        (parts,) = network.head_parts(features)
    assert hidden.dtype == additive.dtype == torch.float32 and {part.dtype for part in parts} == {torch.float32}
    assert torch.equal(hidden[:, :128], plain[:, :128])
    assert 1e-5 < (hidden - plain).abs().max() < 0.2
    for part, expected in zip(parts, member.head(hidden, additive, features), strict=True):
        torch.testing.assert_close(part, expected, rtol=0, atol=0)
