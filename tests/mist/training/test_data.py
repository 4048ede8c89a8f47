"""The DataModule: ranks, workers and resumed runs see one and the same stream."""

from __future__ import annotations

from itertools import islice
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from data_gen.meta_distribution import MetaDistribution
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
        for key in ("x", "y", "mi", "weight"):
            together = torch.cat([part[key] for part in parts])  # matrix products round by the size of their batch
            torch.testing.assert_close(together, batch[key], rtol=1e-5, atol=1e-5)


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
