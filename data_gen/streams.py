"""Randomness as an argument: B independent random generators that draw one vectorised batch together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

__all__ = ["Streams", "structure_generator"]

_STRUCTURE, _DATA = 0, 1  # first word of every spawn key: what a batch looks like, and what is in it


def structure_generator(seed: int, batch_index: int) -> np.random.Generator:
    """Generator of what all data sets of batch `batch_index` share: family, composition, n and dims."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_STRUCTURE, batch_index)))


class Streams:
    """B independent generators; draw i depends on the i-th seed only, whatever B is.

    Every method returns a tensor whose first dimension is B. Draws are made data set by data set and in order, so
    the same calls on a slice of the seeds return the same slice of the draws.
    """

    def __init__(self, seeds: Sequence[int]) -> None:
        if len(seeds) == 0:
            raise ValueError("got no seeds, expected at least one: a batch holds at least one data set")
        self.generators = [torch.Generator().manual_seed(int(seed)) for seed in seeds]

    @classmethod
    def for_batch(cls, seed: int, batch_index: int, start: int, stop: int) -> Streams:
        """Streams of the data sets start..stop-1 of batch `batch_index`: functions of (seed, batch_index, i)."""
        sequence = np.random.SeedSequence(seed, spawn_key=(_DATA, batch_index))
        return cls([int(word) >> 1 for word in sequence.generate_state(stop, np.uint64)[start:stop]])

    def __len__(self) -> int:
        return len(self.generators)

    def select(self, rows: Sequence[int] | Tensor) -> Streams:
        """The streams of the given rows: the same generators, which go on from where they are."""
        chosen = Streams.__new__(Streams)
        chosen.generators = [self.generators[int(row)] for row in rows]
        return chosen

    def normal(self, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
        """Standard normal draws, (B, *shape)."""
        out = torch.empty(len(self), *shape, dtype=dtype)
        for row, generator in zip(out, self.generators, strict=True):
            row.normal_(generator=generator)
        return out

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0, dtype: torch.dtype = torch.float64) -> Tensor:
        """Uniform draws on [low, high), (B, *shape)."""
        out = torch.empty(len(self), *shape, dtype=dtype)
        for row, generator in zip(out, self.generators, strict=True):
            row.uniform_(low, high, generator=generator)
        return out

    def log_uniform(self, *shape: int, low: float, high: float) -> Tensor:
        """Draws whose logarithm is uniform, on [low, high), (B, *shape)."""
        return self.uniform(*shape, low=float(np.log(low)), high=float(np.log(high))).exp()

    def integers(self, low: int, high: int, *shape: int) -> Tensor:
        """Integers uniform on low..high inclusive, (B, *shape)."""
        return (low + (self.uniform(*shape) * (high - low + 1)).floor()).clamp(max=high).long()

    def bernoulli(self, probability: float, *shape: int) -> Tensor:
        """Booleans that are true with the given probability, (B, *shape)."""
        return self.uniform(*shape) < probability

    def gamma(self, concentration: Tensor, *shape: int) -> Tensor:
        """Gamma draws of unit rate; `concentration` is (B,); (B, *shape) in float64."""
        return self.gamma_like(concentration.view(-1, *([1] * len(shape))).expand(-1, *shape))

    def gamma_like(self, concentration: Tensor) -> Tensor:
        """A gamma draw of unit rate for every entry of `concentration`, (B, ...) -> (B, ...) float64."""
        rows = [
            torch._standard_gamma(row.double().contiguous(), generator=generator)
            for row, generator in zip(concentration, self.generators, strict=True)
        ]
        return torch.stack(rows)

    def poisson(self, rate: Tensor) -> Tensor:
        """A Poisson draw for every entry of `rate`, (B, ...) -> (B, ...)."""
        rows = [torch.poisson(row, generator=g) for row, g in zip(rate, self.generators, strict=True)]
        return torch.stack(rows)

    def orthogonal(self, dim: int) -> Tensor:
        """Haar-distributed orthogonal matrices, (B, dim, dim): QR with the sign fix of Mezzadri (2007)."""
        q, r = torch.linalg.qr(self.normal(dim, dim))
        return q * r.diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-2)
