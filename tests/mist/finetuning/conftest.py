"""A small parent on a narrow law, and short fine-tunes of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import mist
from data_gen import MetaDistribution
from mist.checkpoint import save_checkpoint
from mist.finetuning import run
from mist.network import MISTNetwork, NetworkConfig

LAW = MetaDistribution(num_points=(10, 40), max_num_points=40, dims=(1, 3), max_dim=3, datasets_per_batch=(8, 8))


@pytest.fixture(scope="package")
def parent(tmp_path_factory: pytest.TempPathFactory) -> mist.Estimator:
    """Untrained, of the smallest sizes."""
    config = NetworkConfig(
        coordinate_width=16,
        coordinate_layers=1,
        edge_width=4,
        edge_hidden=8,
        point_width=16,
        point_seeds=4,
        num_seeds=2,
        trunk_width=32,
    )
    with torch.random.fork_rng(devices=[]):
        network = MISTNetwork(config)
    network.initialise(torch.Generator().manual_seed(0))
    folder = save_checkpoint(
        tmp_path_factory.mktemp("parent") / "parent",
        network.eval(),
        trained_ranges=LAW.ranges,
        meta_distribution=LAW.to_dict(),
        lineage={"parents": ["0" * 64], "hours": 1.0, "num_datasets": 8, "seed": 0},
        card="# parent\n",
        extra={"preliminary": True},
    )
    return mist.load(folder)


def counts(num: int, columns: int, seed: int) -> NDArray[np.float64]:
    """Unlabelled samples of small counts, so that there are ties."""
    generator = np.random.default_rng(seed)
    rate = np.exp(0.8 * generator.normal(size=(num, 1)) + 0.3 * generator.normal(size=(num, columns)))
    return generator.poisson(3 * rate).astype(float)


@pytest.fixture(scope="package")
def short() -> Iterator[dict[str, Any]]:
    """Options of a fine-tune of seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "_CALIBRATION_BATCHES", (60, 12))
        patch.setattr(run, "_EVALUATION_DATASETS", (24, 32))
        yield {"max_steps": 12, "num_points": (20, 40), "progress": False}


@pytest.fixture(scope="package")
def samples() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of X, three columns that vary and one that does not, and of Y, two."""
    x = counts(240, 3, 0)
    return np.column_stack([x[:, :1], np.ones(240), x[:, 1:]]), counts(300, 2, 1)


@pytest.fixture(scope="package")
def finetuned(
    parent: mist.Estimator, samples: tuple[NDArray[np.float64], NDArray[np.float64]], short: dict[str, Any]
) -> run.FinetunedEstimator:
    return mist.finetune(parent, *samples, name="counts", **short)
