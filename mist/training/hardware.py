"""What the machine offers: processes, threads and precision of a training run."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch

__all__ = ["Hardware", "detect"]


@dataclass(frozen=True)
class Hardware:
    """Lightning's accelerator, number of processes, threads of each, and precision."""

    accelerator: str
    processes: int
    threads: int
    precision: str

    def __str__(self) -> str:
        return f"{self.processes} × {self.accelerator} ({self.threads} threads each), precision {self.precision}"


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def detect(accelerator: str = "auto", processes: int | str = "auto", precision: str = "auto") -> Hardware:
    """Resolve every "auto": one process a GPU, or one a core on a CPU (each step is many small operations, which
    processes share better than threads do); bf16 on GPUs that multiply it natively, else float32: on CPUs, also
    those with AMX, the network's matrices are too small for bf16 to pay (measured in CHANGELOG.md).

    "auto" takes 1, 2, 4 or 8 processes, which share every batch. Raises ValueError for no number of processes.
    """
    accelerator = {"gpu": "cuda"}.get(accelerator, accelerator)
    if accelerator not in ("auto", "cpu", "cuda"):
        raise ValueError(f"got accelerator={accelerator!r}, expected auto, cpu or cuda")
    if accelerator == "auto":
        accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    cores = _cores()
    if processes == "auto":
        available = torch.cuda.device_count() if accelerator == "cuda" else cores
        processes = max(p for p in (1, 2, 4, 8) if p <= max(1, available))
    if not isinstance(processes, int) or isinstance(processes, bool) or processes < 1:
        raise ValueError(f"got processes={processes!r}, expected a positive number of them, or 'auto'")
    if precision == "auto":
        native = accelerator == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        precision = "bf16-mixed" if native else "32-true"
    return Hardware(accelerator, processes, max(1, cores // processes), precision)
