"""`import mist` stays light, and who may import whom."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HEAVY = {"lightning", "pytorch_lightning", "hydra", "omegaconf", "wandb", "normflows", "pandas", "polars", "matplotlib"}
HEAVY |= {"sklearn", "tensorboard"}
CORE = {"mist", "torch", "numpy", "scipy", "safetensors", "narwhals"}
OPTIONAL = {"plotting.py": {"matplotlib"}, "sklearn.py": {"sklearn"}}
ON_REQUEST = {"sklearn.py"}  # a user who imports it has what it needs
NEED_DATA_GEN = {"training", "evaluation", "finetuning"}


def imports(path: Path, top_level_only: bool = False) -> Iterator[str]:
    """Absolute names of the modules that a file imports, inside functions too."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; name the module in full"
            assert node.module is not None
            yield node.module


def modules(package: Path) -> list[Path]:
    found = sorted(package.rglob("*.py"))
    assert found
    return found


def roots(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imports(path)}


def part(path: Path, repository: Path) -> str:
    """For mist/training/x.py and mist/training.py: training."""
    return path.relative_to(repository / "mist").parts[0].removesuffix(".py")


def test_import_mist_is_light(repository: Path) -> None:
    program = "import sys, mist; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", program], cwd=repository, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert {"mist", "torch", "numpy"} <= loaded
    assert not loaded & (HEAVY | {"data_gen"})


def test_only_training_evaluation_and_finetuning_import_data_gen(repository: Path) -> None:
    guilty = [
        path
        for path in modules(repository / "mist")
        if "data_gen" in roots(path) and part(path, repository) not in NEED_DATA_GEN
    ]
    assert guilty == []


def test_core_imports_nothing_but_its_dependencies(repository: Path) -> None:
    for path in modules(repository / "mist"):
        if part(path, repository) not in NEED_DATA_GEN:
            assert roots(path) <= CORE | OPTIONAL.get(path.name, set()) | set(sys.stdlib_module_names), path
            outer = {name.split(".")[0] for name in imports(path, top_level_only=True)}
            assert path.name in ON_REQUEST or not outer & HEAVY, path


def test_core_imports_training_and_evaluation_only_when_called(repository: Path) -> None:
    for path in modules(repository / "mist"):
        if part(path, repository) not in NEED_DATA_GEN:
            outer = set(imports(path, top_level_only=True))
            assert not {name for name in outer if name.split(".")[1:2] and name.split(".")[1] in NEED_DATA_GEN}, path


def test_data_gen_never_imports_mist_or_lightning(repository: Path) -> None:
    for path in modules(repository / "data_gen"):
        found = roots(path) & {"mist", "lightning", "pytorch_lightning", "hydra", "wandb"}
        assert not found or (path.name == "__main__.py" and found == {"hydra"}), path  # the command composes settings


def test_normflows_is_imported_in_one_module(repository: Path) -> None:
    assert sum("normflows" in roots(path) for path in modules(repository / "data_gen")) <= 1
    assert not any("normflows" in roots(path) for path in modules(repository / "mist"))


@pytest.mark.parametrize("package", ["mist", "data_gen"])
def test_nothing_unpickles(repository: Path, package: str) -> None:
    for path in modules(repository / package):
        assert not roots(path) & {"pickle", "dill", "cloudpickle", "joblib"}, path
