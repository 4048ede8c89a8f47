"""A tiny untrained network with real code, saved as a checkpoint: what inference tests need in milliseconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from mist.checkpoint import load_checkpoint, save_checkpoint
from mist.inference import Estimator
from mist.network import MISTNetwork, NetworkConfig

RANGES = {"num_points": [10, 500], "dim_x": [1, 8], "dim_y": [1, 8], "mi": [0.0, 20.0]}


@pytest.fixture(scope="session")
def tiny_network() -> MISTNetwork:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return MISTNetwork(NetworkConfig()).eval()


@pytest.fixture(scope="session")
def tiny_arguments() -> dict[str, Any]:
    """Arguments of `save_checkpoint` besides the folder and the network."""
    return {
        "trained_ranges": RANGES,
        "meta_distribution": {"name": "none"},
        "lineage": {"parents": [], "hours": 0.0, "num_datasets": 0, "seed": 0},
        "card": "# tiny\n\nUntrained, for tests.\n",
        "extra": {"preliminary": True},
    }


@pytest.fixture
def tiny_checkpoint(tmp_path: Path, tiny_network: MISTNetwork, tiny_arguments: dict[str, Any]) -> Path:
    return save_checkpoint(tmp_path / "tiny", tiny_network, **tiny_arguments)


@pytest.fixture(scope="session")
def tiny_estimator(
    tmp_path_factory: pytest.TempPathFactory, tiny_network: MISTNetwork, tiny_arguments: dict[str, Any]
) -> Estimator:
    folder = save_checkpoint(tmp_path_factory.mktemp("checkpoints") / "tiny", tiny_network, **tiny_arguments)
    return Estimator(load_checkpoint(folder), device="cpu")
