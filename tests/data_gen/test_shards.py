"""Meta-datasets on disk: they are the stream, survive kill -9 without duplicate or hole, and are never read torn."""

import dataclasses
import hashlib
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from data_gen import MetaDistribution
from data_gen.shards import MANIFEST, Plan, ShardedBatches, make_shard, make_shards, missing_shards, write_manifest
from data_gen.stream import generate_batch

META = MetaDistribution(
    num_points=(10, 30), max_num_points=40, dims=(1, 4), max_dim=4, datasets_per_batch=(8, 16), cost_per_batch=1e4
)
PLAN = Plan(META, seed=5, num_datasets=150, batches_per_shard=4)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    out = tmp_path_factory.mktemp("meta-dataset")
    done = list(make_shards(PLAN, out))
    assert done == list(range(PLAN.num_shards))
    return out


def files(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_batches_are_those_of_the_stream(made):
    batches = ShardedBatches(made)
    assert len(batches) == PLAN.num_batches and batches.meta == META
    for index, batch in enumerate(batches):
        expected = generate_batch(META, 5, index)
        assert batch.index == index and batch.family == expected.family
        for name in ("x", "y", "mi", "weight"):
            assert torch.equal(getattr(batch, name), getattr(expected, name))
            assert getattr(batch, name).dtype == getattr(expected, name).dtype
    assert [batch.index for batch in batches[2:5]] == [2, 3, 4]
    with pytest.raises(IndexError, match=f"got batch {len(batches)}, expected 0 to"):
        batches[len(batches)]


def test_manifest(made):
    manifest = json.loads((made / MANIFEST).read_text())
    batches = ShardedBatches(made)
    assert manifest["num_datasets"] == sum(len(batch.mi) for batch in batches) >= 150
    assert manifest["num_datasets"] - 150 < 16
    counts = {}
    for batch in batches:
        for family in batch.family:
            counts[family] = counts.get(family, 0) + 1
    assert manifest["families"] == dict(sorted(counts.items()))
    assert MetaDistribution.from_dict(manifest["meta_distribution"]) == META and manifest["seed"] == 5
    assert set(manifest["versions"]) == {"mist-mi", "torch", "numpy"}
    assert {entry["file"]: entry["sha256"] for entry in manifest["shards"]}.items() <= files(made).items()
    assert [entry["batches"] for entry in manifest["shards"]][:2] == [[0, 4], [4, 8]]
    batches.verify()


def test_a_shard_made_alone_is_the_same_file(made, tmp_path):
    path = make_shard(PLAN, 2, tmp_path / "elsewhere")
    assert path.read_bytes() == (made / path.name).read_bytes()
    assert not (tmp_path / "elsewhere" / MANIFEST).exists()
    with pytest.raises(IndexError, match=r"got shard 99, expected 0 to"):
        make_shard(PLAN, 99, tmp_path)


def test_many_machines_make_one_set(made, tmp_path):
    last = PLAN.num_shards
    assert list(make_shards(PLAN, tmp_path, shards=range(0, last, 2))) == list(range(0, last, 2))
    assert missing_shards(PLAN, tmp_path) == list(range(1, last, 2)) and not (tmp_path / MANIFEST).exists()
    with pytest.raises(FileNotFoundError, match="shards missing in .* first 1, expected all"):
        write_manifest(PLAN, tmp_path)
    with pytest.raises(FileNotFoundError, match=f"without {MANIFEST}, expected a finished meta-dataset"):
        ShardedBatches(tmp_path)
    list(make_shards(PLAN, tmp_path, shards=range(1, last, 2)))
    assert files(tmp_path) == files(made)
    assert list(make_shards(PLAN, tmp_path)) == []  # all there: nothing is made again
    with pytest.raises(IndexError, match=r"got shards \[-1\], expected 0 to"):
        list(make_shards(PLAN, tmp_path, shards=[-1]))


@pytest.mark.slow
def test_processes_change_nothing(made, tmp_path):
    assert sorted(make_shards(PLAN, tmp_path, processes=2)) == list(range(PLAN.num_shards))
    assert files(tmp_path) == files(made)


SCRIPT = """
import sys
from pathlib import Path
from tests.data_gen.test_shards import META
from data_gen.shards import Plan, make_shards
for shard in make_shards(Plan(META, seed=5, num_datasets=3000, batches_per_shard=4), Path(sys.argv[1])):
    print(shard, flush=True)
"""


@pytest.mark.slow
def test_killed_and_resumed_without_duplicate_or_hole(tmp_path, repository):
    out = tmp_path / "killed"
    done = []
    for _ in range(3):  # kill it wherever it is
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(out)], cwd=repository, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        done += [process.stdout.readline() for _ in range(4)]
        time.sleep(0.03)
        process.send_signal(signal.SIGKILL)
        process.wait()
        done += process.stdout.readlines()
    assert not (out / MANIFEST).exists() and len(set(done)) == len(done) >= 12
    for orphan in [*out.glob(".*.tmp"), out / ".shard-000040.safetensors.0123.tmp"]:
        orphan.write_bytes(b"left behind by a dead process")
        os.utime(orphan, (0, 0))
    plan = Plan(META, seed=5, num_datasets=3000, batches_per_shard=4)
    list(make_shards(plan, out))
    list(make_shards(plan, tmp_path / "whole"))
    assert files(out) == files(tmp_path / "whole")


def test_a_torn_shard_is_never_read_and_made_again(made, tmp_path):
    list(make_shards(PLAN, tmp_path))
    path = tmp_path / "shard-000001.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"shard-000001.safetensors, which is damaged .* delete it"):
        ShardedBatches(tmp_path)[5]
    with pytest.raises(ValueError, match=r"differ from manifest.json: \['shard-000001.safetensors'\]"):
        ShardedBatches(tmp_path).verify()
    assert list(make_shards(PLAN, tmp_path)) == [1]
    assert files(tmp_path) == files(made)


def test_two_plans_never_mix(made, tmp_path):
    list(make_shards(PLAN, tmp_path, shards=[0]))
    other = Plan(META, seed=6, num_datasets=150, batches_per_shard=4)
    with pytest.raises(ValueError, match="made for another meta-distribution, seed or shard size"):
        list(make_shards(other, tmp_path))
    longer = Plan(META, seed=5, num_datasets=300, batches_per_shard=4)  # more of the same is no other plan
    list(make_shards(PLAN, tmp_path))
    list(make_shards(longer, tmp_path))
    assert len(ShardedBatches(tmp_path)) == longer.num_batches > PLAN.num_batches
    assert files(tmp_path)["shard-000000.safetensors"] == files(made)["shard-000000.safetensors"]


def test_a_smaller_plan_does_not_cut_a_set_down(made):
    with pytest.raises(ValueError, match="got num_datasets=20 for .*, which holds 1.. data sets of the same law"):
        list(make_shards(Plan(META, seed=5, num_datasets=20, batches_per_shard=4), made))


def test_the_digest_knows_what_the_stream_depends_on():
    def digest(**changes):
        return Plan(dataclasses.replace(META, **changes), seed=5, num_datasets=10).digest

    forward, backward = {"additive": 1, "student": 2.0}, {"student": 2.0, "additive": 1.0}
    assert digest(families=forward) != digest(families=backward)  # drawn in their order
    assert digest(families=forward) == digest(families={"additive": 1.0, "student": 2})
    assert digest(max_mi=9.0) != digest()


def test_shards_of_another_set_beside_a_manifest(made, tmp_path):
    manifest = json.loads((made / MANIFEST).read_text())
    (tmp_path / MANIFEST).write_text(json.dumps({**manifest, "plan": "0" * 64}))
    (tmp_path / "shard-000000.safetensors").write_bytes((made / "shard-000000.safetensors").read_bytes())
    with pytest.raises(ValueError, match="of another meta-dataset than manifest.json says"):
        ShardedBatches(tmp_path)[0]


def test_an_unknown_format_is_refused(made, tmp_path):
    manifest = json.loads((made / MANIFEST).read_text())
    (tmp_path / MANIFEST).write_text(json.dumps({**manifest, "format_version": 99}))
    with pytest.raises(ValueError, match="of format version 99, expected 2"):
        ShardedBatches(tmp_path)


def test_a_failed_write_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        make_shard(PLAN, 0, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["num_datasets", "batches_per_shard"])
def test_bad_plans(name):
    with pytest.raises(ValueError, match=f"got {name}=0, expected at least 1"):
        Plan(META, **{"seed": 0, "num_datasets": 10, "batches_per_shard": 4, name: 0})


def test_sets_of_labels_that_other_code_made_are_others(monkeypatch):
    pooled, other = (
        Plan(MetaDistribution(families={name: 1.0}), seed=0, num_datasets=8) for name in ("loop", "copula")
    )
    before = pooled.digest, other.digest
    monkeypatch.setattr("data_gen.shards.every_pool", lambda: [])
    after = [Plan(plan.meta, seed=0, num_datasets=8).digest for plan in (pooled, other)]
    assert before[0] != after[0] and before[1] == after[1]
