"""The LightningModule: schedule, loss, gradients, metrics, and no global state moved."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from data_gen.meta_distribution import MetaDistribution
from data_gen.stream import generate_batch
from mist.features import FeatureConfig
from mist.network import MISTNetwork, NetworkConfig
from mist.quantiles import pinball, precision_weight
from mist.training.config import OptimizationConfig
from mist.training.module import EstimatorModule, learning_rate_factor
from mist.training.validation import Scores

pytestmark = pytest.mark.usefixtures("unmoved_global_state")
META = MetaDistribution(
    num_points=(20, 60), max_num_points=60, dims=(1, 4), max_dim=4, datasets_per_batch=(16, 16), cost_per_batch=1e4
)
SMALL = NetworkConfig(
    coordinate_width=16, coordinate_layers=1, edge_width=4, point_width=16, point_seeds=4, num_seeds=2, trunk_width=32
)


def build(monkeypatch: pytest.MonkeyPatch, logged: dict[str, Tensor] | None = None) -> EstimatorModule:
    """A module outside a Trainer, which keeps what it logs."""
    logged = {} if logged is None else logged
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = EstimatorModule(SMALL, OptimizationConfig(learning_rate=3e-3, warmup_steps=2), max_steps=100)
    strategy = SimpleNamespace(reduce=lambda value, reduce_op: value)  # of one rank
    monkeypatch.setattr(EstimatorModule, "trainer", SimpleNamespace(precision="32-true", strategy=strategy))
    monkeypatch.setattr(module, "log", lambda name, value, **_: logged.update({name: value}))
    monkeypatch.setattr(module, "log_dict", lambda values, **_: logged.update(values))
    return module


def batch(index: int) -> dict[str, Any]:
    made = generate_batch(META, 0, index)
    columns = ("x", "y", "mi", "weight", "family", "groups_x", "groups_y")
    return {**{name: getattr(made, name) for name in columns}, "index": index}


def validate(module: EstimatorModule, *batches: dict[str, Any]) -> None:
    """What a Trainer does with validation batches."""
    module.on_validation_epoch_start()
    for index, one in enumerate(batches):
        module.validation_step(one, index)
    module.on_validation_epoch_end()


class TestLearningRate:
    def factors(self, max_steps: int = 100, **options: Any) -> list[float]:
        config = OptimizationConfig(**options)
        return [learning_rate_factor(step, max_steps, config) for step in range(max_steps + 1)]

    def test_warm_up_is_linear(self) -> None:
        factors = self.factors(warmup_steps=10, decay_fraction=0.2)
        assert factors[:10] == pytest.approx([0.1 * step for step in range(1, 11)])

    def test_constant_then_linear_decay_to_zero(self) -> None:
        factors = self.factors(warmup_steps=10, decay_fraction=0.2)
        assert factors[10:80] == [1.0] * 70
        assert factors[80:] == pytest.approx([1 - 0.05 * step for step in range(21)])
        assert learning_rate_factor(500, 100, OptimizationConfig()) == 0

    def test_decay_over_the_whole_run(self) -> None:
        factors = self.factors(warmup_steps=1, decay_fraction=1.0)
        assert factors == pytest.approx([1 - step / 100 for step in range(101)])

    def test_neither(self) -> None:
        assert self.factors(warmup_steps=0, decay_fraction=0.0)[:100] == [1.0] * 100

    def test_is_what_the_optimizer_uses(self, monkeypatch: pytest.MonkeyPatch) -> None:
        made = build(monkeypatch).configure_optimizers()
        optimizer, schedule = made["optimizer"], made["lr_scheduler"]["scheduler"]
        rates = []
        for _ in range(4):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
        assert rates == pytest.approx([3e-3 * 0.5, 3e-3 * 0.99, 3e-3 * 0.98, 3e-3 * 0.97])
        assert made["lr_scheduler"]["interval"] == "step"


def test_weight_decay_is_for_matrices(monkeypatch: pytest.MonkeyPatch) -> None:
    module = build(monkeypatch)
    matrices, vectors = module.configure_optimizers()["optimizer"].param_groups
    assert matrices["weight_decay"] > 0 == vectors["weight_decay"]
    assert {p.ndim for p in vectors["params"]} == {1} and min(p.ndim for p in matrices["params"]) == 2
    assert len(matrices["params"]) + len(vectors["params"]) == len(list(module.parameters()))


def test_gradients_are_finite_for_every_family(monkeypatch: pytest.MonkeyPatch) -> None:
    module = build(monkeypatch)
    families = set()
    for index in range(40):
        made = batch(index)
        families.update(generate_batch(META, 0, index).family)
        module.zero_grad()
        module.training_step(made, index).backward()
        for name, parameter in module.named_parameters():
            assert parameter.grad is not None and parameter.grad.isfinite().all(), name
    assert len(families) >= 8


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(("dim_x", "dim_y"), [(1, 2), (3, 5), (12, 70)])
def test_a_step_never_looks_at_a_number(ties: bool, dim_x: int, dim_y: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """On an accelerator to look is to wait: tensors without data, which raise where they are looked at, run through."""
    monkeypatch.setattr(torch, "autocast", lambda **_: nullcontext())  # there is none for them
    module = build(monkeypatch)
    with torch.random.fork_rng(devices=[]):
        module.network = MISTNetwork(replace(SMALL, features=FeatureConfig(ties=ties))).to("meta")
    shapes = {"x": (16, 200, dim_x), "y": (16, 200, dim_y), "mi": (16,), "weight": (16,)}
    nothing: dict[str, Any] = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    groups = {f"groups_{side}": torch.empty(nothing[side].shape[-1], dtype=torch.long, device="meta") for side in "xy"}
    loss = module.training_step({**nothing, **groups, "index": 0}, 0)
    loss.backward()
    assert loss.device.type == "meta" and all(weights.grad is not None for weights in module.network.parameters())
    with pytest.raises(RuntimeError, match="cannot be called on meta tensors"):
        float(loss.detach())


def test_data_sets_of_no_weight_add_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    module, made = build(monkeypatch), batch(0)
    made["weight"] = torch.tensor([0.0, 1.0] * 8)
    kept = {**made, **{key: made[key][1::2] for key in ("x", "y", "mi", "weight")}}
    torch.testing.assert_close(module.training_step(made, 0), module.training_step(kept, 0) / 2)


def test_the_loss_weighs_by_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    module, made = build(monkeypatch), batch(0)
    with torch.no_grad():
        relative = module.network.head_parts(module._features(made))[0].relative.squeeze(-1)
    plain = module.training_step(made, 0)
    module.optimization = replace(module.optimization, precision_exponent=0.5)
    weighted = module.training_step(made, 0)
    made["weight"] = made["weight"] / precision_weight(relative, 0.5)
    torch.testing.assert_close(module.training_step(made, 0), plain)
    assert abs(float((weighted - plain).detach())) > 1e-3


def test_a_few_steps_lower_the_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    logged: dict[str, Tensor] = {}
    module = build(monkeypatch, logged)
    optimizer = module.configure_optimizers()["optimizer"]

    def validation_crps() -> float:
        with torch.no_grad():
            validate(module, *map(batch, range(1000, 1006)))
        return float(logged["val/crps"])

    before = validation_crps()
    for index in range(30):
        optimizer.zero_grad()
        module.training_step(batch(index), index).backward()
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
    assert validation_crps() < 0.9 * before


def test_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    logged: dict[str, Tensor] = {}
    module, made = build(monkeypatch, logged), batch(0)
    mi = made["mi"].float()
    spread = torch.linspace(-1, 1, SMALL.num_levels).mul(0.2)
    quantiles = (mi + 0.3).unsqueeze(-1) + spread  # the 90 % interval misses the truth
    quantiles[::2] -= 0.3  # and holds it in every other data set
    monkeypatch.setattr(module.network, "forward_features", lambda _: (quantiles + 0.05).clamp(min=1e-6).log())
    made["mi"] = mi
    validate(module, made)
    kinds = {name.partition("-")[0] for name in made["family"]}
    assert set(logged) == {"val/crps", "val/mse", "val/coverage90", *(f"val_crps/{kind}" for kind in kinds)}
    inside = quantiles.clamp(min=0)
    error = inside.mean(-1) - mi
    assert float(logged["val/mse"]) == pytest.approx(float(error.square().mean()), rel=1e-4)
    assert float(logged["val/coverage90"]) == pytest.approx(0.5)
    # CRPS of an ensemble: E|X - mi| - E|X - X'| / 2 (Gneiting & Raftery 2007, Eq. 21); the grid is coarse
    absolute = (inside - mi.unsqueeze(-1)).abs().mean()
    differences = (inside.unsqueeze(-1) - inside.unsqueeze(-2)).abs().mean()
    assert float(logged["val/crps"]) == pytest.approx(float(absolute - differences / 2), rel=0.02)


def test_lineage_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    module, checkpoint = build(monkeypatch), {}
    module.num_datasets, module.seconds = 123, 4.5
    module.on_save_checkpoint(checkpoint)
    resumed = build(monkeypatch)
    resumed.on_load_checkpoint(checkpoint)
    assert (resumed.num_datasets, resumed.seconds) == (123, 4.5)


def test_a_loss_that_is_not_finite_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    module = build(monkeypatch)
    trainer = SimpleNamespace(
        world_size=1,
        log_every_n_steps=1,
        global_step=7,
        logger=None,
        progress_bar_metrics={},
        datamodule=SimpleNamespace(begin=lambda made: len(made["mi"])),
    )
    monkeypatch.setattr(EstimatorModule, "trainer", trainer)
    monkeypatch.setattr(EstimatorModule, "global_step", 7)
    module.on_train_start()
    module.on_train_batch_start(batch(0), 0)
    module.on_train_batch_end({"loss": torch.tensor(1.0)}, batch(0), 0)
    assert trainer.progress_bar_metrics["datasets/s"] > 0
    with pytest.raises(FloatingPointError, match="got a loss of nan at step 7, expected a finite one"):
        module.on_train_batch_end({"loss": torch.tensor(torch.nan)}, batch(0), 0)


def test_validation_without_a_kept_label_logs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    logged: dict[str, Tensor] = {}
    module = build(monkeypatch, logged)
    data = batch(0)
    validate(module, data)
    assert "val/crps" in logged
    logged.clear()
    validate(module, {**data, "weight": torch.zeros_like(data["weight"])})
    assert not logged


def test_scores_by_kind_and_the_calibration_curve(monkeypatch: pytest.MonkeyPatch) -> None:
    logged: dict[str, Tensor] = {}
    module = build(monkeypatch, logged)
    levels = module.network.levels
    mi = torch.tensor([0.0, 1.0, 2.0, 3.0])
    quantiles = torch.stack([levels * 0, 0.5 + levels, levels, 4 + levels])  # the median, above all, below all
    scores = Scores(levels)
    scores.add(quantiles, mi, ("independent", "gaussian-dense", "student-factor", "gaussian-sparse"))
    found = scores.metrics()
    assert float(found["val_crps/independent"]) == 0 and set(found) >= {"val_crps/gaussian", "val_crps/student"}
    error = 2 * torch.stack([pinball(quantiles[[i]], mi[[i]], levels).mean() for i in range(4)])
    assert float(found["val/crps"]) == pytest.approx(float(error.mean()))
    assert float(found["val_crps/gaussian"]) == pytest.approx(float((error[1] + error[3]) / 2))
    assert float(found["val/coverage90"]) == pytest.approx(0.5)  # of the first two
    shown, shares = scores.calibration_curve()
    assert shown == levels.tolist()
    assert shares == [pytest.approx((1 + (level >= 0.5)) / 3) for level in shown]  # the independent one aside


def test_the_gradient_norm_is_logged_before_it_is_clipped(monkeypatch: pytest.MonkeyPatch) -> None:
    logged: dict[str, Tensor] = {}
    module = build(monkeypatch, logged)
    module.training_step(batch(0), 0).backward()
    total = sum(float(weights.grad.square().sum()) for weights in module.parameters() if weights.grad is not None)
    for step, seen in ((0, False), (1, True)):
        monkeypatch.setattr(EstimatorModule, "trainer", SimpleNamespace(global_step=step, log_every_n_steps=2))
        module.on_before_optimizer_step(torch.optim.SGD(module.parameters(), lr=1.0))
        assert ("train/gradient_norm" in logged) == seen
    assert float(logged["train/gradient_norm"]) == pytest.approx(total**0.5, rel=1e-4)
