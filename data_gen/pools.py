"""Pools of parameter sets whose labels are dear: made once in chunks, kept in a cache folder, drawn from in no time.

Chunk c of a pool is a function of (name, c) alone, so it is made when it is first asked for, by whichever process asks,
and `python -m data_gen pools` makes all of them beforehand. The folder is named by a hash of the source code behind
the labels: when that changes, chunks are made anew. It lies in $MIST_CACHE, else where the system keeps caches.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import shutil
import time
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

from platformdirs import user_cache_dir
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from data_gen.files import write_whole
from data_gen.streams import Streams

__all__ = ["HELD_OUT_EVERY", "Pool", "cache_folder", "chunk_number", "make_chunk"]

HELD_OUT_EVERY = 6  # of so many chunks the last is kept from training
_STALE_SECONDS = 3 * 24 * 3600
_MAKERS = ("data_gen.streams", "data_gen.monte_carlo")  # behind every pool


def cache_folder() -> Path:
    """Where pools are kept: $MIST_CACHE, else the user's cache folder."""
    return Path(os.environ.get("MIST_CACHE") or user_cache_dir("mist-mi", appauthor=False)) / "pools"


def chunk_number(draw: int, held_out: bool) -> int:
    """A chunk by a random number: one of those for training, or of those kept for validation and evaluation."""
    if held_out:
        return HELD_OUT_EVERY * draw + HELD_OUT_EVERY - 1
    return HELD_OUT_EVERY * (draw // (HELD_OUT_EVERY - 1)) + draw % (HELD_OUT_EVERY - 1)


@cache
def _key(modules: tuple[str, ...]) -> str:
    """Hash of the source of the modules that make a pool."""
    digest = hashlib.sha256()
    for name in modules:
        source = importlib.import_module(name).__file__
        assert source is not None
        digest.update(Path(source).read_bytes())
    return digest.hexdigest()[:16]


@dataclass(frozen=True)
class Pool:
    """`num_chunks` chunks of `chunk_size` labelled parameter sets, sorted by MI.

    `make` turns the streams of a chunk's rows into tensors (chunk_size, ...), among them "mi" and "standard_error",
    nats. `modules` are those whose source decides what `make` returns, beside this one's.
    """

    name: str
    chunk_size: int
    num_chunks: int
    make: Callable[[Streams], dict[str, Tensor]]
    modules: tuple[str, ...]

    def __post_init__(self) -> None:
        assert self.num_chunks % HELD_OUT_EVERY == 0, "so that chunks kept from training are so whatever is added to it"

    @property
    def key(self) -> str:
        """What the code that makes the pool hashes to."""
        return _key((*_MAKERS, *self.modules))

    @property
    def folder(self) -> Path:
        """Where the chunks are kept."""
        return cache_folder() / self.name / f"{self.key}-{self.chunk_size}"

    def path(self, number: int) -> Path:
        """The file of one chunk."""
        return self.folder / f"{number:04d}.safetensors"

    @property
    def missing(self) -> list[int]:
        """Chunks that are not on disk."""
        return [number for number in range(self.num_chunks) if not self.path(number).exists()]

    def chunk(self, number: int) -> dict[str, Tensor]:
        """Parameters and labels of one chunk, made now where it is not on disk; any number, modulo their count."""
        number %= self.num_chunks
        return _chunk(self, number, self.path(number))

    def rows(self, number: int, level: Tensor) -> dict[str, Tensor]:
        """Rows of one chunk by level in [0, 1], the share of its rows of lower MI; (...) -> (..., *shape)."""
        chunk = self.chunk(number)
        index = (level * self.chunk_size).long().clamp(0, self.chunk_size - 1)
        return {name: values[index] for name, values in chunk.items()}

    def remove_stale(self) -> int:
        """Delete folders that other code has filled, untouched for days; how many there were."""
        folders = [path for path in self.folder.parent.glob("*") if path.is_dir() and path != self.folder]
        stale = [path for path in folders if time.time() - path.stat().st_mtime > _STALE_SECONDS]
        for path in stale:
            shutil.rmtree(path, ignore_errors=True)  # a process of the other code may still be writing
        return len(stale)


def make_chunk(pool: Pool, number: int) -> dict[str, Tensor]:
    """Make one chunk and keep it."""
    made = pool.make(Streams.for_batch(zlib.crc32(pool.name.encode()), number, 0, pool.chunk_size))
    order = made["mi"].argsort(stable=True)
    rows = {name: values[order].contiguous() for name, values in made.items()}
    _keep(pool.path(number), save(rows))
    return rows


@lru_cache(maxsize=128)
def _chunk(pool: Pool, number: int, path: Path) -> dict[str, Tensor]:
    if path.exists():
        try:
            return load_file(path)
        except (SafetensorError, FileNotFoundError):
            pass  # damaged, or removed just now: made again
    return make_chunk(pool, number)


def _keep(path: Path, content: bytes) -> None:
    """Without a place to write, go on without."""
    try:
        write_whole(path, content)
    except OSError as error:
        warnings.warn(
            f"got {error} when keeping a pool of labels in {path.parent}, expected a folder to write to: its labels "
            "are made again by every process; set MIST_CACHE to a folder that can be written",
            RuntimeWarning,
            stacklevel=2,
        )
