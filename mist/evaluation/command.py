"""What the measuring commands of this package share: their common options, checks and exit codes."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence

import torch

import mist
from mist.errors import CheckpointError
from mist.inference import Estimator

__all__ = ["command_parser", "run_command"]


def command_parser(module: str, documentation: str | None) -> argparse.ArgumentParser:
    """A parser described by the first line of a module's documentation, with --checkpoint, --seed and --threads."""
    description = (documentation or "").splitlines()[0]
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=description)
    parser.add_argument("--checkpoint", default="default", help="name or path of a checkpoint (default: default)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, help="threads of torch (default: torch's own choice)")
    return parser


def run_command(
    parser: argparse.ArgumentParser,
    argv: Sequence[str] | None,
    least: Mapping[str, int],
    measure: Callable[[Estimator, argparse.Namespace], None],
) -> int:
    """Load the checkpoint, print its label and measure it; 0, or 2 with a message for what cannot be used.

    `least` holds the smallest value of counted options, named as in the parsed arguments; `--out`, where there is one,
    is for a picture and needs matplotlib. `measure` prints what it
    finds, and raises ValueError for what it cannot use.
    """
    arguments = parser.parse_args(argv)
    try:
        for name, value in least.items():
            if (got := getattr(arguments, name)) < value:
                raise ValueError(f"got --{name.replace('_', '-')} {got}, expected at least {value}")
        if getattr(arguments, "out", None) is not None and importlib.util.find_spec("matplotlib") is None:
            raise ValueError("matplotlib is missing: pip install 'mist-mi[plot]', or leave --out away")
        if arguments.threads is not None:
            torch.set_num_threads(arguments.threads)
        estimator = mist.load(arguments.checkpoint, calibrated=not getattr(arguments, "no_calibration", False))
        print(estimator.checkpoint.label)
        measure(estimator, arguments)
    except (CheckpointError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0
