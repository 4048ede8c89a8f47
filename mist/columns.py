"""From what a user holds (arrays, tensors, lists, data frames) to columns of numbers, or an error with the reason."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import narwhals as nw
import numpy as np
import torch
from numpy.typing import NDArray

from mist.categories import category_codes, is_missing
from mist.errors import EmptyInputError, InputError, NonNumericError, ShapeError

__all__ = ["MIN_POINTS", "Column", "Discrete", "column_index", "to_columns"]

MIN_POINTS = 4

# True: every column of that side is an unordered category; or the indices (names, for a data frame) of those that are,
# or a mask of all columns.
Discrete = bool | int | str | Sequence[int] | Sequence[str] | Sequence[bool] | NDArray[Any] | None


@dataclass(eq=False)
class Column:
    """A column on its way: `values` are numbers, or the codes of an unordered category."""

    name: str
    values: NDArray[np.float64]  # (n,), NaN where missing
    is_category: bool


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
    if series.dtype in (nw.Struct, nw.List, nw.Array):
        raise NonNumericError(
            f"column {series.name!r} holds {series.dtype}: expected numbers or names; unnest it first"
        )
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
    if isinstance(data, list | tuple) and data and all(hasattr(part, "detach") for part in data):
        return [_of_tensor(part) for part in data]
    if hasattr(data, "detach") and hasattr(data, "cpu"):
        if getattr(data, "layout", torch.strided) is not torch.strided:
            raise ShapeError(f"got a tensor of layout {data.layout}: expected a dense one; pass x.to_dense()")
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
    if isinstance(data, np.ma.MaskedArray):  # a masked value is a missing one
        numeric = data.dtype.kind in "fiub"
        plain = np.array(data.data, dtype=np.float64 if numeric else object)
        plain[np.ma.getmaskarray(data)] = np.nan if numeric else None
        data = plain
    try:
        array = np.asarray(data)
        if isinstance(data, list | tuple) and array.dtype.kind in "US":  # one text makes text of all the numbers
            array = np.array(data, dtype=object)
    except ValueError as error:
        raise ShapeError(f"{side} is ragged: expected (n,) or (n, d), every row of one length") from error
    if array.ndim not in (1, 2):
        way_out = next(
            (
                f"pass x.{name}()" for name in ("collect", "toarray") if hasattr(data, name)
            ),  # lazy frames, sparse arrays
            "pass a sequence, such as list(x)",
        )
        way_out = "flatten each point to one row: x.reshape(len(x), -1)" if array.ndim > 2 else way_out
        raise ShapeError(f"{side} has shape {array.shape}: expected (n,) or (n, d); {way_out}")
    return array


def _declared_categories(discrete: Discrete, names: list[int | str], option: str) -> set[int]:
    """Indices of the columns declared as unordered categories."""
    if discrete is None or isinstance(discrete, bool | np.bool_):
        return set(range(len(names))) if discrete else set()
    chosen = list(discrete) if isinstance(discrete, Iterable) and not isinstance(discrete, str) else [discrete]
    if chosen and all(isinstance(choice, bool | np.bool_) for choice in chosen):
        if len(chosen) != len(names):
            raise InputError(f"{option} is a mask of {len(chosen)}: expected one of {len(names)} columns")
        return {index for index, choice in enumerate(chosen) if choice}
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
    if isinstance(choice, int | np.integer) and not isinstance(choice, bool | np.bool_) and 0 <= choice < len(names):
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
