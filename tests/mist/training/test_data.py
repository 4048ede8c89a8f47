"""The DataModule: ranks, workers and resumed runs see one and the same stream."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from data_gen.meta_distribution import MetaDistribution
from data_gen.shards import Plan, ShardedBatches, make_shards
from data_gen.stream import generate_batch
from mist.training.data import StreamDataModule

pytestmark = pytest.mark.usefixtures("unmoved_global_state")
META = MetaDistribution(
    num_points=(10, 40), max_num_points=40, dims=(1, 4), max_dim=4, datasets_per_batch=(8, 16), cost_per_batch=1e4
)


def module(seed: int = 3, rank: int = 0, world_size: int = 1, **options: Any) -> StreamDataModule:
    arguments = {"validation_seed": 9, "validation_batches": 3, "validation_datasets": 8, **options}
    data = StreamDataModule(META, seed, **arguments)
    data.trainer = SimpleNamespace(global_rank=rank, world_size=world_size)  # type: ignore[assignment]
    return data


def training(data: StreamDataModule, num_batches: int) -> list[dict[str, Any]]:
    return list(islice(data.train_dataloader(), num_batches))


def assert_equal(batches: list[dict[str, Any]], others: list[dict[str, Any]]) -> None:
    assert [batch["index"] for batch in batches] == [batch["index"] for batch in others]
    for batch, other in zip(batches, others, strict=True):
        for key in ("x", "y", "mi", "weight"):
            assert torch.equal(batch[key], other[key]), key


def test_batches_are_those_of_the_stream() -> None:
    for index, batch in enumerate(training(module(), 4)):
        expected = generate_batch(META, 3, index)
        assert batch["index"] == index and torch.equal(batch["x"], expected.x) and torch.equal(batch["mi"], expected.mi)


def test_without_a_trainer_it_is_one_process() -> None:
    alone = StreamDataModule(META, 3, validation_seed=9, validation_batches=3, validation_datasets=8)
    assert_equal(training(alone, 2), training(module(), 2))


@pytest.mark.parametrize("world_size", [2, 4, 8])
def test_ranks_share_every_batch(world_size: int) -> None:
    whole = training(module(), 3)
    slices = [training(module(rank=rank, world_size=world_size), 3) for rank in range(world_size)]
    for index, batch in enumerate(whole):
        parts = [rank[index] for rank in slices]
        assert {part["index"] for part in parts} == {index}
        assert [name for part in parts for name in part["family"]] == list(batch["family"])
        for key in ("x", "y", "mi", "weight"):
            together = torch.cat([part[key] for part in parts])  # matrix products round by the size of their batch
            torch.testing.assert_close(together, batch[key], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("world_size", "ranks_per_batch", "groups"), [(3, 8, 3), (2, 1, 2), (12, 8, 3), (4, 2, 2)])
def test_more_ranks_than_share_a_batch_take_batches_of_their_own(
    world_size: int, ranks_per_batch: int, groups: int
) -> None:
    """Together and step by step they see what one process sees that accumulates over as many batches."""
    whole = training(module(), 2 * groups)
    ranks = [
        module(rank=rank, world_size=world_size, ranks_per_batch=ranks_per_batch, validation_batches=4)
        for rank in range(world_size)
    ]
    steps = list(zip(*(training(data, 2) for data in ranks), strict=True))
    for step, parts in enumerate(steps):
        counts = {data.begin(part) for data, part in zip(ranks, parts, strict=True)}
        expected = whole[groups * step : groups * (step + 1)]
        assert counts == {sum(len(batch["mi"]) for batch in expected)}
        assert {data.next_index for data in ranks} == {groups * (step + 1)}
        for batch in expected:
            together = torch.cat([part["mi"] for part in parts if part["index"] == batch["index"]])
            torch.testing.assert_close(together, batch["mi"])
    validation = [len(batch["mi"]) for data in ranks for batch in data.val_dataloader()]
    assert sum(validation) == 4 * 8  # every data set once


@pytest.mark.parametrize("num_workers", [1, 2])
def test_workers_of_groups_of_ranks_interleave(num_workers: int) -> None:
    alone = training(module(rank=1, world_size=3), 4)
    assert [batch["index"] for batch in alone] == [1, 4, 7, 10]
    assert_equal(training(module(rank=1, world_size=3, num_workers=num_workers), 4), alone)


def test_too_few_validation_batches_for_the_groups_of_ranks() -> None:
    with pytest.raises(ValueError, match="got validation.num_batches=3 for 4 groups of processes"):
        module(world_size=4, ranks_per_batch=1).val_dataloader()


def test_unusable_ranks_per_batch() -> None:
    with pytest.raises(ValueError, match="got ranks_per_batch=3, expected 1, 2, 4 or 8"):
        module(ranks_per_batch=3)


def test_ranks_share_the_validation_set() -> None:
    whole = list(module().val_dataloader())
    assert len(whole) == 3 and all(len(batch["mi"]) == 8 for batch in whole)
    slices = [list(module(rank=rank, world_size=2).val_dataloader()) for rank in range(2)]
    for batch, *parts in zip(whole, *slices, strict=True):
        torch.testing.assert_close(torch.cat([part["x"] for part in parts]), batch["x"], rtol=1e-5, atol=1e-5)


def test_the_validation_set_is_fixed() -> None:
    first = list(module().val_dataloader())
    assert_equal(list(module(seed=4).val_dataloader()), first)
    other = list(module(validation_seed=10).val_dataloader())
    assert not torch.equal(other[0]["mi"], first[0]["mi"])
    with pytest.raises(ValueError, match="got datasets_per_batch=12, expected a multiple of 8 to split over ranks"):
        module(validation_datasets=12)


def test_workers_interleave_to_the_same_stream() -> None:
    assert_equal(training(module(num_workers=2), 5), training(module(), 5))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_resumed_stream_goes_on(num_workers: int) -> None:
    data = module()
    data.next_index = 3
    resumed = module(num_workers=num_workers)
    resumed.load_state_dict(data.state_dict())
    assert resumed.next_index == 3
    assert_equal(training(resumed, 2), training(module(), 5)[3:])


def test_a_run_is_resumed_with_its_own_seed() -> None:
    message = "got seed=4, expected seed=3 of the run being resumed; resume with its seed, or .* init_from="
    with pytest.raises(ValueError, match=message):
        module(seed=4).load_state_dict(module(seed=3).state_dict())


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> ShardedBatches:
    out = tmp_path_factory.mktemp("shards")
    list(make_shards(Plan(META, seed=3, num_datasets=60, batches_per_shard=2), out))
    return ShardedBatches(out)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_shards_are_read_over_and_over(shards: ShardedBatches, num_workers: int) -> None:
    total = len(shards)
    found = training(module(shards=shards, num_workers=num_workers), total + 2)
    assert_equal(found[:total], training(module(), total))  # the stream of the same seed
    assert [batch["index"] for batch in found] == list(range(total + 2))
    assert torch.equal(found[total]["x"], found[0]["x"]) and torch.equal(found[total + 1]["mi"], found[1]["mi"])
    resumed = module(shards=shards)
    resumed.next_index = total - 1
    assert_equal(training(resumed, 3), found[total - 1 : total + 2])


def test_ranks_share_the_batches_of_shards(shards: ShardedBatches) -> None:
    whole = training(module(), 3)
    slices = [training(module(shards=shards, rank=rank, world_size=4), 3) for rank in range(4)]
    for index, batch in enumerate(whole):
        for key in ("x", "y", "mi", "weight"):
            assert torch.equal(torch.cat([rank[index][key] for rank in slices]), batch[key])
    three = [training(module(shards=shards, rank=rank, world_size=3), 1)[0] for rank in range(3)]
    assert_equal(three, whole[:3])


def test_a_run_is_resumed_on_its_own_data(shards: ShardedBatches, tmp_path: Path) -> None:
    """Neither the stream in place of shards, nor other shards, nor more of them."""
    state = module(shards=shards).state_dict()
    module(shards=shards).load_state_dict(state)
    list(make_shards(Plan(META, seed=3, num_datasets=90, batches_per_shard=2), tmp_path))
    for other in (module(), module(shards=ShardedBatches(tmp_path))):
        with pytest.raises(
            ValueError, match="expected from shards .* as in the run being resumed; resume with its sha"
        ):
            other.load_state_dict(state)
    with pytest.raises(ValueError, match="expected from stream as in the run being resumed"):
        module(shards=shards).load_state_dict(module().state_dict())


def test_a_run_is_resumed_on_its_own_law_and_stream() -> None:
    state = module().state_dict()
    with pytest.raises(ValueError, match="got a run whose data are of stream version 1, expected 5"):
        module().load_state_dict({**state, "stream_version": 1})
    law = {**state["meta_distribution"], "max_dim": 5}
    with pytest.raises(ValueError, match=r"got a meta_distribution that differs in \['max_dim'\] from that of the run"):
        module().load_state_dict({**state, "meta_distribution": law})
