"""Where the time of a training step goes: `python -m mist.training.profile`, one process of one thread."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

import torch

from data_gen.default_law import default_law
from data_gen.meta_distribution import MetaDistribution
from data_gen.stream import generate_batch
from mist.features import FeatureConfig, extract_features
from mist.network import MISTNetwork, NetworkConfig
from mist.quantiles import quantile_loss

__all__ = ["main", "profile_step"]

_LAWS = {"default": default_law, "elliptical": MetaDistribution}
_PARTS = ("generation", "features", "forward and loss", "backward and optimizer")
_WARM_UP = 8


def profile_step(meta: MetaDistribution, num_steps: int, seed: int = 0) -> tuple[dict[str, float], int]:
    """Processor seconds of every part over `num_steps` batches of a stream, and how many data sets they held."""
    network = MISTNetwork(NetworkConfig(features=FeatureConfig(ties=meta.has_ties)))
    network.initialise(torch.Generator().manual_seed(seed))
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    seconds = dict.fromkeys(_PARTS, 0.0)
    num_datasets = 0
    for index in range(_WARM_UP + num_steps):
        marks = [time.process_time()]
        batch = generate_batch(meta, seed, index)
        marks.append(time.process_time())
        features = extract_features(batch.x, batch.y, network.config.features, batch.groups_x, batch.groups_y)
        marks.append(time.process_time())
        loss = quantile_loss(network.forward_features(features), batch.mi.float(), network.levels, batch.weight, 0.5)
        marks.append(time.process_time())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        marks.append(time.process_time())
        if index >= _WARM_UP:
            num_datasets += len(batch.mi)
            for part, start, stop in zip(_PARTS, marks[:-1], marks[1:], strict=True):
                seconds[part] += stop - start
    return seconds, num_datasets


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; 0, or 2 for less than one step."""
    parser = argparse.ArgumentParser(prog="python -m mist.training.profile", description=__doc__)
    parser.add_argument("--law", choices=sorted(_LAWS), default="default")
    parser.add_argument("--steps", type=int, default=100)
    arguments = parser.parse_args(argv)
    if arguments.steps < 1:
        print(f"got --steps {arguments.steps}, expected at least 1", file=sys.stderr)
        return 2
    torch.set_num_threads(1)
    seconds, num_datasets = profile_step(_LAWS[arguments.law](), arguments.steps)
    total = sum(seconds.values())
    for part, value in seconds.items():
        print(f"{part:<24}{1e3 * value / num_datasets:>8.2f} ms a data set{value / total:>8.1%}")
    print(f"{'all':<24}{1e3 * total / num_datasets:>8.2f} ms a data set, {num_datasets / total:.0f} data sets/s a core")
    return 0


if __name__ == "__main__":
    sys.exit(main())
