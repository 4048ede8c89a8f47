"""Pairs of a table and relevance to a target: equal to single estimates, whatever way they are asked for."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import mist
from mist.inference import Estimator
from mist.result import linfoot_correlation

pytestmark = pytest.mark.usefixtures("unmoved_global_state")


def table(num_points: int = 60, dim: int = 5, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).normal(size=(num_points, dim))
    values[:, 1] += 2 * values[:, 0]
    return values


def frame() -> pd.DataFrame:
    values = pd.DataFrame(table(), columns=list("abcde"))
    return values.assign(c=values["c"].round(1), e=1.5)


class TestPairwise:
    def test_equals_single_estimates(self, tiny_estimator: Estimator) -> None:
        values = table()
        found = tiny_estimator.pairwise(values, level=0.8)
        assert (
            found.names == tuple("01234") and found.mi.shape == (5, 5) and (found.level, found.units) == (0.8, "nats")
        )
        for i in range(5):
            for j in range(5):
                if i == j:
                    assert np.isnan([found.mi[i, i], found.low[i, i], found.high[i, i]]).all() and found.n[i, i] == 0
                    continue
                single = tiny_estimator.estimate(values[:, i], values[:, j])
                expected = [single.mi, *single.interval(0.8)]
                got = [found.mi[i, j], found.low[i, j], found.high[i, j]]
                assert got == pytest.approx(expected, abs=1e-4) and found.n[i, j] == 60

    def test_groups_of_columns_stand_together(self, tiny_estimator: Estimator) -> None:
        values = frame()
        found = tiny_estimator.pairwise(
            values, {"first": ["a", "b"], "second": ["d"], "third": ["a", "c"]}, units="bits"
        )
        assert found.names == ("first", "second", "third")
        indexed = tiny_estimator.pairwise(values, {"first": values.columns[:2], "third": values.columns[[0, 2]]})
        assert indexed.names == ("first", "third")
        single = tiny_estimator.estimate(values[["a", "b"]], values[["a", "c"]], units="bits")
        assert found.mi[0, 2] == pytest.approx(single.mi, abs=1e-4)

    def test_chosen_columns_and_categories(self, tiny_estimator: Estimator) -> None:
        values = frame().assign(kind=list("xyz") * 20)
        with pytest.warns(mist.MISTWarning, match="not trained on unordered categories"):
            found = tiny_estimator.pairwise(values, ["kind", "a", "b"], discrete="kind")
        with pytest.warns(mist.MISTWarning):
            single = tiny_estimator.estimate(values["kind"], values["b"], discrete_x=True)
        assert found.names == ("kind", "a", "b") and found.mi[0, 2] == pytest.approx(single.mi, abs=1e-4)

    def test_a_constant_column_carries_nothing(self, tiny_estimator: Estimator) -> None:
        with pytest.warns(mist.MISTWarning, match="'e' is constant: it carries no information and MI is 0"):
            found = tiny_estimator.pairwise(frame()[["a", "e", "b"]])
        assert found.mi[0, 1] == found.high[1, 2] == 0 < found.mi[0, 2]

    def test_missing_values(self, tiny_estimator: Estimator) -> None:
        values = table()
        values[:5, 0], values[3:20, 1] = np.nan, np.nan
        with pytest.raises(mist.NonFiniteError, match=r"table column 0 has 5 missing value\(s\).*'pairwise'"):
            tiny_estimator.pairwise(values)
        with pytest.warns(mist.MISTWarning, match="omitted 20 of 60 points with missing values"):
            omitted = tiny_estimator.pairwise(values, nan_policy="omit")
        assert set(omitted.n[np.triu_indices(5, 1)]) == {40}
        assert omitted.mi[2, 3] == pytest.approx(tiny_estimator.estimate(values[20:, 2], values[20:, 3]).mi, abs=1e-4)
        found = tiny_estimator.pairwise(values, nan_policy="pairwise")
        assert (found.n[0, 1], found.n[0, 2], found.n[1, 2], found.n[2, 3]) == (40, 55, 43, 60)
        kept = np.r_[0:3, 20:60]
        assert found.mi[1, 2] == pytest.approx(tiny_estimator.estimate(values[kept, 1], values[kept, 2]).mi, abs=1e-4)

    def test_pairs_without_points_in_common(self, tiny_estimator: Estimator) -> None:
        values = table()
        values[:58, 0], values[30:, 1] = np.nan, np.nan
        with pytest.warns(mist.MISTWarning) as caught:
            found = tiny_estimator.pairwise(values, nan_policy="pairwise")
        assert any("of 10 pairs have fewer than 4 points in common: NaN" in str(w.message) for w in caught)
        assert np.isnan(found.mi[0, 1]) and found.n[0, 1] == 0 and np.isfinite(found.mi[1, 2])
        rows = found.to_frame()
        assert np.isnan(rows["mi"].iloc[-1]) and rows["mi"].iloc[:6].is_monotonic_decreasing

    def test_what_is_known_of_incomplete_pairs_is_told(self, tiny_estimator: Estimator) -> None:
        values = table()
        values[:55, 0] = np.nan
        values[:, 1] = values[:, 1].round()
        values[0, 1] = np.nan
        with pytest.warns(mist.MISTWarning) as caught:
            tiny_estimator.pairwise(values[:, :3], nan_policy="pairwise")
        told = "\n".join(str(warning.message) for warning in caught)
        assert "n=5 is outside the range" in told and "heavy ties" in told

    def test_integer_names_are_names(self, tiny_estimator: Estimator) -> None:
        values = table()
        frame = pd.DataFrame(values[:, :3], columns=[2, 1, 0])
        found = tiny_estimator.pairwise(frame, [2, 1])
        assert found.names == ("2", "1")
        assert found.mi[0, 1] == pytest.approx(tiny_estimator.estimate(values[:, 0], values[:, 1]).mi, abs=1e-4)
        assert tiny_estimator.pairwise(frame, np.array([0, 2])).names == ("0", "2")
        with pytest.raises(mist.InputError, match="column names that read alike"):
            tiny_estimator.pairwise({1: values[:, 0], "1": values[:, 1]})

    def test_range_is_warned_of_once(self, tiny_estimator: Estimator) -> None:
        with pytest.warns(mist.MISTWarning, match="n=8 is outside the range") as caught:
            found = tiny_estimator.pairwise(table(8))
        assert len(caught) == 1 == len(found.warnings) and caught[0].filename == __file__

    def test_frame_and_repr(self, tiny_estimator: Estimator) -> None:
        found = tiny_estimator.pairwise(frame()[["a", "b", "d"]])
        rows = found.to_frame()
        assert list(rows.columns) == ["x", "y", "mi", "low", "high", "n"] and len(rows) == 3
        first = rows.iloc[0]
        i, j = found.names.index(first["x"]), found.names.index(first["y"])
        assert first["mi"] == found.mi[i, j] == np.nanmax(found.mi)
        assert f"strongest {first['x']} and {first['y']}: {first['mi']:.4g}" in repr(found)
        np.testing.assert_allclose(found.normalized[0, 1], linfoot_correlation(found.mi[0, 1]))
        with pytest.raises(mist.InputError, match="backend='arrow' is unknown: expected 'pandas' or 'polars'"):
            found.to_frame("arrow")

    def test_a_missing_library_is_named(self, tiny_estimator: Estimator, monkeypatch: pytest.MonkeyPatch) -> None:
        found = tiny_estimator.pairwise(table())

        def without(*args: Any, **options: Any) -> None:
            raise ModuleNotFoundError("No module named 'polars'")

        monkeypatch.setattr("narwhals.from_dict", without)
        with pytest.raises(mist.InputError, match="polars is missing: pip install polars"):
            found.to_frame("polars")
        monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
        with pytest.raises(mist.InputError, match="matplotlib is missing: pip install"):
            found.plot()

    def test_an_answer_that_is_no_number_is_no_result(
        self, tiny_estimator: Estimator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        broken = lambda features: (torch.full((len(features.summary), 50), torch.nan), None)  # noqa: E731
        monkeypatch.setattr(tiny_estimator.network, "read_features", broken)
        with pytest.raises(mist.MISTError, match="answered NaN for n=60, dims 1 and 1: expected finite quantiles"):
            tiny_estimator.pairwise(table())

    def test_progress_and_workers_change_nothing(
        self, tiny_estimator: Estimator, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        expected = tiny_estimator.pairwise(table())
        monkeypatch.setattr("mist.screening._MAX_BATCH", 3)
        threads = torch.get_num_threads()
        found = tiny_estimator.pairwise(table(), progress=True)
        np.testing.assert_allclose(found.mi, expected.mi, atol=1e-5)
        assert capsys.readouterr().err.endswith("10/10 pairs\n") and torch.get_num_threads() == threads

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"columns": ["a"]}, "got 1 variable, expected two or more"),
            ({"columns": ["a", "z"]}, "table has no column 'z': expected indices from 0 to 4, or names among"),
            ({"columns": ["a", "a"]}, "got column 'a' twice"),
            ({"columns": {"g": ["a", "a"], "h": "b"}}, "group 'g' is .* expected one column or more, each once"),
            ({"columns": "ab"}, "got columns='ab', expected a list of columns"),
            ({"columns": []}, "got no columns, expected some"),
            ({"columns": {"g": None, "h": "b"}}, "group 'g' is None, expected a column or a list of columns"),
            ({"level": "0.9"}, "interval level '0.9'"),
            ({"level": 1.0}, "interval level 1.0: expected a probability between 0 and 0.98"),
            ({"level": -0.1}, "interval level -0.1"),
            ({"units": "bans"}, "units='bans' is unknown"),
            ({"nan_policy": "drop"}, "nan_policy='drop' is unknown: expected 'raise', 'omit' or 'pairwise'"),
            ({"discrete": "z"}, "discrete names 'z'"),
        ],
    )
    def test_what_cannot_be_used(self, tiny_estimator: Estimator, arguments: dict[str, Any], message: str) -> None:
        with pytest.raises(mist.InputError, match=message):
            tiny_estimator.pairwise(frame(), **arguments)

    def test_too_few_points(self, tiny_estimator: Estimator) -> None:
        with pytest.raises(mist.TooFewPointsError, match="got 3 points, expected at least 4"):
            tiny_estimator.pairwise(table(3))

    def test_novel_pairs_are_counted(self, tiny_estimator: Estimator, monkeypatch: pytest.MonkeyPatch) -> None:
        real = mist.screening.screen
        novel = lambda *args, **options: replace(real(*args, **options), novelty=np.r_[1.0, np.zeros(9)])  # noqa: E731
        monkeypatch.setattr("mist.screening.screen", novel)
        with pytest.warns(mist.MISTWarning, match="1 of 10 pairs look unlike what checkpoint tiny@.* was trained on"):
            tiny_estimator.pairwise(table())


class TestRelevance:
    def test_equals_single_estimates(self, tiny_estimator: Estimator) -> None:
        values = frame()
        found = tiny_estimator.relevance(values[["a", "b", "c"]], values["d"])
        assert found.names == ("a", "b", "c") and found.target == "d"
        for name, mi, low in zip(found.names, found.mi, found.low):
            single = tiny_estimator.estimate(values[name], values["d"])
            assert [mi, low] == pytest.approx([single.mi, single.interval(0.9)[0]], abs=1e-4)
        assert found.to_frame()["mi"].is_monotonic_decreasing and "3 variables against d" in repr(found)

    def test_a_target_of_several_columns(self, tiny_estimator: Estimator) -> None:
        values = table()
        found = tiny_estimator.relevance(values[:, :2], values[:, 2:])
        single = tiny_estimator.estimate(values[:, 1], values[:, 2:])
        assert found.target == "y" and found.mi[1] == pytest.approx(single.mi, abs=1e-4)

    def test_points_are_omitted_on_both_sides(self, tiny_estimator: Estimator) -> None:
        values, target = table(), table(seed=1)[:, 0]
        values[:4, 0], target[-6:] = np.nan, np.nan
        with pytest.warns(mist.MISTWarning, match="omitted 10 of 60"):
            found = tiny_estimator.relevance(values, target, nan_policy="omit")
        assert found.n.tolist() == [50] * 5
        assert found.mi[2] == pytest.approx(tiny_estimator.estimate(values[4:-6, 2], target[4:-6]).mi, abs=1e-4)
        assert tiny_estimator.relevance(values, target, nan_policy="pairwise").n.tolist() == [50, 54, 54, 54, 54]

    def test_rows_that_are_labelled_differently_are_refused(self, tiny_estimator: Estimator) -> None:
        x, y = frame()[["a", "b"]], frame()["d"].sort_values()
        for call in (tiny_estimator.relevance, tiny_estimator.check, tiny_estimator.estimate):
            with pytest.raises(mist.InputError, match="x and y label their rows differently"):
                call(x, y)
        with pytest.raises(mist.InputError, match="y and given label their rows differently"):
            tiny_estimator.estimate(x, x["a"], given=y)

    def test_other_lengths(self, tiny_estimator: Estimator) -> None:
        with pytest.raises(mist.LengthMismatchError, match="x has 60 points and y has 59: expected as many"):
            tiny_estimator.relevance(table(), np.arange(59))


class TestPlots:
    @pytest.mark.parametrize("dim", [2, 5, 14])
    def test_pairwise(self, tiny_estimator: Estimator, dim: int) -> None:
        pytest.importorskip("matplotlib")
        found = tiny_estimator.pairwise(table(dim=max(dim, 2)))
        axes = found.plot()
        written = [text.get_text() for text in axes.texts]
        assert len(written) == (dim * (dim - 1) if dim <= 12 else 0)
        assert sorted(label.get_text() for label in axes.get_xticklabels()) == sorted(found.names)

    def test_alike_variables_stand_together(self, tiny_estimator: Estimator) -> None:
        pytest.importorskip("matplotlib")
        found = tiny_estimator.pairwise(table(dim=6))
        mi = np.full((6, 6), 0.01)
        for pair in ((0, 3), (1, 4), (2, 5)):
            mi[pair], mi[pair[::-1]] = 2.0, 2.0
        np.fill_diagonal(mi, np.nan)
        labels = [label.get_text() for label in replace(found, mi=mi).plot().get_xticklabels()]
        assert {frozenset(labels[i : i + 2]) for i in (0, 2, 4)} == {frozenset("03"), frozenset("14"), frozenset("25")}

    def test_relevance_draws_on_given_axes(self, tiny_estimator: Estimator) -> None:
        figure = pytest.importorskip("matplotlib.figure").Figure()
        axes = figure.add_subplot()
        found = tiny_estimator.relevance(table()[:, :3], table()[:, 3])
        assert found.plot(axes) is axes and len(axes.patches) == 3
        widths = [patch.get_width() for patch in axes.patches]
        assert widths == sorted(widths, reverse=True)
