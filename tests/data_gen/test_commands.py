"""The command line: meta-datasets by settings, the preview, and settings that cannot be used."""

import json
import os
import subprocess
import sys

import pytest
from matplotlib.image import imread

from data_gen import MetaDistribution, Streams
from data_gen.__main__ import _load, main, make_from_settings
from data_gen.default_law import default_law
from data_gen.drawing import draw_joint
from data_gen.families import FAMILIES, every_pool
from data_gen.preview import _gallery
from data_gen.shards import ShardedBatches
from data_gen.streams import structure_generator

SMALL = [
    "num_datasets=200",
    "batches_per_shard=3",
    "meta_distribution=narrow",
    "meta_distribution.num_points=[10,20]",
    "meta_distribution.max_num_points=20",
    "meta_distribution.dims=[1,3]",
    "meta_distribution.datasets_per_batch=[8,16]",
]


def run(repository, *words):
    return subprocess.run(
        [sys.executable, "-m", "data_gen", *words], cwd=repository, capture_output=True, text=True, timeout=300
    )


@pytest.mark.slow
def test_a_meta_dataset_by_settings(repository, tmp_path):
    out = tmp_path / "set"
    done = run(repository, *SMALL, f"out={out}", "processes=2")
    assert done.returncode == 0, done.stderr
    assert "the manifest is written" in done.stdout
    assert "100%" in done.stderr  # of the progress bar
    batches = ShardedBatches(out)
    assert batches.meta.name == "narrow" and batches.meta.num_points == (10, 20)
    assert json.loads((out / "manifest.json").read_text())["num_datasets"] >= 200
    again = run(repository, *SMALL, f"out={out}")
    assert again.returncode == 0 and again.stdout.startswith("0 shards made")


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["joblib", "submitit_local"])
def test_one_job_a_shard(repository, tmp_path, launcher):
    """Hydra's multirun: on this machine's cores, and through submitit's local executor as on a cluster."""
    out = tmp_path / "set"
    folder = [f"hydra.sweep.dir={tmp_path}"]
    done = run(repository, "-m", *SMALL, f"out={out}", "shard=range(0,3)", f"hydra/launcher={launcher}", *folder)
    assert done.returncode == 0, done.stderr
    assert len(list(out.glob("shard-*.safetensors"))) == 3 and not (out / "manifest.json").exists()
    rest = run(repository, *SMALL, f"out={out}", "processes=1")
    assert rest.returncode == 0 and (out / "manifest.json").exists()
    ShardedBatches(out).verify()


def test_settings_that_cannot_be_used(tmp_path, repository):
    settings = {
        "out": tmp_path, "num_datasets": 10, "seed": 0, "batches_per_shard": 4, "shard": None, "processes": 1,
        "meta_distribution": MetaDistribution(num_points=(10, 20), max_num_points=20, max_dim=4, dims=(1, 4)).to_dict(),
    }  # fmt: skip
    with pytest.raises(ValueError, match=r"got unknown settings \['shards'\], expected some of"):
        make_from_settings({**settings, "shards": 3})
    with pytest.raises(ValueError, match="got unknown meta-distribution keys"):
        make_from_settings({**settings, "meta_distribution": {"dimz": 3}})
    with pytest.raises(ValueError, match="got processes=0, expected auto or at least 1"):
        make_from_settings({**settings, "processes": 0})
    with pytest.raises(IndexError, match="got shards \\[7\\], expected 0 to 0"):
        make_from_settings({**settings, "shard": 7})


def test_preview(tmp_path, repository, capsys):
    path = tmp_path / "new" / "preview.png"
    assert main(["preview", "--out", str(path), "--batches", "3", "--meta-distribution", "elliptical"]) == 0
    assert str(path) in capsys.readouterr().out
    assert imread(path).shape[0] > 400
    assert main(["preview", "--meta-distribution", "wide"]) == 2
    assert (
        "got meta-distribution 'wide', expected one of ['default', 'elliptical', 'narrow']" in capsys.readouterr().err
    )


def test_gallery_shows_the_families_of_the_law():
    meta = MetaDistribution(families={"copula": 1.0, "gaussian-sparse": 1.0, "additive": 0.0, "product": 1.0})
    names = [name for name, *_ in _gallery(meta, 0)]
    assert names == [name for name in FAMILIES if name.startswith("copula-") or name == "gaussian-sparse"]


def test_report(capsys):
    assert main(["report", "--meta-distribution", "narrow", "--batches", "3", "--narrow"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:2] == ["kind", "share"] and any(line.startswith("all ") for line in lines)
    assert main(["report", "--meta-distribution", "wide"]) == 2
    assert main(["report", "--batches", "0"]) == 2
    assert "got --batches 0, expected at least 1" in capsys.readouterr().err


def test_pools_are_made_in_parallel_and_stale_ones_go(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MIST_CACHE", str(tmp_path))
    for pool in every_pool()[:-1]:  # all but one are there already
        pool.folder.mkdir(parents=True)
        for number in range(pool.num_chunks):
            pool.path(number).write_bytes(b"")
    last = every_pool()[-1]
    for number in range(1, last.num_chunks):
        last.folder.mkdir(parents=True, exist_ok=True)
        last.path(number).write_bytes(b"")
    stale = last.folder.parent / "0123456789abcdef"
    stale.mkdir()
    os.utime(stale, (0, 0))
    assert main(["pools", "--processes", "1"]) == 0
    assert last.missing == [] and len(last.chunk(0)["mi"]) == last.chunk_size and not stale.exists()
    assert "1/1" in capsys.readouterr().err


def test_every_written_law_is_valid(repository):
    """conf/meta_distribution/*.yaml can be read and drawn."""
    for path in sorted((repository / "conf" / "meta_distribution").glob("*.yaml")):
        meta = _load(path.stem)
        assert meta.name == path.stem
        for shape in meta.draw_shapes(structure_generator(0, 0)):
            assert draw_joint(meta, shape, Streams([0])).dim_x == shape.dim_x
    assert _load("elliptical") == MetaDistribution()
    assert _load("default") == default_law()
