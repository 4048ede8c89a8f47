"""What all tests share: one thread, a watch over global random state, tiny real networks and checkpoints."""

from __future__ import annotations

import importlib
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session", autouse=True)
def single_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def own_label_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Pools of labels are made for the tests alone, not in the user's cache, and in small chunks."""
    makers = {"copula_mixtures": 12, "loops": 64, "mixtures": 12, "normal_mixtures": 24}
    modules = [importlib.import_module(f"data_gen.{name}") for name in makers]
    pools = [value for module in modules for name, value in vars(module).items() if name.endswith("_pool")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MIST_CACHE", str(tmp_path_factory.mktemp("cache")))
        for module, size in zip(modules, makers.values(), strict=True):
            patch.setattr(module, "_CHUNK_SIZE", size)
        for pool in pools:
            pool.cache_clear()
        yield
    for pool in pools:
        pool.cache_clear()


@pytest.fixture
def unmoved_global_state() -> Iterator[None]:
    """Fails the test if it moved the global random state of torch, numpy or Python, or torch's global settings.

    Library code takes its randomness as an argument. To watch a whole module:
    `pytestmark = pytest.mark.usefixtures("unmoved_global_state")`.
    """
    before = _global_state()
    yield
    after = _global_state()
    moved = [name for name in before if not _equal(before[name], after[name])]
    assert not moved, f"the test moved global state: {moved}"


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def default_checkpoint(repository: Path) -> Path:
    """The folder of the checkpoint that ships."""
    return repository / "checkpoints" / "default"


def _global_state() -> dict[str, Any]:
    return {
        "torch generator": torch.get_rng_state(),
        "numpy generator": np.random.get_state(),  # noqa: NPY002 - the global state is what is watched
        "python generator": random.getstate(),
        "threads": torch.get_num_threads(),
        "default dtype": torch.get_default_dtype(),
        "grad mode": torch.is_grad_enabled(),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
    }


def _equal(before: Any, after: Any) -> bool:
    if isinstance(before, torch.Tensor | np.ndarray):
        return bool((before == after).all())
    if isinstance(before, tuple):
        return len(before) == len(after) and all(_equal(a, b) for a, b in zip(before, after))
    return bool(before == after)
