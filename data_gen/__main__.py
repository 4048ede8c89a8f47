"""Checks of the generator: `python -m data_gen compare --data FOLDER` and `python -m data_gen speed`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from data_gen.comparison import compare_bmi, compare_mist, format_comparison
from data_gen.speed import measure_speed

__all__ = ["main"]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m data_gen", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    compare = commands.add_parser("compare", help="our joints beside reference samples: p-values")
    compare.add_argument("--data", type=Path, required=True, help="folder with the reference .npz files")
    compare.add_argument("--replicates", type=int, default=39, help="data sets of ours per reference data set")
    compare.add_argument("--seed", type=int, default=0)
    speed = commands.add_parser("speed", help="data sets a second, by family")
    speed.add_argument("--num-points", type=int, default=500)
    speed.add_argument("--dim", type=int, default=16, help="dims of each side")
    speed.add_argument("--processes", type=int, default=2, help="processes of one thread each")
    speed.add_argument("--seconds", type=float, default=1.0, help="measuring time per family")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0 on success, 2 where a file cannot be used."""
    arguments = _parser().parse_args(argv)
    if arguments.command == "speed":
        num_points, dim, processes = arguments.num_points, arguments.dim, arguments.processes
        print(f"n={num_points}, dx=dy={dim}, {processes} processes of one thread, labels included")
        for name, rate in measure_speed(num_points, dim, processes, arguments.seconds):
            print(f"{name:<28}{rate:>10,.0f} data sets/s", flush=True)
        return 0
    try:
        families = compare_mist(arguments.data, arguments.replicates, arguments.seed)
        print(format_comparison(families, compare_bmi(arguments.data, seed=arguments.seed)))
    except (FileNotFoundError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
