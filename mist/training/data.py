"""Fresh data sets, or those of shards on disk, as a Lightning DataModule; its state is the index of the next batch."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import torch
from lightning import LightningDataModule
from torch.utils.data import DataLoader, Dataset, IterableDataset, get_worker_info

from data_gen.meta_distribution import MetaDistribution
from data_gen.shards import ShardedBatches
from data_gen.stream import STREAM_VERSION, Batch, generate_batch
from data_gen.streams import structure_generator

__all__ = ["Item", "Share", "StreamDataModule", "item_of"]

_VALIDATION_SEED = (
    2 << 40
)  # no data set of training, evaluation or calibration, nor a parameter set of training's pools
Item = dict[
    str, Any
]  # x (B, N, Dx), y (B, N, Dy), mi (B,), weight (B,), family B names, groups_x (Dx,), groups_y (Dy,), index
_ROWS = ("x", "y", "mi", "weight", "family")  # one of each a data set


def item_of(batch: Batch) -> Item:
    """A batch as what a step learns from."""
    return {name: getattr(batch, name) for name in (*_ROWS, "groups_x", "groups_y", "index")}


@dataclass(frozen=True)
class Share:
    """What a rank learns from: slice `slice_index` of `num_slices` of every `num_groups`-th batch, from `group` on.

    As many ranks as divide both their number and `ranks_per_batch` share a batch; where there are more, each such group
    takes batches of its own, as one process does that accumulates gradients over as many.
    """

    slice_index: int = 0
    num_slices: int = 1
    group: int = 0
    num_groups: int = 1

    @classmethod
    def of(cls, rank: int, world_size: int, ranks_per_batch: int = 8) -> Share:
        """The share of a rank."""
        slices = math.gcd(world_size, ranks_per_batch)
        return cls(rank % slices, slices, rank // slices, world_size // slices)

    def indices(self, start: int) -> Iterator[int]:
        """Numbers of its batches, of those that fall to this worker of the loader, where all ranks begin at `start`."""
        worker = get_worker_info()
        offset, step = (worker.id, worker.num_workers) if worker is not None else (0, 1)
        return count(start + self.group + offset * self.num_groups, step * self.num_groups)

    def after(self, index: int) -> int:
        """Where all ranks go on once each has learned from its batch, this rank from batch `index`."""
        return index - self.group + self.num_groups


class _Stream(IterableDataset[Item]):
    def __init__(self, meta: MetaDistribution, seed: int, start: int, share: Share) -> None:
        self.meta, self.seed, self.start, self.share = meta, seed, start, share

    def __iter__(self) -> Iterator[Item]:
        options = {"slice_index": self.share.slice_index, "num_slices": self.share.num_slices}
        for index in self.share.indices(self.start):
            yield item_of(generate_batch(self.meta, self.seed, index, **options))


class _Frozen(IterableDataset[Item]):
    """Shards on disk over and over, in their order; batch k of the run is batch k modulo their number."""

    def __init__(self, batches: ShardedBatches, start: int, share: Share) -> None:
        self.batches, self.start, self.share = batches, start, share

    def __iter__(self) -> Iterator[Item]:
        for index in self.share.indices(self.start):
            batch = self.batches[index % len(self.batches)]
            yield {**_slice(item_of(batch), self.share), "index": index}


def _slice(item: Item, share: Share) -> Item:
    size, left = divmod(len(item["mi"]), share.num_slices)
    assert left == 0, "batches hold multiples of eight data sets, and slices are a divisor of that"
    rows = slice(share.slice_index * size, (share.slice_index + 1) * size)
    return {key: value[rows] if key in _ROWS else value for key, value in item.items()}


class _FixedSet(Dataset[Item]):
    """The first `num_batches` batches of a stream, drawn again each time: the same numbers, no memory."""

    def __init__(self, meta: MetaDistribution, seed: int, num_batches: int, share: Share) -> None:
        self.meta, self.seed, self.share = meta, seed, share
        self.indices = range(share.group, num_batches, share.num_groups)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, place: int) -> Item:
        options = {"slice_index": self.share.slice_index, "num_slices": self.share.num_slices}
        return item_of(generate_batch(self.meta, self.seed, self.indices[place], **options))


class StreamDataModule(LightningDataModule):
    """Streams the meta-distribution, or reads `shards`; every rank gets its `Share`.

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
        ranks_per_batch: int = 8,
    ) -> None:
        super().__init__()
        if ranks_per_batch not in (1, 2, 4, 8):
            raise ValueError(
                f"got ranks_per_batch={ranks_per_batch}, expected 1, 2, 4 or 8: batches hold multiples of 8"
            )
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
        self.ranks_per_batch = ranks_per_batch
        self.next_index = 0

    @property
    def share(self) -> Share:
        """Of this rank."""
        rank, world_size = (self.trainer.global_rank, self.trainer.world_size) if self.trainer is not None else (0, 1)
        return Share.of(rank, world_size, self.ranks_per_batch)

    def begin(self, batch: Item) -> int:
        """A rank learns from a batch: the run goes on after it. Returns the number of data sets of all ranks.

        With shards and several groups of ranks, as if the batches of the others were as large as its own.
        """
        share = self.share
        own = len(batch["mi"]) * share.num_slices
        self.next_index = share.after(batch["index"])
        if share.num_groups == 1 or self.shards is not None:
            return own * share.num_groups
        first = batch["index"] - share.group
        others = (k for k in range(first, first + share.num_groups) if k != batch["index"])
        shapes = (shape for k in others for shape in self.meta.draw_shapes(structure_generator(self.seed, k)))
        return own + sum(shape.num_datasets for shape in shapes)

    def train_dataloader(self) -> DataLoader[Item]:
        """Endless; batches are whole as they come."""
        data: IterableDataset[Item]
        if self.shards is not None:
            data = _Frozen(self.shards, self.next_index, self.share)
        else:
            data = _Stream(self.meta, self.seed, self.next_index, self.share)
        return DataLoader(data, batch_size=None, num_workers=self.num_workers, generator=torch.Generator())

    def val_dataloader(self) -> DataLoader[Item]:
        """The fixed, seeded validation set; ValueError where it has no batch for some rank."""
        if self.validation_batches < self.share.num_groups:
            raise ValueError(
                f"got validation.num_batches={self.validation_batches} for {self.share.num_groups} groups of "
                "processes, expected a batch for each; raise it"
            )
        data = _FixedSet(self.validation_meta, self.validation_seed, self.validation_batches, self.share)
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
