"""`MIEstimate`: the predicted distribution of the mutual information of one data set."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, Literal, get_args, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mist.errors import InputError, Notice, plain_notices
from mist.quantiles import interpolate_quantiles

__all__ = ["InformationEstimate", "MIEstimate", "Units", "check_units", "linfoot_correlation", "nats_in"]

Units = Literal["nats", "bits"]


class Predicted:
    """What every predicted distribution answers; the fields are those of the classes below."""

    levels: tuple[float, ...]
    quantiles: tuple[float, ...]
    units: Units

    @property
    def median(self) -> float:
        """The median of the predicted distribution, in `units`."""
        return self.quantile(0.5)

    @overload
    def quantile(self, levels: float) -> float: ...

    @overload
    def quantile(self, levels: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]: ...

    def quantile(self, levels: float | Sequence[float] | NDArray[np.float64]) -> float | NDArray[np.float64]:
        """Predicted quantiles in `units`: a float for one level, an array for several.

        Raises `InputError` for a level outside the grid on which the network was trained.
        """
        try:
            values = interpolate_quantiles(self.levels, self.quantiles, levels)
        except ValueError as error:
            widest = self.levels[-1] - self.levels[0]
            raise InputError(f"{error} (the tails were not learned; the widest interval is {widest:g})") from error
        return float(values) if values.ndim == 0 else values

    def interval(self, level: float = 0.9) -> tuple[float, float]:
        """Central interval (low, high), in `units`, that holds the true MI with probability `level`."""
        if not isinstance(level, int | float | np.number) or not 0.0 < level < 1.0:
            raise InputError(f"interval level {level!r}: expected a probability between 0 and 1, such as 0.9")
        low, high = self.quantile([(1.0 - level) / 2.0, (1.0 + level) / 2.0])
        return float(low), float(high)


@dataclass(frozen=True)
class MIEstimate(Predicted):
    """Quantiles of the mutual information at fixed levels, and what they came from.

    Fields: `levels` (Q,) increasing in (0, 1); `quantiles` (Q,) non-decreasing, >= 0, in `units`; `n` points used;
    `dim_x`, `dim_y` columns as given; `warnings`, one `Notice` for each thing to know before believing the number (a
    string whose `kind` says what it is about); `checkpoint`, name and first 8 characters of the sha256 of the weights
    that answered; `novelty`, the share of data sets like those of training that look less unusual than this one
    (`mist.novelty`), None where that is not known; `dim_given`, columns of what the information is conditional on, 0
    for nothing.
    """

    levels: tuple[float, ...]
    quantiles: tuple[float, ...]
    n: int
    dim_x: int
    dim_y: int
    units: Units = "nats"
    warnings: tuple[Notice, ...] = ()
    checkpoint: str = ""
    novelty: float | None = None
    dim_given: int = 0

    @classmethod
    def from_nats(
        cls, levels: Sequence[float], quantiles: Sequence[float], *, units: Units, **fields: Any
    ) -> MIEstimate:
        """From quantiles in nats, whatever the units asked for."""
        scale = nats_in(units)
        return cls(tuple(levels), tuple(scale * float(q) for q in quantiles), units=units, **fields)

    @property
    def mi(self) -> float:
        """Point estimate: the mean of the predicted distribution (of its quantile grid), in `units`, >= 0."""
        return math.fsum(self.quantiles) / len(self.quantiles)

    @property
    def normalized(self) -> float:
        """Informational correlation √(1 - e^(-2 mi)) in [0, 1], |ρ| for a bivariate normal (Linfoot 1957)."""
        return float(linfoot_correlation(self.mi / nats_in(self.units)))

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings and lists, ready for JSON."""
        return {
            "mi": self.mi,
            "median": self.median,
            "normalized": self.normalized,
            "units": self.units,
            "n": self.n,
            "dim_x": self.dim_x,
            "dim_y": self.dim_y,
            "levels": list(self.levels),
            "quantiles": list(self.quantiles),
            **plain_notices(self.warnings),
            "checkpoint": self.checkpoint,
            "novelty": self.novelty,
            "dim_given": self.dim_given,
        }

    def plot(self, ax: Any = None) -> Any:
        """The predicted distribution: its density between quantiles, the 90 % interval and the mean; the axes.

        Draws on `ax`, or on new axes. Needs matplotlib.
        """
        from mist.plotting import plot_estimate

        return plot_estimate(self, ax)

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        low, high = self.interval(min(0.9, self.levels[-1] - self.levels[0]))
        rows = {
            "conditional mutual information"
            if self.dim_given
            else "mutual information": f"<b>{self.mi:.4g}</b> {self.units}",
            "90 % interval": f"{low:.4g} to {high:.4g}",
            "as a correlation": f"{self.normalized:.3g}",
            "points": f"{self.n:,}, dims {self.dim_x} and {self.dim_y}",
            "checkpoint": escape(self.checkpoint),
        }
        rows |= {f"warning {i}": escape(text) for i, text in enumerate(self.warnings, start=1)}
        cells = "".join(f"<tr><th>{name}</th><td>{value}</td></tr>" for name, value in rows.items())
        return f'<table class="mist-estimate">{cells}</table>'

    def __repr__(self) -> str:
        level = min(0.9, self.levels[-1] - self.levels[0])
        low, high = self.interval(level)
        noted = f", {len(self.warnings)} warning{'s' if len(self.warnings) > 1 else ''}" if self.warnings else ""
        given = f", dim_given={self.dim_given}" if self.dim_given else ""
        return (
            f"MIEstimate({self.mi:.4g} {self.units}, {level:.0%} interval [{low:.4g}, {high:.4g}], "
            f"n={self.n}, dim_x={self.dim_x}, dim_y={self.dim_y}{given}{noted})"
        )


@dataclass(frozen=True)
class InformationEstimate(Predicted):
    """Quantiles of an information of more than two variables at fixed levels; `quantity` names it.

    Fields: `levels` (Q,), `quantiles` (Q,) non-decreasing, in `units`; `names` of the variables; `n` points;
    `warnings`; `checkpoint`, name and first 8 characters of the sha256 of the weights that answered.
    """

    quantity: str
    levels: tuple[float, ...]
    quantiles: tuple[float, ...]
    names: tuple[str, ...]
    n: int
    units: Units = "nats"
    warnings: tuple[Notice, ...] = ()
    checkpoint: str = ""

    @property
    def value(self) -> float:
        """Point estimate: the mean of the predicted distribution, in `units`."""
        return math.fsum(self.quantiles) / len(self.quantiles)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, strings and lists, ready for JSON."""
        lists = {name: list(getattr(self, name)) for name in ("levels", "quantiles", "names")}
        plain = {name: getattr(self, name) for name in ("quantity", "value", "median", "units", "n", "checkpoint")}
        return {**plain, **lists, **plain_notices(self.warnings)}

    def __repr__(self) -> str:
        level = min(0.9, self.levels[-1] - self.levels[0])
        low, high = self.interval(level)
        return (
            f"InformationEstimate({self.quantity} {self.value:.4g} {self.units}, {level:.0%} interval "
            f"[{low:.4g}, {high:.4g}], {len(self.names)} variables, n={self.n})"
        )


def nats_in(units: Units) -> float:
    """How many `units` a nat is; `InputError` for unknown ones."""
    check_units(units)
    return 1.0 if units == "nats" else 1.0 / math.log(2.0)


def linfoot_correlation(nats: ArrayLike) -> NDArray[np.float64]:
    """√(1 - e^(-2 I)) of nats, any shape: |ρ| of the bivariate normal of as much information (Linfoot 1957)."""
    return np.sqrt(-np.expm1(-2 * np.asarray(nats, dtype=np.float64)))


def check_units(units: str) -> None:
    """Raise `InputError` unless `units` is known."""
    if units not in get_args(Units):
        raise InputError(f"units={units!r} is unknown: expected one of {', '.join(get_args(Units))}")
