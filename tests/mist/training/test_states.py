"""Training states are whole or not there, and say so."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch

from mist.training import states
from mist.training.states import AtomicCheckpointIO, check_writable

pytestmark = pytest.mark.usefixtures("unmoved_global_state")


def test_a_state_comes_back(tmp_path: Path) -> None:
    files, path = AtomicCheckpointIO(), tmp_path / "state" / "last.ckpt"
    files.save_checkpoint({"weights": torch.arange(5)}, path)
    assert torch.equal(files.load_checkpoint(path, weights_only=True)["weights"], torch.arange(5))
    assert os.listdir(path.parent) == ["last.ckpt"]


def test_what_a_killed_write_left_goes_with_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files, path = AtomicCheckpointIO(), tmp_path / "last.ckpt"
    with monkeypatch.context() as killed:
        killed.setattr(states.os, "replace", lambda *_: None)
        killed.setattr(Path, "unlink", lambda *_: None)
        files.save_checkpoint({"step": 1}, path)
    assert len(os.listdir(tmp_path)) == 1 and not path.exists()
    monkeypatch.setattr(states.os, "getpid", lambda: 1)  # another process
    files.save_checkpoint({"step": 1}, path)
    assert os.listdir(tmp_path) == ["last.ckpt"]


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_full_disk_loses_nothing(failing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files, path = AtomicCheckpointIO(), tmp_path / "last.ckpt"
    files.save_checkpoint({"step": 1}, path)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(states.os, failing, full)
    with pytest.raises(
        OSError, match=r"cannot write the training state .*last.ckpt \(No space left on device\): .*room"
    ):
        files.save_checkpoint({"step": 2}, path)
    assert files.load_checkpoint(path) == {"step": 1} and os.listdir(tmp_path) == ["last.ckpt"]


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    with pytest.raises(OSError, match="cannot write the training state .*last.ckpt"):
        AtomicCheckpointIO().save_checkpoint({}, tmp_path / "state" / "last.ckpt")


def test_a_torn_state_is_never_loaded(tmp_path: Path) -> None:
    files, path = AtomicCheckpointIO(), tmp_path / "last.ckpt"
    files.save_checkpoint({"weights": torch.arange(1000)}, path)
    whole = path.read_bytes()
    for torn in (b"", b"text", whole[: len(whole) // 2], whole[:-10]):
        path.write_bytes(torn)
        with pytest.raises(ValueError, match=r"cannot read .*last.ckpt .*: expected a training state"):
            files.load_checkpoint(path, weights_only=True)
    with pytest.raises(FileNotFoundError):
        files.load_checkpoint(tmp_path / "none.ckpt")


def test_an_output_folder_that_cannot_be_written_is_told_before_the_work(tmp_path: Path) -> None:
    check_writable(tmp_path / "new" / "folder")
    assert os.listdir(tmp_path / "new" / "folder") == []
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"cannot write into .*file.* choose another output_dir="):
        check_writable(tmp_path / "file" / "folder")
