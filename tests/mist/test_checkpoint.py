"""Checkpoint folders: what is written is what is read, and everything else is refused."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

import mist.checkpoint
from mist import CheckpointError, CheckpointFormatError, CheckpointNotFoundError, CorruptCheckpointError, MISTWarning
from mist.calibration import Calibration, num_terms
from mist.checkpoint import available_checkpoints, find_checkpoint, load_checkpoint, save_checkpoint
from mist.inference import load
from mist.network import MISTNetwork

pytestmark = pytest.mark.usefixtures("unmoved_global_state")


def test_round_trip(tiny_checkpoint: Path, tiny_network: MISTNetwork, tiny_arguments: dict[str, Any]) -> None:
    loaded = load_checkpoint(tiny_checkpoint)
    assert sorted(file.name for file in tiny_checkpoint.iterdir()) == ["CARD.md", "config.json", "model.safetensors"]
    assert (tiny_checkpoint / "CARD.md").read_text() == tiny_arguments["card"]
    for key, value in tiny_network.state_dict().items():
        assert torch.equal(loaded.network.state_dict()[key], value), key
    assert loaded.network.config == tiny_network.config
    assert not loaded.network.training and not any(p.requires_grad for p in loaded.network.parameters())
    assert {p.dtype for p in loaded.network.parameters()} == {torch.float32}
    assert loaded.name == "tiny" and loaded.path == tiny_checkpoint.resolve() and loaded.preliminary
    assert loaded.trained_range("num_points") == (10, 500)
    assert loaded.config["levels"] == list(tiny_network.config.levels)
    sha256 = hashlib.sha256((tiny_checkpoint / "model.safetensors").read_bytes()).hexdigest()
    assert loaded.sha256 == sha256 and loaded.label == f"tiny@{sha256[:8]}"


def test_saving_again_replaces_and_leaves_nothing_behind(
    tiny_checkpoint: Path, tiny_network: MISTNetwork, tiny_arguments: dict[str, Any]
) -> None:
    save_checkpoint(tiny_checkpoint, tiny_network, **{**tiny_arguments, "card": "second"}, name="renamed")
    assert (tiny_checkpoint / "CARD.md").read_text() == "second"
    assert load_checkpoint(tiny_checkpoint).name == "renamed"
    assert [path.name for path in tiny_checkpoint.parent.iterdir()] == ["tiny"]


_KILLED = """
import os, signal, sys
from pathlib import Path
import mist, mist.checkpoint

folder, left = sys.argv[1], [int(sys.argv[2])]
estimator = mist.load(folder)

def killed(real):
    def step(*arguments):
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1
        return real(*arguments)
    return step

mist.checkpoint._write, Path.rename = killed(mist.checkpoint._write), killed(Path.rename)
estimator.save(folder)
"""


@pytest.mark.parametrize("steps", [1, 3, 4])
def test_kill_9_in_a_save_loses_nothing(steps: int, tiny_checkpoint: Path) -> None:
    """Between two files, before the folder there steps aside, and before the new one takes its place."""
    before = load_checkpoint(tiny_checkpoint)
    done = subprocess.run([sys.executable, "-c", _KILLED, str(tiny_checkpoint), str(steps)], capture_output=True)
    assert done.returncode == -9, done.stderr
    if steps == 4:
        for read in (load_checkpoint, load):
            with pytest.raises(CheckpointNotFoundError, match="a write was cut off, and the checkpoint.*is whole in"):
                read(tiny_checkpoint)
        (aside,) = tiny_checkpoint.parent.glob(".tiny.old.*/old")
        load_checkpoint(aside).save(tiny_checkpoint)
    assert load_checkpoint(tiny_checkpoint).sha256 == before.sha256


def test_a_failed_save_keeps_the_old_folder(
    tiny_checkpoint: Path, tiny_network: MISTNetwork, tiny_arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: bytes) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(mist.checkpoint, "_write", full)
    with pytest.raises(OSError, match="no space"):
        save_checkpoint(tiny_checkpoint, tiny_network, **tiny_arguments)
    assert [path.name for path in tiny_checkpoint.parent.iterdir()] == ["tiny"]
    assert load_checkpoint(tiny_checkpoint).name == "tiny"


def test_what_cannot_be_read_back_is_not_written(
    tmp_path: Path, tiny_network: MISTNetwork, tiny_arguments: dict[str, Any]
) -> None:
    with pytest.raises(CheckpointFormatError, match=r"trained_ranges .*expected \[low, high\] for each of"):
        save_checkpoint(tmp_path / "a", tiny_network, **{**tiny_arguments, "trained_ranges": {"num_points": [10, 500]}})
    with pytest.raises(TypeError, match="not JSON serializable"):
        save_checkpoint(tmp_path / "a", tiny_network, **{**tiny_arguments, "lineage": {"parents": object()}})
    with torch.random.fork_rng(devices=[]):
        diverged = MISTNetwork(tiny_network.config)
    next(diverged.parameters()).data.fill_(float("nan"))
    with pytest.raises(ValueError, match="hold NaN or infinity: expected finite weights; the training diverged"):
        save_checkpoint(tmp_path / "a", diverged, **tiny_arguments)
    assert list(tmp_path.iterdir()) == []


def test_format_2_is_read_as_it_was(tiny_checkpoint: Path) -> None:
    config = json.loads((tiny_checkpoint / "config.json").read_text())
    assert config.pop("calibration") == {} and config["format_version"] == 7
    (tiny_checkpoint / "config.json").write_text(json.dumps({**config, "format_version": 2}))
    checkpoint = load_checkpoint(tiny_checkpoint)
    assert checkpoint.network.calibration is None and checkpoint.config["format_version"] == 7


def test_a_feature_that_went_away_is_left_out_where_it_was_off(tiny_checkpoint: Path) -> None:
    config = json.loads((tiny_checkpoint / "config.json").read_text())
    plain = load_checkpoint(tiny_checkpoint)
    for value in (False, True):
        config["network"]["features"]["dequantise"] = value
        (tiny_checkpoint / "config.json").write_text(json.dumps(config))
        if value:
            with pytest.raises(CheckpointFormatError, match="dequantise"):
                load_checkpoint(tiny_checkpoint)
        else:
            assert load_checkpoint(tiny_checkpoint).network.config == plain.network.config


def test_nothing_is_read_past_the_largest_label_of_training(
    tmp_path: Path, tiny_network: MISTNetwork, tiny_arguments: dict[str, Any]
) -> None:
    x = torch.randn(2, 60, 2, generator=torch.Generator().manual_seed(0))
    free = tiny_network(x, x).detach()
    most = float(free.median())
    ranges = {**tiny_arguments["trained_ranges"], "mi": [0.0, most]}
    folder = save_checkpoint(tmp_path / "a", tiny_network, **{**tiny_arguments, "trained_ranges": ranges})
    found = load_checkpoint(folder).network(x, x)
    assert float(free.max()) > most
    torch.testing.assert_close(found, free.clamp(max=most))


def test_n_may_have_gone_further_at_few_dims(
    tmp_path: Path, tiny_network: MISTNetwork, tiny_arguments: dict[str, Any]
) -> None:
    ranges = tiny_arguments["trained_ranges"]
    further = {**ranges, "few_dims": [1, 2], "num_points_few_dims": [10, 800]}
    folder = save_checkpoint(tmp_path / "a", tiny_network, **{**tiny_arguments, "trained_ranges": further})
    checkpoint = load_checkpoint(folder)
    assert [checkpoint.trained_points(*dims) for dims in ((1, 2), (1, 3))] == [(10, 800), (10, 500)]
    with pytest.raises(CheckpointFormatError, match="or of neither"):
        save_checkpoint(
            tmp_path / "b", tiny_network, **{**tiny_arguments, "trained_ranges": {**ranges, "few_dims": [1, 2]}}
        )
    estimator = load(folder)
    rng = np.random.default_rng(0)
    few, more = rng.normal(size=(2, 700, 2)), rng.normal(size=(2, 700, 3))
    assert not estimator.estimate(*few, on_limit="raise").warnings
    with pytest.warns(MISTWarning, match="n=700 is outside"):
        estimator.estimate(*more)
    with pytest.warns(MISTWarning, match="500 of 700 points were used"):
        estimator.estimate(*more, on_limit="subsample")


def test_the_label_says_where_the_calibration_was_left_out(
    tmp_path: Path, tiny_network: MISTNetwork, tiny_arguments: dict[str, Any]
) -> None:
    network = copy.deepcopy(tiny_network)
    scores = torch.special.ndtri(network.levels.double()).tolist()
    zeros = (0.0,) * num_terms()
    network.calibration = Calibration(zeros, zeros, zeros, ((0.0,) * 4, (1.0,) * 4), tuple(scores))
    folder = save_checkpoint(tmp_path / "a", network, **tiny_arguments)
    label = load_checkpoint(folder).label
    assert load_checkpoint(folder).network.calibration == network.calibration and "uncalibrated" not in label
    left_out = load(str(folder), calibrated=False)
    assert left_out.network.calibration is None and left_out.checkpoint.label == f"{label}-uncalibrated"


def test_a_calibration_of_another_grid_is_refused(
    tmp_path: Path, tiny_network: MISTNetwork, tiny_arguments: dict[str, Any]
) -> None:
    network, zeros = copy.deepcopy(tiny_network), (0.0,) * num_terms()
    network.calibration = Calibration(zeros, zeros, zeros, ((0.0,) * 4, (1.0,) * 4), (-1.0, 0.0, 1.0))
    folder = save_checkpoint(tmp_path / "a", network, **tiny_arguments)
    with pytest.raises(CheckpointFormatError, match="unusable calibration .got a warp of 3 scores, expected 50"):
        load_checkpoint(folder)


def _edit(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        change(config)
        (folder / "config.json").write_text(json.dumps(config))

    return apply


def _truncate(folder: Path) -> None:
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[: len(weights) // 2])


def _flip_a_bit(folder: Path) -> None:
    weights = bytearray((folder / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (folder / "model.safetensors").write_bytes(weights)


def _weights(folder: Path, weights: bytes) -> None:
    (folder / "model.safetensors").write_bytes(weights)
    _edit(lambda config: config.update(weights_sha256=hashlib.sha256(weights).hexdigest()))(folder)


def _pickle(folder: Path) -> None:
    torch.save({"weight": torch.zeros(3)}, folder / "pickled")
    _weights(folder, (folder / "pickled").read_bytes())


def _one_tensor_less(folder: Path) -> None:
    state = safetensors.torch.load_file(folder / "model.safetensors")
    state.popitem()
    _weights(folder, safetensors.torch.save(state))


def _one_tensor_more(folder: Path) -> None:
    state = safetensors.torch.load_file(folder / "model.safetensors")
    _weights(folder, safetensors.torch.save({**state, "another": torch.zeros(3)}))


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (_truncate, CorruptCheckpointError, r"has sha256 .*expected .*corrupt, truncated .*copy the folder again"),
        (_flip_a_bit, CorruptCheckpointError, r"has sha256 .*expected .*corrupt, truncated"),
        (_pickle, CorruptCheckpointError, r"does not fit the network .*use the folder as it was saved"),
        (_one_tensor_less, CorruptCheckpointError, r"(?s)does not fit the network .*[Mm]issing key"),
        (_one_tensor_more, CorruptCheckpointError, r"(?s)does not fit the network .*[Uu]nexpected key"),
        (lambda f: (f / "model.safetensors").unlink(), CheckpointNotFoundError, r"has no model.safetensors: expected"),
        (lambda f: (f / "config.json").unlink(), CheckpointNotFoundError, r"has no config.json: expected"),
        (lambda f: (f / "config.json").write_text("{"), CorruptCheckpointError, r"is not JSON .*copy the folder again"),
        (
            lambda f: (f / "config.json").write_text("[]"),
            CheckpointFormatError,
            r"holds a list: expected a JSON object",
        ),
        (_edit(lambda c: c.update(format_version=1)), CheckpointFormatError, r"format_version 1, expected 7:.*install"),
        (_edit(lambda c: c.pop("format_version")), CheckpointFormatError, r"format_version None, expected 7"),
        (_edit(lambda c: c.update(_target_="os.system")), CheckpointFormatError, r"unknown keys \['_target_'\]"),
        (_edit(lambda c: c.pop("lineage")), CheckpointFormatError, r"misses \['lineage'\]"),
        (_edit(lambda c: c.update(name=3)), CheckpointFormatError, r"has name of type int: expected str"),
        (_edit(lambda c: c["trained_ranges"].pop("mi")), CheckpointFormatError, r"trained_ranges .*\[low, high\]"),
        (_edit(lambda c: c["trained_ranges"].update(mi=[2, 1])), CheckpointFormatError, r"trained_ranges"),
        (_edit(lambda c: c["network"].update(_target_="x")), CheckpointFormatError, r"unusable network configuration"),
        (
            _edit(lambda c: c.update(calibration={"shift": [0]})),
            CheckpointFormatError,
            r"unusable calibration .*'shift'",
        ),
        (_edit(lambda c: c["levels"].pop()), CheckpointFormatError, r"levels that are not the .*expected them equal"),
    ],
)
def test_damage_is_refused(
    tiny_checkpoint: Path, damage: Callable[[Path], Any], error: type[CheckpointError], message: str
) -> None:
    damage(tiny_checkpoint)
    with pytest.raises(error, match=message):
        load_checkpoint(tiny_checkpoint)


def test_unknown_checkpoint_lists_the_known(tmp_path: Path) -> None:
    for unknown in ("no-such", tmp_path / "no-such"):
        with pytest.raises(CheckpointNotFoundError, match=r"no checkpoint '.*no-such': expected the path .*names: "):
            find_checkpoint(unknown)
    with pytest.raises(CheckpointNotFoundError, match="has no config.json"):
        load_checkpoint(tmp_path)
    with pytest.raises(FileNotFoundError):
        find_checkpoint("no-such")


def test_found_by_path_and_by_name(tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_checkpoint(tiny_checkpoint) == find_checkpoint(str(tiny_checkpoint)) == tiny_checkpoint
    monkeypatch.setattr(mist.checkpoint, "_roots", lambda: [tmp_path / "absent", tmp_path])
    assert available_checkpoints() == ["tiny"]
    assert find_checkpoint("tiny") == tiny_checkpoint
    with pytest.raises(CheckpointNotFoundError, match="names: tiny"):
        find_checkpoint("default")


def test_the_package_comes_before_the_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tmp_path / "mist" / "checkpoint.py"
    monkeypatch.setattr(mist.checkpoint, "__file__", str(module))
    for root in (tmp_path / "mist" / "_checkpoints", tmp_path / "checkpoints"):
        (root / "default").mkdir(parents=True)
        (root / "default" / "config.json").write_text("{}")
    assert find_checkpoint("default") == tmp_path / "mist" / "_checkpoints" / "default"
    (tmp_path / "mist" / "_checkpoints" / "default" / "config.json").unlink()
    with pytest.raises(CheckpointNotFoundError):  # a folder beside some installed package is not ours
        find_checkpoint("default")
    (tmp_path / "pyproject.toml").touch()  # an editable install: the repository lies around the package
    assert find_checkpoint("default") == tmp_path / "checkpoints" / "default"


def test_default_checkpoint_is_valid(default_checkpoint: Path) -> None:
    assert find_checkpoint("default") == default_checkpoint
    checkpoint = load_checkpoint(default_checkpoint)
    assert checkpoint.name == "default"
    assert (default_checkpoint / "CARD.md").read_text().strip()


def test_tiny_checkpoint_is_small_and_trained(repository: Path) -> None:
    """On Gaussian pairs of known MI its intervals hold the truth, as those of no untrained network do."""
    checkpoint = load_checkpoint(repository / "checkpoints" / "tiny")
    assert checkpoint.name == "tiny" and not checkpoint.preliminary
    assert sum(parameter.numel() for parameter in checkpoint.network.parameters()) <= 150_000
    for correlation in (0.0, 0.6, 0.9):
        z = torch.randn(2, 500, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        y = correlation * z[0] + (1 - correlation**2) ** 0.5 * z[1]
        quantiles = checkpoint.network(z[:1], y.unsqueeze(0))[0].double()
        truth = -1.5 * math.log1p(-(correlation**2))
        assert (
            float(quantiles[1]) - 0.02 <= truth <= float(quantiles[-2]) and abs(float(quantiles.mean()) - truth) < 0.3
        )
