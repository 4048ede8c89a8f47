"""The last step of a run: the spread of the intervals is refitted on fresh data sets with all else held fixed.

Runs were seen to end with intervals a little too wide over their own law (CHANGELOG, "Tried"). The spread is one linear
read-out of the head's trunk, so that a full-batch fit of the training loss over that read-out alone is quick; it needs
more data sets than weights. Shapes count alike here (32 data sets of each), small ones not more often as in training.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from data_gen.meta_distribution import MetaDistribution
from data_gen.stream import generate_batch
from mist.features import extract_features
from mist.network import MISTNetwork
from mist.quantiles import quantile_loss

__all__ = ["CALIBRATION_SEED", "check_num_datasets", "recalibrate"]

CALIBRATION_SEED = 3 << 40  # no data set of training, validation or evaluation
_BATCH, _STEPS, _RATE = 32, 300, 3e-3


def check_num_datasets(num_datasets: int, trunk_width: int) -> None:
    """ValueError for fewer data sets than four times the read-out's weights."""
    if num_datasets < 4 * trunk_width:
        raise ValueError(
            f"got {num_datasets} data sets to calibrate {trunk_width + 1} weights, expected at least "
            f"{4 * trunk_width}, or 0 to leave the spread as it is"
        )


def recalibrate(
    network: MISTNetwork, meta: MetaDistribution, num_datasets: int, *, seed: int = 0, root_weight: float = 0.5
) -> tuple[float, float]:
    """Refit the spread's read-out in place on `num_datasets` fresh data sets; the loss before and after.

    ValueError as `check_num_datasets` has it.
    """
    readout = network.head.remainder
    check_num_datasets(num_datasets, readout.in_features)
    meta = replace(meta, datasets_per_batch=(_BATCH, _BATCH))
    parts, labels, weights = [], [], []
    with torch.no_grad():
        for index in range(-(-num_datasets // _BATCH)):
            batch = generate_batch(meta, CALIBRATION_SEED + seed, index)
            features = extract_features(batch.x, batch.y, network.config.features, batch.groups_x, batch.groups_y)
            parts.append([part.float().cpu() for part in network.head_parts(features)])
            labels.append(batch.mi.float())
            weights.append(batch.weight)
    trunk, centre, relative, scale, steps = (torch.cat(columns) for columns in zip(*parts, strict=True))
    mi, weight = torch.cat(labels), torch.cat(weights)
    change = torch.zeros(trunk.shape[-1], requires_grad=True)
    shift = torch.zeros((), requires_grad=True)
    optimizer = torch.optim.Adam([{"params": [change], "lr": 0.1 * _RATE}, {"params": [shift], "lr": _RATE}])

    def loss() -> torch.Tensor:
        moved = scale + (trunk @ change + shift).unsqueeze(-1)
        compressed = network.head.spread_out(centre, relative, moved, steps)
        return quantile_loss(compressed, mi, network.levels.cpu(), weight, root_weight)

    before = float(loss().detach())
    for step in range(_STEPS):
        for group, rate in zip(optimizer.param_groups, (0.1 * _RATE, _RATE), strict=True):
            group["lr"] = rate * (1 - step / _STEPS)
        optimizer.zero_grad()
        value = loss()
        value.backward()
        optimizer.step()
    with torch.no_grad():
        after = float(loss())
        readout.weight[0] += change.to(readout.weight)
        readout.bias[0] += shift.to(readout.bias)
    return before, after
