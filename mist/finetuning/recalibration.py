"""The last step of fine-tuning: intervals for data sets like the samples, and what is novel to the new weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from data_gen.stream import Batch
from mist.calibration import LocalCalibration
from mist.features import extract_features
from mist.network import MISTNetwork, joined_trunks
from mist.novelty import Novelty
from mist.training.calibration import conformal, coverage_of, fit_calibration

__all__ = ["LocalRecalibration", "recalibrate_locally"]

_NOMINAL = (0.5, 0.8, 0.9, 0.95)


@dataclass(frozen=True)
class LocalRecalibration:
    """Coverage of central intervals on look-alikes kept aside, before and after, and how many these were."""

    coverage: dict[float, tuple[float, float]]
    num_datasets: int

    def __str__(self) -> str:
        rows = [
            f"{level:.0%} intervals cover {100 * before:.1f} % -> {100 * after:.1f} %"
            for level, (before, after) in self.coverage.items()
        ]
        return f"{', '.join(rows)} of {self.num_datasets:,} look-alikes kept aside (then 90% by construction)"


def recalibrate_locally(
    network: MISTNetwork,
    lookalikes: Callable[[int], Batch],
    original: Callable[[int], Batch],
    num_batches: tuple[int, int],
    num_points: tuple[int, int],
) -> LocalRecalibration:
    """Add a calibration for look-alikes to the network's own, in place, and fit its novelty anew.

    Two thirds of the batches of look-alikes fit the map of levels, one third makes it conformal; the novelty is of
    both laws. `num_batches` counts those of look-alikes and of the original law; `num_points` is the range of n that
    the look-alikes have.
    """
    trunks: list[Tensor] = []
    aside: list[bool] = []
    read: list[tuple[Tensor, Tensor, Tensor]] = []
    with torch.no_grad():
        for law, (draw, count) in enumerate(zip((lookalikes, original), num_batches, strict=True)):
            for index in range(count):
                batch = draw(index)
                features = extract_features(batch.x, batch.y, network.config.features, batch.groups_x, batch.groups_y)
                keep = batch.weight > 0
                trunks.append(joined_trunks(network.head_parts(features))[keep].float())
                aside += [index % 3 == 2] * int(keep.sum())
                if law == 0:
                    compressed, _ = network.read_features(features)
                    counts = torch.tensor([batch.x.shape[1], batch.x.shape[2], batch.y.shape[2]], dtype=torch.float64)
                    read.append((compressed[keep], batch.mi[keep], counts.unsqueeze(-1).expand(-1, int(keep.sum()))))
    compressed, mi = (torch.cat([row[i] for row in read]).double() for i in (0, 1))
    counts = torch.cat([row[2] for row in read], dim=-1)
    kept_aside = torch.tensor(aside)
    rest = kept_aside[: len(mi)]
    levels = network.levels
    near = fit_calibration(compressed[~rest], mi[~rest], levels, counts[:, ~rest])
    near = conformal(near, compressed[rest], mi[rest], levels, counts[:, rest])
    dims = int(counts[1, 0]), int(counts[2, 0])
    network.calibration = LocalCalibration(network.calibration, near, num_points, dims)
    trunk = torch.cat(trunks)
    network.novelty = Novelty.fit(trunk[~kept_aside], trunk[kept_aside])
    mapped = near.apply(compressed[rest], levels, *counts[:, rest])
    coverage = {
        level: (
            coverage_of(compressed[rest], mi[rest], levels, level),
            coverage_of(mapped, mi[rest], levels, level),
        )
        for level in _NOMINAL
    }
    return LocalRecalibration(coverage, int(rest.sum()))
