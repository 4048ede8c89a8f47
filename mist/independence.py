"""Permutation test of independence with the estimate as its statistic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from mist.errors import InputError, Notice
from mist.inputs import Prepared, random_generator
from mist.quantiles import expand
from mist.result import Units, nats_in
from mist.scores import double_ranks
from mist.screening import predict_ranks

if TYPE_CHECKING:
    from mist.inference import Estimator

__all__ = ["IndependenceTest", "permutation_test"]

_MAX_BATCH, _MAX_NUMBERS = 64, 1 << 19  # data sets of a pass, points times columns


@dataclass(frozen=True, repr=False, eq=False)
class IndependenceTest:
    """Result of a permutation test: `p_value`; `mi`, the estimate in `units`; `null`, (P,) those of permuted pairs;
    `warnings`, of the estimate: the p-value holds whatever they say, but its power may not."""

    p_value: float
    mi: float
    null: NDArray[np.float64]
    units: Units = "nats"
    warnings: tuple[Notice, ...] = ()

    @property
    def num_permutations(self) -> int:
        return len(self.null)

    def __repr__(self) -> str:
        return (
            f"IndependenceTest(p_value={self.p_value:.4g}, mi={self.mi:.4g} {self.units}, "
            f"num_permutations={self.num_permutations})"
        )


def permutation_test(
    estimator: Estimator, data: Prepared, num_permutations: int, random_state: int | None, units: Units
) -> IndependenceTest:
    """p = (1 + number of permutations at least as dependent) / (1 + P) (Davison & Hinkley 1997, Eq. 4.11).

    The statistic is the mean predicted quantile before it is cut at 0 nats, so that data sets of no dependence do not
    tie. Ranks are taken once: a permutation of points permutes them.
    """
    if isinstance(num_permutations, bool) or not isinstance(num_permutations, int | np.integer) or num_permutations < 1:
        raise InputError(f"got num_permutations={num_permutations!r}, expected a positive integer such as 199")
    if data.is_degenerate:
        return IndependenceTest(1.0, 0.0, np.zeros(num_permutations), units, data.warnings)
    generator = random_generator(random_state)
    x, y = (double_ranks(torch.from_numpy(np.ascontiguousarray(side.values.T))) for side in (data.x, data.y))
    num_points = data.num_points
    size = max(1, min(_MAX_BATCH, _MAX_NUMBERS // (num_points * (len(x) + len(y)))))
    statistics, estimates = [], []
    orders = [np.arange(num_points), *(generator.permutation(num_points) for _ in range(num_permutations))]
    for start in range(0, len(orders), size):
        chosen = torch.from_numpy(np.stack(orders[start : start + size]))  # (B, n)
        ranks = torch.stack([torch.cat([x, y[:, order]]) for order in chosen])
        compressed, _ = predict_ranks(estimator, ranks, data.x, data.y)
        statistics.append(compressed.double().mean(-1))
        estimates.append(expand(compressed).double().mean(-1))
    statistic, estimate = torch.cat(statistics).numpy(), nats_in(units) * torch.cat(estimates).numpy()
    extreme = int((statistic[1:] >= statistic[0]).sum())
    return IndependenceTest(
        (1 + extreme) / (1 + num_permutations), float(estimate[0]), estimate[1:], units, data.warnings
    )
