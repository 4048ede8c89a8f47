"""The example scripts run and find what they are about."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


def module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


@pytest.mark.filterwarnings("ignore::mist.MISTWarning")
def test_screening(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sklearn")
    best = module(repository / "examples" / "screening.py").main()
    assert len(best) == 5 and {"worst perimeter", "worst area"} <= set(best)
    assert "worst perimeter" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore::mist.MISTWarning")
def test_conditional(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sklearn")
    plain, given = module(repository / "examples" / "conditional.py").main()
    assert plain > 0.8 and given < 0.5 * plain
    assert "dim_given=1" in capsys.readouterr().out


def test_ascent_recovers_the_direction(repository: Path) -> None:
    assert module(repository / "examples" / "maximise.py").main() > 0.98
