"""From what a user holds (arrays, tensors, lists, data frames) to two validated sides, or an error with the reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import narwhals as nw
import numpy as np
import torch
from numpy.typing import NDArray

from mist.categories import category_codes, encode_category, is_missing, level_order, pool_rare_levels
from mist.diagnostics import collinearity_warning, ties_warning
from mist.errors import (
    EmptyInputError,
    InputError,
    LengthMismatchError,
    NonFiniteError,
    NonNumericError,
    ShapeError,
    TooFewPointsError,
)
from mist.scores import canonical_order, double_ranks

__all__ = [
    "MIN_POINTS",
    "Column",
    "Discrete",
    "NanPolicy",
    "Prepared",
    "Side",
    "check_finite",
    "check_index",
    "column_index",
    "prepare",
    "side_of",
    "to_columns",
]

MIN_POINTS = 4

NanPolicy = Literal["raise", "omit"]
# True: every column of that side is an unordered category; or the indices (names, for a data frame) of those that are.
Discrete = bool | int | str | Sequence[int] | Sequence[str] | None


@dataclass(frozen=True)
class Side:
    """One side as the network takes it: no NaN, no infinity, no constant column."""

    values: NDArray[np.float64]  # (n, columns)
    groups: tuple[int, ...]  # per column: 0, or the mark that the indicators of one category share
    dim: int  # columns as the user gave them


@dataclass(frozen=True)
class Prepared:
    """A validated data set and what the user should know about it."""

    x: Side
    y: Side
    warnings: tuple[str, ...]

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


@dataclass(eq=False)
class Column:
    """A column on its way: `values` are numbers, or the codes of an unordered category."""

    name: str
    values: NDArray[np.float64]  # (n,), NaN where missing
    is_category: bool


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
) -> Prepared:
    """Validate two sides of paired points.

    x, y: (n,) or (n, d), (n,) meaning (n, 1): numpy, torch, pandas, polars, lists of numbers, or a dict of columns.
    nan_policy: "raise", or "omit" to drop each point where either side misses a value (recorded as a warning).
    discrete_x, discrete_y: the columns that are unordered categories: True for that whole side, or indices or names;
    None for those that hold text or, in a data frame, unordered categoricals. Ordered ones count as numbers.
    ties_known: the estimator was trained on tied values, so that they are no cause for a warning.
    sides_apart: nothing of one side may depend on the other, not even the order of its indicator columns.
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
    warnings: list[str] = []
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
        warnings.append(f"{most} of {num_points} points were used: the checkpoint was not trained on more")
    return Prepared(
        x=side_of(x_columns, warnings, ties_known, others=() if sides_apart else y_columns),
        y=side_of(y_columns, warnings, ties_known, others=() if sides_apart else x_columns),
        warnings=tuple(warnings),
    )


def _representative(columns: list[Column]) -> NDArray[np.int64]:
    """An order of the points that depends on the data set only, so that a choice of the first is one of no order."""
    ranks = double_ranks(torch.from_numpy(np.stack([column.values for column in columns])[None]))
    return canonical_order(ranks)[0].numpy()


def side_of(
    columns: list[Column],
    warnings: list[str],
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
        warnings.append(f"{side} is constant: it carries no information and MI is 0")
    elif constant:
        warnings.append(f"dropped as constant: {', '.join(c.name for c in constant)}")
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
    return Side(values=np.ascontiguousarray(values), groups=tuple(groups), dim=len(columns))


def _without_missing(
    x: list[Column], y: list[Column], nan_policy: NanPolicy, warnings: list[str]
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
    warnings.append(f"omitted {int(missing.sum())} of {missing.size} points with missing values")
    for column in x + y:
        column.values = column.values[~missing]
    return x, y


def check_index(sides: Mapping[str, Any]) -> None:
    """Raise `InputError` where two sides are pandas objects of one length whose rows are labelled differently."""
    indices: dict[str, Any] = {}
    for name, data in sides.items():
        index = getattr(data, "index", None)
        if hasattr(index, "equals"):
            indices[name] = index
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


def to_columns(
    data: Any, side: str, discrete: Discrete, option: str | None = None
) -> tuple[list[Column], list[int | str]]:
    """Columns of one side as float64, categories as codes, and their names (indices where they have none).

    Text and unordered categoricals are categories unless `discrete` says otherwise. Messages call the side by `side`
    and the argument that declares categories by `option` ("discrete_" and the side).
    """
    option = option or f"discrete_{side}"
    raw, names = _raw_columns(data, side)
    declared = _declared_categories(discrete, names, option)
    if discrete is None:
        declared = {i for i, values in enumerate(raw) if isinstance(values, _Categorical) or _is_text(values)}
    columns = []
    for index, (values, name) in enumerate(zip(raw, names)):
        shown = f"{side} column {name!r}" if isinstance(name, str) else f"{side} column {name}"
        is_category = index in declared
        if is_category and discrete is None and (number := _number_as_text(values)) is not None:
            raise NonNumericError(
                f"{shown} holds numbers as text, such as {number!r}: expected numbers, or names; convert it, "
                f"or declare an unordered category with {option}=[{index}]"
            )
        values = values.labels if isinstance(values, _Categorical) else values
        numbers = category_codes(values) if is_category else _numbers(values, shown, index, option)
        columns.append(Column(shown, numbers, is_category))
    return columns, names


@dataclass(frozen=True)
class _Categorical:
    """A column of unordered categories in a data frame."""

    labels: NDArray[Any]


def _of_frame(series: nw.Series[Any]) -> NDArray[Any] | _Categorical:
    """A column of a data frame; ordered categories as their places in the order."""
    if isinstance(series.dtype, nw.Enum):
        places = {label: place for place, label in enumerate(series.dtype.categories)}
        return np.array([places.get(label, np.nan) for label in series.to_list()], dtype=np.float64)
    if series.dtype == nw.Categorical:
        return _Categorical(np.array(series.to_list(), dtype=object))
    return np.asarray(series.to_numpy())


def _is_text(values: NDArray[Any] | _Categorical) -> bool:
    """Whether a column holds nothing but text, as far as it holds anything."""
    if isinstance(values, _Categorical) or values.dtype.kind in "USO":
        labels = values.labels.tolist() if isinstance(values, _Categorical) else values.tolist()
        present = [label for label in labels if not is_missing(label)]
        return bool(present) and all(isinstance(label, str) for label in present)
    return False


def _number_as_text(values: NDArray[Any] | _Categorical) -> str | None:
    """The first text of a column all of whose text reads as numbers, None for any other column."""
    if isinstance(values, _Categorical):  # whoever made it so meant it
        return None
    text = [label for label in values.tolist() if isinstance(label, str)]
    try:
        [float(label) for label in text]
    except ValueError:
        return None
    return text[0] if text else None


def _of_value(value: Any, shown: str) -> NDArray[Any] | _Categorical:
    """One column of a dict, whatever holds it."""
    if (categorical := _bare_categorical(value)) is not None:
        return categorical
    frame = None if isinstance(value, np.ndarray | list | tuple) else _frame(value)
    if frame is not None:
        columns = list(frame.iter_columns())
        if len(columns) != 1:
            raise ShapeError(f"{shown} has {len(columns)} columns: expected one")
        return _of_frame(columns[0])
    return _array(_of_tensor(value), shown)


def _bare_categorical(value: Any) -> NDArray[Any] | _Categorical | None:
    """A pandas Categorical outside a frame, None for anything else."""
    if not (hasattr(value, "categories") and hasattr(value, "codes") and hasattr(value, "ordered")):
        return None
    if value.ordered:
        codes = np.asarray(value.codes, dtype=np.float64)
        return np.where(codes < 0, np.nan, codes)
    return _Categorical(np.array(value.tolist(), dtype=object))


def _of_tensor(data: Any) -> Any:
    """A torch tensor, also bfloat16 and on an accelerator, as an array; anything else as it is."""
    if hasattr(data, "detach") and hasattr(data, "cpu"):
        data = data.detach().cpu()
        return (data.double() if data.is_floating_point() else data).numpy()
    return data


def _raw_columns(data: Any, side: str) -> tuple[list[Any], list[int | str]]:
    """The columns as they came (arrays of any dtype, or `_Categorical`), with names (indices where they have none)."""
    raw: list[Any]
    if isinstance(data, Mapping):
        raw = [_of_value(column, f"{side} column {name!r}") for name, column in data.items()]
        shapes = {np.shape(column.labels if isinstance(column, _Categorical) else column) for column in raw}
        if not raw or shapes == {(0,)}:
            raise EmptyInputError(f"{side} is empty: expected columns of n >= {MIN_POINTS} values")
        if len(shapes) != 1 or len(next(iter(shapes))) != 1:
            raise ShapeError(f"{side} has columns of shapes {sorted(shapes)}: expected (n,), all of one length")
        return raw, list(data)
    if (categorical := _bare_categorical(data)) is not None:
        return [categorical], [0]
    data = _of_tensor(data)
    frame = None if isinstance(data, np.ndarray | list | tuple) else _frame(data)
    if frame is not None:
        raw = [_of_frame(series) for series in frame.iter_columns()]
        names: list[int | str] = [name if isinstance(name, int | str) else str(name) for name in frame.columns]
        shape = frame.shape
    else:
        array = _array(data, side)
        shape = array.shape
        array = array[:, None] if array.ndim == 1 else array
        raw, names = [array[:, j] for j in range(array.shape[1])], list(range(array.shape[1]))
    if 0 in shape:
        raise EmptyInputError(
            f"{side} is empty (shape {tuple(shape)}): expected (n,) or (n, d), n >= {MIN_POINTS}; check how it was made"
        )
    return raw, names


def _frame(data: Any) -> Any:
    """A narwhals data frame of whatever frame or series came, None for anything else."""
    try:
        native = nw.from_native(data, eager_only=True, allow_series=True, pass_through=True)
    except nw.exceptions.DuplicateError as error:
        raise InputError(
            f"a data frame has repeated column names ({error}): expected each once; rename them"
        ) from error
    if isinstance(native, nw.Series):
        return native.alias(str(native.name or 0)).to_frame()
    return native if isinstance(native, nw.DataFrame) else None


def _array(data: Any, side: str) -> NDArray[Any]:
    if isinstance(data, np.ma.MaskedArray):
        data = np.ma.filled(data.astype(np.float64), np.nan)  # a masked value is a missing one
    try:
        array = np.asarray(data)
    except ValueError as error:
        raise ShapeError(f"{side} is ragged: expected (n,) or (n, d), every row of one length") from error
    if array.ndim not in (1, 2):
        way_out = "flatten each point to one row: x.reshape(len(x), -1)" if array.ndim > 2 else "pass a sequence"
        raise ShapeError(f"{side} has shape {array.shape}: expected (n,) or (n, d); {way_out}")
    return array


def _declared_categories(discrete: Discrete, names: list[int | str], option: str) -> set[int]:
    """Indices of the columns declared as unordered categories."""
    if discrete is None or isinstance(discrete, bool | np.bool_):
        return set(range(len(names))) if discrete else set()
    chosen = [discrete] if isinstance(discrete, int | str) else list(discrete)
    indices = set()
    for choice in chosen:
        index = column_index(choice, names)
        if index is None:
            raise InputError(
                f"{option} names {choice!r}: expected True, or indices from 0 to {len(names) - 1}"
                + (f", or names among {names}" if isinstance(names[0], str) else "")
            )
        indices.add(index)
    return indices


def column_index(choice: Any, names: Sequence[int | str]) -> int | None:
    """Place of a column asked for by its name or, where no name is that number, by its place; None for neither."""
    for index, name in enumerate(names):
        if name == choice and isinstance(name, str) == isinstance(choice, str) and not isinstance(choice, bool):
            return index
    if isinstance(choice, int | np.integer) and not isinstance(choice, bool) and 0 <= choice < len(names):
        return int(choice)
    return None


def _numbers(values: NDArray[Any], shown: str, index: int, option: str) -> NDArray[np.float64]:
    """A numeric column as float64; text is never parsed, dates and complex numbers have no single order."""
    values = np.asarray(values)
    way_out = f"expected numbers; convert it, or declare an unordered category with {option}=[{index}]"
    if values.dtype.kind == "O":
        for row, value in enumerate(values):
            if isinstance(value, str | bytes | complex):
                raise NonNumericError(f"{shown} holds {value!r} (row {row}): {way_out}")
        try:
            return np.array([np.nan if is_missing(v) else float(v) for v in values], dtype=np.float64)
        except (TypeError, ValueError, OverflowError) as error:
            raise NonNumericError(f"{shown} holds objects that are no numbers ({error}): {way_out}") from error
    if values.dtype.kind not in "fiub":
        raise NonNumericError(f"{shown} has dtype {values.dtype}: {way_out}")
    if values.dtype.kind in "iu" and values.size and max(abs(int(values.min())), abs(int(values.max()))) > 2**53:
        return np.unique(values, return_inverse=True)[1].astype(np.float64)  # float64 would merge neighbours
    return values.astype(np.float64)
