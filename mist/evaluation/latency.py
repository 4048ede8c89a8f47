"""Time and memory of single estimates on one thread."""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

import mist

__all__ = ["format_latency", "large_sample", "median_seconds", "small_sample"]


def _points(num_points: int, dim: int) -> tuple[Any, Any]:
    """Correlated normal points, float64."""
    generator = np.random.default_rng(0)
    x = generator.standard_normal((num_points, dim))
    return x, 0.6 * x + 0.8 * generator.standard_normal((num_points, dim))


def median_seconds(call: Callable[[], Any], repeats: int = 30, warm_up: int = 3) -> float:
    """Median wall-clock seconds of a call after warm-up."""
    for _ in range(warm_up):
        call()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def small_sample(estimator: Any, num_points: int = 500, dim: int = 10) -> dict[str, float]:
    """Median milliseconds of one estimate: the network alone on prepared tensors, and end to end."""
    x, y = _points(num_points, dim)
    inputs = (torch.from_numpy(x)[None], torch.from_numpy(y)[None])

    def network() -> None:
        with torch.inference_mode():
            estimator.network(*inputs)

    return {
        "network_ms": 1000 * median_seconds(network),
        "estimate_ms": 1000 * median_seconds(lambda: estimator.estimate(x, y)),
    }


def large_sample(checkpoint: str, num_points: int = 100_000, dim: int = 1) -> dict[str, float]:
    """Seconds of the first and of the second estimate, and peak memory in MB, in a process of its own on one thread."""
    command = [sys.executable, "-m", "mist.evaluation.latency", checkpoint, str(num_points), str(dim)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the measuring process ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _measure(checkpoint: str, num_points: int, dim: int) -> dict[str, float]:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    estimator = mist.load(checkpoint, device="cpu")
    x, y = _points(num_points, dim)
    before = _peak_megabytes()
    seconds = []
    for _ in range(2):
        start = time.perf_counter()
        estimator.estimate(x, y)
        seconds.append(time.perf_counter() - start)
    return {
        "first_s": seconds[0],
        "second_s": seconds[1],
        "peak_mb": _peak_megabytes(),
        "peak_before_estimate_mb": before,
    }


def _peak_megabytes() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def format_latency(checkpoint: str) -> str:
    """Both measurements in two lines; one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        small = small_sample(mist.load(checkpoint, device="cpu"))
    finally:
        torch.set_num_threads(threads)
    large = large_sample(checkpoint)
    return (
        f"n=500, dx=dy=10, one thread: {small['estimate_ms']:.1f} ms an estimate end to end, "
        f"{small['network_ms']:.1f} ms in the network (median of 30)\n"
        f"n=100,000, dx=dy=1, one thread: {large['first_s']:.2f} s the first estimate, "
        f"{large['second_s']:.2f} s the next, "
        f"peak memory {large['peak_mb']:.0f} MB ({large['peak_before_estimate_mb']:.0f} MB before it)"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Measure one estimate in this process; prints JSON.")
    parser.add_argument("checkpoint")
    parser.add_argument("num_points", type=int)
    parser.add_argument("dim", type=int)
    arguments = parser.parse_args()
    print(json.dumps(_measure(arguments.checkpoint, arguments.num_points, arguments.dim)))
