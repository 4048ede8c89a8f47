"""`python train.py` as a user runs it: smoke experiment, resumption, two processes, loggers."""

from __future__ import annotations

import csv
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import mist
from data_gen import MetaDistribution
from data_gen.shards import Plan, make_shards
from mist.checkpoint import load_checkpoint
from mist.training.export import main as export

pytestmark = pytest.mark.slow

# A few steps on small data sets, seen by one process, at a constant learning rate.
SHORT = (
    "experiment=smoke",
    "trainer.max_steps=4",
    "trainer.save_every=3",
    "trainer.val_every=2",
    "trainer.log_every=1",
    "trainer.progress_bar=false",
    "trainer.accelerator=cpu",
    "trainer.processes=1",
    "optimization.decay_fraction=0",
    "optimization.warmup_steps=0",
    "optimization.calibration_datasets=0",
    "meta_distribution.num_points=[10,60]",
    "meta_distribution.dims=[2,4]",
    "meta_distribution.datasets_per_batch=[8,8]",
    "validation.num_batches=2",
    "validation.datasets_per_batch=8",
    "evaluation_datasets=8",
)


def run(repository: Path, output: Path, *overrides: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`python train.py` with its output in `output`, from another folder as from its own."""
    command, options = _command(repository, output, overrides, environment)
    done = subprocess.run(command, **options, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
    return done


def started(repository: Path, output: Path, *overrides: str) -> subprocess.Popen[bytes]:
    """The same, left running."""
    command, options = _command(repository, output, overrides, {})
    return subprocess.Popen(command, **options, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _command(
    repository: Path, output: Path, overrides: Sequence[str], environment: Mapping[str, str]
) -> tuple[list[str], dict[str, Any]]:
    output.parent.mkdir(parents=True, exist_ok=True)
    path = os.pathsep.join(filter(None, [str(repository), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, str(repository / "train.py"), f"output_dir={output}", *overrides]
    return command, {"cwd": output.parent, "env": {**os.environ, "PYTHONPATH": path, **environment}}


def metrics(output: Path) -> dict[str, list[float]]:
    """Columns of the CSV logger's file, without the blanks."""
    (file,) = output.glob("logs/*/metrics.csv")
    with file.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    return {name: [float(row[name]) for row in rows if row[name]] for name in rows[0]}


def state(path: Path) -> dict[str, Any]:
    """A training state that the test itself has just written."""
    return dict(torch.load(path, map_location="cpu", weights_only=True))


def assert_same_weights(output: Path, other: Path, tolerance: float) -> None:
    """The exported weights of two runs are equal."""
    found, expected = (load_checkpoint(folder / "checkpoint").network.state_dict() for folder in (output, other))
    assert list(found) == list(expected)
    for name in expected:
        torch.testing.assert_close(
            found[name], expected[name], rtol=0, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.fixture(scope="module")
def reference(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four steps at once in one process."""
    output = tmp_path_factory.mktemp("runs") / "reference"
    run(repository, output, *SHORT)
    return output


def test_smoke_experiment(repository: Path, tmp_path: Path) -> None:
    done = run(repository, tmp_path / "smoke", "experiment=smoke")
    bars = re.findall(r"datasets/s=(\d+)", done.stdout + done.stderr)
    assert int(bars[-1]) > 0, "the progress bar shows no throughput"
    estimator = mist.load(tmp_path / "smoke" / "checkpoint", device="cpu")
    assert estimator.name == "smoke" and estimator.checkpoint.preliminary
    assert "hardware: " in done.stderr + done.stdout and "data sets/s" in done.stdout and "exported " in done.stdout
    assert "recalibrated on 1,024 dependent data sets: loss" in done.stdout
    table = [line for line in done.stdout.splitlines() if "MAE of median" in line]
    assert table, done.stdout
    lineage = estimator.config["lineage"]
    assert lineage["steps"] == 60 and lineage["num_datasets"] > 60 * 8 and lineage["hours"] > 0
    card = (tmp_path / "smoke" / "checkpoint" / "CARD.md").read_text(encoding="utf-8")
    assert "Preliminary" in card and table[0].strip() in card
    random = np.random.default_rng(0)
    x = random.normal(size=(200, 3))
    y = x + 0.5 * random.normal(size=(200, 3))
    dependent, independent = estimator.estimate(x, y), estimator.estimate(x, random.normal(size=(200, 3)))
    assert dependent.mi > 1 > 0.5 > independent.mi
    logged = metrics(tmp_path / "smoke")
    names = {"train/loss", "train/datasets_per_second", "train/gradient_norm", "val/crps", "val/mse", "val/coverage90"}
    assert names <= set(logged) and any(name.startswith("val_crps/") for name in logged)
    (picture,) = (tmp_path / "smoke" / "logs").rglob("calibration.png")
    assert picture.read_bytes().startswith(b"\x89PNG")
    shares = [*logged["train/data_share"], *logged["train/features_share"]]
    assert shares and all(0 < share < 1 for share in shares)
    assert len(logged["val/crps"]) == 2 and logged["val/crps"][1] < logged["val/crps"][0]


def test_the_same_command_gives_the_same_weights(repository: Path, tmp_path: Path, reference: Path) -> None:
    run(repository, tmp_path / "again", *SHORT)
    assert_same_weights(tmp_path / "again", reference, 0.0)


def test_a_resumed_run_equals_one_that_never_stopped(repository: Path, tmp_path: Path, reference: Path) -> None:
    (saved,) = (reference / "state").glob("step=3.ckpt")  # what a run killed in its fourth step leaves behind
    run(repository, tmp_path / "resumed", *SHORT, f"ckpt_path='{saved}'")
    assert_same_weights(tmp_path / "resumed", reference, 1e-6)
    folders = (tmp_path / "resumed", reference)
    resumed, whole = (load_checkpoint(folder / "checkpoint").config["lineage"] for folder in folders)
    assert resumed["num_datasets"] == whole["num_datasets"] == 32 and resumed["steps"] == whole["steps"] == 4


def test_kill_9_again_and_again(repository: Path, tmp_path: Path, reference: Path) -> None:
    """Killed wherever it is, once it has saved a new state: it ends with the weights of one that never stopped."""
    output = tmp_path / "killed"
    last = output / "state" / "last.ckpt"
    overrides = [*SHORT, "trainer.save_every=1"]
    for kills in range(2):
        resume = [f"ckpt_path={last}"] if last.exists() else []
        seen = state(last)["global_step"] if resume else 0
        with started(repository, output, *overrides, *resume) as process:
            while not (last.exists() and state(last)["global_step"] > seen):
                assert process.poll() is None, f"it ended before it was killed for the {kills + 1}. time"
                time.sleep(0.002)
            process.kill()
        assert process.returncode == -9
        assert state(last)["global_step"] < 4, "it was not killed in time"
    run(repository, output, *overrides, f"ckpt_path={last}")
    assert_same_weights(output, reference, 1e-6)
    assert state(last)["global_step"] == 4 and not list(output.glob("state/.*.part"))


def test_a_full_disk_ends_a_run_with_the_way_out(repository: Path, tmp_path: Path) -> None:
    """Files past a size cannot be written: the first state is one of them."""
    limit = "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000)); "
    limit += f"sys.argv[0] = {str(repository / 'train.py')!r}; runpy.run_path(sys.argv[0], run_name='__main__')"
    command = [sys.executable, "-c", limit, *SHORT, f"output_dir={tmp_path / 'run'}", "trainer.save_every=1"]
    settings = {**os.environ, "PYTHONPATH": str(repository), "HYDRA_FULL_ERROR": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=settings, capture_output=True, text=True, timeout=900)
    assert done.returncode != 0 and "cannot write the training state" in done.stderr and "make room" in done.stderr
    assert not list((tmp_path / "run").rglob("*.ckpt"))


def test_a_finished_run_can_go_on(repository: Path, tmp_path: Path, reference: Path) -> None:
    last = reference / "state" / "last.ckpt"
    saved = state(last)
    averaged, live = saved["state_dict"], saved["current_model_state"]
    assert saved["global_step"] == 4 and saved["StreamDataModule"]["next_index"] == 4
    exported = load_checkpoint(reference / "checkpoint").network.state_dict()
    for name, value in exported.items():
        assert torch.equal(averaged[f"network.{name}"], value)
    assert any(not torch.equal(live[name], averaged[name]) for name in averaged)  # training goes on from these
    run(repository, tmp_path / "longer", *SHORT, "trainer.max_steps=5", f"ckpt_path={last}")
    assert load_checkpoint(tmp_path / "longer" / "checkpoint").config["lineage"]["num_datasets"] == 40


def test_a_state_from_before_there_were_members_is_exported(tmp_path: Path, reference: Path) -> None:
    older = tmp_path / "older"
    shutil.copytree(reference, older)
    saved = state(older / "state" / "last.ckpt")
    saved["state_dict"] = {
        name.replace("members.0.", ""): value for name, value in saved["state_dict"].items() if name != "network.trust"
    }
    torch.save(saved, older / "state" / "last.ckpt")
    assert export([str(older), str(older / "checkpoint")]) == 0
    assert_same_weights(older, reference, tolerance=0)


def test_no_process_recalibrates_nothing(tmp_path: Path, reference: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "checkpoint"
    assert export([str(reference), str(folder), "--calibrate", "1024", "--processes", "0"]) == 2
    assert "got num_processes=0, expected 1 or more" in capsys.readouterr().err and not folder.exists()


def test_two_processes_equal_one(repository: Path, tmp_path: Path, reference: Path) -> None:
    done = run(repository, tmp_path / "two", *SHORT, "trainer.processes=2")
    assert "2 × cpu" in done.stdout + done.stderr
    assert_same_weights(tmp_path / "two", reference, 1e-3)
    found, expected = metrics(tmp_path / "two"), metrics(reference)
    for name in ("val/crps", "val/mse", "val/coverage90"):
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-3, err_msg=name)
    assert load_checkpoint(tmp_path / "two" / "checkpoint").config["lineage"]["num_datasets"] == 32


def test_torchrun_equals_one_process(repository: Path, tmp_path: Path, reference: Path) -> None:
    """Two processes that torchrun starts, as it does on every node."""
    command, options = _command(repository, tmp_path / "run", [*SHORT, "trainer.processes=2"], {})
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run([*launcher, *command[1:]], **options, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-4000:]
    assert_same_weights(tmp_path / "run", reference, 1e-3)


def test_two_processes_with_a_batch_each_equal_one_that_accumulates(repository: Path, tmp_path: Path) -> None:
    """As more than eight do, on any number of nodes."""
    run(repository, tmp_path / "two", *SHORT, "trainer.processes=2", "trainer.ranks_per_batch=1")
    run(repository, tmp_path / "one", *SHORT, "trainer.accumulate=2")
    assert_same_weights(tmp_path / "two", tmp_path / "one", 1e-3)
    lineages = [load_checkpoint(tmp_path / name / "checkpoint").config["lineage"] for name in ("two", "one")]
    assert lineages[0]["num_datasets"] == lineages[1]["num_datasets"] == 64


def test_tensorboard(repository: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboardX")
    run(repository, tmp_path / "run", *SHORT, "trainer.max_steps=2", "logger=tensorboard")
    (events,) = (tmp_path / "run" / "logs").rglob("events.out.tfevents.*")
    written = events.read_bytes()
    for name in (b"train/loss", b"train/gradient_norm", b"val/crps", b"val_crps/", b"val/calibration", b"lr-AdamW"):
        assert name in written, name


def test_wandb_offline(repository: Path, tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    overrides = (*SHORT, "trainer.max_steps=2", "logger=wandb")
    run(repository, tmp_path / "run", *overrides, WANDB_MODE="offline", WANDB_SILENT="true")
    assert list((tmp_path / "run").rglob("offline-run-*/run-*.wandb"))
    assert (tmp_path / "run" / "checkpoint" / "model.safetensors").is_file()


def test_fine_tuning_from_a_checkpoint_keeps_its_lineage(repository: Path, tmp_path: Path, reference: Path) -> None:
    parent = load_checkpoint(reference / "checkpoint")
    run(repository, tmp_path / "child", *SHORT, "trainer.max_steps=2", f"init_from={reference / 'checkpoint'}")
    lineage = load_checkpoint(tmp_path / "child" / "checkpoint").config["lineage"]
    assert lineage["parents"] == [parent.sha256] and lineage["num_datasets"] == 32 + 16


def test_learns_from_shards(repository: Path, reference: Path, tmp_path: Path) -> None:
    """The batches of the stream from disk give the weights of the stream, and the checkpoint names the shards' law."""
    expected = load_checkpoint(reference / "checkpoint")
    meta = MetaDistribution.from_dict(expected.config["meta_distribution"])
    list(make_shards(Plan(meta, seed=0, num_datasets=40), tmp_path / "set"))
    run(repository, tmp_path / "run", *SHORT, f"shards={tmp_path / 'set'}", "meta_distribution.max_mi=9")
    assert_same_weights(tmp_path / "run", reference, tolerance=1e-6)
    assert export([str(tmp_path / "run"), str(tmp_path / "later")]) == 0
    for folder in (tmp_path / "run" / "checkpoint", tmp_path / "later"):
        found = load_checkpoint(folder)
        assert found.config["meta_distribution"] == expected.config["meta_distribution"]
        assert found.config["lineage"]["source"].startswith("shards ")
        assert "repeats counted" in (folder / "CARD.md").read_text(encoding="utf-8")
