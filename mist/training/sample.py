"""What a network makes of fresh data sets of a law, as many in each bin of n and dims: what it is recalibrated on.

They are drawn in eight parts, so that processes can share them and find the same data sets however many they are.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import chain

import torch
from safetensors.torch import load, save
from torch import Tensor

from data_gen.meta_distribution import MetaDistribution
from data_gen.stream import Batch
from mist.evaluation.even import even_batches, reached_bins
from mist.features import extract_features
from mist.network import HeadParts, MISTNetwork, NetworkConfig

__all__ = ["CALIBRATION_SEED", "CalibrationSample", "batches_of", "draw_sample", "sample_of"]

# No data set of training, validation or evaluation; pools give parameter sets that are kept from training, as to these.
CALIBRATION_SEED = 3 << 40
_PARTS = 8


@dataclass(frozen=True)
class CalibrationSample:
    """What the head makes of R data sets, and their truth."""

    parts: tuple[HeadParts, ...]  # of each member
    mi: Tensor  # (R,) float64, nats
    weight: Tensor  # (R,)
    counts: Tensor  # (3, R) n, dim_x, dim_y
    shape: Tensor  # (R,) number of the batch

    def select(self, rows: Tensor) -> CalibrationSample:
        """Some of the data sets, by a mask or by their numbers."""
        parts = tuple(HeadParts(*(column[rows] for column in part)) for part in self.parts)
        return CalibrationSample(parts, self.mi[rows], self.weight[rows], self.counts[:, rows], self.shape[rows])


@dataclass(frozen=True)
class _Part:
    """An eighth of what is wanted, of every eighth batch of the stream."""

    meta: MetaDistribution
    seed: int
    bins: frozenset[tuple[int, int]]
    per_bin: int
    which: int

    def batches(self) -> Iterator[Batch]:
        return even_batches(self.meta, self.per_bin, self.seed, bins=self.bins, part=(self.which, _PARTS))


def _parts(meta: MetaDistribution, num_datasets: int, seed: int) -> list[_Part]:
    """Those of which something is wanted."""
    bins = frozenset(reached_bins(meta, CALIBRATION_SEED + seed))
    per_bin = -(-num_datasets // len(bins))
    counts = [per_bin // _PARTS + (which < per_bin % _PARTS) for which in range(_PARTS)]
    return [_Part(meta, CALIBRATION_SEED + seed, bins, count, which) for which, count in enumerate(counts) if count]


def batches_of(meta: MetaDistribution, num_datasets: int, seed: int = 0) -> Iterator[Batch]:
    """At least so many data sets of MI above 0, as many in each bin of n and dims that a law reaches, with the
    independent ones that come with them; eight of a shape, of a stream of its own."""
    for part in _parts(meta, num_datasets, seed):
        yield from part.batches()


def sample_of(network: MISTNetwork, batches: Iterable[Batch]) -> CalibrationSample:
    """What the head makes of the data sets of batches of one shape each."""
    parts, labels, weights, counts, shapes = [], [], [], [], []
    with torch.no_grad():
        for number, batch in enumerate(batches):
            features = extract_features(batch.x, batch.y, network.config.features, batch.groups_x, batch.groups_y)
            parts.append([[column.float().cpu() for column in part] for part in network.head_parts(features)])
            labels.append(batch.mi)
            weights.append(batch.weight)
            shape = torch.tensor([batch.x.shape[1], batch.x.shape[2], batch.y.shape[2]], dtype=torch.float64)
            counts.append(shape.unsqueeze(-1).expand(-1, len(batch.mi)))
            shapes.append(torch.full((len(batch.mi),), number))
    members = tuple(
        HeadParts(*(torch.cat(column) for column in zip(*part, strict=True))) for part in zip(*parts, strict=True)
    )
    mi, weight, shape = torch.cat(labels).double(), torch.cat(weights), torch.cat(shapes)
    return CalibrationSample(members, mi, weight, torch.cat(counts, dim=-1), shape)


def draw_sample(
    network: MISTNetwork, meta: MetaDistribution, num_datasets: int, seed: int = 0, num_processes: int = 1
) -> CalibrationSample:
    """What a network, on the CPU, makes of `batches_of` these, shared out to so many processes, at most eight."""
    if num_processes < 1:
        raise ValueError(f"got num_processes={num_processes}, expected 1 or more")
    if num_processes == 1:
        return sample_of(network, batches_of(meta, num_datasets, seed))
    members = {name: value for name, value in network.state_dict().items() if not name.startswith("novelty.")}
    weights = save(members)  # tensors by themselves would go as open files: there are not so many
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(num_processes, _PARTS), spawn, torch.set_num_threads, (1,)) as pool:
        parts = _parts(meta, num_datasets, seed)
        tasks = [pool.submit(_sample_part, network.config, weights, part) for part in parts]
        found = [task.result() for task in tasks]
    return _joined([part for part in found if part is not None])


def _sample_part(config: NetworkConfig, weights: bytes, part: _Part) -> CalibrationSample | None:
    """In a process of its own; None where every data set of it was unusable."""
    network = MISTNetwork(config)
    network.load_state_dict(load(weights))
    batches = part.batches()
    first = next(batches, None)
    return None if first is None else sample_of(network.eval(), chain([first], batches))


def _joined(samples: Sequence[CalibrationSample]) -> CalibrationSample:
    """One after another, their shapes numbered on."""
    members = zip(*(sample.parts for sample in samples), strict=True)
    parts = tuple(HeadParts(*(torch.cat(column) for column in zip(*member, strict=True))) for member in members)
    shapes, start = [], 0
    for sample in samples:
        shapes.append(sample.shape + start)
        start = int(shapes[-1].max()) + 1
    mi, weight = (torch.cat([getattr(sample, name) for sample in samples]) for name in ("mi", "weight"))
    return CalibrationSample(parts, mi, weight, torch.cat([s.counts for s in samples], dim=-1), torch.cat(shapes))
