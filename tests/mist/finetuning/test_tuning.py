"""The step that is kept, and what the loop leaves behind."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from scipy import stats

import mist
from data_gen import MetaDistribution
from data_gen.lookalikes import LookAlikes, Mixture
from data_gen.stream import generate_batch
from mist.calibration import LocalCalibration
from mist.finetuning.recalibration import recalibrate_locally
from mist.finetuning.tuning import KeepBest, TuningConfig, TuningModule, lookalike_and_original, tune
from mist.network import MISTNetwork
from mist.quantiles import OFFSET
from mist.training.config import OptimizationConfig
from mist.training.data import item_of
from mist.training.module import EstimatorModule
from mist.training.validation import Scores

pytestmark = pytest.mark.usefixtures("unmoved_global_state")


LAW = MetaDistribution(num_points=(10, 40), max_num_points=40, dims=(1, 3), max_dim=3, datasets_per_batch=(8, 8))

CPU = torch.device("cpu")


def same(points: torch.Tensor) -> torch.Tensor:
    return points


# without turns, so that an untrained network's grid of quantiles reaches the truth
KNOWN = LookAlikes(same, same, 2, 1, (20, 40), turned_share=0.0, datasets_per_batch=(8, 8))


def test_the_smallest_error_on_look_alikes_is_kept_unless_much_is_forgotten(parent: mist.Estimator) -> None:
    with torch.random.fork_rng(devices=[]):
        module = EstimatorModule(parent.network.config, OptimizationConfig(), 1)
    keep = KeepBest(original=1.0)
    for step, lookalikes, original in ((0, 1.0, 1.0), (5, 0.8, 1.04), (10, 0.6, 1.2), (15, 0.9, 0.9), (20, 0.7, 1.09)):
        module.scores = Scores(module.network.levels)
        for name, crps in (("lookalike", lookalikes), ("gaussian", original)):
            module.scores.by_kind[Scores.row(name), :2] = torch.tensor([1.0, crps])
        with torch.no_grad():
            module.network.members[0].head.weights.bias.fill_(float(step))
        keep.on_validation_epoch_end(cast(Any, SimpleNamespace(global_step=step)), module)
    assert keep.chosen.step == 20 and len(keep.tried) == 5
    assert float(keep.state["members.0.head.weights.bias"][0]) == 20


def test_what_the_parent_predicts_counts_on_its_own_law(parent: mist.Estimator) -> None:
    """Against distances of samples at the levels (SciPy); on look-alikes the truth alone counts."""
    with torch.random.fork_rng(devices=[]):
        plain = EstimatorModule(parent.network.config, OptimizationConfig(root_weight=0.5, precision_exponent=0.5), 1)
        anchored = TuningModule(
            parent.network.config,
            OptimizationConfig(root_weight=0.5, precision_exponent=0.5),
            1,
            parent.network,
            anchor=3.0,
        )
    assert len(list(anchored.parameters())) == len(list(plain.parameters()))
    batches = {"own": item_of(generate_batch(LAW, 3, 0)), "lookalike": item_of(KNOWN.batch(3, 0))}
    for moved in (0.0, 0.4):
        losses = {}
        for module in (plain, anchored):
            module.network.load_state_dict(parent.network.state_dict())
            with torch.no_grad():
                head = module.network.members[0].head
                head.remainder.bias += moved
                head.weights.bias += 3 * moved * torch.arange(len(head.weights.bias))
            losses[module] = {
                name: float(module.loss(item, plain._features(item)).detach()) for name, item in batches.items()
            }
        assert losses[plain]["lookalike"] == losses[anchored]["lookalike"]
        item = batches["own"]
        features = plain._features(item)
        (mine, own_weight), (known, weight) = (
            anchored._pooled(network, item, features) for network in (anchored.network, parent.network)
        )
        assert torch.equal(own_weight, weight) == (moved == 0)
        floor = np.log(OFFSET)
        mine, known = mine.detach().clamp(min=floor), known.detach().clamp(min=floor)
        expected = np.array(
            [
                stats.wasserstein_distance(a, b) + stats.wasserstein_distance(np.exp(a / 2), np.exp(b / 2))
                for a, b in zip(mine.numpy(), known.numpy(), strict=True)
            ]
        )
        gap = 3.0 * float((expected * weight.numpy()).mean())
        assert losses[anchored]["own"] - losses[plain]["own"] == pytest.approx(gap, rel=1e-3, abs=1e-6)
        assert (gap > 1e-3) == (moved > 0)


def test_scores_of_the_two_laws(parent: mist.Estimator) -> None:
    scores = Scores(parent.network.levels)
    zeros = torch.zeros(3, len(scores.levels))
    scores.add(zeros, torch.tensor([1.0, 2.0, 4.0]), ("lookalike-gaussian", "gaussian-dense", "product"))
    found = lookalike_and_original(scores)
    assert found[1] == pytest.approx(3 * found[0])


def test_the_loop_learns_and_a_start_that_is_best_is_kept(parent: mist.Estimator) -> None:
    mixture = Mixture(KNOWN, LAW, 0.5)
    network = copy.deepcopy(parent.network)
    # An untrained parent knows nothing that were worth keeping.
    config = TuningConfig(30, 3e-3, warmup_steps=1, ema_decay=0.7, val_every=15, validation_batches=4, anchor=0.0)
    found = tune(network, mixture, config, parent=parent.network, device=CPU)
    assert [choice.step for choice in found.tried] == [0, 15, 30]
    assert found.chosen.lookalikes < 0.97 * found.tried[0].lookalikes and found.num_datasets >= 30 * 8
    ruined = copy.deepcopy(parent.network)
    config = TuningConfig(4, 1.0, warmup_steps=1, ema_decay=0.0, val_every=2, validation_batches=2)
    kept = tune(ruined, mixture, config, parent=parent.network, device=CPU)
    assert kept.original == pytest.approx(kept.tried[0].original, rel=1e-5)
    assert kept.chosen == kept.tried[0]
    for name, value in parent.network.state_dict().items():
        assert torch.equal(ruined.state_dict()[name], value)


def test_intervals_of_look_alikes_cover_afterwards(parent: mist.Estimator) -> None:
    """Made conformal on 640 data sets, the 90 % interval covers as many of 1,600 others; far away nothing moved."""
    network: MISTNetwork = copy.deepcopy(parent.network)
    with torch.no_grad():
        network.members[0].head.remainder.bias[0] += 0.5  # an untrained network's grid must reach the truth
    before = copy.deepcopy(network)
    law = KNOWN.of_size(32)
    found = recalibrate_locally(
        network, lambda k: law.batch(1, k), lambda k: generate_batch(LAW, 1, k), (60, 8), (20, 40)
    )
    assert isinstance(network.calibration, LocalCalibration) and network.calibration.near.degree == 2
    assert network.novelty is not None
    assert found.num_datasets == 640
    assert found.coverage[0.9][1] == pytest.approx(0.9, abs=0.025)  # 0 nats are held oftener
    inside = []
    for index in range(50):
        batch = law.batch(2, index)
        with torch.no_grad():
            quantiles, _ = network.read(batch.x, batch.y)
        low, high = (quantiles[:, place] for place in (2, 47))  # levels 0.05 and 0.95 of 50
        inside.append((low <= batch.mi) & (batch.mi <= high))
    assert float(torch.cat(inside).double().mean()) == pytest.approx(0.9, abs=0.04)
    points = torch.randn(3, 30, 40, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(network(points, points), before(points, points), atol=1e-3, rtol=1e-3)
