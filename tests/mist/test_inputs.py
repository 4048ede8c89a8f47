"""Validation: what is taken, what is refused with which words, what is warned about."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import mist.errors as errors
from mist.inputs import prepare

pytestmark = pytest.mark.usefixtures("unmoved_global_state")

ROWS = np.random.default_rng(0).normal(size=(20, 3))
COLUMN = np.random.default_rng(1).normal(size=20)


@pytest.mark.parametrize(
    "same",
    [
        COLUMN,
        COLUMN[:, None],
        COLUMN.tolist(),
        [[value] for value in COLUMN],
        tuple(COLUMN),
        torch.tensor(COLUMN),
        torch.tensor(COLUMN[:, None], requires_grad=True),
        COLUMN[::-1][::-1],
    ],
    ids=["(n,)", "(n, 1)", "list", "nested list", "tuple", "tensor", "tensor (n, 1) with gradient", "strided"],
)
def test_all_forms_of_one_column_are_the_same(same: Any) -> None:
    data = prepare(same, ROWS)
    np.testing.assert_array_equal(data.x.values, COLUMN[:, None])
    assert (data.num_points, data.x.dim, data.y.dim, data.warnings) == (20, 1, 3, ())


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int8, np.int64, np.uint16])
def test_numeric_dtypes(dtype: type) -> None:
    column = np.arange(20).astype(dtype)
    assert prepare(column, ROWS).x.values.dtype == np.float64
    np.testing.assert_array_equal(prepare(column, ROWS).x.values[:, 0], np.arange(20))


def test_bfloat16_and_boolean_tensors() -> None:
    values = torch.arange(20)
    np.testing.assert_array_equal(prepare(values.to(torch.bfloat16), ROWS).x.values[:, 0], np.arange(20))
    np.testing.assert_array_equal(prepare(values > 9, ROWS).x.values[:, 0], np.arange(20) > 9)


def test_data_frames_and_series() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(ROWS, columns=["a", "b", "c"])
    np.testing.assert_array_equal(prepare(frame, frame["a"]).x.values, ROWS)
    np.testing.assert_array_equal(prepare(frame["b"], frame).x.values, ROWS[:, [1]])
    text = frame.assign(b=list("abcd") * 5)
    with pytest.raises(errors.NonNumericError, match="x column 'b' .*discrete_x=\\[1\\]"):
        prepare(text, frame, discrete_x=False)
    for discrete in (None, ["b"]):
        assert prepare(text, frame, discrete_x=discrete).x.groups == (0, 1, 1, 1, 1, 0)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_text_and_categoricals_of_data_frames_are_categories_unless_ordered(library: str) -> None:
    frames = pytest.importorskip(library)
    labels = ["low", "high", "middle", "middle"] * 5
    order = ["low", "middle", "high"]
    if library == "pandas":
        columns = {
            "text": labels,
            "unordered": frames.Categorical(labels),
            "ordered": frames.Categorical(labels, categories=order, ordered=True),
        }
        frame = frames.DataFrame(columns)
        missing = frame.assign(ordered=frame["ordered"].where(frame.index > 0))
    else:
        types = {"text": frames.String, "unordered": frames.Categorical, "ordered": frames.Enum(order)}
        frame = frames.DataFrame({name: frames.Series(labels, dtype=kind) for name, kind in types.items()})
        missing = frame.with_columns(frames.Series("ordered", [None, *labels[1:]], dtype=types["ordered"]))
    side = prepare(frame, COLUMN).x
    assert side.groups == (1, 1, 1, 2, 2, 2, 0)
    assert side.values[:, -1].tolist() == [0.0, 2.0, 1.0, 1.0] * 5
    assert prepare(frame, COLUMN, discrete_x=["ordered", "text", "unordered"]).x.groups == (1, 1, 1, 2, 2, 2, 3, 3, 3)
    assert prepare(missing, COLUMN, nan_policy="omit").num_points == 19


def test_columns_of_a_dict_are_read_as_those_of_a_frame() -> None:
    pandas = pytest.importorskip("pandas")
    labels = ["low", "high", "middle", "middle"] * 5
    ordered = pandas.Categorical(labels, categories=["low", "middle", "high"], ordered=True)
    for column in (ordered, pandas.Series(ordered)):
        for form in ({"a": column}, column):
            assert prepare(form, COLUMN).x.values[:, 0].tolist() == [0.0, 2.0, 1.0, 1.0] * 5
    numbers = pandas.Categorical([3, 1, 2, 2] * 5)
    assert prepare(numbers, COLUMN).x.groups == prepare({"a": pandas.Series(numbers)}, COLUMN).x.groups == (1, 1, 1)
    assert prepare(pandas.Categorical(["1", "2", "3", "3"] * 5), COLUMN).x.groups == (1, 1, 1)
    tensor = torch.tensor(COLUMN, requires_grad=True)
    both = {"a": tensor, "b": tensor.detach().to(torch.bfloat16)}
    np.testing.assert_array_equal(prepare(both, COLUMN).x.values[:, 0], COLUMN)
    with pytest.raises(errors.ShapeError, match="x column 'a' has 3 columns: expected one"):
        prepare({"a": pandas.DataFrame(ROWS)}, COLUMN)
    with pytest.raises(errors.ShapeError, match="x has columns of shapes .*all of one length"):
        prepare({"a": COLUMN, "b": COLUMN[:3]}, COLUMN)
    with pytest.raises(errors.EmptyInputError, match="x is empty"):
        prepare({}, COLUMN)


def test_frames_with_names_that_are_numbers() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(ROWS)
    np.testing.assert_array_equal(prepare(frame, COLUMN).x.values, ROWS)
    assert prepare(frame.set_axis([2, 1, 0], axis=1).round(), COLUMN, discrete_x=[2]).x.groups[0] == 1
    frame.columns = pandas.MultiIndex.from_tuples([("a", 1), ("a", 2), ("b", 1)])
    np.testing.assert_array_equal(prepare(frame, COLUMN).x.values, ROWS)


def test_rows_that_are_labelled_differently_are_refused() -> None:
    pandas = pytest.importorskip("pandas")
    x, y = pandas.Series(COLUMN), pandas.DataFrame(ROWS)
    shuffled = y.sample(frac=1, random_state=0)
    with pytest.raises(errors.InputError, match=r"x and y label their rows differently .*align them first"):
        prepare(x, shuffled)
    assert prepare(x, shuffled.to_numpy()).num_points == prepare(x, y).num_points == 20
    assert prepare(x.set_axis(list("abcdefghijklmnopqrst")), y.set_axis(list("abcdefghijklmnopqrst"))).num_points == 20


def test_missing_text_of_pandas() -> None:
    pandas = pytest.importorskip("pandas")
    for dtype in ("string", "object"):
        column = pandas.Series(["u", "v", pandas.NA, "w"] * 5, dtype=dtype)
        assert prepare(column, COLUMN, nan_policy="omit").num_points == 15


def test_large_integers_stay_apart() -> None:
    values = np.arange(2**60, 2**60 + 20)
    np.testing.assert_array_equal(prepare(values[::-1].copy(), COLUMN).x.values[:, 0], np.arange(20.0)[::-1])


def test_text_may_miss_values() -> None:
    labels = np.array(["a", "b", None, "c"] * 5, dtype=object)
    assert prepare(labels, COLUMN, nan_policy="omit").num_points == 15


@pytest.mark.parametrize(
    ("x", "y", "error", "message"),
    [
        (ROWS, COLUMN[:19], errors.LengthMismatchError, r"x has 20 points and y has 19: expected pairs.*; pass"),
        (COLUMN[:3], COLUMN[:3], errors.TooFewPointsError, r"got 3 points, expected at least 4"),
        (ROWS[:1], ROWS[:1], errors.TooFewPointsError, r"got 1 point, .*is the array transposed\?"),
        ([], [], errors.EmptyInputError, r"x is empty \(shape \(0,\)\): expected \(n,\) or \(n, d\), n >= 4"),
        (ROWS, np.empty((20, 0)), errors.EmptyInputError, r"y is empty \(shape \(20, 0\)\)"),
        (ROWS[:, :, None], ROWS, errors.ShapeError, r"x has shape \(20, 3, 1\): expected .*reshape"),
        (ROWS, 3.0, errors.ShapeError, r"y has shape \(\): expected .*pass a sequence"),
        ([[1.0], [1.0, 2.0]], [1, 2], errors.ShapeError, r"x is ragged: expected .* one length"),
        (
            ROWS,
            ["1.5"] * 20,
            errors.NonNumericError,
            r"y column 0 holds numbers as text, such as '1.5'.*discrete_y=\[0\]",
        ),
        (COLUMN + 1j, ROWS, errors.NonNumericError, r"x column 0 has dtype complex128"),
        (np.array([1, "b", 3, 4] * 5, dtype=object), ROWS, errors.NonNumericError, r"x column 0 holds 'b' \(row 1\)"),
        (np.array([object()] * 20), ROWS, errors.NonNumericError, r"x column 0 holds objects that are no numbers"),
        (
            np.arange(20).astype("datetime64[D]"),
            ROWS,
            errors.NonNumericError,
            r"dtype datetime64\[D\]: expected numbers",
        ),
        (np.where(COLUMN > 0, np.inf, COLUMN), ROWS, errors.NonFiniteError, r"infinite value\(s\), the first in row 0"),
        (ROWS, np.where(np.arange(20) == 7, np.nan, 1), errors.NonFiniteError, r"1 missing .*row 7.*nan_policy='omit'"),
    ],
)
def test_refusals(x: Any, y: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        prepare(x, y)
    assert issubclass(error, errors.InputError) and issubclass(error, ValueError)


def test_omit_drops_points_with_missing_values_and_says_so() -> None:
    x, y = ROWS.copy(), COLUMN.tolist()
    x[3, 1] = np.nan
    y[5] = None
    data = prepare(x, y, nan_policy="omit")
    kept = [i for i in range(20) if i not in (3, 5)]
    np.testing.assert_array_equal(data.x.values, ROWS[kept])
    np.testing.assert_array_equal(data.y.values[:, 0], COLUMN[kept])
    assert data.warnings == ("omitted 2 of 20 points with missing values",)
    with pytest.raises(errors.NonFiniteError, match="infinite"):
        prepare(np.where(np.isnan(x), np.inf, x), y, nan_policy="omit")
    with pytest.raises(errors.TooFewPointsError, match="got 3 points"):
        prepare(np.where(np.arange(20) < 3, 1.0, np.nan), COLUMN, nan_policy="omit")
    with pytest.raises(errors.InputError, match="nan_policy='ignore' is unknown: expected 'raise' or 'omit'"):
        prepare(x, y, nan_policy="ignore")  # type: ignore[arg-type]


def test_constant_columns_are_dropped() -> None:
    x = ROWS.copy()
    x[:, 1] = 4.0
    data = prepare(x, COLUMN)
    np.testing.assert_array_equal(data.x.values, ROWS[:, [0, 2]])
    assert data.x.dim == 3 and not data.is_degenerate
    assert data.warnings == ("constant, without information: x column 1",)
    constant = prepare(np.ones((20, 2)), COLUMN)
    assert constant.is_degenerate and "x is constant: it carries no information and MI is 0" in constant.warnings


def test_heavy_ties_are_warned_about() -> None:
    assert prepare(np.arange(100), np.arange(100) // 2).warnings == ()
    (message,) = prepare(np.arange(100), np.arange(100) // 50).warnings
    assert message.startswith("heavy ties (share of pairs of points that tie): y column 0 (49%)")
    assert prepare(np.arange(100), np.arange(100) // 50, ties_known=True).warnings == ()


def test_near_collinear_columns_are_warned_about() -> None:
    random = np.random.default_rng(2)
    first = random.normal(size=(300, 1))
    near = np.hstack([first, first + 0.05 * random.normal(size=(300, 1))])
    (message,) = prepare(near, random.normal(size=300)).warnings
    assert message.startswith("columns of x are nearly collinear (condition number")
    assert prepare(np.hstack([first, random.normal(size=(300, 5))]), random.normal(size=300)).warnings == ()
    assert prepare(random.normal(size=(40, 16)), random.normal(size=40)).warnings == ()  # only sampling noise
    many = random.normal(size=(3000, 1))
    assert prepare(np.hstack([many, many + 0.05 * random.normal(size=(3000, 1))]), -(many**2)).warnings == ()


def test_categories_are_indicators_with_a_mark() -> None:
    labels = np.array(["red", "green", "blue", "blue"] * 5)
    data = prepare(np.column_stack([COLUMN, COLUMN]), labels, discrete_y=True)
    assert data.x.groups == (0, 0) and data.y.groups == (1, 1, 1) and data.y.dim == 1 and data.has_categories
    np.testing.assert_array_equal(data.y.values.sum(axis=1), np.ones(20))
    np.testing.assert_array_equal(data.y.values[:, 0], labels == "blue")  # the commonest comes first


def test_two_levels_need_one_column() -> None:
    data = prepare(COLUMN, np.array(["no", "yes"] * 10), discrete_y=True)
    assert data.y.values.shape == (20, 1) and not data.has_categories


@pytest.mark.parametrize("discrete", [[3], [-1], ["a"], [None]])
def test_unknown_categories_are_refused(discrete: Any) -> None:
    with pytest.raises(errors.InputError, match="discrete_x names .*expected True, or indices from 0 to 2"):
        prepare(ROWS, COLUMN, discrete_x=discrete)


@settings(max_examples=30, deadline=None)
@given(st.integers(3, 45), st.permutations(range(45)), st.integers(0, 1000))
def test_labels_and_the_order_of_points_say_nothing(num_levels: int, relabel: list[int], seed: int) -> None:
    random = np.random.default_rng(seed)
    codes = random.integers(num_levels, size=90)
    y = random.normal(size=90)
    first = prepare(codes, y, discrete_x=True)
    renamed = prepare([f"level {relabel[code]}" for code in codes], y, discrete_x=True)
    order = random.permutation(90)
    moved = prepare(codes[order], np.exp(y[order]), discrete_x=True)
    assert first.warnings == renamed.warnings == moved.warnings
    expected = _sorted_columns(first.x.values)
    np.testing.assert_array_equal(_sorted_columns(moved.x.values[np.argsort(order)]), expected)
    other = prepare(codes, random.normal(size=90), discrete_x=True)
    np.testing.assert_array_equal(_sorted_columns(other.x.values), expected)  # no side pools the levels of the other
    apart = [prepare(codes, values, discrete_x=True, sides_apart=True).x.values for values in (y, -(y**3), y[order])]
    assert all(np.array_equal(values, apart[0]) for values in apart)
    if not first.warnings:  # past the cap the names decide which of equally rare levels are pooled
        np.testing.assert_array_equal(_sorted_columns(renamed.x.values), expected)


def test_rare_levels_are_pooled() -> None:
    codes = np.concatenate([np.arange(40), np.repeat(np.arange(31), 3)])
    data = prepare(codes, np.random.default_rng(0).normal(size=len(codes)), discrete_x=True)
    assert data.x.values.shape[1] == 32
    assert data.warnings == (
        "x column 0 has 40 levels: the 9 rarest, 9 points, were pooled into one (at most 32 are told apart)",
    )
    np.testing.assert_array_equal(data.x.values[:, 31], codes >= 31)


def test_max_points_is_a_fixed_choice_of_points() -> None:
    x, y = np.arange(1000.0), -np.arange(1000.0)
    data = prepare(x, y, max_points=lambda *_: 100)
    assert data.warnings[0] == "100 of 1000 points were used: the checkpoint was not trained on more"
    assert len(np.unique(data.x.values)) == 100
    np.testing.assert_array_equal(data.x.values, -data.y.values)
    np.testing.assert_array_equal(data.x.values, prepare(x, y, max_points=lambda *_: 100).x.values)
    assert 300 < data.x.values.mean() < 700


def _sorted_columns(values: np.ndarray) -> np.ndarray:
    return values[:, np.lexsort(values)]


def test_a_masked_value_is_a_missing_one() -> None:
    x = np.ma.masked_less(np.arange(20.0), 3.0)
    with pytest.raises(errors.NonFiniteError, match=r"3 missing value\(s\)"):
        prepare(x, np.arange(20.0))
    assert prepare(x, np.arange(20.0), nan_policy="omit").num_points == 17


def test_repeated_names_in_a_data_frame() -> None:
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(20, 2)), columns=["a", "a"])
    with pytest.raises(errors.InputError, match="repeated column names"):
        prepare(frame, np.arange(20.0))


def test_the_points_chosen_do_not_depend_on_their_order() -> None:
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(300, 2)), generator.normal(size=300)
    order = generator.permutation(300)
    first, second = prepare(x, y, max_points=lambda *_: 100), prepare(x[order], y[order], max_points=lambda *_: 100)
    np.testing.assert_array_equal(np.sort(first.y.values[:, 0]), np.sort(second.y.values[:, 0]))


@pytest.mark.parametrize("mask", [np.array([False, True]), [False, True], pd.Series([False, True])])
def test_a_mask_of_categories(mask: Any) -> None:
    x = np.column_stack([np.arange(12.0), np.arange(12) % 3])
    found, named = (prepare(x, np.arange(12.0), discrete_x=chosen) for chosen in (mask, [1]))
    assert found.x.groups == named.x.groups == (0, 1, 1, 1) and np.array_equal(found.x.values, named.x.values)
    with pytest.raises(errors.InputError, match="discrete_x is a mask of 3: expected one of 2 columns"):
        prepare(x, np.arange(12.0), discrete_x=[True, False, True])


@pytest.mark.parametrize("choice", [np.int64(1), 1.5, [2], ["b"]])
def test_chosen_categories_that_are_numbers_of_numpy_or_no_columns(choice: Any) -> None:
    x = np.column_stack([np.arange(12.0), np.arange(12) % 3])
    if isinstance(choice, np.int64):
        assert any(prepare(x, np.arange(12.0), discrete_x=choice).x.groups)
        return
    with pytest.raises(errors.InputError, match="discrete_x names .*: expected True, or indices from 0 to 1"):
        prepare(x, np.arange(12.0), discrete_x=choice)


def test_one_text_among_the_numbers_of_a_list() -> None:
    numbers = [*map(float, range(11)), "n/a"]
    with pytest.raises(errors.NonNumericError, match="x column 0 holds 'n/a' .row 11.: expected numbers"):
        prepare(numbers, range(12))
    rows = [[float(i), "abc"[i % 3]] for i in range(12)]
    assert prepare(rows, range(12)).x.groups == (0, 1, 1, 1)


def test_lists_of_tensors() -> None:
    x = torch.randn(12, 2, generator=torch.Generator().manual_seed(0), requires_grad=True)
    expected = prepare(x, range(12)).x.values
    assert np.array_equal(prepare(list(x), range(12)).x.values, expected)
    rounded = x.detach().bfloat16()
    assert np.array_equal(prepare(list(rounded), range(12)).x.values, prepare(rounded, range(12)).x.values)
    with pytest.raises(errors.ShapeError, match="layout torch.sparse_coo: expected a dense one; pass x.to_dense"):
        prepare(x.detach().to_sparse(), range(12))


def test_what_is_no_array_yet_says_the_way_out() -> None:
    polars, sparse = pytest.importorskip("polars"), pytest.importorskip("scipy.sparse")
    for data, way_out in (
        (polars.DataFrame({"a": range(12)}).lazy(), r"pass x.collect\(\)"),
        (sparse.csr_array(np.eye(12)), r"pass x.toarray\(\)"),
        ((i for i in range(12)), r"such as list\(x\)"),
    ):
        with pytest.raises(errors.ShapeError, match=way_out):
            prepare(data, range(12))
    with pytest.raises(errors.NonNumericError, match="column 'a' holds Struct.*: expected numbers or names; unnest it"):
        prepare(polars.DataFrame({"a": [{"b": i} for i in range(12)]}), range(12))


def test_labels_that_cannot_be_told_apart() -> None:
    lists = np.empty(12, dtype=object)
    lists[:] = [[i % 2] for i in range(12)]
    with pytest.raises(errors.NonNumericError, match=r"got a label \[0\], expected labels that can be told apart"):
        prepare(lists, range(12), discrete_x=True)


def test_masked_text() -> None:
    names = np.ma.array(list("abc" * 4), mask=[i == 3 for i in range(12)])
    assert prepare(names, range(12), nan_policy="omit").num_points == 11


def test_columns_of_a_dict_whose_rows_are_labelled_differently() -> None:
    first, second = pd.Series(range(12), dtype=float), pd.Series(range(12), index=range(12, 0, -1), dtype=float)
    with pytest.raises(errors.InputError, match="x column 'a' and x column 'b' label their rows differently"):
        prepare({"a": first, "b": second}, np.arange(12.0))
    with pytest.raises(errors.InputError, match="x column 'b' and y label their rows differently"):
        prepare({"b": second}, first)
