"""Mutual information of many pairs of variables: all pairs of a table's columns, or all columns against a target."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import narwhals as nw
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mist.columns import MIN_POINTS, Discrete
from mist.errors import InputError, MISTError, Notice
from mist.features import features_of_ranks
from mist.inputs import FUNCTIONS, Side, check_index
from mist.notices import pairs_notice, range_notices, saturated, saturation_notice, untrained_categories
from mist.novelty import LIMIT
from mist.quantiles import expand, interpolate_quantiles
from mist.result import Units, check_units, linfoot_correlation, nats_in
from mist.tables import Columns, TableNanPolicy, Variable, check_lengths, make_variables, read_groups

if TYPE_CHECKING:
    from mist.inference import Estimator

__all__ = ["PairwiseMI", "RelevanceMI", "Screened", "predict_pairs", "predict_ranks", "screen", "screening_warnings"]

Array = NDArray[np.float64]

_MAX_BATCH, _MAX_NUMBERS, _MAX_PAIRS = 64, 1 << 18, 1 << 15  # of a pass: pairs, points times columns, pairs of columns


@dataclass(frozen=True)
class Screened:
    """What was found of P pairs of variables, in `units`; NaN where a pair has fewer than four points in common."""

    mi: Array  # (P,) mean of the predicted distribution
    low: Array  # (P,) ends of its central interval
    high: Array
    n: NDArray[np.int64]  # (P,) points
    novelty: Array  # (P,), NaN where not known
    saturated: NDArray[
        np.bool_
    ]  # (P,) whether half of the predicted distribution lies at the largest label of training
    shapes: set[tuple[int, int, int]] = field(default_factory=set)  # n and dims of the data sets that were read
    messages: dict[Notice, None] = field(default_factory=dict)  # of their variables, each once
    categories: list[bool] = field(default_factory=list)  # whether some variable was one of more than two levels
    functions: list[bool] = field(default_factory=list)  # pairs some of whose columns are functions of each other

    def note(self, pair: tuple[Variable, Variable]) -> None:
        """Keep what there is to know of a pair over the points that it was read at."""
        first, second = pair
        self.shapes.add((len(first.missing), first.side.values.shape[1], second.side.values.shape[1]))
        self.messages.update(dict.fromkeys([*first.warnings, *second.warnings]))
        if first.has_categories or second.has_categories:
            self.categories.append(True)
        if first.side.orders & second.side.orders:
            self.functions.append(True)

    @classmethod
    def empty(cls, num_pairs: int) -> Screened:
        mi, low, high, novelty = (np.full(num_pairs, np.nan) for _ in range(4))
        return cls(mi, low, high, np.zeros(num_pairs, dtype=np.int64), novelty, np.zeros(num_pairs, dtype=np.bool_))


@dataclass(frozen=True, repr=False, eq=False)
class _Table:
    """What both results of screening share: names, an interval's probability, units, and where they came from."""

    names: tuple[str, ...]
    mi: Array
    low: Array
    high: Array
    n: NDArray[np.int64]
    level: float
    units: Units
    checkpoint: str
    warnings: tuple[Notice, ...]

    @property
    def normalized(self) -> Array:
        """Informational correlations √(1 - e^(-2 mi)) (Linfoot 1957)."""
        return linfoot_correlation(self.mi / nats_in(self.units))

    def rows(self) -> dict[str, Any]:
        """Columns of names, mi, low, high and n, from the most informative pair to the least; NaN last."""
        raise NotImplementedError

    def to_frame(self, backend: str = "pandas") -> Any:
        """A data frame with one row a pair, from the most informative to the least; `backend` pandas or polars."""
        if backend not in ("pandas", "polars"):
            raise InputError(f"backend={backend!r} is unknown: expected 'pandas' or 'polars'")
        try:
            return nw.from_dict(self.rows(), backend=backend).to_native()  # type: ignore[arg-type]
        except ModuleNotFoundError as error:
            raise InputError(f"{backend} is missing: pip install {backend}, or read .mi, .low and .high") from error


@dataclass(frozen=True, repr=False, eq=False)
class PairwiseMI(_Table):
    """MI between all pairs of D variables: `mi`, `low`, `high` and `n` are symmetric (D, D), NaN (0) on the diagonal,
    in `units`; [low, high] is the central interval of probability `level`."""

    def rows(self) -> dict[str, Any]:
        first, second = np.triu_indices(len(self.names), 1)
        order = _descending(self.mi[first, second])
        first, second = first[order], second[order]
        return {
            "x": [self.names[i] for i in first],
            "y": [self.names[j] for j in second],
            "mi": self.mi[first, second],
            "low": self.low[first, second],
            "high": self.high[first, second],
            "n": self.n[first, second],
        }

    def plot(self, ax: Any = None) -> Any:
        """A heat map, variables ordered by clustering, with the intervals written in up to 12 of them; the axes."""
        from mist.plotting import plot_pairwise

        return plot_pairwise(self, ax)

    def __repr__(self) -> str:
        return f"PairwiseMI({len(self.names)} variables, {_strongest(self.rows(), ('x', 'y'), self)})"


@dataclass(frozen=True, repr=False, eq=False)
class RelevanceMI(_Table):
    """MI of each of D variables with a target: `mi`, `low`, `high` and `n` are (D,), in `units`; [low, high] is the
    central interval of probability `level`; `target` names what they are held against."""

    target: str

    def rows(self) -> dict[str, Any]:
        order = _descending(self.mi)
        columns = {name: getattr(self, name)[order] for name in ("mi", "low", "high", "n")}
        return {"x": [self.names[i] for i in order], **columns}

    def plot(self, ax: Any = None) -> Any:
        """Bars with their intervals, from the most informative to the least; the axes."""
        from mist.plotting import plot_relevance

        return plot_relevance(self, ax)

    def __repr__(self) -> str:
        about = f"{len(self.names)} variables against {self.target}"
        return f"RelevanceMI({about}, {_strongest(self.rows(), ('x',), self)})"


def _descending(values: Array) -> NDArray[np.int64]:
    """From the largest to the smallest, NaN last, equal ones as they came."""
    return np.argsort(np.where(np.isnan(values), np.inf, -values), kind="stable")


def _strongest(rows: dict[str, Any], names: tuple[str, ...], table: _Table) -> str:
    pair = " and ".join(str(rows[name][0]) for name in names)
    noted = f", {len(table.warnings)} warning{'s' if len(table.warnings) > 1 else ''}" if table.warnings else ""
    return f"strongest {pair}: {rows['mi'][0]:.4g} [{rows['low'][0]:.4g}, {rows['high'][0]:.4g}] {table.units}{noted}"


def screen(
    estimator: Estimator,
    pairs: Sequence[tuple[Variable, Variable]],
    *,
    units: Units,
    level: float,
    progress: bool = False,
    workers: int | None = None,
) -> Screened:
    """MI of each pair with its central interval of probability `level`; pairs of one shape share a pass.

    Passes are shared out to `workers` threads (None: as many as torch uses), so that memory holds a few passes
    whatever the number of pairs. Where a variable misses values, a pair is about the points at which both have one.
    """
    check_units(units)
    levels = [float(tau) for tau in estimator.config["levels"]]
    widest = levels[-1] - levels[0]
    if not (isinstance(level, float | int) and 0 < level <= widest + 1e-12):
        raise InputError(f"interval level {level!r}: expected a probability between 0 and {widest:g}, such as 0.9")
    tails = (1 - level) / 2, (1 + level) / 2
    found = Screened.empty(len(pairs))
    passes = list(_passes(pairs))
    done = 0

    def run(chosen: Sequence[int]) -> list[tuple[Variable, Variable]]:
        found.n[chosen] = [int((~(a.missing | b.missing)).sum()) for a, b in (pairs[i] for i in chosen)]
        if found.n[chosen[0]] < MIN_POINTS:  # a pair alone
            return []
        complete = [_complete(estimator, pairs[i]) for i in chosen]
        quantiles, novelty = predict_pairs(estimator, complete)
        scaled = nats_in(units) * quantiles
        found.mi[chosen] = scaled.mean(-1)
        found.low[chosen], found.high[chosen] = interpolate_quantiles(levels, scaled, tails).T
        found.novelty[chosen] = novelty
        found.saturated[chosen] = saturated(estimator.checkpoint, quantiles)
        return complete

    with _one_thread_each(workers) as pool:
        for chosen, complete in zip(passes, pool.map(run, passes)):
            for pair in complete:
                found.note(pair)
            done += len(chosen)
            if progress:
                print(f"\r{done:,}/{len(pairs):,} pairs", end="", file=sys.stderr, flush=True)
    if progress:
        print(file=sys.stderr)
    return found


def screening_warnings(estimator: Estimator, found: Screened) -> tuple[Notice, ...]:
    """What to know before believing the numbers: of variables, of n and dims, and of how many pairs."""
    checkpoint, num_pairs = estimator.checkpoint, len(found.mi)
    notices = list(found.messages)
    for shape in sorted(found.shapes):
        notices += [] if 0 in shape else range_notices(checkpoint, *shape)
    if any(found.categories) and not checkpoint.trained_on_categories:
        notices.append(untrained_categories(checkpoint))
    few, novel, at_limit = (int(rows.sum()) for rows in (found.n < MIN_POINTS, found.novelty > LIMIT, found.saturated))
    notices += pairs_notice(few, num_pairs, f"have fewer than {MIN_POINTS} points in common: NaN", "few points")
    notices += pairs_notice(
        novel,
        num_pairs,
        f"look unlike what checkpoint {checkpoint.label} was trained on (novelty past {LIMIT:g}): their intervals may "
        "be too narrow",
        "novelty",
    )
    notices += pairs_notice(len(found.functions), num_pairs, f"hold columns that {FUNCTIONS}", "deterministic")
    if at_limit:
        notices.append(saturation_notice(checkpoint, f"{at_limit:,} of {num_pairs:,} pairs saturate"))
    return tuple(dict.fromkeys(notices))


def pairwise(
    estimator: Estimator,
    table: Any,
    columns: Columns,
    units: Units,
    level: float,
    nan_policy: TableNanPolicy,
    discrete: Discrete,
    progress: bool,
) -> PairwiseMI:
    """All pairs of the variables of a table: `Estimator.pairwise`."""
    groups = read_groups(table, columns, discrete, "table", "discrete")
    variables = make_variables(list(groups.items()), nan_policy, estimator.network.config.features.ties, by_pair=True)
    if len(variables) < 2:
        raise InputError(f"got {len(variables)} variable, expected two or more: pairs need them")
    first, second = np.triu_indices(len(variables), 1)
    pairs = [(variables[i], variables[j]) for i, j in zip(first, second)]
    found = screen(estimator, pairs, units=units, level=level, progress=progress)
    return PairwiseMI(
        names=tuple(variable.name for variable in variables),
        mi=_symmetric(found.mi, len(variables)),
        low=_symmetric(found.low, len(variables)),
        high=_symmetric(found.high, len(variables)),
        n=_symmetric(found.n, len(variables), 0).astype(np.int64),
        level=level,
        units=units,
        checkpoint=estimator.checkpoint.label,
        warnings=screening_warnings(estimator, found),
    )


def relevance(
    estimator: Estimator,
    x: Any,
    y: Any,
    columns: Columns,
    units: Units,
    level: float,
    nan_policy: TableNanPolicy,
    discrete: tuple[Discrete, Discrete],
    progress: bool,
) -> RelevanceMI:
    """Each variable of x with all of y: `Estimator.relevance`; `discrete` of x and of y."""
    check_index({"x": x, "y": y})
    groups = list(read_groups(x, columns, discrete[0], "x", "discrete_x").items())
    given = read_groups(y, None, discrete[1], "y", "discrete_y")
    whole = [column for members in given.values() for column in members]
    check_lengths(groups[0][1], whole, ("x", "y"))
    only = next(iter(given)) if len(given) == 1 else "y"
    target_name = "y" if only.isdecimal() else only
    ties = estimator.network.config.features.ties
    *variables, target = make_variables([*groups, (target_name, whole)], nan_policy, ties, by_pair=True)
    pairs = [(variable, target) for variable in variables]
    found = screen(estimator, pairs, units=units, level=level, progress=progress)
    return RelevanceMI(
        names=tuple(variable.name for variable in variables),
        **{name: getattr(found, name) for name in ("mi", "low", "high", "n")},
        level=level,
        units=units,
        checkpoint=estimator.checkpoint.label,
        warnings=screening_warnings(estimator, found),
        target=target.name,
    )


def _symmetric(values: NDArray[Any], size: int, diagonal: float = np.nan) -> Array:
    """(size, size) from its upper triangle, row by row."""
    table = np.full((size, size), diagonal)
    first, second = np.triu_indices(size, 1)
    table[first, second] = table[second, first] = values
    return table


@contextmanager
def _one_thread_each(workers: int | None) -> Iterator[ThreadPoolExecutor]:
    """Threads that do a pass each with one of torch's: its operations here are too small to be shared."""
    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(workers or threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield pool
    finally:
        torch.set_num_threads(threads)


def _passes(pairs: Sequence[tuple[Variable, Variable]]) -> Iterator[list[int]]:
    """Indices of pairs that share a pass: of one shape and complete, or one pair alone."""
    same_shape: dict[Any, list[int]] = defaultdict(list)
    for index, (first, second) in enumerate(pairs):
        if first.ranks.numel() and second.ranks.numel():
            same_shape[first.side.groups, second.side.groups].append(index)
        else:
            yield [index]
    for (groups_x, groups_y), indices in same_shape.items():
        dim, num_points = len(groups_x) + len(groups_y), len(pairs[indices[0]][0].missing)
        size = max(1, min(_MAX_BATCH, _MAX_NUMBERS // (num_points * dim), _MAX_PAIRS // dim**2))
        yield from (indices[start : start + size] for start in range(0, len(indices), size))


def _complete(estimator: Estimator, pair: tuple[Variable, Variable]) -> tuple[Variable, Variable]:
    """The pair over the points at which both sides have values."""
    first, second = pair
    missing = first.missing | second.missing
    if not (missing.any() or first.has_categories or second.has_categories):
        return pair
    known = estimator.network.config.features.ties
    return first.beside(second, ~missing, known), second.beside(first, ~missing, known)


def predict_pairs(estimator: Estimator, pairs: Sequence[tuple[Variable, Variable]]) -> tuple[Array, Array]:
    """Quantiles (B, Q) in nats and novelty (B,) of pairs of one shape; zeros where a side does not vary."""
    first, second = pairs[0]
    if 0 in (first.ranks.shape[0], second.ranks.shape[0]):
        return np.zeros((len(pairs), len(estimator.config["levels"]))), np.full(len(pairs), np.nan)
    ranks = torch.stack([torch.cat([a.ranks, b.ranks]) for a, b in pairs])
    compressed, novelty = predict_ranks(estimator, ranks, first.side, second.side)
    return expand(compressed).double().numpy(), novelty


def predict_ranks(estimator: Estimator, ranks: Tensor, x: Side, y: Side) -> tuple[Tensor, Array]:
    """Quantiles on the compressed scale, uncut, (B, Q) on the CPU, and novelty (B,), NaN where not known, from double
    ranks (B, D, n) of data sets whose columns are marked as those of `x` and `y`."""
    network, device = estimator.network, estimator.device
    marks = [torch.tensor(side.groups, device=device) if any(side.groups) else None for side in (x, y)]
    with torch.inference_mode():
        features = features_of_ranks(ranks.to(device), x.values.shape[1], network.config.features, *marks)
        compressed, novelty = network.read_features(features)
    if not torch.isfinite(compressed).all():
        raise MISTError(
            f"checkpoint {estimator.checkpoint.label} answered NaN for n={ranks.shape[-1]}, dims {x.dim} and {y.dim}: "
            "expected finite quantiles; please report the data set"
        )
    return compressed.cpu(), np.full(len(ranks), np.nan) if novelty is None else novelty.double().cpu().numpy()
