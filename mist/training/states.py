"""Training states on disk: written beside their place, flushed and renamed, so that a reader never finds a torn one."""

from __future__ import annotations

import io
import os
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

__all__ = ["AtomicCheckpointIO", "check_writable"]


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's files of training states, whole or not there.

    `kill -9` and a full disk leave the state before it as it was. OSError says which file could not be written,
    ValueError which could not be read, each with the way out.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a state."""
        content = io.BytesIO()
        torch.save(checkpoint, content)
        target = Path(path)
        part = target.with_name(f".{target.name}.part")  # one name: what a killed run left is written over
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                file.write(content.getbuffer())
                file.flush()
                os.fsync(file.fileno())
            os.replace(part, target)
        except OSError as error:
            raise OSError(
                f"cannot write the training state {target} ({error.strerror}): expected a folder with room for "
                f"{len(content.getbuffer()):,} bytes; states written before are whole: make room, then resume with "
                "ckpt_path= the last of them"
            ) from error
        finally:
            with suppress(OSError):
                part.unlink()

    def load_checkpoint(self, path: Any, *args: Any, **options: Any) -> dict[str, Any]:
        """Read a state."""
        try:
            return dict(super().load_checkpoint(path, *args, **options))
        except FileNotFoundError:
            raise
        except Exception as error:  # whatever torch calls a file that it cannot read
            raise ValueError(
                f"cannot read {path} ({error}): expected a training state as a run writes it; it is damaged or no "
                f"such file, take another one from {Path(path).parent}"
            ) from error


def check_writable(folder: Path) -> None:
    """OSError, before any work, where a run could not write its output."""
    probe = folder / f".probe.{uuid.uuid4().hex}"  # many processes may look at once
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"\0" * 4096)
        probe.unlink()
    except OSError as error:
        raise OSError(f"cannot write into {folder} ({error.strerror}): choose another output_dir=") from error
