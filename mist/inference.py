"""`Estimator`: arrays in, `MIEstimate` out; and `load`, `estimate` for the shipped checkpoint."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from mist.checkpoint import Checkpoint, find_checkpoint, load_checkpoint
from mist.columns import Discrete
from mist.devices import choose_device
from mist.errors import InputError, MISTWarning, Notice, TrainedRangeError
from mist.estimation import batches_of_a_shape, predict_prepared
from mist.independence import IndependenceTest, permutation_test
from mist.inputs import NanPolicy, Prepared, prepare
from mist.multivariate import conditional_mutual_information, o_information, total_correlation
from mist.network import MISTNetwork
from mist.notices import emit, range_notices, untrained_categories
from mist.reliability import Reliability, reliability
from mist.result import InformationEstimate, MIEstimate, Units, check_units
from mist.screening import PairwiseMI, RelevanceMI, pairwise, relevance
from mist.surrogate import surrogate_mutual_information
from mist.tables import Columns, TableNanPolicy

__all__ = ["Estimator", "OnLimit", "estimate", "load"]

OnLimit = Literal["raise", "warn", "subsample"]


def load(
    checkpoint: str | os.PathLike[str] = "default", device: str | torch.device = "auto", *, calibrated: bool = True
) -> Estimator:
    """The estimator of a checkpoint, given by name ("default" ships with the package) or by the path of its folder.

    device: "auto" (CUDA where there is one, else the CPU) or a torch device. calibrated: False for the network's own
    quantiles, without the recalibration that the checkpoint carries. Raises a `CheckpointError` subclass; there is no
    estimator without trained weights.
    """
    loaded = load_checkpoint(find_checkpoint(checkpoint))
    if not calibrated:
        loaded.network.calibration = None
    return Estimator(loaded, device=device)


def estimate(
    x: Any,
    y: Any,
    *,
    given: Any = None,
    units: Units = "nats",
    nan_policy: NanPolicy = "raise",
    on_limit: OnLimit = "warn",
    discrete_x: Discrete = None,
    discrete_y: Discrete = None,
    discrete_given: Discrete = None,
) -> MIEstimate:
    """Mutual information of paired points x, y, (n,) or (n, d), by the default checkpoint: see `Estimator.estimate`."""
    return _default_estimator().estimate(
        x,
        y,
        given=given,
        units=units,
        nan_policy=nan_policy,
        on_limit=on_limit,
        discrete_x=discrete_x,
        discrete_y=discrete_y,
        discrete_given=discrete_given,
    )


@lru_cache(maxsize=1)
def _default_estimator() -> Estimator:
    return load("default")


class Estimator:
    """A trained network with its configuration, ready for data.

    Attributes: `network` (evaluation mode, float32), `config` (config.json as a dict), `checkpoint`, `device`.
    Estimates are deterministic and move no global state.
    """

    def __init__(self, checkpoint: Checkpoint, device: str | torch.device = "auto") -> None:
        self.checkpoint = checkpoint
        self.device = choose_device(device)
        self.network: MISTNetwork = checkpoint.network.to(self.device)
        self.config: dict[str, Any] = checkpoint.config

    @property
    def name(self) -> str:
        return self.checkpoint.name

    def __repr__(self) -> str:
        return f"Estimator({self.checkpoint.label}, device={str(self.device)!r})"

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write a checkpoint folder that `mist.load` reads; its path. A folder that is there is replaced as a whole."""
        return self.checkpoint.save(folder)

    def estimate(
        self,
        x: Any,
        y: Any,
        *,
        given: Any = None,
        units: Units = "nats",
        nan_policy: NanPolicy = "raise",
        on_limit: OnLimit = "warn",
        discrete_x: Discrete = None,
        discrete_y: Discrete = None,
        discrete_given: Discrete = None,
    ) -> MIEstimate:
        """Mutual information of the paired points x and y, conditional on z where `given=z`.

        x, y: (n,) or (n, d), n >= 4: numpy, torch, pandas, polars or nested lists of finite numbers.
        units: "nats" or "bits".
        nan_policy: "raise", or "omit" to drop each point where a value is missing.
        on_limit: what to do with n or dims outside the trained range: "raise", "warn" (a `MISTWarning`, also in the
            result's `.warnings`) or "subsample" (n above the range: a fixed choice of points; else as "warn").
        discrete_x, discrete_y: the columns that are unordered categories: True for the whole side, or their indices
            (names, for a data frame), False for none. Their labels may be of any kind and only say equal or
            different. None: those that hold text, and unordered categoricals of data frames; ordered ones are numbers.
        given: z, (n,) or (n, d): I(X;Y|Z) by the chain rule; how its interval is made says `mist.multivariate`.
        Raises an `InputError` subclass for what cannot be used.
        """
        if given is None and discrete_given is not None:
            raise InputError(f"got discrete_given={discrete_given!r} without given=, expected both or neither")
        if given is not None:
            check_on_limit(on_limit)
            if on_limit == "subsample":
                raise InputError("got on_limit='subsample' with given=, expected 'raise' or 'warn'; draw points first")
            sides = {"x": (x, discrete_x), "y": (y, discrete_y), "given": (given, discrete_given)}
            result = conditional_mutual_information(self, sides, units, nan_policy, on_limit == "raise")
            emit(result.warnings)
            return result
        prepared = self._prepare(x, y, units, nan_policy, on_limit, discrete_x, discrete_y)
        result = predict_prepared(self, [prepared], units)[0]
        emit(result.warnings)
        return result

    def estimate_many(
        self,
        pairs: Iterable[tuple[Any, Any]],
        batch_size: int | None = None,
        progress: bool = False,
        *,
        units: Units = "nats",
        nan_policy: NanPolicy = "raise",
        on_limit: OnLimit = "warn",
        discrete_x: Discrete = None,
        discrete_y: Discrete = None,
    ) -> list[MIEstimate]:
        """The estimates of many data sets [(x1, y1), ...], in their order; other arguments as in `estimate`.

        Data sets of one shape share a pass of at most `batch_size` (None: as many as memory comfortably holds). Each
        result equals that of `estimate` within 1e-4 * max(1, mi). progress: count on standard error.
        Raises an `InputError` subclass whose message starts with the index of the data set.
        """
        if batch_size is not None and (not isinstance(batch_size, int | np.integer) or batch_size < 1):
            raise InputError(f"batch_size={batch_size}: expected a positive number, or None for an automatic one")
        prepared: list[Prepared] = []
        for index, pair in enumerate(pairs):
            if not isinstance(pair, list | tuple) or len(pair) != 2:
                raise InputError(f"data set {index} is no pair: expected (x, y), points of both sides")
            x, y = pair
            try:
                prepared.append(self._prepare(x, y, units, nan_policy, on_limit, discrete_x, discrete_y))
            except InputError as error:
                raise type(error)(f"data set {index}: {error}") from error
        results: dict[int, MIEstimate] = {}
        for batch in batches_of_a_shape(prepared, batch_size):
            results.update(zip(batch, predict_prepared(self, [prepared[i] for i in batch], units)))
            if progress:
                print(f"\r{len(results)}/{len(prepared)} data sets", end="", file=sys.stderr, flush=True)
        if progress and prepared:
            print(file=sys.stderr)
        ordered = [results[index] for index in range(len(prepared))]
        emit(
            Notice(f"data set {index}: {notice}", notice.kind)
            for index, result in enumerate(ordered)
            for notice in result.warnings
        )
        return ordered

    def pairwise(
        self,
        table: Any,
        columns: Columns = None,
        *,
        units: Units = "nats",
        level: float = 0.9,
        nan_policy: TableNanPolicy = "raise",
        discrete: Discrete = None,
        progress: bool = False,
    ) -> PairwiseMI:
        """MI between all pairs of a table's columns, (n, d): arrays, data frames and lists as in `estimate`.

        columns: those to take, by name or index, or groups of them {"name": [columns], ...} that stand together on one
            side; None for each column of the table.
        level: probability of the intervals.
        nan_policy: "raise", "omit" to drop points with any missing value, "pairwise" to drop them pair by pair.
        discrete: the columns that are unordered categories: True for all, or their indices or names.
        progress: count on standard error.
        Each column is ranked once; pairs are shared out to torch's threads. Raises an `InputError` subclass.
        """
        result = pairwise(self, table, columns, units, level, nan_policy, discrete, progress)
        emit(result.warnings)
        return result

    def relevance(
        self,
        x: Any,
        y: Any,
        columns: Columns = None,
        *,
        units: Units = "nats",
        level: float = 0.9,
        nan_policy: TableNanPolicy = "raise",
        discrete_x: Discrete = None,
        discrete_y: Discrete = None,
        progress: bool = False,
    ) -> RelevanceMI:
        """MI of each column of x, (n, d), with the target y, (n,) or (n, k), whose columns stand together.

        Arguments as in `pairwise`. Raises an `InputError` subclass.
        """
        discrete = discrete_x, discrete_y
        result = relevance(self, x, y, columns, units, level, nan_policy, discrete, progress)
        emit(result.warnings)
        return result

    def mutual_information(self, x: Tensor, y: Tensor) -> Tensor:
        """A differentiable stand-in for the estimate, nats, a scalar: MI as a loss, or as what to maximise.

        x, y: tensors (n,) or (n, d), 4 <= n <= 5,000; every column is taken for numbers. The value is that of
        `estimate`, whose own gradient is zero; the gradient is that of the function that `mist.surrogate` describes.
        Constants have gradient 0. Every point is compared with every other: at n = 5,000 some ten seconds and 3 GB.
        Raises an `InputError` subclass, also where a fine-tuned checkpoint reads sides through maps of its modality.
        """
        return surrogate_mutual_information(self, x, y)

    def total_correlation(
        self,
        table: Any,
        columns: Columns = None,
        *,
        units: Units = "nats",
        nan_policy: NanPolicy = "raise",
        discrete: Discrete = None,
    ) -> InformationEstimate:
        """Total correlation Σ H(X_i) - H(X) of a table's columns (Watanabe 1960), >= 0; arguments as in `pairwise`.

        A sum of mutual informations of halves of the columns, of halves of these, and so on. Raises an `InputError`
        subclass.
        """
        result = total_correlation(self, table, columns, units, nan_policy, discrete)
        emit(result.warnings)
        return result

    def o_information(
        self,
        table: Any,
        columns: Columns = None,
        *,
        units: Units = "nats",
        nan_policy: NanPolicy = "raise",
        discrete: Discrete = None,
    ) -> InformationEstimate:
        """O-information of three or more of a table's columns (Rosas et al. 2019): > 0 where redundancy outweighs
        synergy, < 0 where synergy does; arguments as in `pairwise`.

        Twice the total correlation less Σ I(X_i; the others). Raises an `InputError` subclass.
        """
        result = o_information(self, table, columns, units, nan_policy, discrete)
        emit(result.warnings)
        return result

    def check(
        self,
        x: Any,
        y: Any,
        *,
        units: Units = "nats",
        nan_policy: NanPolicy = "raise",
        discrete_x: Discrete = None,
        discrete_y: Discrete = None,
        random_state: int | None = 0,
    ) -> Reliability:
        """What an estimate must satisfy whatever the data, tried on x and y, n >= 60: print the result, or plot it.

        Halves, quarters, ... of the points, extrapolated to infinitely many; shuffled pairs must hold nothing, a
        function of a column beside it nothing new, two independent copies twice as much; points should not resemble the
        next ones. random_state: seed of the parts and shuffles. Other arguments as in `estimate`. A fine-tuned
        estimator reads columns as they are here, not through its maps, which belong to the whole of a side. Raises an
        `InputError` subclass.
        """
        plain = Estimator(replace(self.checkpoint, unwarping=None), device=self.device)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MISTWarning)
            result = reliability(plain, x, y, units, nan_policy, (discrete_x, discrete_y), random_state)
        emit(result.estimate.warnings)
        return result

    def independence_test(
        self,
        x: Any,
        y: Any,
        *,
        num_permutations: int = 199,
        random_state: int | None = 0,
        units: Units = "nats",
        nan_policy: NanPolicy = "raise",
        discrete_x: Discrete = None,
        discrete_y: Discrete = None,
    ) -> IndependenceTest:
        """Permutation test of independence: how often shuffled pairs look as dependent as the true ones.

        The p-value is exact at any n and for any data, as far as its points are independent of one another: uniform on
        {1/(P+1), ..., 1} under independence, P permutations. random_state: seed of the permutations, None for others
        each time. Other arguments as in `estimate`. Raises an `InputError` subclass.
        """
        prepared = self._prepare(x, y, units, nan_policy, "warn", discrete_x, discrete_y, sides_apart=True)
        result = permutation_test(self, prepared, num_permutations, random_state, units)
        emit(result.warnings)
        return result

    def _prepare(
        self,
        x: Any,
        y: Any,
        units: Units,
        nan_policy: NanPolicy,
        on_limit: OnLimit,
        discrete_x: Discrete,
        discrete_y: Discrete,
        sides_apart: bool = False,
    ) -> Prepared:
        """Validate the arguments, and hold n and dims against what the checkpoint was trained on."""
        check_units(units)
        check_on_limit(on_limit)
        data = prepare(
            x,
            y,
            nan_policy=nan_policy,
            discrete_x=discrete_x,
            discrete_y=discrete_y,
            max_points=self._most_points if on_limit == "subsample" else None,
            ties_known=self.network.config.features.ties,
            sides_apart=sides_apart,
            reduction=self.checkpoint.reduction,
            unwarping=self.checkpoint.unwarping,
        )
        if data.is_degenerate:
            return data
        outside = range_notices(self.checkpoint, data.num_points, data.x.values.shape[1], data.y.values.shape[1])
        if outside and on_limit == "raise":
            raise TrainedRangeError(f"{'; '.join(outside)}; pass on_limit='warn' to have an estimate all the same")
        if data.has_categories and not self.checkpoint.trained_on_categories:
            outside.append(untrained_categories(self.checkpoint))
        return replace(data, warnings=data.warnings + tuple(outside))

    def _most_points(self, dim_x: int, dim_y: int) -> int:
        return int(self.checkpoint.trained_points(dim_x, dim_y)[1])


def check_on_limit(on_limit: str) -> None:
    """Raise `InputError` unless `on_limit` is known."""
    if on_limit not in get_args(OnLimit):
        raise InputError(f"on_limit={on_limit!r} is unknown: expected one of {', '.join(get_args(OnLimit))}")
