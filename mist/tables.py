"""From a table to variables: columns or groups of columns, validated and ranked once for all their pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mist.columns import MIN_POINTS, Column, Discrete, column_index, to_columns
from mist.errors import InputError, LengthMismatchError, NonFiniteError, Notice, TooFewPointsError
from mist.inputs import NanPolicy, Side, check_finite, check_index, side_of
from mist.scores import double_ranks

__all__ = [
    "Columns",
    "TableNanPolicy",
    "Variable",
    "check_lengths",
    "check_nan_policy",
    "make_variables",
    "read_groups",
    "read_sides",
]

TableNanPolicy = Literal["raise", "omit", "pairwise"]
# Which columns are variables: all of them (None), those named or numbered, or groups of them under a name each.
Columns = Sequence[str] | Sequence[int] | Mapping[str, Sequence[str] | Sequence[int] | str | int] | None


@dataclass(frozen=True)
class Variable:
    """One or several columns that stand together on one side, as the network takes them."""

    name: str
    columns: tuple[Column, ...]
    missing: NDArray[np.bool_]  # (n,) points without a value in some column
    side: Side
    ranks: Tensor  # (D, n) double ranks of the side's columns; of nothing where some value is missing
    warnings: tuple[Notice, ...]

    @classmethod
    def of(cls, name: str, columns: Sequence[Column], ties_known: bool, others: Sequence[Column] = ()) -> Variable:
        """From columns of one table; `others`, beside them, may put equally common levels in an order."""
        missing = _missing(columns)
        warnings: list[Notice] = []
        if missing.any():
            side, ranks = Side(np.empty((0, 0)), (), len(columns)), torch.empty(0, 0, dtype=torch.int64)
        else:
            side = side_of(list(columns), warnings, ties_known, repr(name), others)
            ranks = double_ranks(torch.from_numpy(np.ascontiguousarray(side.values.T)))
        return cls(name, tuple(columns), missing, side, ranks, tuple(warnings))

    @property
    def has_categories(self) -> bool:
        """Whether some column is a category of more than two levels."""
        return any(column.is_category and np.nanmax(column.values, initial=0) > 1 for column in self.columns)

    def beside(self, other: Variable, rows: NDArray[np.bool_], ties_known: bool) -> Variable:
        """The same variable over some of the points, on one side of another."""
        sides = [
            [Column(column.name, column.values[rows], column.is_category) for column in variable.columns]
            for variable in (self, other)
        ]
        return Variable.of(self.name, sides[0], ties_known, sides[1])


def read_groups(table: Any, columns: Columns, discrete: Discrete, called: str, option: str) -> dict[str, list[Column]]:
    """The columns of every variable of a table (n, d) under its name, missing values as NaN.

    Messages call the table by `called` and the argument that declares categories by `option`. Raises an `InputError`
    subclass.
    """
    every, names = to_columns(table, called, discrete, option)
    groups = {name: [every[i] for i in members] for name, members in _groups(columns, names, called).items()}
    check_finite([column for members in groups.values() for column in members])
    return groups


def read_sides(sides: Mapping[str, tuple[Any, Discrete]], nan_policy: NanPolicy, ties_known: bool) -> list[Variable]:
    """Whole tables as a variable each, over the same points; `sides` holds each with its categories under its name.

    Raises an `InputError` subclass.
    """
    check_nan_policy(nan_policy)
    check_index({name: data for name, (data, _) in sides.items()})
    groups: list[tuple[str, list[Column]]] = []
    for name, (data, discrete) in sides.items():
        columns = read_groups(data, None, discrete, name, f"discrete_{name}")
        groups.append((name, [column for members in columns.values() for column in members]))
        check_lengths(groups[0][1], groups[-1][1], (groups[0][0], name))
    return make_variables(groups, nan_policy, ties_known)


def check_nan_policy(nan_policy: str) -> None:
    """Raise `InputError` for another policy than those under which all that is estimated is about the same points."""
    if nan_policy not in get_args(NanPolicy):
        raise InputError(f"nan_policy={nan_policy!r} is unknown: expected 'raise' or 'omit'")


def make_variables(
    groups: Sequence[tuple[str, list[Column]]],
    nan_policy: TableNanPolicy,
    ties_known: bool,
    *,
    by_pair: bool = False,
) -> list[Variable]:
    """Variables over the same points, n >= 4 of them.

    With `nan_policy` "omit" points with a missing value in any column are left out, with "pairwise" they stay and the
    variables know which they are; `by_pair` says that the caller can do with that. Raises an `InputError` subclass.
    """
    if nan_policy not in ("raise", "omit", "pairwise"):
        raise InputError(f"nan_policy={nan_policy!r} is unknown: expected 'raise', 'omit' or 'pairwise'")
    used = list({id(column): column for _, members in groups for column in members}.values())
    missing = _missing(used)
    if missing.any() and nan_policy == "raise":
        column = next(column for column in used if np.isnan(column.values).any())
        raise NonFiniteError(
            f"{column.name} has {int(np.isnan(column.values).sum())} missing value(s) (NaN): expected none; pass "
            "nan_policy='omit' to leave out points with any"
            + (", or 'pairwise' to do so pair by pair" if by_pair else "")
        )
    if nan_policy == "omit":
        for column in used:
            column.values = column.values[~missing]
    if len(used[0].values) < MIN_POINTS:
        raise TooFewPointsError(
            f"got {len(used[0].values)} points{' without a missing value' if missing.any() else ''}, expected at "
            f"least {MIN_POINTS} (and a useful interval needs tens)"
        )
    variables = [Variable.of(name, members, ties_known) for name, members in groups]
    if nan_policy == "omit" and missing.any():
        told = Notice(f"omitted {int(missing.sum())} of {missing.size} points with missing values", "missing")
        variables[0] = replace(variables[0], warnings=(told, *variables[0].warnings))
    return variables


def check_lengths(first: Sequence[Column], second: Sequence[Column], called: tuple[str, str]) -> None:
    """Raise `LengthMismatchError` unless both tables hold as many points."""
    lengths = len(first[0].values), len(second[0].values)
    if lengths[0] != lengths[1]:
        raise LengthMismatchError(
            f"{called[0]} has {lengths[0]} points and {called[1]} has {lengths[1]}: expected as many, row by row"
        )


def _missing(columns: Sequence[Column]) -> NDArray[np.bool_]:
    """Points without a value in some column."""
    return np.asarray(np.isnan(np.stack([column.values for column in columns])).any(0), dtype=np.bool_)


def _groups(columns: Columns, names: Sequence[int | str], called: str) -> dict[str, list[int]]:
    """Indices of the columns of every variable under its name."""
    if columns is None:
        if len({str(name) for name in names}) < len(names):
            raise InputError(
                f"{called} has column names that read alike, {list(names)}: expected each once; rename them"
            )
        return {str(name): [i] for i, name in enumerate(names)}
    if hasattr(columns, "tolist"):  # an array or an index of names
        columns = columns.tolist()
    if isinstance(columns, str) or not isinstance(columns, Sequence | Mapping):
        raise InputError(f"got columns={columns!r}, expected a list of columns, or a dict of lists of them")
    named = isinstance(columns, Mapping)
    chosen = columns.items() if isinstance(columns, Mapping) else [(str(choice), choice) for choice in columns]
    groups: dict[str, list[int]] = {}
    for name, members in chosen:
        members = members.tolist() if hasattr(members, "tolist") else members
        if not isinstance(members, str | int | np.integer | Sequence):
            raise InputError(f"group {name!r} is {members!r}, expected a column or a list of columns")
        wanted = [members] if isinstance(members, str | int | np.integer) else list(members)
        indices = [_index(choice, names, called) for choice in wanted]
        if not indices or len(set(indices)) < len(indices):
            raise InputError(f"group {name!r} is {wanted}, expected one column or more, each once")
        label = str(name) if named else str(names[indices[0]])
        if label in groups:
            raise InputError(f"got column {label!r} twice, expected each once")
        groups[label] = indices
    if not groups:
        raise InputError("got no columns, expected some; leave `columns` out for all of them")
    return groups


def _index(choice: Any, names: Sequence[int | str], called: str) -> int:
    index = column_index(choice, names)
    if index is not None:
        return index
    known = f", or names among {list(names)[:20]}" if isinstance(names[0], str) else ""
    raise InputError(f"{called} has no column {choice!r}: expected indices from 0 to {len(names) - 1}{known}")
