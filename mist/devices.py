"""Which device computes."""

from __future__ import annotations

import torch

from mist.errors import InputError

__all__ = ["choose_device"]


def choose_device(device: str | torch.device) -> torch.device:
    """The device of that name; "auto" is CUDA where there is one, else the CPU. `InputError` for any that cannot be."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise InputError(
            f"device={device!r} is unknown to torch: expected 'auto', 'cpu', 'cuda' or 'cuda:0'"
        ) from error
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise InputError(f"device={device!r}: this torch ({torch.__version__}) finds no CUDA device; use device='cpu'")
    if chosen.type not in ("cpu", "cuda"):
        raise InputError(f"device={device!r}: expected 'auto', 'cpu' or 'cuda' (features need float64)")
    return chosen
