"""The stream of fresh data sets as a Lightning DataModule; its state is the index of the next batch."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import torch
from lightning import LightningDataModule
from torch.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info

from data_gen.meta_distribution import MetaDistribution
from data_gen.stream import Batch, generate_batch, stream

__all__ = ["StreamDataModule"]

Item = dict[str, Any]  # x (B, N, Dx), y (B, N, Dy), mi (B,), weight (B,), index int


def _item(batch: Batch) -> Item:
    return {"x": batch.x, "y": batch.y, "mi": batch.mi, "weight": batch.weight, "index": batch.index}


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


class _FixedSet(Dataset[Item]):
    """The first `num_batches` batches of a stream, drawn again each time: the same numbers, no memory."""

    def __init__(self, meta: MetaDistribution, seed: int, num_batches: int, rank: int, world_size: int) -> None:
        self.meta, self.seed, self.num_batches, self.rank, self.world_size = meta, seed, num_batches, rank, world_size

    def __len__(self) -> int:
        return self.num_batches

    def __getitem__(self, index: int) -> Item:
        return _item(generate_batch(self.meta, self.seed, index, slice_index=self.rank, num_slices=self.world_size))


class StreamDataModule(LightningDataModule):
    """Streams the meta-distribution; rank r of R gets slice r of every batch.

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
    ) -> None:
        super().__init__()
        if validation_datasets % 8:
            raise ValueError(
                f"got datasets_per_batch={validation_datasets}, expected a multiple of 8 to split over ranks"
            )
        self.meta = meta
        self.seed = seed
        self.validation_seed = validation_seed
        self.validation_batches = validation_batches
        self.validation_meta = dataclasses.replace(meta, datasets_per_batch=(validation_datasets, validation_datasets))
        self.num_workers = num_workers
        self.next_index = 0

    def _ranks(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer is not None else (0, 1)

    def train_dataloader(self) -> DataLoader[Item]:
        """Endless; batches are made whole by the stream."""
        data = _Stream(self.meta, self.seed, self.next_index, *self._ranks())
        return DataLoader(data, batch_size=None, num_workers=self.num_workers, generator=torch.Generator())

    def val_dataloader(self) -> DataLoader[Item]:
        """The fixed, seeded validation set."""
        data = _FixedSet(self.validation_meta, self.validation_seed, self.validation_batches, *self._ranks())
        return DataLoader(data, batch_size=None, num_workers=0, generator=torch.Generator())

    def state_dict(self) -> dict[str, Any]:
        """Where the stream stands."""
        return {"next_index": self.next_index, "seed": self.seed}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on after the last batch learned from; the seed must be the run's."""
        if state_dict["seed"] != self.seed:
            raise ValueError(
                f"got seed={self.seed}, expected seed={state_dict['seed']} of the run being resumed; "
                "resume with its seed, or start a new run from its weights with init_from="
            )
        self.next_index = state_dict["next_index"]
