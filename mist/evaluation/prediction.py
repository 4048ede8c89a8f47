"""From data sets to predicted quantiles: equal shapes share a pass through the network."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from mist.evaluation.baselines import BASELINES
from mist.evaluation.suites import Dataset

__all__ = ["Records", "evaluate_network", "predict"]

Array = NDArray[np.float64]

_COLUMNS = ("suite", "family", "num_points", "dim_x", "dim_y", "mi", "quantiles")

# A pass holds at most this many data sets, this many points times coordinates, and this many pairs of coordinates.
_MAX_BATCH, _MAX_NUMBERS, _MAX_PAIRS = 64, 1 << 20, 1 << 17


class HasNetwork(Protocol):
    """What `predict` needs of an estimator: its network, whose config knows the levels."""

    @property
    def network(self) -> Any:
        """(B, N, Dx), (B, N, Dy) -> (B, Q) quantiles in nats."""
        ...


@dataclass(frozen=True)
class Records:
    """Predictions beside the truth, one row a data set: R rows, Q levels, nats."""

    levels: Array  # (Q,)
    suite: NDArray[np.str_]  # (R,)
    family: NDArray[np.str_]  # (R,)
    num_points: NDArray[np.int64]  # (R,)
    dim_x: NDArray[np.int64]  # (R,)
    dim_y: NDArray[np.int64]  # (R,)
    mi: Array  # (R,)
    quantiles: Array  # (R, Q)
    baselines: Mapping[str, Array] = field(default_factory=dict)  # name -> (R,), NaN where undefined

    def __len__(self) -> int:
        return len(self.mi)

    def select(self, rows: NDArray[np.bool_]) -> Records:
        """The rows where the mask is true."""
        columns = {name: getattr(self, name)[rows] for name in _COLUMNS}
        return Records(levels=self.levels, baselines={k: v[rows] for k, v in self.baselines.items()}, **columns)

    @classmethod
    def concatenate(cls, parts: Sequence[Records]) -> Records:
        """Records of one network on several suites, one after the other."""
        columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _COLUMNS}
        baselines = {name: np.concatenate([part.baselines[name] for part in parts]) for name in parts[0].baselines}
        return cls(levels=parts[0].levels, baselines=baselines, **columns)

    def with_baselines(self, datasets: Sequence[Dataset]) -> Records:
        """The same records with KSG and Gaussian CCA on the same samples beside them."""
        columns = {
            name: np.array([baseline(data.x, data.y) for data in datasets]) for name, baseline in BASELINES.items()
        }
        return replace(self, baselines=columns)


def predict(estimator: HasNetwork, datasets: Sequence[Dataset], progress: Callable[[int], None] | None = None) -> Array:
    """Predicted quantiles at the network's levels, nats, (R, Q), in the order of the data sets."""
    network = estimator.network
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    same_shape: dict[tuple[tuple[int, int, int], tuple[int, ...], tuple[int, ...]], list[int]] = defaultdict(list)
    for index, data in enumerate(datasets):
        same_shape[data.shape, data.groups_x, data.groups_y].append(index)
    rows: dict[int, Array] = {}
    training = network.training
    network.eval()
    try:
        for ((num_points, dim_x, dim_y), *groups), indices in same_shape.items():
            marks = [torch.tensor(group, device=device) if group else None for group in groups] if any(groups) else []
            dim = dim_x + dim_y
            size = max(1, min(_MAX_BATCH, _MAX_NUMBERS // (num_points * dim), _MAX_PAIRS // dim**2))
            for start in range(0, len(indices), size):
                batch = indices[start : start + size]
                x, y = (
                    torch.from_numpy(np.stack([getattr(datasets[i], side) for i in batch])).to(device)
                    for side in ("x", "y")
                )
                with torch.inference_mode():
                    rows.update(zip(batch, network(x, y, *marks).double().cpu().numpy(), strict=True))
                if progress is not None:
                    progress(len(rows))
    finally:
        network.train(training)
    return np.stack([rows[i] for i in range(len(datasets))])


@dataclass(frozen=True)
class _Bare:
    network: Any


def evaluate_network(
    network: Any,
    datasets: Sequence[Dataset],
    progress: Callable[[int], None] | None = None,
) -> Records:
    """Records of a network on labelled data sets."""
    quantiles = predict(_Bare(network), datasets, progress)
    shapes = np.array([data.shape for data in datasets], dtype=np.int64)
    return Records(
        levels=np.asarray(network.config.levels, dtype=np.float64),
        suite=np.array([data.suite for data in datasets]),
        family=np.array([data.family for data in datasets]),
        num_points=shapes[:, 0],
        dim_x=shapes[:, 1],
        dim_y=shapes[:, 2],
        mi=np.array([data.mi for data in datasets], dtype=np.float64),
        quantiles=quantiles,
    )
