"""`mist-mi`: what it prints, where, and its exit codes."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mist
from mist.checkpoint import save_checkpoint
from mist.cli import main
from mist.network import MISTNetwork
from mist.table_files import read_table

pytestmark = pytest.mark.usefixtures("unmoved_global_state")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    rows = random.normal(size=(60, 3))
    rows[:, 2] += rows[:, 0]
    path = tmp_path / "data.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["a", "b", "c", "group", "holes", "stray"])
        for i, row in enumerate(rows):
            writer.writerow([*row, "pqr"[i % 3], "" if i == 7 else row[1], "oops" if i == 3 else 1])
    return path


def columns(table: Path, *names: str) -> np.ndarray:
    return np.array([read_table(table)[name] for name in names], dtype=float).T


def test_estimate(table: Path, tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["estimate", str(table), "--x", "a,b", "--y", "c", "--checkpoint", str(tiny_checkpoint)]) == 0
    out, err = capsys.readouterr()
    result = mist.load(tiny_checkpoint, device="cpu").estimate(columns(table, "a", "b"), columns(table, "c"))
    low, high = result.interval(0.9)
    assert out.splitlines() == [
        f"I(a, b; c) = {result.mi:.4f} nats",
        f"90 % interval  {low:.4f} to {high:.4f} nats",
        "points         60, dims 2 and 1",
        f"checkpoint     {result.checkpoint} (preliminary)",
    ]
    assert err == ""


def test_estimate_json_in_bits(table: Path, tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--x", "a", "--y", "c", "--units", "bits", "--level", "0.5", "--json"]
    assert main(["estimate", str(table), *arguments, "--checkpoint", str(tiny_checkpoint)]) == 0
    printed = json.loads(capsys.readouterr().out)
    estimator = mist.load(tiny_checkpoint, device="cpu")
    result = estimator.estimate(columns(table, "a"), columns(table, "c"), units="bits")
    assert printed["mi"] == pytest.approx(result.mi) and printed["interval"] == pytest.approx(result.interval(0.5))
    assert printed["units"] == "bits"


def test_estimate_as_csv_with_a_picture(
    table: Path, tmp_path: Path, tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    picture = tmp_path / "estimate.png"
    arguments = ["--x", "a,b", "--y", "c", "--format", "csv", "--plot", str(picture)]
    assert main(["estimate", str(table), *arguments, "--checkpoint", str(tiny_checkpoint)]) == 0
    out, err = capsys.readouterr()
    (row,) = csv.DictReader(out.splitlines())
    result = mist.load(tiny_checkpoint, device="cpu").estimate(columns(table, "a", "b"), columns(table, "c"))
    assert (row["x"], row["y"], row["n"], row["units"]) == ("a+b", "c", "60", "nats")
    assert [float(row[name]) for name in ("mi", "low", "high")] == pytest.approx([result.mi, *result.interval(0.9)])
    assert picture.read_bytes().startswith(b"\x89PNG") and f"wrote {picture}" in err


def test_warnings_go_to_standard_error(table: Path, tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--x", "holes,group", "--y", "c", "--nan-policy", "omit"]
    assert main(["estimate", str(table), *arguments, "--checkpoint", str(tiny_checkpoint)]) == 0
    out, err = capsys.readouterr()
    assert "points         59, dims 2 and 1" in out
    assert "mist-mi: warning: omitted 1 of 60 points with missing values" in err
    assert "not trained on unordered categories" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--x", "a", "--y", "z"], "--y 'z' names no column ['z']: expected some of a, b, c, group, holes, stray"),
        (["--x", ",", "--y", "a"], "--x ',' names no column"),
        (
            ["--x", "stray", "--y", "c"],
            "column 'stray' holds 'oops' (record 5) among numbers: expected numbers or names",
        ),
        (["--x", "holes", "--y", "c"], "pass --nan-policy omit to drop such points"),
        (["--x", "a", "--y", "c", "--level", "0.9999"], "expected a level inside the grid"),
        (["--x", "a", "--y", "c", "--checkpoint", "no-such"], "no checkpoint 'no-such': expected"),
        (["--x", "a", "--y", "c", "--delimiter", ";"], "--x 'a' names no column ['a']"),
        (["--x", "a", "--y", "c", "--device", "abacus"], "device='abacus' is unknown"),
    ],
)
def test_mistakes_exit_with_2(
    table: Path, tiny_checkpoint: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["estimate", str(table), "--checkpoint", str(tiny_checkpoint), *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("mist-mi: error: ") and message in err


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty: expected a header line"),
        ("a,b\n", "x is empty: expected columns of n >= 4 values"),
        ("a,a\n1,2\n", "has repeated column names"),
        ("a,b\n1,2\n3\n", "record 3: 1 cells, expected 2 as in the header"),
    ],
)
def test_broken_tables(
    tmp_path: Path, tiny_checkpoint: Path, content: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "t.csv").write_text(content)
    arguments = ["--x", "a", "--y", "b", "--checkpoint", str(tiny_checkpoint)]
    assert main(["estimate", str(tmp_path / "t.csv"), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert main(["estimate", str(tmp_path / "absent.csv"), *arguments]) == 2
    assert "absent.csv" in capsys.readouterr().err


def test_tabs_and_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text("\ufeffa\tb\n1\t2\n\n3\t4\n", encoding="utf-8")
    assert read_table(tmp_path / "t.tsv") == {"a": ["1", "3"], "b": ["2", "4"]}
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00a")
    with pytest.raises(mist.InputError, match="is not a text table .*expected CSV in UTF-8"):
        read_table(tmp_path / "binary.csv")


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Numbers with a missing cell, text, and numbers that are names."""
    random = np.random.default_rng(1)
    path = tmp_path / "mixed.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["a", "b", "kind", "code"])
        for i in range(60):
            a = random.normal()
            writer.writerow([a, "NA" if i == 5 else a + random.normal(), "xy"[int(a > 0)], random.integers(3)])
    return path


class TestScreening:
    def test_pairwise_prints_csv_from_the_strongest_to_the_weakest(
        self, mixed: Path, tmp_path: Path, tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        pytest.importorskip("matplotlib")
        picture = tmp_path / "pairs.png"
        assert main(["pairwise", str(mixed), "--checkpoint", str(tiny_checkpoint), "--plot", str(picture)]) == 0
        out, err = capsys.readouterr()
        rows = list(csv.DictReader(out.splitlines()))
        assert len(rows) == 6 and list(rows[0]) == ["x", "y", "mi", "low", "high", "n"]
        values = [float(row["mi"]) for row in rows]
        assert values == sorted(values, reverse=True)
        assert {row["n"] for row in rows if "b" in (row["x"], row["y"])} == {"59"}
        assert picture.read_bytes().startswith(b"\x89PNG") and f"wrote {picture}" in err

    def test_table_and_top(self, mixed: Path, tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
        options = ["--columns", "a,b,code", "--format", "table", "--top", "2", "--units", "bits"]
        assert main(["pairwise", str(mixed), "--checkpoint", str(tiny_checkpoint), *options]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 4 and lines[0].split() == ["x", "y", "mi", "low", "high", "n"]
        assert lines[-1].startswith("bits; 90% intervals; checkpoint tiny@")

    def test_relevance_as_json_equals_the_library(
        self, mixed: Path, tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        options = ["--y", "kind", "--category", "code", "--format", "json", "--nan-policy", "omit"]
        assert main(["relevance", str(mixed), "--checkpoint", str(tiny_checkpoint), *options]) == 0
        out, err = capsys.readouterr()
        found = json.loads(out)
        assert [row["x"] for row in found["pairs"]] and {row["n"] for row in found["pairs"]} == {59}
        assert "not trained on unordered categories" in found["warnings"][-1] and found["warnings"][-1] in err
        table = {name: np.array(cells) for name, cells in read_table(mixed).items()}
        kept = table["b"] != "NA"
        with pytest.warns(mist.MISTWarning):
            expected = mist.load(tiny_checkpoint).estimate(
                table["code"][kept], table["kind"][kept], discrete_x=True, discrete_y=True
            )
        by_name = {row["x"]: row["mi"] for row in found["pairs"]}
        assert set(by_name) == {"a", "b", "code"} and by_name["code"] == pytest.approx(expected.mi, abs=1e-4)

    def test_parquet(self, mixed: Path, tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
        polars = pytest.importorskip("polars")
        polars.read_csv(mixed, null_values="NA").write_parquet(mixed.with_suffix(".parquet"))
        printed = []
        for path in (mixed, mixed.with_suffix(".parquet")):
            assert main(["pairwise", str(path), "--checkpoint", str(tiny_checkpoint)]) == 0
            printed.append(capsys.readouterr().out)
        assert printed[0] == printed[1]

    def test_parquet_without_a_reader(
        self, mixed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        assert main(["pairwise", str(mixed.with_suffix(".parquet"))]) == 2
        assert "needs polars, or pandas and pyarrow: pip install polars" in capsys.readouterr().err

    def test_a_stray_cell_among_numbers_is_named(self, mixed: Path, capsys: pytest.CaptureFixture[str]) -> None:
        lines = mixed.read_text().splitlines()
        lines[9] = ",".join(["-", *lines[9].split(",")[1:]])
        mixed.write_text("\n".join(lines))
        assert main(["pairwise", str(mixed)]) == 2
        assert "column 'a' holds '-' (record 10) among numbers: expected numbers or names" in capsys.readouterr().err

    def test_what_cannot_be_used(self, mixed: Path, capsys: pytest.CaptureFixture[str]) -> None:
        broken = mixed.with_suffix(".parquet")
        broken.write_text("no parquet")
        for arguments, message in (
            (["pairwise", str(mixed), "--columns", "a,z"], "--columns 'a,z' names no column ['z']"),
            (["relevance", str(mixed), "--y", "z"], "--y 'z' names no column"),
            (["pairwise", str(broken)], "is no Parquet file"),
            (["pairwise", str(mixed), "--delimiter", ";;"], "got delimiter ';;', expected one character"),
            (["pairwise", str(mixed), "--plot", "x.foo"], "got --plot x.foo, expected a name that ends in .png"),
            (["pairwise", str(mixed), "--plot", "/gone/x.png"], "but there is no folder /gone: make it first"),
            (["estimate", str(mixed), "--x", "a,a", "--y", "b"], "--x 'a,a' names a column twice"),
            (["pairwise", str(mixed.with_name("gone.parquet"))], "No such file"),
            (["pairwise", str(mixed), "--nan-policy", "raise"], "has 1 missing value(s)"),
        ):
            assert main(arguments) == 2
            assert message in capsys.readouterr().err, arguments


def test_check_exits_with_1_where_one_fails(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    names = table.read_text().splitlines()[0].split(",")
    picture = tmp_path / "check.png"
    assert main(["check", str(table), "--x", names[0], "--y", names[2], "--plot", str(picture)]) == 0
    assert capsys.readouterr().out.startswith("Consistent: ") and picture.is_file()
    lines = table.read_text().splitlines()
    ordered = sorted(lines[1:], key=lambda line: float(line.split(",")[0]))
    table.write_text("\n".join([lines[0], *ordered[20:], *ordered[:20]]))  # like a series, and not sorted
    assert main(["check", str(table), "--x", names[0], "--y", names[2], "--units", "bits"]) == 1
    assert "FAIL independent points" in capsys.readouterr().out
    assert main(["check", str(table), "--x", names[0], "--y", "none"]) == 2
    capsys.readouterr()
    assert main(["check", str(table), "--x", names[0], "--y", names[2], "--format", "json"]) == 1
    found = json.loads(capsys.readouterr().out)
    failed = [check["name"] for check in found["checks"] if not check["passed"]]
    assert "independent points" in failed and not found["passed"] and found["estimate"]["n"] == 60


def test_info(tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(tiny_checkpoint)]) == 0
    out = capsys.readouterr().out
    assert "tiny (preliminary)" in out and "10 to 500" in out and "lineage seed" in out
    assert main(["info", str(tiny_checkpoint), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((tiny_checkpoint / "config.json").read_text())
    assert main(["info", "no-such"]) == 2


def test_info_tells_where_n_went_further(
    tmp_path: Path, tiny_network: MISTNetwork, tiny_arguments: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    ranges = {**tiny_arguments["trained_ranges"], "few_dims": [1, 2], "num_points_few_dims": [10, 800]}
    folder = save_checkpoint(tmp_path / "few", tiny_network, **{**tiny_arguments, "trained_ranges": ranges})
    assert main(["info", str(folder)]) == 0
    assert "10 to 500, to 800 at up to 2 dims a side" in capsys.readouterr().out


@pytest.mark.parametrize(
    "command", [[], ["estimate"], ["pairwise"], ["relevance"], ["report"], ["check"], ["info"], ["benchmark"]]
)
def test_help_shows_an_example(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([*command, "--help"])
    assert stopped.value.code == 0
    out = capsys.readouterr().out
    assert f"  mist-mi {' '.join(command)}" in out[out.index("example") :] and "usage:" in out


@pytest.mark.parametrize("arguments", [[], ["frobnicate"], ["estimate", "data.csv"], ["estimate", "d", "--units", "x"]])
def test_wrong_usage_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert "usage: mist-mi" in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"mist-mi {mist.__version__}\n"


def test_a_column_of_text_that_is_mostly_missing(
    tmp_path: Path, tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [f"{i % 7 + i / 100},{('red', 'blue')[i % 2] if i % 5 < 2 else ''}" for i in range(60)]
    (tmp_path / "t.csv").write_text("\n".join(["a,color", *rows]))
    arguments = ["estimate", str(tmp_path / "t.csv"), "--x", "a", "--y", "color", "--nan-policy", "omit"]
    assert main([*arguments, "--checkpoint", str(tiny_checkpoint)]) == 0
    assert "points         24, dims 1 and 1" in capsys.readouterr().out


def test_parquet_keeps_the_order_of_ordered_categories(
    tmp_path: Path, tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    polars = pytest.importorskip("polars")
    random = np.random.default_rng(0)
    values = random.normal(size=90)
    grades = polars.Series(["low", "mid", "top"])[np.digitize(values, [-0.5, 0.5]).tolist()]
    ordered = grades.cast(polars.Enum(["low", "mid", "top"]))
    frame = polars.DataFrame({"a": values, "grade": ordered, "1": grades.cast(polars.Categorical)})
    frame.write_parquet(tmp_path / "t.parquet")
    arguments = ["--x", "a", "--y", "grade", "--json", "--checkpoint", str(tiny_checkpoint)]
    assert main(["estimate", str(tmp_path / "t.parquet"), *arguments]) == 0
    expected = mist.load(tiny_checkpoint).estimate(values, np.digitize(values, [-0.5, 0.5])).mi
    assert json.loads(capsys.readouterr().out)["mi"] == pytest.approx(expected)
    assert (
        main(["pairwise", str(tmp_path / "t.parquet"), "--checkpoint", str(tiny_checkpoint), "--format", "json"]) == 0
    )
    found = json.loads(capsys.readouterr().out)
    assert found["warning_kinds"] and len(found["warning_kinds"]) == len(found["warnings"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pairwise", "--top", "-3"], "got --top -3, expected a positive number of rows"),
        (["pairwise", "--top", "0"], "got --top 0, expected a positive number of rows"),
        (["report", "-o", "no/such/folder/r.html"], "but there is no folder"),
        (["estimate", "--x", "a", "--y", "c", "--plot", "a.txt"], "got --plot a.txt, expected a name that ends in"),
        (["pairwise", "--nan-policy", "raise"], "pass --nan-policy omit to leave out points with any, or 'pairwise'"),
    ],
)
def test_mistakes_are_told_before_the_work(
    table: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command, *options = arguments
    assert main([command, str(table), *options, *(["--columns", "a,holes"] if command == "pairwise" else [])]) == 2
    assert message in capsys.readouterr().err


def test_a_picture_without_matplotlib_is_refused_before_the_work(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("mist.cli.importlib.util.find_spec", lambda name: None)
    assert main(["estimate", str(table), "--x", "a", "--y", "c", "--plot", str(tmp_path / "a.png")]) == 2
    assert "--plot needs matplotlib, which is not installed: pip install 'mist-mi[plot]'" in capsys.readouterr().err
