"""The command line: what it prints, writes and refuses."""

import dataclasses
import subprocess
import sys

import pytest

from data_gen import MetaDistribution
from data_gen.shards import Plan, make_shards
from mist.evaluation.__main__ import main
from mist.evaluation.latency import format_latency, median_seconds, small_sample


def test_prints_and_writes_a_report(tiny_checkpoint, tmp_path, capsys):
    arguments = ["--checkpoint", str(tiny_checkpoint), "--suite", "core", "--suite", "independence"]
    assert main([*arguments, "--num-datasets", "12", "--out", str(tmp_path / "report"), "--no-plots"]) == 0
    out = capsys.readouterr().out
    assert "tiny@" in out and "12 data sets" in out and "rank CCA MSE" in out
    assert "lower end of the 90 % interval of independent samples" in out
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == ["datasets.csv", "summary.csv"]


def test_is_reproducible(tiny_checkpoint, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)  # where the default report goes
    tables = []
    for _ in range(2):
        assert main(["--checkpoint", str(tiny_checkpoint), "--num-datasets", "16", "--no-baselines"]) == 0
        tables.append(capsys.readouterr().out.split("\n", 1)[1])
    assert tables[0] == tables[1] and "KSG" not in tables[0]
    assert [path.name.startswith("tiny-") for path in (tmp_path / "reports").iterdir()] == [True]


def test_the_two_mist_suites_are_also_pooled(tiny_checkpoint, tmp_path, capsys):
    arguments = ["--checkpoint", str(tiny_checkpoint), "--suite", "mist-imd", "--suite", "mist-oomd", "--no-baselines"]
    assert main([*arguments, "--no-plots", "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    pooled = out[out.index("mist-imd + mist-oomd") :]
    assert "1040" in pooled.splitlines()[2]


def test_shards_on_disk_are_a_suite(tiny_checkpoint, tmp_path, capsys):
    meta = MetaDistribution(num_points=(10, 40), max_num_points=40, max_dim=4, dims=(1, 4), datasets_per_batch=(8, 8))
    list(make_shards(Plan(meta, seed=0, num_datasets=40, batches_per_shard=2), tmp_path / "set"))
    arguments = ["--checkpoint", str(tiny_checkpoint), "--no-plots", "--shards"]
    report = ["--num-datasets", "24", "--out", str(tmp_path / "report")]
    assert main([*arguments, str(tmp_path / "set"), *report]) == 0
    assert "24 data sets" in capsys.readouterr().out
    rows = (tmp_path / "report" / "datasets.csv").read_text().splitlines()
    assert len(rows) == 25 and rows[1].startswith("shards,")
    beyond = dataclasses.replace(meta, max_mi=-1.0)  # every label
    list(make_shards(Plan(beyond, seed=0, num_datasets=8), tmp_path / "empty"))
    assert main([*arguments, str(tmp_path / "empty")]) == 2
    assert "got no data set of weight > 0" in capsys.readouterr().err
    assert main([*arguments, str(tmp_path)]) == 2
    assert "expected a finished meta-dataset" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--checkpoint", "nowhere"], "nowhere"),
        (["--num-datasets", "0"], "got --num-datasets 0, expected at least 1"),
        (["--suite", "mist-imd", "--data", "nowhere"], "expected reference samples; pass the folder"),
    ],
)
def test_what_cannot_be_used_ends_with_2_and_says_why(arguments, message, tiny_checkpoint, capsys):
    if "--checkpoint" not in arguments:
        arguments = [*arguments, "--checkpoint", str(tiny_checkpoint)]
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


def test_latency_of_a_small_sample(tiny_estimator):
    measured = small_sample(tiny_estimator, num_points=50, dim=2)
    assert 0 < measured["network_ms"] and 0 < measured["estimate_ms"]
    calls = []
    assert median_seconds(lambda: calls.append(1), repeats=5, warm_up=2) >= 0 and len(calls) == 7


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::mist.MISTWarning")
def test_latency_report(tiny_checkpoint):
    text = format_latency(str(tiny_checkpoint))
    assert "ms an estimate end to end" in text and "peak memory" in text


@pytest.mark.slow
def test_as_a_program(tiny_checkpoint, repository, tmp_path):
    command = [sys.executable, "-m", "mist.evaluation", "--checkpoint", str(tiny_checkpoint), "--num-datasets", "8"]
    command += ["--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=repository, check=False)
    assert done.returncode == 0 and "CRPS" in done.stdout and not done.stderr


def test_missing_matplotlib_is_told_before_the_evaluation(tiny_checkpoint, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("mist.evaluation.__main__.importlib.util.find_spec", lambda name: None)
    assert main(["--checkpoint", str(tiny_checkpoint), "--out", str(tmp_path)]) == 2
    captured = capsys.readouterr()
    assert "matplotlib is missing" in captured.err and "--no-plots" in captured.err and not captured.out


def test_damaged_reference_samples(tiny_checkpoint, tmp_path, capsys):
    (tmp_path / "mist_imd.npz").write_bytes(b"PK\x03\x04 cut short")
    arguments = ["--checkpoint", str(tiny_checkpoint), "--suite", "mist-imd", "--data", str(tmp_path)]
    assert main(arguments) == 2
    assert capsys.readouterr().err.strip()
