"""Recalibration of predicted distributions: a monotone map of their levels, fitted where the truth is known.

Shapes: B data sets, Q levels, F terms of the context.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mist.quantiles import OFFSET

__all__ = ["NUM_QUANTITIES", "NUM_TERMS", "Calibration", "context", "context_terms", "interpolate", "invert"]

NUM_QUANTITIES = 4
NUM_TERMS = 1 + NUM_QUANTITIES * (NUM_QUANTITIES + 3) // 2
_MOST = 1.5  # of the logarithm of a spread and of a shift, in normal scores


def context(median: Tensor, num_points: Tensor | int, dim_x: Tensor | int, dim_y: Tensor | int) -> Tensor:
    """What the map depends on, (B,) compressed medians -> (B, NUM_QUANTITIES): the median cut at 0 nats, log n, and
    the sum and absolute difference of the logarithms of the dims, so that swapping the sides changes nothing."""
    log_n, log_x, log_y = (torch.as_tensor(count).to(median).log() for count in (num_points, dim_x, dim_y))
    columns = (median.clamp(min=math.log(OFFSET)), log_n, log_x + log_y, (log_x - log_y).abs())
    return torch.stack([column.expand_as(median) for column in columns], dim=-1)


def context_terms(quantities: Tensor, ranges: Tensor) -> Tensor:
    """1, the quantities, their squares and products, each quantity first held inside its range (2, NUM_QUANTITIES)
    and scaled to ±1; (B, NUM_QUANTITIES) -> (B, F)."""
    low, high = ranges
    unit = 2 * (quantities.clamp(low, high) - low) / (high - low).clamp(min=1e-6) - 1
    rows, columns = torch.triu_indices(NUM_QUANTITIES, NUM_QUANTITIES, device=unit.device)
    return torch.cat([torch.ones_like(unit[..., :1]), unit, unit[..., rows] * unit[..., columns]], dim=-1)


def interpolate(grid: Tensor, values: Tensor, wanted: Tensor) -> Tensor:
    """Piecewise linear values (B, Q) over an increasing grid (Q,) at (B, T); straight on past the ends."""
    right = torch.searchsorted(grid, wanted.contiguous()).clamp(1, len(grid) - 1)
    weight = (wanted - grid[right - 1]) / (grid[right] - grid[right - 1])
    below, above = values.gather(-1, right - 1), values.gather(-1, right)
    return below + weight * (above - below)


def invert(grid: Tensor, values: Tensor, target: Tensor) -> Tensor:
    """Where on the grid the piecewise linear values (B, Q), non-decreasing, reach the targets (B,), within ±8."""
    right = torch.searchsorted(values.contiguous(), target.unsqueeze(-1)).clamp(1, len(grid) - 1)
    below, above = values.gather(-1, right - 1), values.gather(-1, right)
    weight = (target.unsqueeze(-1) - below) / (above - below).clamp(min=1e-9)
    start, stop = grid[right - 1], grid[right]
    return (start + weight * (stop - start)).squeeze(-1).clamp(-8, 8)


@dataclass(frozen=True)
class Calibration:
    """The map; plain numbers, so that a checkpoint can carry it.

    With normal scores z = Φ⁻¹(level), the quantile at z is read from the network's own distribution at
    shift + spread · warp(stretch · z), the spread one below the median and another above it: continuous and increasing
    in z whatever the numbers, so that quantiles never cross. Shift and the logarithms of the spreads are quadratic in
    the context (n, dims and the predicted median), the warp is one for all, and the stretch is conformal: over data
    sets exchangeable with those it was set on the 90 % interval covers at least 90 % (Vovk et al. 2005; Romano et al.
    2019), on average over the law and its shapes, not for each kind of data.
    """

    shift: tuple[float, ...]  # (F,)
    log_spread_low: tuple[float, ...]  # (F,)
    log_spread_high: tuple[float, ...]  # (F,)
    ranges: tuple[tuple[float, ...], tuple[float, ...]]  # least and largest of each quantity of the context
    warp: tuple[float, ...]  # (Q,) normal scores, increasing
    stretch: float = 1.0

    def __post_init__(self) -> None:
        for name in ("shift", "log_spread_low", "log_spread_high"):
            if len(getattr(self, name)) != NUM_TERMS:
                raise ValueError(f"got {len(getattr(self, name))} numbers in {name}, expected {NUM_TERMS}")
        if [len(side) for side in self.ranges] != [NUM_QUANTITIES] * 2:
            raise ValueError(f"got ranges={self.ranges}, expected two lists of {NUM_QUANTITIES} numbers")
        if not all(a <= b and math.isfinite(b - a) for a, b in zip(*self.ranges, strict=True)):
            raise ValueError(f"got ranges={self.ranges}, expected finite numbers, the second no smaller than the first")
        if any(after <= before for before, after in zip(self.warp[:-1], self.warp[1:], strict=True)):
            raise ValueError("got a warp that does not increase, expected increasing normal scores")
        numbers = (*self.shift, *self.log_spread_low, *self.log_spread_high, *self.warp, self.stretch)
        if not all(math.isfinite(number) for number in numbers) or self.stretch <= 0:
            raise ValueError("got a calibration that is not finite, or a stretch of 0 or less; expected finite numbers")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Calibration:
        """From plain lists; ValueError for other keys or lengths."""
        known = {field.name for field in dataclasses.fields(cls)}
        if set(values) != known:
            raise ValueError(f"got calibration keys {sorted(values)}, expected {sorted(known)}")
        low, high = values["ranges"]
        lists = {name: tuple(float(v) for v in values[name]) for name in known - {"ranges", "stretch"}}
        return cls(**lists, ranges=(tuple(low), tuple(high)), stretch=float(values["stretch"]))

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers in tuples, fit for JSON."""
        return dataclasses.asdict(self)

    def coefficients(self) -> Tensor:
        """Of the shift and of the logarithms of both spreads, (3, F) float64."""
        return torch.tensor([self.shift, self.log_spread_low, self.log_spread_high], dtype=torch.float64)

    def position(self, z: Tensor, quantities: Tensor, coefficients: Tensor | None = None) -> Tensor:
        """Where in the network's own distribution to read the quantiles at normal scores (Q,): context
        (B, NUM_QUANTITIES) -> (B, Q). Other `coefficients` than its own are for fitting them."""
        shift, low, high = self._context(quantities, coefficients)
        warp = torch.tensor(self.warp, dtype=torch.float64).to(quantities).unsqueeze(0)
        warped = interpolate(z, warp, self.stretch * z.unsqueeze(0))  # (1, Q)
        return shift + torch.where(warped < 0, low.exp(), high.exp()) * warped

    def unspread(self, z: Tensor, quantities: Tensor) -> Tensor:
        """Undo shift and spread of a normal score of each data set, (B,), (B, NUM_QUANTITIES) -> (B,)."""
        shift, low, high = (part.squeeze(-1) for part in self._context(quantities))
        return (z - shift) / torch.where(z < shift, low.exp(), high.exp())

    def _context(self, quantities: Tensor, coefficients: Tensor | None = None) -> tuple[Tensor, ...]:
        """Shift and logarithms of both spreads, (B, 1) each."""
        table = self.coefficients() if coefficients is None else coefficients
        terms = context_terms(quantities, torch.tensor(self.ranges, dtype=torch.float64).to(quantities))
        return (terms @ table.to(quantities).mT).clamp(-_MOST, _MOST).unsqueeze(-1).unbind(-2)

    def apply(
        self,
        compressed: Tensor,
        levels: Tensor,
        num_points: Tensor | int,
        dim_x: Tensor | int,
        dim_y: Tensor | int,
    ) -> Tensor:
        """Quantiles on the compressed scale, (B, Q) at levels (Q,), recalibrated; counts are numbers or (B,).

        Nothing is read past the ends of the network's grid: it did not learn how its tails go on.
        """
        z = torch.special.ndtri(levels.double())
        values = compressed.double()
        median = interpolate(z, values, torch.zeros_like(values[:, :1])).squeeze(-1)
        wanted = self.position(z, context(median, num_points, dim_x, dim_y)).clamp(z[0], z[-1])
        return interpolate(z, values, wanted).to(compressed.dtype)
