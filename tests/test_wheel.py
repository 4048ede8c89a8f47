"""The wheel alone, in an environment outside the repository, estimates with the checkpoint that it carries."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

PROGRAM = """
import json, sys
import mist
import numpy as np

random = np.random.default_rng(0)
x = random.normal(size=300)
y = 0.8 * x + 0.6 * random.normal(size=300)
result = mist.estimate(x, y)
estimator = mist.load("default")
answer = {"mist": mist.__file__, "checkpoint": str(estimator.checkpoint.path), "path": sys.path, "mi": result.mi}
print(json.dumps(answer))
"""


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built without the network: hatchling is part of the test extra."""
    folder = tmp_path_factory.mktemp("wheel")
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", folder]
    run(sys.executable, "-m", "pip", "wheel", *options, repository, cwd=folder)
    (wheel,) = folder.glob("mist_mi-*.whl")
    return wheel


@pytest.mark.slow
def test_wheel_holds_the_packages_and_the_checkpoint_and_no_more(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    packages = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert packages == {"mist", "data_gen"}
    for file in ("model.safetensors", "config.json", "CARD.md"):
        assert {f"mist/_checkpoints/{name}/{file}" for name in ("default", "elliptical")} <= set(names)
    assert "mist/py.typed" in names and any(name.endswith("licenses/LICENSE") for name in names)


@pytest.mark.slow
def test_wheel_alone_estimates(wheel: Path, repository: Path, tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=False, symlinks=True)
    python = environment / "bin" / "python"
    site_packages = Path(
        run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).strip()
    )
    options = ["install", "--quiet", "--no-deps", "--no-index"]
    run(sys.executable, "-m", "pip", "--python", python, *options, wheel, cwd=tmp_path)
    # The dependencies come from this environment, added last; its own .pth files (an editable mist) stay unread.
    (site_packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")

    answer = json.loads(run(python, "-I", "-c", PROGRAM, cwd=tmp_path))
    assert str(repository) not in answer["path"]
    assert Path(answer["mist"]).is_relative_to(site_packages)
    assert Path(answer["checkpoint"]).is_relative_to(site_packages.resolve() / "mist" / "_checkpoints")
    assert answer["mi"] == pytest.approx(0.51, abs=0.2)
    assert "name" in run(environment / "bin" / "mist-mi", "info", cwd=tmp_path)
