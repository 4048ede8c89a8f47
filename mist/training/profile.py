"""Where the time of a training step goes: `python -m mist.training.profile`, one process of one thread."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from data_gen.default_law import default_law
from data_gen.meta_distribution import MetaDistribution
from data_gen.stream import generate_batch
from mist.features import FeatureConfig, extract_features
from mist.network import MISTNetwork, NetworkConfig
from mist.quantiles import quantile_loss
from mist.training.config import TrainingConfig

__all__ = ["count_flops", "main", "profile_step"]

_LAWS = {"default": default_law, "elliptical": MetaDistribution}
_PARTS = ("generation", "features", "forward and loss", "backward and optimizer")
_WARM_UP = 8


def profile_step(
    meta: MetaDistribution, num_steps: int, config: NetworkConfig, seed: int = 0
) -> tuple[dict[str, float], int]:
    """Processor seconds of every part over `num_steps` batches of a stream, and how many data sets they held."""
    network = MISTNetwork(config)
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


def count_flops(meta: MetaDistribution, num_steps: int, config: NetworkConfig, seed: int = 0) -> tuple[float, float]:
    """Floating-point operations of matrix products a data set, over the batches of a stream: of the features, and of
    the network with its gradients."""
    network = MISTNetwork(config)
    network.initialise(torch.Generator().manual_seed(seed))
    totals, num_datasets = [0, 0], 0
    for index in range(num_steps):
        batch = generate_batch(meta, seed, index)
        num_datasets += len(batch.mi)
        with FlopCounterMode(display=False) as of_features:
            features = extract_features(batch.x, batch.y, config.features, batch.groups_x, batch.groups_y)
        with FlopCounterMode(display=False) as of_network:
            quantiles = network.forward_features(features)
            quantile_loss(quantiles, batch.mi.float(), network.levels, batch.weight, 0.5).backward()
        totals[0] += of_features.get_total_flops()
        totals[1] += of_network.get_total_flops()
    return totals[0] / num_datasets, totals[1] / num_datasets


def _model(name: str, law: MetaDistribution) -> NetworkConfig | None:
    """The network of a file of conf/model in the working directory; base also where there is none."""
    features = FeatureConfig(ties=law.has_ties)
    if not Path("conf/model", f"{name}.yaml").is_file():
        return NetworkConfig(features=features) if name == "base" else None
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    with initialize_config_dir(str(Path("conf").absolute()), version_base="1.3"):
        values = OmegaConf.to_container(compose("train", [f"model={name}"]), resolve=True)
    assert isinstance(values, dict)
    config = TrainingConfig.from_dict({str(key): value for key, value in values.items() if key != "logger"}).model
    return replace(config, features=replace(config.features, ties=law.has_ties))


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; 0, or 2 for less than one step."""
    parser = argparse.ArgumentParser(prog="python -m mist.training.profile", description=__doc__)
    parser.add_argument("--law", choices=sorted(_LAWS), default="default")
    parser.add_argument("--model", default="base", help="of conf/model, base also without it (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=100, help="timed (default: %(default)s)")
    parser.add_argument("--flop-steps", type=int, default=40, help="counted (default: %(default)s)")
    arguments = parser.parse_args(argv)
    for option, value in (("--steps", arguments.steps), ("--flop-steps", arguments.flop_steps)):
        if value < 1:
            print(f"got {option} {value}, expected at least 1", file=sys.stderr)
            return 2
    torch.set_num_threads(1)
    law = _LAWS[arguments.law]()
    config = _model(arguments.model, law)
    if config is None:
        print(f"got --model {arguments.model}, expected the name of a file in {Path('conf/model')}", file=sys.stderr)
        return 2
    seconds, num_datasets = profile_step(law, arguments.steps, config)
    total = sum(seconds.values())
    for part, value in seconds.items():
        print(f"{part:<24}{1e3 * value / num_datasets:>8.2f} ms a data set{value / total:>8.1%}")
    features, network = count_flops(law, arguments.flop_steps, config)
    print(f"{'all':<24}{1e3 * total / num_datasets:>8.2f} ms a data set, {num_datasets / total:.0f} data sets/s a core")
    print(f"matrix products: {features / 1e6:.0f} MFLOP a data set in features, {network / 1e6:.0f} in the network")
    return 0


if __name__ == "__main__":
    sys.exit(main())
