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

__all__ = [
    "DEGREE",
    "NUM_QUANTITIES",
    "AnyCalibration",
    "Calibration",
    "LocalCalibration",
    "calibration_from_dict",
    "context",
    "context_terms",
    "interpolate",
    "invert",
    "num_terms",
]

NUM_QUANTITIES = 4
DEGREE = 6  # of what is fitted, in log n and the sum of log dims; older checkpoints have 2 or 4
_LEAST_DEGREE, _MOST_DEGREE = 2, 8
_REACH = 0.3  # of a local calibration, in logarithms of n and dims
_MOST = 1.5  # of the logarithm of a spread and of a shift, in normal scores
_MOST_TAIL = 0.7  # of the logarithm of a tail
_TAILS = "log_tail_low", "log_tail_high"
_COEFFICIENTS = "shift", "log_spread_low", "log_spread_high", *_TAILS


def context(median: Tensor, num_points: Tensor | int, dim_x: Tensor | int, dim_y: Tensor | int) -> Tensor:
    """What the map depends on, (B,) compressed medians -> (B, NUM_QUANTITIES): the median cut at 0 nats, log n, and
    the sum and absolute difference of the logarithms of the dims, so that swapping the sides changes nothing."""
    log_n, log_x, log_y = (torch.as_tensor(count).to(median).log() for count in (num_points, dim_x, dim_y))
    columns = (median.clamp(min=math.log(OFFSET)), log_n, log_x + log_y, (log_x - log_y).abs())
    return torch.stack([column.expand_as(median) for column in columns], dim=-1)


def num_terms(degree: int = DEGREE) -> int:
    """F, of the terms of a context."""
    return 1 + NUM_QUANTITIES * (NUM_QUANTITIES + 3) // 2 + sum(range(_LEAST_DEGREE + 2, degree + 2))


_DEGREES = {num_terms(degree): degree for degree in range(_LEAST_DEGREE, _MOST_DEGREE + 1)}


def context_terms(quantities: Tensor, ranges: Tensor, degree: int = DEGREE) -> Tensor:
    """1, the quantities, their squares and products, each quantity first held inside its range (2, NUM_QUANTITIES)
    and scaled to ±1, then powers and products of log n and of the sum of log dims up to a degree;
    (B, NUM_QUANTITIES) -> (B, F)."""
    low, high = ranges
    unit = 2 * (quantities.clamp(low, high) - low) / (high - low).clamp(min=1e-6) - 1
    rows, columns = torch.triu_indices(NUM_QUANTITIES, NUM_QUANTITIES, device=unit.device)
    powers = [
        unit[..., 1:2] ** i * unit[..., 2:3] ** (total - i)
        for total in range(_LEAST_DEGREE + 1, degree + 1)
        for i in range(total + 1)
    ]
    return torch.cat([torch.ones_like(unit[..., :1]), unit, unit[..., rows] * unit[..., columns], *powers], dim=-1)


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


def _bend(values: Tensor, tail: Tensor) -> Tensor:
    """sinh(δ·asinh w) / sinh(δ·asinh 1)."""
    return (tail * values.asinh()).sinh() / (tail * math.asinh(1)).sinh()


def _unbend(values: Tensor, tail: Tensor) -> Tensor:
    """What `_bend` makes into these."""
    return ((values * (tail * math.asinh(1)).sinh()).asinh() / tail).sinh()


@dataclass(frozen=True)
class Calibration:
    """The map; plain numbers, so that a checkpoint can carry it.

    With normal scores z = Φ⁻¹(level), the quantile at z is read from the network's own distribution at
    shift + spread · h(warp(stretch · z)), the spread one below the median and another above it, and so the tail δ of
    h(w) = sinh(δ·asinh w) / sinh(δ·asinh 1) (after Jones & Pewsey 2009), which leaves 0 and ±1 where they are:
    continuous and increasing in z whatever the numbers, so that quantiles never cross. Shift and the logarithms of
    spreads and tails are polynomials in the context: quadratic but for log n and the sum of the logarithms of the dims,
    whose degree the number of terms tells. Older maps have no tails, δ = 1. The warp is one for all, and the stretch is
    conformal: over data sets exchangeable with those it was set on, the 90 % interval covers at least 90 % (Vovk et al.
    2005; Romano et al. 2019), but where an end would lie past the network's grid: dependent ones of the law, on average
    over its bins of n and dims alike, not for each kind of data.
    """

    shift: tuple[float, ...]  # (F,)
    log_spread_low: tuple[float, ...]  # (F,)
    log_spread_high: tuple[float, ...]  # (F,)
    ranges: tuple[tuple[float, ...], tuple[float, ...]]  # least and largest of each quantity of the context
    warp: tuple[float, ...]  # (Q,) normal scores, increasing
    stretch: float = 1.0
    log_tail_low: tuple[float, ...] = ()  # (F,), or none
    log_tail_high: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        lengths = [len(getattr(self, name)) for name in _COEFFICIENTS]
        no_tails = lengths[3:] == [0, 0]
        if len(set(lengths[:3] if no_tails else lengths)) > 1 or lengths[0] not in _DEGREES:
            raise ValueError(
                f"got {', '.join(map(str, lengths))} numbers in {', '.join(_COEFFICIENTS)}, expected as many in each, "
                f"or none in the last two: {', '.join(map(str, _DEGREES))}"
            )
        if [len(side) for side in self.ranges] != [NUM_QUANTITIES] * 2:
            raise ValueError(f"got ranges={self.ranges}, expected two lists of {NUM_QUANTITIES} numbers")
        if not all(a <= b and math.isfinite(b - a) for a, b in zip(*self.ranges, strict=True)):
            raise ValueError(f"got ranges={self.ranges}, expected finite numbers, the second no smaller than the first")
        if any(after <= before for before, after in zip(self.warp[:-1], self.warp[1:], strict=True)):
            raise ValueError("got a warp that does not increase, expected increasing normal scores")
        numbers = (*(number for name in _COEFFICIENTS for number in getattr(self, name)), *self.warp, self.stretch)
        if not all(math.isfinite(number) for number in numbers) or self.stretch <= 0:
            raise ValueError("got a calibration that is not finite, or a stretch of 0 or less; expected finite numbers")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Calibration:
        """From plain lists, of older formats without tails; ValueError for other keys or lengths."""
        known = {field.name for field in dataclasses.fields(cls)}
        if set(values) not in (known, known - set(_TAILS)):
            raise ValueError(f"got calibration keys {sorted(values)}, expected {sorted(known)}")
        values = {**dict.fromkeys(_TAILS, ()), **values}
        low, high = values["ranges"]
        lists = {name: tuple(float(v) for v in values[name]) for name in known - {"ranges", "stretch"}}
        return cls(**lists, ranges=(tuple(low), tuple(high)), stretch=float(values["stretch"]))

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers in tuples, fit for JSON."""
        return dataclasses.asdict(self)

    @property
    def num_levels(self) -> int:
        """Q, of the grid that it was fitted on."""
        return len(self.warp)

    @property
    def degree(self) -> int:
        """Of the polynomials, in log n and the sum of log dims."""
        return _DEGREES[len(self.shift)]

    def coefficients(self) -> Tensor:
        """Of the shift and of the logarithms of spreads and tails, (5, F) float64; 0 for tails that there are none."""
        rows = [getattr(self, name) or (0.0,) * len(self.shift) for name in _COEFFICIENTS]
        return torch.tensor(rows, dtype=torch.float64)

    def position(self, z: Tensor, quantities: Tensor, coefficients: Tensor | None = None) -> Tensor:
        """Where in the network's own distribution to read the quantiles at normal scores (Q,): context
        (B, NUM_QUANTITIES) -> (B, Q). Other `coefficients` than its own are for fitting them."""
        shift, *logarithms = self._context(quantities, coefficients)
        warp = torch.tensor(self.warp, dtype=torch.float64).to(quantities).unsqueeze(0)
        warped = interpolate(z, warp, self.stretch * z.unsqueeze(0))  # (1, Q)
        spread, tail = self._of_side(warped < 0, *logarithms)
        return shift + spread * _bend(warped, tail)

    def unspread(self, z: Tensor, quantities: Tensor) -> Tensor:
        """Undo shift, spread and tail of a normal score of each data set, (B,), (B, NUM_QUANTITIES) -> (B,)."""
        shift, *logarithms = (part.squeeze(-1) for part in self._context(quantities))
        spread, tail = self._of_side(z < shift, *logarithms)
        return _unbend((z - shift) / spread, tail)

    def _of_side(
        self, below: Tensor, spread_low: Tensor, spread_high: Tensor, tail_low: Tensor, tail_high: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Spread and tail, from the logarithms of those below the median and above it."""
        tail = torch.where(below, tail_low, tail_high).clamp(-_MOST_TAIL, _MOST_TAIL)
        return torch.where(below, spread_low, spread_high).exp(), tail.exp()

    def _context(self, quantities: Tensor, coefficients: Tensor | None = None) -> tuple[Tensor, ...]:
        """Shift and logarithms of both spreads and both tails, (B, 1) each."""
        table = self.coefficients() if coefficients is None else coefficients
        ranges = torch.tensor(self.ranges, dtype=torch.float64).to(quantities)
        terms = context_terms(quantities, ranges, self.degree)
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


@dataclass(frozen=True)
class LocalCalibration:
    """A calibration for data sets of certain shapes, after one for all; what remains of the one for all is exact far
    from these shapes.

    The map `near` counts in full where dims are `dims` (or swapped) and n lies within `num_points`; a weight falls
    smoothly from 1 to 0 as the logarithms of n and dims leave them. A weighted mean of increasing maps increases, so
    that quantiles never cross.
    """

    everywhere: AnyCalibration | None
    near: Calibration
    num_points: tuple[int, int]
    dims: tuple[int, int]

    def __post_init__(self) -> None:
        if self.everywhere is not None and self.everywhere.num_levels != self.near.num_levels:
            raise ValueError(
                f"got calibrations of {self.everywhere.num_levels} and {self.near.num_levels} levels, expected as many"
            )
        for name in ("num_points", "dims"):
            pair = getattr(self, name)
            if len(pair) != 2 or min(pair) < 1:
                raise ValueError(f"got {name}={pair}, expected two positive numbers")

    @property
    def num_levels(self) -> int:
        """Q, of the grid that both were fitted on."""
        return self.near.num_levels

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers in tuples, fit for JSON."""
        everywhere = {} if self.everywhere is None else self.everywhere.to_dict()
        return {
            "everywhere": everywhere,
            "near": self.near.to_dict(),
            "num_points": self.num_points,
            "dims": self.dims,
        }

    def weight(self, num_points: Tensor | int, dim_x: Tensor | int, dim_y: Tensor | int) -> Tensor:
        """How much the map `near` counts, in [0, 1]; counts are numbers or (B,)."""
        log_n, log_x, log_y = (torch.as_tensor(count).double().log() for count in (num_points, dim_x, dim_y))
        low, high = (math.log(count) for count in self.num_points)
        own_x, own_y = (math.log(count) for count in self.dims)
        beyond = (low - log_n).clamp(min=0) + (log_n - high).clamp(min=0)
        total = log_x + log_y - own_x - own_y
        difference = (log_x - log_y).abs() - abs(own_x - own_y)
        return torch.exp(-(beyond.square() + total.square() + difference.square()) / (2 * _REACH**2))

    def apply(
        self,
        compressed: Tensor,
        levels: Tensor,
        num_points: Tensor | int,
        dim_x: Tensor | int,
        dim_y: Tensor | int,
    ) -> Tensor:
        """As `Calibration.apply`."""
        counts = num_points, dim_x, dim_y
        if self.everywhere is not None:
            compressed = self.everywhere.apply(compressed, levels, *counts)
        weight = self.weight(*counts).to(compressed).view(-1, 1)
        return compressed + weight * (self.near.apply(compressed, levels, *counts) - compressed)


AnyCalibration = Calibration | LocalCalibration


def calibration_from_dict(values: Mapping[str, Any]) -> AnyCalibration:
    """From plain lists, as `to_dict` of either kind makes them; ValueError for other keys or lengths."""
    if "near" not in values:
        return Calibration.from_dict(values)
    if set(values) != {"everywhere", "near", "num_points", "dims"}:
        raise ValueError(f"got calibration keys {sorted(values)}, expected everywhere, near, num_points and dims")
    everywhere = calibration_from_dict(values["everywhere"]) if values["everywhere"] else None
    (low, high), (dim_x, dim_y) = values["num_points"], values["dims"]
    return LocalCalibration(everywhere, Calibration.from_dict(values["near"]), (low, high), (dim_x, dim_y))
