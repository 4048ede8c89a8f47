"""The table of times says what was timed, and nothing of how long it must take."""

from __future__ import annotations

from pathlib import Path

import pytest

from mist.evaluation.screening import main


@pytest.mark.filterwarnings("ignore::mist.MISTWarning")  # trained to n = 500
def test_command(tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sklearn")
    assert main(["--checkpoint", str(tiny_checkpoint), "--columns", "4", "--features", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[2:6]] == ["mist,", "KSG,", "mist,", "KSG,"]
    assert "for 6 pairs" in lines[2] and "for 3 pairs" in lines[5] and lines[6].startswith("most memory")


def test_what_cannot_be_used(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--columns", "1"]) == 2
    assert "got --columns 1, expected at least 2" in capsys.readouterr().err
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main([]) == 2
    assert "scikit-learn, whose KSG stands beside, is missing" in capsys.readouterr().err
