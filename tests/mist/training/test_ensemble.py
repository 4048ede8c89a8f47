"""Checkpoints pooled and parted: what each predicts is kept, and the pool does what its members cannot."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.optim import SGD

import mist
from data_gen import MetaDistribution
from data_gen.stream import generate_batch
from mist.calibration import Calibration, LocalCalibration, num_terms
from mist.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from mist.features import FeatureConfig, extract_features
from mist.network import MISTNetwork, NetworkConfig, pool_parts
from mist.pooling import pool_quantiles
from mist.quantiles import quantile_loss
from mist.reduction import Reduction, leading_components
from mist.training.calibration import _TRUST_PENALTY, recalibrate
from mist.training.config import OptimizationConfig
from mist.training.data import item_of
from mist.training.ensemble import average, average_checkpoints, join, main, pool_checkpoints, split
from mist.training.module import EstimatorModule
from mist.training.run import _start_from
from mist.training.sample import draw_sample

pytestmark = pytest.mark.usefixtures("unmoved_global_state")
META = MetaDistribution(num_points=(10, 30), max_num_points=30, dims=(1, 3), max_dim=3)
SMALL = NetworkConfig(coordinate_width=16, coordinate_layers=1, point_width=16, trunk_width=32, num_levels=20)


def network(seed: int, config: NetworkConfig = SMALL) -> MISTNetwork:
    with torch.random.fork_rng(devices=[]):
        made = MISTNetwork(config)
    made.initialise(torch.Generator().manual_seed(seed))
    return made.eval()


def checkpoint(folder: Path, seed: int, arguments: dict[str, Any]) -> Checkpoint:
    law = {**arguments, "meta_distribution": META.to_dict()}
    return load_checkpoint(save_checkpoint(folder / f"of-{seed}", network(seed), **law))


def sides(num_points: int = 40) -> tuple[Tensor, Tensor]:
    x, y = torch.randn(2, 3, num_points, 2, generator=torch.Generator().manual_seed(7), dtype=torch.float64).unbind(0)
    return x, y + x


def test_a_pool_is_of_what_each_member_predicts() -> None:
    alone = [network(seed) for seed in (1, 2, 3)]
    joined = join(alone)
    with torch.no_grad():
        joined.trust.copy_(torch.tensor([0.5, 0.0, -0.5]))
        features = extract_features(*sides(), SMALL.features)
        values = [each.forward_features(features) for each in alone]
        floors = torch.cat([each.head_parts(features)[0].relative for each in alone], dim=-1)
        expected = pool_quantiles(values, joined.levels, joined.trust, floors.max(-1).values)
        assert torch.equal(joined.forward_features(features), expected)
        assert (alone[0].forward_features(features) - expected).abs().max() > 0.01
    assert joined.config == replace(SMALL, num_members=3)


def test_the_pool_keeps_the_symmetries() -> None:
    joined = join([network(1), network(2)])
    x, y = sides()
    order = torch.randperm(x.shape[1], generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = joined(x, y)
        for other in (joined(y, x), joined(x[:, order], y[:, order]), joined(x.flip(-1), y.exp())):
            torch.testing.assert_close(other, expected, rtol=1e-4, atol=1e-4)


def test_parting_undoes_pooling() -> None:
    alone = [network(seed) for seed in (1, 2)]
    again = split(join([join(alone), network(3)]))  # pools are joined member by member
    assert len(again) == 3
    for each, expected in zip(again, [*alone, network(3)], strict=True):
        assert each.config == SMALL
        for name, value in each.state_dict().items():
            assert torch.equal(value, expected.state_dict()[name]), name


def test_networks_of_other_sizes_do_not_pool() -> None:
    with pytest.raises(ValueError, match="expected equal sizes and features"):
        join([network(1), network(2, replace(SMALL, trunk_width=16))])
    with pytest.raises(ValueError, match="expected equal sizes and features"):
        join([network(1), network(2, replace(SMALL, features=FeatureConfig(ties=True)))])


def test_recalibration_trusts_the_better_member() -> None:
    """One of two equal members is moved off by three of its floors: it is to count for less, and the trust that is
    found has a smaller loss than others."""
    joined = join([network(1), network(1)])
    with torch.no_grad():
        joined.members[1].head.remainder.bias[1] += 3.0  # offset, in units of the relative floor
    recalibrate(joined, draw_sample(joined, META, 960))
    assert float(joined.trust[0] - joined.trust[1]) > 1
    assert abs(float(joined.trust.sum())) < 1e-5
    sample = draw_sample(joined, META, 960)
    sample = sample.select(sample.shape % 3 != 2)

    def loss(trust: Tensor) -> float:
        pooled = pool_parts(sample.parts, joined.levels, trust)
        value = quantile_loss(pooled, sample.mi.float(), joined.levels, sample.weight, 0.5)
        return float(value + _TRUST_PENALTY * trust.square().sum())

    best = loss(joined.trust)
    for moved in (-0.5, 0.5):
        assert best <= loss(joined.trust + torch.tensor([moved, -moved])) + 1e-7


def test_the_command_writes_a_checkpoint_that_predicts(
    tmp_path: Path, tiny_arguments: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    ranges = {
        **tiny_arguments["trained_ranges"],
        "num_points": [10, 100],
        "few_dims": [1, 2],
        "num_points_few_dims": [10, 900],
    }
    first = checkpoint(tmp_path, 1, {**tiny_arguments, "trained_ranges": ranges})
    second = checkpoint(
        tmp_path, 2, {**tiny_arguments, "lineage": {"parents": ["a"], "hours": 1.5, "num_datasets": 7, "seed": 0}}
    )
    out = tmp_path / "pool"
    command = ["join", str(first.path), str(second.path), "--out", str(out), "--calibrate", "960", "--name", "both"]
    command += ["--processes", "2"]
    assert main(command) == 0
    assert "90% intervals cover" in capsys.readouterr().out
    made = load_checkpoint(out)
    assert made.preliminary
    assert made.name == "both" and "The pool of" in made.card and first.label in made.card
    assert made.config["network"]["num_members"] == 2
    assert made.config["lineage"]["members"] == [first.sha256, second.sha256]
    assert made.config["lineage"]["parents"] == [first.sha256, "a", second.sha256]
    assert made.config["lineage"]["hours"] == 1.5 and made.config["lineage"]["num_datasets"] == 7
    assert made.config["trained_ranges"]["num_points"] == [10, 100] and "few_dims" not in made.config["trained_ranges"]
    assert made.network.novelty is not None and made.network.novelty.mean.shape == (64,)
    x, y = (side[0].numpy() for side in sides(25))
    found = mist.load(str(out)).estimate(x, y)
    assert found.novelty is not None and np.isfinite(found.quantiles).all() and (np.diff(found.quantiles) >= 0).all()

    assert main(["split", str(out), "--out", str(tmp_path / "members")]) == 0
    part = load_checkpoint(tmp_path / "members" / "2")
    assert part.preliminary and "members" not in part.config["lineage"]
    made.network.trust.copy_(torch.tensor([0.4, -0.4]))
    again = load_checkpoint(made.save(tmp_path / "again"))
    features = extract_features(*sides(25), SMALL.features)
    with torch.no_grad():
        assert torch.equal(again.network.read_features(features)[0], made.network.read_features(features)[0])
    assert part.name == "both-2" and part.config["lineage"]["parents"] == [
        first.sha256,
        "a",
        second.sha256,
        made.sha256,
    ]
    moved = [
        name
        for name, value in part.network.state_dict().items()
        if not torch.equal(value, second.network.state_dict()[name])
    ]
    assert moved == ["members.0.head.remainder.weight", "members.0.head.remainder.bias"]  # the spread, refitted


def trained_on(parent: MISTNetwork, seed: int) -> MISTNetwork:
    """A tenth of its weights away."""
    moved = join(split(parent))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weights in moved.parameters():
            weights += 0.1 * weights.square().mean().sqrt() * torch.randn(weights.shape, generator=generator)
    return moved


def test_an_average_is_of_every_weight() -> None:
    first = join([network(1), network(2)])
    with torch.no_grad():
        first.trust.copy_(torch.tensor([0.3, -0.3]))
    parts = [first, trained_on(first, 3)]
    mean = average(parts, [1, 3])
    assert mean.config == first.config
    states = [part.state_dict() for part in parts]
    for name, value in mean.state_dict().items():
        torch.testing.assert_close(value, 0.25 * states[0][name] + 0.75 * states[1][name])
    again = average([first, first], [1, 1])
    assert all(torch.equal(value, states[0][name]) for name, value in again.state_dict().items())
    with pytest.raises(ValueError, match="expected equal sizes and features"):
        average([network(1), first], [1, 1])


def test_weights_that_were_trained_apart_have_no_average() -> None:
    first = join([network(1), network(2)])
    swapped = join([network(2), network(1)])  # the same members in another order
    for networks in ([first, trained_on(first, 3), swapped], split(first)):
        with pytest.raises(ValueError, match=r"a cosine of -?0.0.*, expected at least 0.3, as where one grew"):
            average(networks, [1] * len(networks))


def test_an_average_does_not_read_what_one_part_does_not() -> None:
    parent = network(1)
    child = trained_on(parent, 2)
    with torch.no_grad():
        parent.members[0].head.weights.bias[-3:] = -30.0
        child.members[0].head.weights.bias[-3:] = -3.5
    for parts in ([parent, child], [child, parent]):
        mean = average(parts, [1, 9])
        assert mean.members[0].head.unread().tolist() == parent.members[0].head.unread().tolist()
        assert int(mean.members[0].head.unread().sum()) == 3


def test_the_command_averages_a_lineage(
    tmp_path: Path, tiny_arguments: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """What a parent took counts once, whatever grew from it."""

    def saved(name: str, made: MISTNetwork, hours: float, *parents: Checkpoint) -> Checkpoint:
        lineage = {"parents": [each.sha256 for each in parents], "hours": hours, "num_datasets": int(100 * hours)}
        law = {**tiny_arguments, "meta_distribution": META.to_dict(), "lineage": {**lineage, "seed": 5}}
        return load_checkpoint(save_checkpoint(tmp_path / name, made, **law))

    first = saved("first", network(1), 10)
    second = saved("second", trained_on(first.network, 2), 11.5, first)
    third = saved("third", trained_on(first.network, 3), 12, first)
    out = tmp_path / "mean"
    command = ["average", *(str(each.path) for each in (first, second, third)), "--weights", "2", "1", "1"]
    assert main([*command, "--out", str(out), "--name", "mean"]) == 0
    assert capsys.readouterr().out == f"wrote {out}\n"
    made = load_checkpoint(out)
    expected = average([each.network for each in (first, second, third)], [0.5, 0.25, 0.25]).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in made.network.state_dict().items())
    lineage = made.config["lineage"]
    assert lineage["averaged"] == {first.sha256: 0.5, second.sha256: 0.25, third.sha256: 0.25}
    assert lineage["hours"] == 13.5 and lineage["num_datasets"] == 1350 and lineage["seed"] == 5
    assert lineage["parents"] == [first.sha256, second.sha256, third.sha256]
    assert made.preliminary and made.name == "mean" and made.network.calibration is None
    assert f"{second.label} (0.25)" in made.card and "Not recalibrated" in made.card
    other = saved("other", network(4), 1)
    pooled = tmp_path / "pool"
    pool_checkpoints([second, third, made, other], pooled, 960)
    assert load_checkpoint(pooled).config["lineage"]["hours"] == 14.5 + 10  # the parent of second and third twice
    assert main(["split", str(pooled), "--out", str(tmp_path / "members")]) == 0
    capsys.readouterr()
    one, two = (load_checkpoint(tmp_path / "members" / str(which)) for which in (1, 2))  # of equal lineages
    further = saved("further", trained_on(one.network, 5), 26.5, one)
    pool_checkpoints([one, two, further], pooled, 960)
    assert load_checkpoint(pooled).config["lineage"]["hours"] == 24.5 + 2  # what was parted counts once

    refused = [
        ([first, other], [], "trained apart"),
        ([first], [], "got 1 checkpoint, expected two or more to average"),
        ([first, second, first], [], "expected different checkpoints"),
        ([first, second], ["--weights", "1"], "got weights [1.0] for 2 checkpoints, expected a positive number each"),
        ([first, second], ["--weights", "1", "0"], "expected a positive number each"),
        ([first, second], ["--weights", "1", "nan"], "expected a positive number each"),
        ([first, second], ["--weights", "1e308", "1e308"], "expected a positive number each"),
    ]
    for checkpoints, options, message in refused:
        paths = [str(each.path) for each in checkpoints]
        assert main(["average", *paths, *options, "--out", str(tmp_path / "none")]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
    tuned = replace(first, reduction=Reduction(leading_components(np.eye(12), 4)[0], None))
    with pytest.raises(ValueError, match="reads sides of a modality"):
        average_checkpoints([tuned, second], tmp_path / "none")


def test_a_pool_trains_from_a_pool(tmp_path: Path, tiny_arguments: dict[str, Any]) -> None:
    """Every weight of every member gets a gradient; the start is the parent's, trust included."""
    parent = join([network(1), network(2)])
    parent.trust.copy_(torch.tensor([0.3, -0.3]))
    folder = save_checkpoint(tmp_path / "pool", parent, **tiny_arguments)
    with torch.random.fork_rng(devices=[]):
        module = EstimatorModule(parent.config, OptimizationConfig(precision_exponent=0.5), 1)
        alone = EstimatorModule(SMALL, OptimizationConfig(), 1)
    _start_from(module.network, str(folder))
    for name, value in parent.state_dict().items():
        assert torch.equal(module.network.state_dict()[name], value), name
    batch = item_of(generate_batch(META, 3, 0))
    module.loss(batch, module._features(batch)).backward()
    assert all(weights.grad is not None and weights.grad.isfinite().all() for weights in module.parameters())
    for member in module.network.members:
        assert any(bool((weights.grad != 0).any()) for weights in member.parameters())
    with pytest.raises(ValueError, match=r"its model.num_members \(mist.training.ensemble split parts a pool\)"):
        _start_from(alone.network, str(folder))


def test_members_learn_each_by_itself() -> None:
    """The gradients are those that each would have alone, shared out: no member counts on another's."""
    parent = join([network(1), network(2)])
    parent.trust.copy_(torch.tensor([2.0, -2.0]))  # of no account in training
    options = OptimizationConfig(precision_exponent=0.5)
    with torch.random.fork_rng(devices=[]):
        together = EstimatorModule(parent.config, options, 1)
        alone = [EstimatorModule(SMALL, options, 1) for _ in range(2)]
    together.network.load_state_dict(parent.state_dict())
    batch = item_of(generate_batch(META, 3, 0))
    loss = together.loss(batch, together._features(batch))
    loss.backward()
    losses = []
    for module, part, member in zip(alone, split(parent), together.network.members, strict=True):
        module.network.load_state_dict(part.state_dict())
        losses.append(module.loss(batch, module._features(batch)))
        losses[-1].backward()
        for weights, shared in zip(module.network.members[0].parameters(), member.parameters(), strict=True):
            assert weights.grad is not None and shared.grad is not None
            torch.testing.assert_close(shared.grad, weights.grad / 2)
    torch.testing.assert_close(loss, torch.stack(losses).mean())
    assert losses[0] != losses[1]
    norms = [torch.nn.utils.get_total_norm([w.grad for w in m.parameters() if w.grad is not None]) for m in alone]
    limit = 0.5 * float(sum(norms))  # between the two
    together.configure_gradient_clipping(SGD(together.parameters()), limit, "norm")
    for norm, member in zip(norms, together.network.members, strict=True):
        clipped = torch.nn.utils.get_total_norm([w.grad for w in member.parameters() if w.grad is not None])
        assert float(clipped) == pytest.approx(min(float(norm), limit) / 2, rel=1e-4)
    assert min(norms) < 0.95 * limit < 1.05 * limit < max(norms)


def test_what_cannot_be_pooled(
    tmp_path: Path, tiny_arguments: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    first = checkpoint(tmp_path, 1, tiny_arguments)
    out = ["--out", str(tmp_path / "pool"), "--calibrate", "960"]
    assert main(["join", str(first.path), *out]) == 2
    assert "got 1 checkpoint, expected two or more to pool" in capsys.readouterr().err
    assert main(["join", str(first.path), str(tmp_path / "nowhere"), *out]) == 2
    assert "no checkpoint" in capsys.readouterr().err
    wide = np.random.default_rng(0).normal(size=(60, 12))
    tuned = replace(first, reduction=Reduction(leading_components(wide, 4)[0], None))
    with pytest.raises(ValueError, match="reads sides of a modality; expected ones that read any"):
        pool_checkpoints([first, tuned], tmp_path / "pool", 960)
    kept = save_checkpoint(tmp_path / "tuned", network(1), **tiny_arguments, reduction=tuned.reduction)
    assert main(["split", str(kept), "--out", str(tmp_path / "members")]) == 2
    assert "reads sides of a modality" in capsys.readouterr().err
    nothing = (0.0,) * num_terms()
    near = Calibration(nothing, nothing, nothing, ((0.0,) * 4, (1.0,) * 4), tuple(float(i) for i in range(20)))
    first.network.calibration = LocalCalibration(None, near, (10, 30), (2, 2))
    with pytest.raises(ValueError, match="reads sides of a modality; expected ones that read any"):
        pool_checkpoints([first, first], tmp_path / "pool", 960)
    assert not (tmp_path / "pool").exists() and not (tmp_path / "members").exists()
    second = checkpoint(tmp_path, 2, tiny_arguments)
    both = ["join", str(first.path), str(second.path), "--out"]
    assert main([*both, str(tmp_path / "pool"), "--calibrate", "959"]) == 2
    assert "got 959 dependent data sets to calibrate" in capsys.readouterr().err
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "notes.txt").write_text("mine")
    assert main([*both, str(tmp_path / "runs"), "--calibrate", "960"]) == 2
    assert "holds no checkpoint; expected a new one, or one to replace" in capsys.readouterr().err
    assert (tmp_path / "runs" / "notes.txt").read_text() == "mine"
