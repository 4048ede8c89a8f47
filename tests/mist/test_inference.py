"""`Estimator`: one by one and many, limits, units, degenerate data, determinism; and the default checkpoint."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import mist
from mist.checkpoint import load_checkpoint, save_checkpoint
from mist.inference import Estimator
from mist.network import MISTNetwork

pytestmark = pytest.mark.usefixtures("unmoved_global_state")


def gaussian(num_points: int, dim_x: int = 1, dim_y: int = 1, seed: int = 0, rho: float = 0.8) -> tuple[Any, Any]:
    """Pairs of columns with correlation rho."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(num_points, dim_x))
    y = random.normal(size=(num_points, dim_y))
    shared = min(dim_x, dim_y)
    y[:, :shared] = rho * x[:, :shared] + np.sqrt(1 - rho**2) * y[:, :shared]
    return x, y


def test_estimate_has_all_its_fields(tiny_estimator: Estimator) -> None:
    x, y = gaussian(50, 3, 2)
    result = tiny_estimator.estimate(x, y)
    assert (result.n, result.dim_x, result.dim_y, result.units, result.warnings) == (50, 3, 2, "nats", ())
    assert result.levels == tuple(tiny_estimator.config["levels"])
    assert result.checkpoint == tiny_estimator.checkpoint.label
    assert result.mi >= 0 and list(result.quantiles) == sorted(result.quantiles)
    low, high = result.interval(0.9)
    assert 0 <= low <= result.median <= high


def test_same_input_same_bits_whatever_its_form(tiny_estimator: Estimator) -> None:
    x, y = gaussian(50)
    first = tiny_estimator.estimate(x, y)
    assert tiny_estimator.estimate(x[:, 0], y[:, 0].tolist()) == first
    assert tiny_estimator.estimate(torch.from_numpy(x).requires_grad_(), torch.from_numpy(y[:, 0])) == first


def test_bits_are_nats_over_log_2(tiny_estimator: Estimator) -> None:
    x, y = gaussian(50)
    nats, bits = tiny_estimator.estimate(x, y), tiny_estimator.estimate(x, y, units="bits")
    np.testing.assert_allclose(bits.quantiles, np.array(nats.quantiles) / np.log(2))
    with pytest.raises(mist.InputError, match="units='shannon' is unknown"):
        tiny_estimator.estimate(x, y, units="shannon")  # type: ignore[arg-type]


def assert_many_equals_one_by_one(estimator: Estimator, pairs: list[tuple[Any, Any]], **options: Any) -> None:
    many = estimator.estimate_many(pairs, **options)
    assert len(many) == len(pairs)
    for together, (x, y) in zip(many, pairs):
        alone = estimator.estimate(x, y)
        np.testing.assert_allclose(together.quantiles, alone.quantiles, rtol=0, atol=1e-4 * max(1, alone.mi))
        assert (together.n, together.dim_x, together.dim_y) == (alone.n, alone.dim_x, alone.dim_y)


@pytest.mark.parametrize("batch_size", [None, 1, 2])
def test_many_equals_one_by_one(tiny_estimator: Estimator, batch_size: int | None) -> None:
    shapes = [(50, 1, 1), (60, 2, 1), (50, 1, 1), (50, 1, 2), (60, 2, 1), (50, 1, 1)]
    pairs = [gaussian(*shape, seed=seed) for seed, shape in enumerate(shapes)]
    assert_many_equals_one_by_one(tiny_estimator, pairs, batch_size=batch_size)
    assert tiny_estimator.estimate_many([]) == []


@pytest.mark.filterwarnings("ignore::mist.MISTWarning")
def test_many_keeps_the_order_of_mixed_data(tiny_estimator: Estimator, capsys: pytest.CaptureFixture[str]) -> None:
    x, y = gaussian(50, 2, 1)
    constant = np.ones((50, 2))
    half_constant = np.hstack([x[:, :1], np.ones((50, 1))])
    many = tiny_estimator.estimate_many([(constant, y), (x, y), (half_constant, y), (x[:, :1], y)], progress=True)
    assert many[0].mi == 0 and many[1] == tiny_estimator.estimate(x, y)
    np.testing.assert_allclose(many[2].quantiles, many[3].quantiles, rtol=1e-5)
    assert many[2].dim_x == 2 and many[3].dim_x == 1
    assert capsys.readouterr().err.endswith("4/4 data sets\n")


def test_many_names_the_data_set_that_it_refuses(tiny_estimator: Estimator) -> None:
    x, y = gaussian(50)
    with pytest.raises(mist.LengthMismatchError, match="data set 1: x has 50 points and y has 49"):
        tiny_estimator.estimate_many([(x, y), (x, y[1:])])
    with pytest.raises(mist.InputError, match="batch_size=0: expected a positive number, or None"):
        tiny_estimator.estimate_many([(x, y)], batch_size=0)
    with pytest.warns(mist.MISTWarning, match="data set 1: constant, without information"):
        tiny_estimator.estimate_many([(x, y), (np.hstack([x, 0 * x]), y)])


def test_constant_columns_do_not_count(tiny_estimator: Estimator) -> None:
    x, y = gaussian(50, 2, 1)
    with pytest.warns(mist.MISTWarning, match="constant, without information: x column 2"):
        result = tiny_estimator.estimate(np.hstack([x, np.ones((50, 1))]), y)
    assert result.quantiles == tiny_estimator.estimate(x, y).quantiles
    assert (result.dim_x, result.warnings) == (3, ("constant, without information: x column 2",))


@pytest.mark.parametrize("num_points", [4, 50, 10_000])
def test_all_constant_is_zero(tiny_estimator: Estimator, num_points: int) -> None:
    with pytest.warns(mist.MISTWarning, match="y is constant: it carries no information and MI is 0"):
        result = tiny_estimator.estimate(np.arange(num_points), np.zeros(num_points))
    assert set(result.quantiles) == {0.0} and result.mi == 0 and result.interval(0.9) == (0, 0)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((8, 1, 1), "n=8 is outside the range that checkpoint tiny@.* was trained on: expected 10 to 500"),
        ((600, 1, 1), "n=600 is outside"),
        ((50, 9, 1), "dim_x=9 is outside .*expected 1 to 8"),
        ((50, 1, 9), "dim_y=9 is outside"),
    ],
)
def test_outside_the_trained_range(tiny_estimator: Estimator, shape: tuple[int, int, int], message: str) -> None:
    x, y = gaussian(*shape)
    with pytest.warns(mist.MISTWarning, match=message):
        result = tiny_estimator.estimate(x, y)
    assert len(result.warnings) == 1 and result.n == shape[0]
    with pytest.raises(mist.TrainedRangeError, match=message + ".*; pass on_limit='warn'"):
        tiny_estimator.estimate(x, y, on_limit="raise")


def test_saturation_is_warned_of(tiny_estimator: Estimator, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = gaussian(50)
    low = tiny_estimator.estimate(x, y).median
    monkeypatch.setitem(tiny_estimator.checkpoint.config["trained_ranges"], "mi", [0.0, low * 1.05])
    with pytest.warns(mist.MISTWarning, match="the estimate saturates: checkpoint tiny@.* was trained on up to"):
        tiny_estimator.estimate(x, y)


def test_warnings_point_at_the_line_of_the_user(tiny_estimator: Estimator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mist.inference._default_estimator", lambda: tiny_estimator)
    x, y = gaussian(8)
    with pytest.warns(mist.MISTWarning) as caught:
        mist.estimate(x, y)
        tiny_estimator.estimate(x, y)
        tiny_estimator.estimate_many([(x, y)])
    assert [warning.filename for warning in caught] == [__file__] * 3


def test_subsample(tiny_estimator: Estimator) -> None:
    x, y = gaussian(600)
    with pytest.warns(mist.MISTWarning, match="500 of 600 points were used"):
        result = tiny_estimator.estimate(x, y, on_limit="subsample")
    assert result.n == 500 and result.warnings == (
        "500 of 600 points were used: the checkpoint was not trained on more",
    )
    with pytest.warns(mist.MISTWarning):
        assert tiny_estimator.estimate(x, y, on_limit="subsample") == result
    with pytest.warns(mist.MISTWarning, match="dim_x=9 is outside"):
        tiny_estimator.estimate(*gaussian(50, 9, 1), on_limit="subsample")
    with pytest.raises(mist.InputError, match="on_limit='ignore' is unknown: expected one of raise, warn, subsample"):
        tiny_estimator.estimate(x, y, on_limit="ignore")  # type: ignore[arg-type]


def test_inside_the_range_nothing_is_said(tiny_estimator: Estimator) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tiny_estimator.estimate(*gaussian(10))
        tiny_estimator.estimate(*gaussian(500, 8, 8), on_limit="raise")


@pytest.mark.filterwarnings("ignore::mist.MISTWarning")
def test_categories(
    tmp_path: Path, tiny_estimator: Estimator, tiny_network: MISTNetwork, tiny_arguments: dict[str, Any]
) -> None:
    x, y = gaussian(60, 2, 1)
    labels = np.array(["a", "b", "c"])[np.digitize(y[:, 0], [-0.5, 0.5])]
    result = tiny_estimator.estimate(x, labels, discrete_y=True)
    assert result.dim_y == 1 and any("was not trained on unordered categories" in text for text in result.warnings)
    renamed = tiny_estimator.estimate(x, [{"a": 3, "b": 1, "c": 2}[label] for label in labels], discrete_y=[0])
    np.testing.assert_allclose(renamed.quantiles, result.quantiles, rtol=0, atol=1e-4)
    arguments = {**tiny_arguments, "extra": {"trained_on_categories": True}}
    trained = Estimator(load_checkpoint(save_checkpoint(tmp_path / "tiny", tiny_network, **arguments)), device="cpu")
    assert trained.estimate(x, labels, discrete_y=True).warnings == ()


def test_answers_that_are_not_finite_are_an_error(tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    estimator = Estimator(load_checkpoint(tiny_checkpoint), device="cpu")
    levels = len(estimator.config["levels"])
    answer = torch.full((1, levels), float("nan"))
    monkeypatch.setattr(estimator.network, "read", lambda *sides: (answer, None))
    with pytest.raises(mist.MISTError, match="answered NaN for n=50, dim_x=1, dim_y=1: expected finite quantiles"):
        estimator.estimate(*gaussian(50))


def test_device(tiny_checkpoint: Path) -> None:
    estimator = mist.load(tiny_checkpoint, device="cpu")
    assert estimator.device == torch.device("cpu") and repr(estimator).endswith("device='cpu')")
    assert mist.load(str(tiny_checkpoint)).device.type in ("cpu", "cuda")
    with pytest.raises(mist.InputError, match="device='abacus' is unknown to torch: expected 'auto', 'cpu'"):
        mist.load(tiny_checkpoint, device="abacus")


def test_there_is_no_estimator_without_weights(tiny_checkpoint: Path) -> None:
    (tiny_checkpoint / "model.safetensors").unlink()
    with pytest.raises(mist.CheckpointNotFoundError, match="has no model.safetensors"):
        mist.load(tiny_checkpoint)


@pytest.mark.gpu
def test_gpu_equals_cpu(default_checkpoint: Path) -> None:
    x, y = gaussian(300, 4, 3)
    cpu, gpu = mist.load(default_checkpoint, device="cpu"), mist.load(default_checkpoint, device="cuda")
    np.testing.assert_allclose(gpu.estimate(x, y).quantiles, cpu.estimate(x, y).quantiles, rtol=0, atol=1e-4)


class TestDefaultCheckpoint:
    """What a newcomer meets first."""

    def test_reads_dependence_and_independence(self) -> None:
        x, y = gaussian(400, rho=0.8)
        truth = -0.5 * np.log(1 - 0.8**2)
        result = mist.estimate(x, y)
        assert result.mi == pytest.approx(truth, abs=0.15)
        assert result.checkpoint.startswith("default@")
        assert mist.estimate(x, y[::-1]).mi < 0.05

    def test_is_loaded_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        x, y = gaussian(100)
        first = mist.estimate(x, y)
        monkeypatch.setattr("mist.inference.load", lambda *_: pytest.fail("loaded again"))
        assert mist.estimate(x, y) == first

    def test_many_equals_one_by_one(self) -> None:
        shapes = [(40, 1, 1), (40, 1, 1), (100, 5, 3), (100, 5, 3), (100, 5, 3), (40, 2, 2)]
        pairs = [gaussian(*shape, seed=seed, rho=0.3 + 0.1 * seed) for seed, shape in enumerate(shapes)]
        assert_many_equals_one_by_one(mist.load("default", device="cpu"), pairs)

    def test_dims_beyond_the_trained_range_are_answered(self) -> None:
        with pytest.warns(mist.MISTWarning, match="dim_x=70 is outside"):
            assert mist.estimate(*gaussian(200, 70, 2)).mi >= 0

    @pytest.mark.filterwarnings("ignore::mist.MISTWarning")
    def test_four_points(self) -> None:
        assert mist.estimate([1, 2, 3, 4], [1, 3, 2, 4]).mi >= 0

    def test_extreme_values_change_nothing(self) -> None:
        x, y = gaussian(200)
        result = mist.estimate(x, y)
        np.testing.assert_allclose(
            mist.estimate(1e300 * np.sinh(x), -1e-300 * y**3).quantiles, result.quantiles, rtol=0, atol=1e-4
        )


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a torch without CUDA")
def test_no_cuda_device(tiny_checkpoint: Path) -> None:
    with pytest.raises(mist.InputError, match="finds no CUDA device; use device='cpu'"):
        mist.load(tiny_checkpoint, device="cuda")
    with pytest.raises(mist.InputError, match="expected 'auto', 'cpu' or 'cuda'"):
        mist.load(tiny_checkpoint, device="meta")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda e: e.estimate_many([(np.arange(9),)]), "data set 0 is no pair: expected .x, y."),
        (lambda e: e.estimate_many([np.arange(9)]), "data set 0 is no pair"),
        (lambda e: e.estimate_many([], batch_size=1.5), "batch_size=1.5: expected a positive number"),
        (lambda e: e.estimate(*gaussian(20)).interval("a"), "interval level 'a': expected a probability"),
        (lambda e: e.independence_test(*gaussian(20), random_state=-1), "got random_state=-1, expected an integer"),
        (lambda e: e.check(*gaussian(80), random_state="a"), "got random_state='a', expected an integer"),
        (lambda e: e.mutual_information(torch.ones(9, dtype=torch.cfloat), torch.ones(9)), "dtype torch.complex64"),
    ],
)
def test_odd_arguments_are_errors_of_the_library(tiny_estimator: Estimator, call: Any, message: str) -> None:
    with pytest.raises(mist.InputError, match=message):
        call(tiny_estimator)
