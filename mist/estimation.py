"""From validated data sets to estimates: those of one shape share a pass through the network."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mist.errors import MISTError
from mist.inputs import Prepared, Side
from mist.notices import novelty_notice, saturated, saturation_notice
from mist.result import MIEstimate, Units

if TYPE_CHECKING:
    from mist.inference import Estimator

__all__ = ["batches_of_a_shape", "predict_prepared"]

# A pass holds at most this many data sets, points times coordinates, and pairs of coordinates.
_MAX_BATCH, _MAX_NUMBERS, _MAX_PAIRS = 64, 1 << 20, 1 << 17


def batches_of_a_shape(prepared: Sequence[Prepared], batch_size: int | None) -> Iterator[list[int]]:
    """Indices of data sets of one shape, at most `batch_size`, or as many as memory comfortably holds."""
    same_shape: dict[Any, list[int]] = defaultdict(list)
    for index, data in enumerate(prepared):
        same_shape[data.num_points, data.x.groups, data.y.groups].append(index)
    for (num_points, groups_x, groups_y), indices in same_shape.items():
        dim = max(1, len(groups_x) + len(groups_y))
        size = batch_size or max(1, min(_MAX_BATCH, _MAX_NUMBERS // (num_points * dim), _MAX_PAIRS // dim**2))
        for start in range(0, len(indices), size):
            yield indices[start : start + size]


def predict_prepared(estimator: Estimator, batch: Sequence[Prepared], units: Units) -> list[MIEstimate]:
    """Estimates of data sets of one shape."""
    checkpoint, device = estimator.checkpoint, estimator.device
    levels = [float(level) for level in estimator.config["levels"]]
    first = batch[0]
    if first.is_degenerate:
        rows, shares = np.zeros((len(batch), len(levels))), [None] * len(batch)
    else:
        with torch.inference_mode():
            quantiles, novelty = estimator.network.read(
                _stack([data.x.values for data in batch], device),
                _stack([data.y.values for data in batch], device),
                _groups(first.x, device),
                _groups(first.y, device),
            )
        rows = quantiles.double().cpu().numpy()
        shares = [None] * len(batch) if novelty is None else novelty.double().cpu().tolist()
    if not np.isfinite(rows).all():
        raise MISTError(
            f"checkpoint {checkpoint.label} answered NaN for n={first.num_points}, "
            f"dim_x={first.x.dim}, dim_y={first.y.dim}: expected finite quantiles; please report the data set"
        )
    return [
        MIEstimate.from_nats(
            levels,
            row.tolist(),
            units=units,
            n=data.num_points,
            dim_x=data.x.dim,
            dim_y=data.y.dim,
            warnings=data.warnings
            + ((saturation_notice(checkpoint),) if full else ())
            + novelty_notice(checkpoint, share),
            checkpoint=checkpoint.label,
            novelty=share,
        )
        for data, row, full, share in zip(batch, rows, saturated(checkpoint, rows), shares)
    ]


def _stack(values: list[NDArray[np.float64]], device: torch.device) -> Tensor:
    return torch.from_numpy(np.stack(values)).to(device)


def _groups(side: Side, device: torch.device) -> Tensor | None:
    """Marks of the indicator columns (columns,), None where there is no category."""
    return torch.tensor(side.groups, device=device) if any(side.groups) else None
