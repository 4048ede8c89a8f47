"""Make, look at and check data: `python -m data_gen KEY=VALUE …`, or preview, report, pools, compare, speed.

python -m data_gen num_datasets=100000 out=data/mine   a meta-dataset on disk, of the settings in conf/data_gen.yaml
python -m data_gen preview --out preview.png           a gallery of joints and the laws of MI, n and dims
python -m data_gen compare --data FOLDER               our joints beside reference samples: p-values
python -m data_gen report                              kind by kind: MI, what could be detected, label errors, time
python -m data_gen pools                               make the pools of dear labels now rather than when needed
python -m data_gen speed                               data sets a second, kind by kind
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from data_gen.comparison import compare_bmi, compare_mist, format_comparison
from data_gen.meta_distribution import MetaDistribution
from data_gen.pools import cache_folder
from data_gen.preview import write_preview
from data_gen.report import format_report, summarise_law
from data_gen.speed import make_pools, measure_speed

__all__ = ["main", "make_from_settings"]

_CONF = Path(__file__).resolve().parent.parent / "conf"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m data_gen", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    preview = commands.add_parser("preview", help="a picture of a meta-distribution")
    preview.add_argument("--out", type=Path, default=Path("preview.png"))
    preview.add_argument("--meta-distribution", default="default", help="a name in conf/meta_distribution/")
    preview.add_argument("--batches", type=int, default=100, help="batches whose labels are drawn")
    preview.add_argument("--seed", type=int, default=0)
    compare = commands.add_parser("compare", help="our joints beside reference samples: p-values")
    compare.add_argument("--data", type=Path, required=True, help="folder with the reference .npz files")
    compare.add_argument("--replicates", type=int, default=39, help="data sets of ours per reference data set")
    compare.add_argument("--seed", type=int, default=0)
    report = commands.add_parser("report", help="a law, kind by kind: MI, what could be detected, label errors, time")
    report.add_argument("--meta-distribution", default="default", help="a name in conf/meta_distribution/")
    report.add_argument("--batches", type=int, default=300)
    report.add_argument("--seed", type=int, default=0)
    report.add_argument(
        "--narrow", action="store_true", help="n ~ U(10, 500) and dims ~ U(1, 32), the range of the speed targets"
    )
    pools = commands.add_parser("pools", help="make the pools of dear labels")
    pools.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="of one thread each")
    speed = commands.add_parser("speed", help="data sets a second, kind by kind")
    speed.add_argument("--num-points", type=int, default=500)
    speed.add_argument("--dim", type=int, default=16, help="dims of each side")
    speed.add_argument("--processes", type=int, default=2, help="processes of one thread each")
    speed.add_argument("--seconds", type=float, default=1.0, help="measuring time per family")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0 on success, 2 where a file or setting cannot be used."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words and (words[0].startswith("-m") or "=" in words[0] or words[0] == "--multirun"):
        return _make(words)
    arguments = _parser().parse_args(words)
    try:
        if arguments.command == "speed":
            _speed(arguments)
        elif arguments.command == "pools":
            _make_pools(arguments.processes)
        elif arguments.command == "report":
            _report(arguments)
        elif arguments.command == "preview":
            print(
                write_preview(
                    _load(arguments.meta_distribution),
                    arguments.out,
                    seed=arguments.seed,
                    num_batches=arguments.batches,
                )
            )
        else:
            families = compare_mist(arguments.data, arguments.replicates, arguments.seed)
            print(format_comparison(families, compare_bmi(arguments.data, seed=arguments.seed)))
    except (FileNotFoundError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _speed(arguments: argparse.Namespace) -> None:
    num_points, dim, processes = arguments.num_points, arguments.dim, arguments.processes
    print(f"n={num_points}, dx=dy={dim}, {processes} processes of one thread, labels included")
    for name, rate in measure_speed(num_points, dim, processes, arguments.seconds):
        print(f"{name:<28}{rate:>10,.0f} data sets/s", flush=True)


def _report(arguments: argparse.Namespace) -> None:
    meta = _load(arguments.meta_distribution)
    if arguments.batches < 1:
        raise ValueError(f"got --batches {arguments.batches}, expected at least 1")
    if arguments.narrow:
        meta = replace(
            meta, num_points=(10, 500), uniform_points_probability=1.0, dims=(1, 32), equal_dims_probability=1.0
        )
    torch.set_num_threads(1)
    for line in format_report(summarise_law(meta, arguments.batches, arguments.seed)):
        print(line)


def _make_pools(processes: int) -> None:
    from tqdm import tqdm

    steps = make_pools(processes)
    with tqdm(total=next(steps), unit="chunk", desc=str(cache_folder())) as bar:
        for step in steps:
            bar.update(step)


def _load(name: str) -> MetaDistribution:
    """A meta-distribution of conf/ by its name; ValueError where there is none."""
    if not (_CONF / "meta_distribution" / f"{name}.yaml").is_file():
        known = sorted(path.stem for path in (_CONF / "meta_distribution").glob("*.yaml"))
        raise ValueError(f"got meta-distribution {name!r}, expected one of {known} in {_CONF}")
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    with initialize_config_dir(str(_CONF), version_base="1.3"):
        config = compose("data_gen", overrides=[f"meta_distribution={name}", "out=."])
    values = OmegaConf.to_container(config.meta_distribution, resolve=True)
    assert isinstance(values, dict)
    return MetaDistribution.from_dict({str(key): value for key, value in values.items()})


def _make(words: list[str]) -> int:
    """Compose conf/data_gen.yaml with the overrides and make the shards."""
    import hydra
    from omegaconf import DictConfig, OmegaConf

    @hydra.main(version_base="1.3", config_path=str(_CONF), config_name="data_gen")
    def run(config: DictConfig) -> None:
        values = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
        assert isinstance(values, dict)
        make_from_settings({str(key): value for key, value in values.items()})

    program, sys.argv = sys.argv, [sys.argv[0], *words]
    try:
        run()
    finally:
        sys.argv = program
    return 0


def make_from_settings(values: Mapping[str, Any]) -> None:
    """Make the shards that plain settings ask for, with a progress bar; ValueError for unknown keys."""
    from tqdm import tqdm

    from data_gen.shards import MANIFEST, Plan, make_shards, missing_shards

    known = {"out", "num_datasets", "seed", "batches_per_shard", "shard", "processes", "meta_distribution"}
    if unknown := set(values) - known:
        raise ValueError(f"got unknown settings {sorted(unknown)}, expected some of {sorted(known)}")
    plan = Plan(
        MetaDistribution.from_dict(values["meta_distribution"]),
        seed=int(values["seed"]),
        num_datasets=int(values["num_datasets"]),
        batches_per_shard=int(values["batches_per_shard"]),
    )
    out, shard = Path(values["out"]), values["shard"]
    wanted = None if shard is None else [int(shard)]
    processes = os.cpu_count() or 1 if values["processes"] == "auto" else int(values["processes"])
    if processes < 1:
        raise ValueError(f"got processes={processes}, expected auto or at least 1")
    total = len(missing_shards(plan, out, wanted))
    made = make_shards(plan, out, shards=wanted, processes=1 if wanted else processes)
    num_made = sum(1 for _ in tqdm(made, total=total, unit="shard", desc=str(out)))
    state = "the manifest is written" if (out / MANIFEST).exists() else "others are still missing"
    print(f"{num_made} shards made, {plan.num_shards} in all; {state}")


if __name__ == "__main__":
    sys.exit(main())
