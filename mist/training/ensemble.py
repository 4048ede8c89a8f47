"""Several checkpoints as one, by their predictions (`mist.pooling`) or by their weights, and back.

python -m mist.training.ensemble join CHECKPOINT CHECKPOINT ... --out FOLDER --calibrate 30000
python -m mist.training.ensemble average CHECKPOINT CHECKPOINT ... --out FOLDER     # of one lineage
python -m mist.training.ensemble split CHECKPOINT --out FOLDER      # FOLDER/1, FOLDER/2, ...: to train on, init_from=
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from data_gen.meta_distribution import MetaDistribution
from mist.calibration import LocalCalibration
from mist.checkpoint import CONFIG_FILE, Checkpoint, find_checkpoint, load_checkpoint, save_checkpoint
from mist.errors import CheckpointError
from mist.network import Member, MISTNetwork, NetworkConfig, QuantileHead
from mist.pooling import POWER
from mist.training.calibration import check_num_datasets, recalibrate
from mist.training.sample import draw_sample

__all__ = ["average", "average_checkpoints", "join", "main", "pool_checkpoints", "split"]

_LEAST_LIKENESS = 0.3  # of stages of one training .5 to .98, of runs from scratch .04


def join(networks: Sequence[MISTNetwork]) -> MISTNetwork:
    """One network of the members of several, each trusted alike and none recalibrated.

    Raises ValueError where their sizes or features differ.
    """
    plain = _equal([_of_one(network.config) for network in networks])
    members = [member for network in networks for member in network.members]
    with torch.random.fork_rng(devices=[]):  # construction draws from the global state
        joined = MISTNetwork(replace(plain, num_members=len(members)))
    for own, member in zip(joined.members, members, strict=True):
        own.load_state_dict(member.state_dict())
    return joined.eval()


def _of_one(config: NetworkConfig) -> NetworkConfig:
    """Of a member alone, to be pooled as members are today."""
    return replace(config, num_members=1, pool_power=POWER)


def _equal(configs: Sequence[NetworkConfig]) -> NetworkConfig:
    for config in configs[1:]:
        if config != configs[0]:
            raise ValueError(f"got networks {configs[0]} and {config}, expected equal sizes and features")
    return configs[0]


def average(networks: Sequence[MISTNetwork], weights: Sequence[float]) -> MISTNetwork:
    """One network, not recalibrated, whose weights are the weighted means of those of several.

    Of stages of one training, each of which began with a high learning rate again, this lies nearer to the middle of
    the valley than any (Izmailov et al. 2018; Wortsman et al. 2022). Candidates that have no weight in one of them have
    none here; they stay inputs. Raises ValueError where sizes, features or numbers of members differ, or where weights
    were trained apart: these have no meaning between them.
    """
    config = _equal([replace(network.config, pool_power=POWER) for network in networks])
    for one, other in itertools.combinations(networks, 2):
        likeness = min(_likeness(*members) for members in zip(one.members, other.members, strict=True))
        if not likeness >= _LEAST_LIKENESS:
            raise ValueError(
                f"got weights whose matrices have a cosine of {likeness:.2f}, expected at least {_LEAST_LIKENESS}, as "
                "where one grew from the other, or both from a third: the mean of weights that were trained apart is "
                "no network (join pools their predictions); members of pools must come in the same order"
            )
    share = torch.tensor(weights, dtype=torch.float64) / sum(weights)
    states = [network.state_dict() for network in networks]
    with torch.random.fork_rng(devices=[]):
        mean = MISTNetwork(config)
    values = {name: torch.stack([state[name] for state in states]) for name in mean.state_dict()}
    mean.load_state_dict({name: torch.tensordot(share, value.double(), 1) for name, value in values.items()})
    with torch.no_grad():
        for members in zip(mean.members, *(network.members for network in networks), strict=True):
            into, *heads = (_head(member) for member in members)
            unread = torch.stack([head.unread() for head in heads]).any(0)
            least = torch.stack([head.weights.bias.detach() for head in heads]).amin(0)
            into.weights.bias[unread] = least[unread]
    return mean.eval()


def _head(member: nn.Module) -> QuantileHead:
    assert isinstance(member, Member)
    return member.head


def _likeness(one: nn.Module, other: nn.Module) -> float:
    """Cosine between the matrices of two members."""
    sides = [torch.cat([p.detach().flatten() for p in member.parameters() if p.ndim > 1]) for member in (one, other)]
    return float(functional.cosine_similarity(sides[0], sides[1], dim=0))


def split(network: MISTNetwork) -> list[MISTNetwork]:
    """A network of each member, its spread as it was refitted, without the map and the novelty of all."""
    config = _of_one(network.config)
    with torch.random.fork_rng(devices=[]):
        networks = [MISTNetwork(config).eval() for _ in network.members]
    for alone, member in zip(networks, network.members, strict=True):
        alone.members[0].load_state_dict(member.state_dict())
    return networks


def pool_checkpoints(
    checkpoints: Sequence[Checkpoint],
    folder: Path,
    num_datasets: int,
    *,
    name: str | None = None,
    seed: int = 0,
    preliminary: bool = False,
    precision_exponent: float = 0.5,
    num_processes: int = 1,
) -> str:
    """Write a checkpoint of several, pooled, recalibrated together on so many dependent data sets of the first one's
    law, and return what came of that.

    Its ranges are those that all know; its hours and data sets the sums of theirs, where one that another grew from
    counts once, but ancestors that are not among them as often as they have heirs (less where one grew from several of
    these heirs). Raises ValueError for fewer than two checkpoints, for one of a modality, for too few data sets, where
    networks differ, and for a folder that holds something else than a checkpoint.
    """
    _check_several(checkpoints, "pool")
    _check_free(folder)
    network = join([checkpoint.network for checkpoint in checkpoints])
    check_num_datasets(num_datasets, network.config.trunk_width)
    law = MetaDistribution.from_dict(checkpoints[0].config["meta_distribution"])
    sample = draw_sample(network, law, num_datasets, seed, num_processes)
    found = recalibrate(network, sample, precision_exponent=precision_exponent)
    trust = ", ".join(f"{value:.2f}" for value in network.trust.exp().tolist())
    text = f"{found}; where members are equally sure, they count {trust}"
    lineage = {
        **_lineage(checkpoints),
        "members": [checkpoint.sha256 for checkpoint in checkpoints],
        "seed": seed,
        "calibration_datasets": num_datasets,
    }
    members = ", ".join(checkpoint.label for checkpoint in checkpoints)
    history = (
        f"Recalibrated on {num_datasets:,} fresh dependent data sets, drawn evenly over n and dims, and the "
        f"independent ones among them, which count half: {text}."
    )
    _save(network, checkpoints, folder, lineage, f"The pool of {members}.", history, name, preliminary)
    return text


def average_checkpoints(
    checkpoints: Sequence[Checkpoint], folder: Path, weights: Sequence[float] | None = None, *, name: str | None = None
) -> Path:
    """Write the checkpoint of the mean weights of several that grew from each other, or from one: to train on or to
    pool, as it is not recalibrated. Its law is that of the first, hours and ranges are as `pool_checkpoints` has them.

    `weights` are positive, one a checkpoint (None: equal). Raises ValueError for others, for fewer than two different
    checkpoints, for one of a modality, where weights were trained apart or networks differ, and for a folder that holds
    something else than a checkpoint.
    """
    _check_several(checkpoints, "average")
    _check_free(folder)
    weights = [1.0] * len(checkpoints) if weights is None else list(weights)
    if len(weights) != len(checkpoints) or not all(weight > 0 for weight in weights) or not math.isfinite(sum(weights)):
        raise ValueError(f"got weights {weights} for {len(checkpoints)} checkpoints, expected a positive number each")
    if len({checkpoint.sha256 for checkpoint in checkpoints}) < len(checkpoints):
        labels = ", ".join(checkpoint.label for checkpoint in checkpoints)
        raise ValueError(f"got {labels}, expected different checkpoints; weights= says what each counts")
    network = average([checkpoint.network for checkpoint in checkpoints], weights)
    shares = [weight / sum(weights) for weight in weights]
    lineage = {
        **_lineage(checkpoints),
        "averaged": {checkpoint.sha256: share for checkpoint, share in zip(checkpoints, shares, strict=True)},
        "seed": checkpoints[0].config["lineage"]["seed"],
        "calibration_datasets": 0,
    }
    parts = ", ".join(f"{each.label} ({share:.3g})" for each, share in zip(checkpoints, shares, strict=True))
    head = f"The mean of the weights of {parts}."
    return _save(network, checkpoints, folder, lineage, head, "Not recalibrated: to train on or to pool.", name, True)


def _lineage(checkpoints: Sequence[Checkpoint]) -> dict[str, Any]:
    """Of all of them together: what one took beyond those among them that it grew from, summed."""
    lineages = {checkpoint.sha256: checkpoint.config["lineage"] for checkpoint in checkpoints}
    for origin in [lineage["split_from"] for lineage in lineages.values() if "split_from" in lineage]:
        lineages.setdefault(origin["sha256"], origin)  # one for all members that were parted
    hours, num_datasets = 0.0, 0
    for lineage in lineages.values():
        known = {sha256: lineages[sha256] for sha256 in lineage["parents"] if sha256 in lineages}
        older = {parent for each in known.values() for parent in each["parents"]}
        last = [each for sha256, each in known.items() if sha256 not in older]
        hours += max(0.0, lineage["hours"] - sum(each["hours"] for each in last))
        num_datasets += max(0, lineage["num_datasets"] - sum(each["num_datasets"] for each in last))
    parents = [parent for sha256, lineage in lineages.items() for parent in (*lineage["parents"], sha256)]
    return {
        "parents": list(dict.fromkeys(parents)),
        "hours": round(hours, 3),
        "num_datasets": num_datasets,
        "date": date.today().isoformat(),
    }


def _save(
    network: MISTNetwork,
    checkpoints: Sequence[Checkpoint],
    folder: Path,
    lineage: Mapping[str, Any],
    head: str,
    history: str,
    name: str | None,
    preliminary: bool,
) -> Path:
    """What came of several; the first one's law is that of all."""
    extras = [checkpoint.config["extra"] for checkpoint in checkpoints]
    law = checkpoints[0].config["meta_distribution"]
    parameters = sum(p.numel() for p in network.parameters())
    card = f"""# {name or folder.name}

{head} {parameters:,} parameters; {lineage["num_datasets"]:,} data sets in {lineage["hours"]:.2f} hours
of training (all of them, whole lineages). {history}

## The law{" of the recalibration" if lineage["calibration_datasets"] else ""}

```json
{json.dumps(law, indent=2)}
```
"""
    return save_checkpoint(
        folder,
        network,
        trained_ranges=_common_ranges([checkpoint.config["trained_ranges"] for checkpoint in checkpoints]),
        meta_distribution=law,
        lineage=lineage,
        card=card,
        extra={
            **extras[0],
            "preliminary": preliminary,
            "trained_on_categories": all(extra.get("trained_on_categories", False) for extra in extras),
        },
        name=name,
    )


def _check_several(checkpoints: Sequence[Checkpoint], purpose: str) -> None:
    if len(checkpoints) < 2:
        raise ValueError(f"got {len(checkpoints)} checkpoint, expected two or more to {purpose}")
    for checkpoint in checkpoints:
        _check_general(checkpoint)


def _check_general(checkpoint: Checkpoint) -> None:
    local = isinstance(checkpoint.network.calibration, LocalCalibration)
    if local or checkpoint.reduction is not None or checkpoint.unwarping is not None:
        raise ValueError(f"got {checkpoint.label}, which reads sides of a modality; expected ones that read any")


def _check_free(folder: Path) -> None:
    """A checkpoint may be replaced, nothing else."""
    if folder.exists() and not (folder / CONFIG_FILE).is_file():
        raise ValueError(f"got folder {folder}, which holds no checkpoint; expected a new one, or one to replace")


def _common_ranges(ranges: Sequence[Mapping[str, Sequence[float]]]) -> dict[str, list[float]]:
    """What lies in the range of each, of the quantities that all have one of."""
    common = [key for key in ranges[0] if all(key in other for other in ranges)]
    return {key: [max(other[key][0] for other in ranges), min(other[key][1] for other in ranges)] for key in common}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0 on success, 2 for checkpoints that are missing or do not fit together."""
    parser = argparse.ArgumentParser(
        prog="python -m mist.training.ensemble", description="Pool checkpoints, average or part them."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    joining = commands.add_parser("join", help="several checkpoints as one")
    joining.add_argument("checkpoints", nargs="+", help="names or folders; the first one's law is calibrated on")
    joining.add_argument("--calibrate", type=int, required=True, help="dependent data sets to recalibrate on")
    joining.add_argument("--seed", type=int, default=0, help="of these data sets")
    joining.add_argument("--final", action="store_true", help="do not call it preliminary")
    joining.add_argument("--name", help="of the checkpoint (default: the folder's)")
    joining.add_argument("--precision-exponent", type=float, default=0.5, help="of the loss; .5, as in experiment=base")
    joining.add_argument("--processes", type=int, default=1, help="that draw them")
    averaging = commands.add_parser("average", help="one checkpoint of the mean weights of several of one lineage")
    averaging.add_argument("checkpoints", nargs="+", help="names or folders; the first one's law is kept")
    averaging.add_argument("--weights", type=float, nargs="+", help="of each (default: equal)")
    averaging.add_argument("--name", help="of the checkpoint (default: the folder's)")
    parting = commands.add_parser("split", help="a checkpoint of each member, not recalibrated, to train on")
    parting.add_argument("checkpoint", help="name or folder")
    for command in (joining, averaging, parting):
        command.add_argument("--out", type=Path, required=True, help="folder to write")
    arguments = parser.parse_args(argv)
    try:
        if arguments.command == "split":
            _write_members(load_checkpoint(find_checkpoint(arguments.checkpoint)), arguments.out)
            return 0
        checkpoints = [load_checkpoint(find_checkpoint(name)) for name in arguments.checkpoints]
        if arguments.command == "average":
            average_checkpoints(checkpoints, arguments.out, arguments.weights, name=arguments.name)
        else:
            text = pool_checkpoints(
                checkpoints,
                arguments.out,
                arguments.calibrate,
                name=arguments.name,
                seed=arguments.seed,
                preliminary=not arguments.final,
                precision_exponent=arguments.precision_exponent,
                num_processes=arguments.processes,
            )
            print(text)
        print(f"wrote {arguments.out}")
    except (CheckpointError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _write_members(checkpoint: Checkpoint, folder: Path) -> None:
    _check_general(checkpoint)
    config = checkpoint.config
    before = {k: v for k, v in config["lineage"].items() if k not in ("members", "averaged", "split_from")}
    origin = {"sha256": checkpoint.sha256, **{key: before[key] for key in ("parents", "hours", "num_datasets")}}
    for number, network in enumerate(split(checkpoint.network), start=1):
        _check_free(folder / str(number))
        path = save_checkpoint(
            folder / str(number),
            network,
            trained_ranges=config["trained_ranges"],
            meta_distribution=config["meta_distribution"],
            lineage={
                **before,
                "parents": [*before["parents"], checkpoint.sha256],
                "calibration_datasets": 0,
                "split_from": origin,
            },
            card=f"# {checkpoint.name}, member {number}\n\nNot recalibrated: to train on.\n",
            extra={**config["extra"], "preliminary": True},
            name=f"{checkpoint.name}-{number}",
        )
        print(f"wrote {path}")


if __name__ == "__main__":
    sys.exit(main())
