"""Fresh data sets, or those of shards on disk, as a Lightning DataModule; its state is the index of the next batch."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from itertools import count
from typing import Any

import torch
from lightning import LightningDataModule
from torch.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info

from data_gen.meta_distribution import MetaDistribution
from data_gen.shards import ShardedBatches
from data_gen.stream import STREAM_VERSION, Batch, generate_batch, stream

__all__ = ["StreamDataModule"]

_VALIDATION_SEED = (
    2 << 40
)  # no data set of training, evaluation or calibration, nor a parameter set of training's pools
Item = dict[
    str, Any
]  # x (B, N, Dx), y (B, N, Dy), mi (B,), weight (B,), family B names, groups_x (Dx,), groups_y (Dy,), index
_ROWS = ("x", "y", "mi", "weight", "family")  # one of each a data set


def _item(batch: Batch) -> Item:
    return {name: getattr(batch, name) for name in (*_ROWS, "groups_x", "groups_y", "index")}


class _Stream(IterableDataset[Item]):
    def __init__(self, meta: MetaDistribution, seed: int, start: int, rank: int, world_size: int) -> None:
        self.meta, self.seed, self.start, self.rank, self.world_size = meta, seed, start, rank, world_size

    def __iter__(self) -> Iterator[Item]:
        worker = get_worker_info()
        offset, step = (worker.id, worker.num_workers) if worker is not None else (0, 1)
        batches = stream(
            self.meta,
            self.seed,
            start=self.start + offset,
            step=step,
            slice_index=self.rank,
            num_slices=self.world_size,
        )
        return map(_item, batches)


class _Frozen(IterableDataset[Item]):
    """Shards on disk over and over, in their order; batch k of the run is batch k modulo their number."""

    def __init__(self, batches: ShardedBatches, start: int, rank: int, world_size: int) -> None:
        self.batches, self.start, self.rank, self.world_size = batches, start, rank, world_size

    def __iter__(self) -> Iterator[Item]:
        worker = get_worker_info()
        offset, step = (worker.id, worker.num_workers) if worker is not None else (0, 1)
        for index in count(self.start + offset, step):
            batch = self.batches[index % len(self.batches)]
            yield {**_slice(_item(batch), self.rank, self.world_size), "index": index}


def _slice(item: Item, rank: int, world_size: int) -> Item:
    total = len(item["mi"])
    if total % world_size:
        raise ValueError(
            f"got {world_size} processes for a batch of {total} data sets, expected a divisor; choose 1, 2, 4 or 8"
        )
    rows = slice(rank * total // world_size, (rank + 1) * total // world_size)
    return {key: value[rows] if key in _ROWS else value for key, value in item.items()}


class _FixedSet(Dataset[Item]):
    """The first `num_batches` batches of a stream, drawn again each time: the same numbers, no memory."""

    def __init__(self, meta: MetaDistribution, seed: int, num_batches: int, rank: int, world_size: int) -> None:
        self.meta, self.seed, self.num_batches, self.rank, self.world_size = meta, seed, num_batches, rank, world_size

    def __len__(self) -> int:
        return self.num_batches

    def __getitem__(self, index: int) -> Item:
        return _item(generate_batch(self.meta, self.seed, index, slice_index=self.rank, num_slices=self.world_size))


class StreamDataModule(LightningDataModule):
    """Streams the meta-distribution, or reads `shards`; rank r of R gets slice r of every batch.

    `next_index` is stored in checkpoints: a resumed run starts at the batch after the last one it had learned from.
    """

    def __init__(
        self,
        meta: MetaDistribution,
        seed: int,
        *,
        validation_seed: int,
        validation_batches: int,
        validation_datasets: int,
        num_workers: int = 0,
        shards: ShardedBatches | None = None,
    ) -> None:
        super().__init__()
        if validation_datasets % 8:
            raise ValueError(
                f"got datasets_per_batch={validation_datasets}, expected a multiple of 8 to split over ranks"
            )
        self.meta = meta
        self.seed = seed
        self.validation_seed = _VALIDATION_SEED + validation_seed
        self.validation_batches = validation_batches
        self.validation_meta = dataclasses.replace(meta, datasets_per_batch=(validation_datasets, validation_datasets))
        self.num_workers = num_workers
        self.shards = shards
        self.next_index = 0

    def _ranks(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer is not None else (0, 1)

    def train_dataloader(self) -> DataLoader[Item]:
        """Endless; batches are whole as they come."""
        data: IterableDataset[Item]
        if self.shards is not None:
            data = _Frozen(self.shards, self.next_index, *self._ranks())
        else:
            data = _Stream(self.meta, self.seed, self.next_index, *self._ranks())
        return DataLoader(data, batch_size=None, num_workers=self.num_workers, generator=torch.Generator())

    def val_dataloader(self) -> DataLoader[Item]:
        """The fixed, seeded validation set."""
        data = _FixedSet(self.validation_meta, self.validation_seed, self.validation_batches, *self._ranks())
        return DataLoader(data, batch_size=None, num_workers=0, generator=torch.Generator())

    @property
    def source(self) -> str:
        """Where the data sets come from: the stream, or shards by their plan and number of batches."""
        if self.shards is None:
            return "stream"
        return f"shards {self.shards.manifest['plan'][:16]} of {len(self.shards)} batches"

    def state_dict(self) -> dict[str, Any]:
        """Where the run stands, and the law of its data."""
        return {
            "next_index": self.next_index,
            "seed": self.seed,
            "source": self.source,
            "meta_distribution": self.meta.to_dict(),
            "stream_version": STREAM_VERSION,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on after the last batch learned from; the seed and the source must be the run's."""
        if state_dict["seed"] != self.seed:
            raise ValueError(
                f"got seed={self.seed}, expected seed={state_dict['seed']} of the run being resumed; "
                "resume with its seed, or start a new run from its weights with init_from="
            )
        if (source := state_dict.get("source", "stream")) != self.source:
            raise ValueError(
                f"got data from {self.source}, expected from {source} as in the run being resumed; "
                "resume with its shards= (unchanged), or start a new run from its weights with init_from="
            )
        if (made := state_dict.get("stream_version")) != STREAM_VERSION:
            raise ValueError(
                f"got a run whose data are of stream version {made}, expected {STREAM_VERSION}: one seed draws other "
                "data sets now; resume with the version of mist-mi that began it, or start from its weights with "
                "init_from="
            )
        if (law := state_dict["meta_distribution"]) != self.meta.to_dict():
            changed = sorted(key for key, value in self.meta.to_dict().items() if law.get(key) != value)
            raise ValueError(
                f"got a meta_distribution that differs in {changed} from that of the run being resumed, expected the "
                "same; resume with its settings, or start a new run from its weights with init_from="
            )
        self.next_index = state_dict["next_index"]
