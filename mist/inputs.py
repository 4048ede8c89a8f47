"""From what a user holds to two validated sides, or an error with the reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from mist.categories import encode_category, level_order, pool_rare_levels
from mist.columns import MIN_POINTS, Column, Discrete, to_columns
from mist.diagnostics import collinearity_warning, ties_warning
from mist.errors import InputError, LengthMismatchError, NonFiniteError, Notice, TooFewPointsError
from mist.reduction import Reduction
from mist.scores import canonical_order, double_ranks
from mist.unwarping import Unwarping

__all__ = [
    "FUNCTIONS",
    "NanPolicy",
    "Prepared",
    "Side",
    "check_finite",
    "check_index",
    "prepare",
    "random_generator",
    "side_of",
]

NanPolicy = Literal["raise", "omit"]
FUNCTIONS = "order the points alike: each is a function of the other, and the MI of continuous ones is infinite"


@dataclass(frozen=True)
class Side:
    """One side as the network takes it: no NaN, no infinity, no constant column."""

    values: NDArray[np.float64]  # (n, columns)
    groups: tuple[int, ...]  # per column: 0, or the mark that the indicators of one category share
    dim: int  # columns as the user gave them
    # Of its continuous columns: equal for rising and falling functions of one another.
    orders: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Prepared:
    """A validated data set and what the user should know about it."""

    x: Side
    y: Side
    warnings: tuple[Notice, ...]

    @property
    def num_points(self) -> int:
        return self.x.values.shape[0]

    @property
    def has_categories(self) -> bool:
        return any(self.x.groups) or any(self.y.groups)

    @property
    def is_degenerate(self) -> bool:
        """True where a side has no column left: it is constant, and a constant carries no information."""
        return 0 in (self.x.values.shape[1], self.y.values.shape[1])


def prepare(
    x: Any,
    y: Any,
    *,
    nan_policy: NanPolicy = "raise",
    discrete_x: Discrete = None,
    discrete_y: Discrete = None,
    max_points: Callable[[int, int], int] | None = None,
    ties_known: bool = False,
    sides_apart: bool = False,
    reduction: Reduction | None = None,
    unwarping: Unwarping | None = None,
) -> Prepared:
    """Validate two sides of paired points.

    x, y: (n,) or (n, d), (n,) meaning (n, 1): numpy, torch, pandas, polars, lists of numbers, or a dict of columns.
    nan_policy: "raise", or "omit" to drop each point where either side misses a value (recorded as a warning).
    discrete_x, discrete_y: the columns that are unordered categories: True for that whole side, or indices or names;
    None for those that hold text or, in a data frame, unordered categoricals. Ordered ones count as numbers.
    ties_known: the estimator was trained on tied values, so that they are no cause for a warning.
    sides_apart: nothing of one side may depend on the other, not even the order of its indicator columns.
    reduction, unwarping: what is done to wide sides first, and to sides of a modality then.
    max_points: of the columns of x and of y, the number of points to use at most, a choice that the order of the points
    does not move (a warning says so).
    Raises an `InputError` subclass.
    """
    if nan_policy not in ("raise", "omit"):
        raise InputError(f"nan_policy={nan_policy!r} is unknown: expected 'raise' or 'omit'")
    check_index({"x": x, "y": y})
    (x_columns, _), (y_columns, _) = to_columns(x, "x", discrete_x), to_columns(y, "y", discrete_y)
    num_x, num_y = len(x_columns[0].values), len(y_columns[0].values)
    if num_x != num_y:
        raise LengthMismatchError(
            f"x has {num_x} points and y has {num_y}: expected pairs, row i of x with row i of y; "
            "pass (n,) or (n, d) arrays of one length (transpose if columns are points)"
        )
    warnings: list[Notice] = []
    x_columns, y_columns = _without_missing(x_columns, y_columns, nan_policy, warnings)
    num_points = len(x_columns[0].values)
    if num_points < MIN_POINTS:
        hint = "; is the array transposed?" if num_points == 1 and max(len(x_columns), len(y_columns)) > 1 else ""
        raise TooFewPointsError(
            f"got {num_points} point{'s' if num_points != 1 else ''}, expected at least {MIN_POINTS} "
            f"(and a useful interval needs tens){hint}"
        )
    most = None if max_points is None else max_points(len(x_columns), len(y_columns))
    if most is not None and num_points > most:
        chosen = _representative(x_columns + y_columns)[:most]
        for column in x_columns + y_columns:
            column.values = column.values[chosen]
        warnings.append(
            Notice(f"{most} of {num_points} points were used: the checkpoint was not trained on more", "subsampled")
        )
    dims = len(x_columns), len(y_columns)
    if reduction is not None:
        (x_columns, told_x), (y_columns, told_y) = reduction.apply(x_columns, "x"), reduction.apply(y_columns, "y")
        warnings.extend(told_x + told_y)
    read: list[NDArray[np.float64] | None] = [None, None]
    told: tuple[Notice, ...] = ()
    if unwarping is not None:
        *read, told = unwarping.apply(x_columns, y_columns, sides_apart)
    sides = [
        replace(
            side_of(own, warnings, ties_known or through is not None, others=() if sides_apart else others), dim=dim
        )
        for own, others, through, dim in zip((x_columns, y_columns), (y_columns, x_columns), read, dims, strict=True)
    ]
    sides = [_read_through(side, through) for side, through in zip(sides, read, strict=True)]
    warnings.extend(told)
    if sides[0].orders & sides[1].orders:
        warnings.append(Notice(f"a column of x and one of y {FUNCTIONS}", "deterministic"))
    return Prepared(sides[0], sides[1], warnings=tuple(warnings))


def _read_through(side: Side, values: NDArray[np.float64] | None) -> Side:
    """The side with other values, where there are any."""
    if values is None:
        return side
    return replace(side, values=np.ascontiguousarray(values), groups=(0,) * values.shape[1])


def random_generator(random_state: int | None) -> np.random.Generator:
    """A generator of its own; `InputError` for a seed that is neither a number, 0 or more, nor None."""
    try:
        return np.random.default_rng(random_state)
    except (TypeError, ValueError) as error:
        raise InputError(f"got random_state={random_state!r}, expected an integer, 0 or more, or None") from error


def _representative(columns: list[Column]) -> NDArray[np.int64]:
    """An order of the points that depends on the data set only, so that a choice of the first is one of no order."""
    ranks = double_ranks(torch.from_numpy(np.stack([column.values for column in columns])[None]))
    return canonical_order(ranks)[0].numpy()


def side_of(
    columns: list[Column],
    warnings: list[Notice],
    ties_known: bool,
    side: str | None = None,
    others: Sequence[Column] = (),
) -> Side:
    """Drop constant columns, encode categories, and note what makes a column hard to read; `side` names it there.

    Columns beside these (`others`) may put equally common levels in an order.
    """
    side = side or columns[0].name.split(" ")[0]
    constant = [c for c in columns if c.values.min() == c.values.max()]
    if len(constant) == len(columns):
        warnings.append(Notice(f"{side} is constant: it carries no information and MI is 0", "constant"))
    elif constant:
        warnings.append(Notice(f"constant, without information: {', '.join(c.name for c in constant)}", "constant"))
    numeric, blocks, groups = [], [], []
    for column in columns:
        if column in constant:
            continue
        if not column.is_category:
            numeric.append(column.values)
            blocks.append(column.values[:, None])
            groups.append(0)
            continue
        codes = column.values.astype(np.int64)
        beside = [(c.values, c.is_category) for c in (*columns, *others) if c is not column]
        codes, message = pool_rare_levels(codes, level_order(codes, beside), column.name)
        if message:
            warnings.append(message)
        indicators = encode_category(codes)
        mark = 0 if indicators.shape[1] == 1 else max(groups, default=0) + 1
        blocks.append(indicators)
        groups.extend([mark] * indicators.shape[1])
    num_points = len(columns[0].values)
    values = np.concatenate(blocks, axis=1) if blocks else np.empty((num_points, 0))
    names = [c.name for c in columns if c not in constant and not c.is_category]
    if numeric:
        table = np.stack(numeric, axis=1)
        ties = None if ties_known else ties_warning(table, names)
        warnings.extend(w for w in (ties, collinearity_warning(table, side)) if w)
    orders = _orders(np.stack(numeric)) if numeric else frozenset()
    return Side(values=np.ascontiguousarray(values), groups=tuple(groups), dim=len(columns), orders=orders)


def _orders(columns: NDArray[np.float64]) -> frozenset[int]:
    """Hashes of the order of the points in every column (d, n) of mostly distinct values, up to its reversal."""
    ranks = double_ranks(torch.from_numpy(columns)).numpy()
    last = 2 * (columns.shape[1] - 1)
    return frozenset(
        hash(min(rank.tobytes(), (last - rank).tobytes()))
        for rank in ranks
        if 2 * np.count_nonzero(np.bincount(rank)) > len(rank)
    )


def _without_missing(
    x: list[Column], y: list[Column], nan_policy: NanPolicy, warnings: list[Notice]
) -> tuple[list[Column], list[Column]]:
    check_finite(x + y)
    missing = np.isnan(np.stack([column.values for column in x + y])).any(0)
    if not missing.any():
        return x, y
    if nan_policy == "raise":
        column = next(c for c in x + y if np.isnan(c.values).any())
        count, first = int(np.isnan(column.values).sum()), int(np.isnan(column.values).argmax())
        raise NonFiniteError(
            f"{column.name} has {count} missing value(s) (NaN), the first in row {first}: expected finite numbers; "
            "pass nan_policy='omit' to drop such points"
        )
    warnings.append(Notice(f"omitted {int(missing.sum())} of {missing.size} points with missing values", "missing"))
    for column in x + y:
        column.values = column.values[~missing]
    return x, y


def check_index(sides: Mapping[str, Any]) -> None:
    """Raise `InputError` where two sides are pandas objects of one length whose rows are labelled differently."""
    indices: dict[str, Any] = {}
    for name, data in sides.items():
        parts = (
            {f"{name} column {key!r}": part for key, part in data.items()}
            if isinstance(data, Mapping)
            else {name: data}
        )
        for called, part in parts.items():
            index = getattr(part, "index", None)
            if hasattr(index, "equals"):
                indices[called] = index
    for (first, one), (second, other) in zip(list(indices.items())[:-1], list(indices.items())[1:]):
        if len(one) == len(other) and not one.equals(other):
            raise InputError(
                f"{first} and {second} label their rows differently (pandas indexes): expected row i of one beside row "
                "i of the other; align them first, or pass .to_numpy() where their order is right"
            )


def check_finite(columns: Sequence[Column]) -> None:
    """Raise `NonFiniteError` for an infinite value; NaN is a missing one."""
    for column in columns:
        if np.isinf(column.values).any():
            count, first = int(np.isinf(column.values).sum()), int(np.isinf(column.values).argmax())
            raise NonFiniteError(
                f"{column.name} has {count} infinite value(s), the first in row {first}: expected finite numbers; "
                "remove those points, or put a large finite number in their place (only ranks matter)"
            )
