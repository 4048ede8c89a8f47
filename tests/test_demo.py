"""`make demo` prints its table."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_demo_prints_a_table_and_who_answered(repository: Path, tmp_path: Path) -> None:
    program = [sys.executable, repository / "examples" / "demo.py"]
    environment = {**os.environ, "PYTHONPATH": str(repository)}
    done = subprocess.run(program, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    rows = [line for line in lines if line.startswith(("diabetes", "wine"))]
    assert len(rows) == 9 and all(" to " in row and " nats " in row for row in rows)
    assert any("8, 1" in row for row in rows)
    assert "Answered by checkpoint default, weights sha256" in lines[-1]
