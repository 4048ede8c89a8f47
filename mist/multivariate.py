"""Information of more than two variables from mutual informations: conditional MI, total correlation, O-information.

The terms of a formula are estimated on the same points, and their errors hang together in ways that no one knows. Sums
add quantiles level by level, as if all errors were the largest together: intervals that are wide enough whatever the
dependence of the terms. Differences take the terms as independent: errors that go together, as those of estimates from
the same points mostly do, cancel in a difference, so that this, too, errs on the wide side. The difference of two large
terms is known no better than these: the interval of a small conditional MI beside a large one is wide.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mist.columns import Discrete
from mist.errors import InputError, Notice, TrainedRangeError
from mist.inputs import NanPolicy
from mist.notices import range_notices, saturated
from mist.quantiles import interpolate_quantiles
from mist.result import InformationEstimate, MIEstimate, Units, nats_in
from mist.screening import Screened, predict_pairs, screening_warnings
from mist.tables import Columns, Variable, check_nan_policy, make_variables, read_groups, read_sides

if TYPE_CHECKING:
    from mist.inference import Estimator

__all__ = ["conditional_mutual_information", "difference", "o_information", "total_correlation"]

Array = NDArray[np.float64]


def difference(levels: Sequence[float], first: Array, second: Array) -> Array:
    """Quantiles at `levels` of A - B for independent A and B of quantiles first and second, (Q,) each -> (Q,)."""
    values = np.sort((first[:, None] - second).ravel())
    places = (np.arange(values.size) + 0.5) / values.size
    return np.asarray(interpolate_quantiles(places.tolist(), values, levels))


class _Terms:
    """Mutual informations between unions of variables over the same points, and what to know of them."""

    def __init__(self, estimator: Estimator, variables: Sequence[Variable]) -> None:
        self.estimator, self.variables = estimator, variables
        self.levels = [float(level) for level in estimator.config["levels"]]
        self.pairs: list[tuple[Variable, Variable]] = []
        self.novelty: list[float] = []
        self.saturated: list[bool] = []

    def quantiles(self, x: Sequence[int], y: Sequence[int]) -> Array:
        """Predicted quantiles in nats, (Q,), of I between the variables numbered x and those numbered y."""
        pair = self._union(x), self._union(y)
        values, novelty = predict_pairs(self.estimator, [pair])
        self.pairs.append(pair)
        self.novelty.append(float(novelty[0]))
        self.saturated.append(bool(saturated(self.estimator.checkpoint, values)[0]))
        return values[0]

    def _union(self, indices: Sequence[int]) -> Variable:
        if len(indices) == 1:
            return self.variables[indices[0]]
        columns = [column for i in indices for column in self.variables[i].columns]
        name = ", ".join(self.variables[i].name for i in indices)
        return Variable.of(name, columns, self.estimator.network.config.features.ties)

    def warnings(self) -> tuple[Notice, ...]:
        num_points = len(self.variables[0].missing)
        counts = np.full(len(self.pairs), num_points, dtype=np.int64)
        nothing = np.zeros(len(self.pairs))
        found = Screened(nothing, nothing, nothing, counts, np.array(self.novelty), np.array(self.saturated))
        for pair in self.pairs:
            found.note(pair)
        notices = screening_warnings(self.estimator, found)  # MI is not 0, of what is left
        return tuple(Notice(notice.replace(" and MI is 0", ""), notice.kind) for notice in notices)


def conditional_mutual_information(
    estimator: Estimator,
    sides: Mapping[str, tuple[Any, Discrete]],
    units: Units,
    nan_policy: NanPolicy,
    refuse_outside: bool = False,
) -> MIEstimate:
    """I(X;Y|Z) = I(X;Y,Z) - I(X;Z) = I(Y;X,Z) - I(Y;Z), >= 0; `sides` holds "x", "y", "given" and their categories.

    Quantiles are the means of those of the two differences, cut at 0. Cover & Thomas (2006), Eq. 2.60-2.62.
    """
    scale = nats_in(units)
    variables = read_sides(sides, nan_policy, estimator.network.config.features.ties)
    terms = _Terms(estimator, variables)
    x, y, z = (0,), (1,), (2,)
    constant = any(variables[i].side.values.shape[1] == 0 for i in (0, 1))
    differences = [
        difference(terms.levels, terms.quantiles(one, other + z), terms.quantiles(one, z))
        for one, other in ((x, y), (y, x))
    ]
    quantiles = np.zeros(len(terms.levels)) if constant else np.clip(np.mean(differences, axis=0), 0, None)
    num_points, dims = len(variables[0].missing), [len(variable.columns) for variable in variables]
    if refuse_outside:
        for first, second in terms.pairs:
            shape = num_points, first.side.values.shape[1], second.side.values.shape[1]
            if 0 not in shape and (outside := range_notices(estimator.checkpoint, *shape)):
                raise TrainedRangeError(f"{'; '.join(outside)}; pass on_limit='warn' to have an estimate all the same")
    known = [share for share in terms.novelty if not np.isnan(share)]
    return MIEstimate(
        levels=tuple(terms.levels),
        quantiles=tuple((scale * quantiles).tolist()),
        n=num_points,
        dim_x=dims[0],
        dim_y=dims[1],
        units=units,
        warnings=terms.warnings(),
        checkpoint=estimator.checkpoint.label,
        novelty=max(known, default=None),
        dim_given=dims[2],
    )


def total_correlation(
    estimator: Estimator, table: Any, columns: Columns, units: Units, nan_policy: NanPolicy, discrete: Discrete
) -> InformationEstimate:
    """Σ H(X_i) - H(X) (Watanabe 1960), by TC(X) = I(left half; right half) + TC(left half) + TC(right half)."""
    terms = _read(estimator, table, columns, nan_policy, discrete, 2)
    values = _total_correlation(terms, range(len(terms.variables)))
    return _result("total correlation", terms, values, units)


def o_information(
    estimator: Estimator, table: Any, columns: Columns, units: Units, nan_policy: NanPolicy, discrete: Discrete
) -> InformationEstimate:
    """Ω = TC - DTC (Rosas et al. 2019, Eq. 7) by TC + DTC = Σ I(X_i; X without X_i) (ibid., S-information)."""
    terms = _read(estimator, table, columns, nan_policy, discrete, 3)
    every = range(len(terms.variables))
    total = _total_correlation(terms, every)
    shared = sum(terms.quantiles((i,), [j for j in every if j != i]) for i in every)
    return _result("O-information", terms, difference(terms.levels, 2 * total, np.asarray(shared)), units)


def _total_correlation(terms: _Terms, indices: Sequence[int]) -> Array:
    if len(indices) == 1:
        return np.zeros(len(terms.levels))
    middle = len(indices) // 2
    halves = list(indices[:middle]), list(indices[middle:])
    return terms.quantiles(*halves) + _total_correlation(terms, halves[0]) + _total_correlation(terms, halves[1])


def _read(
    estimator: Estimator, table: Any, columns: Columns, nan_policy: NanPolicy, discrete: Discrete, least: int
) -> _Terms:
    check_nan_policy(nan_policy)  # the terms must be about the same points
    groups = read_groups(table, columns, discrete, "table", "discrete")
    if len(groups) < least:
        raise InputError(f"got {len(groups)} variables, expected at least {least}")
    variables = make_variables(list(groups.items()), nan_policy, estimator.network.config.features.ties)
    return _Terms(estimator, variables)


def _result(quantity: str, terms: _Terms, quantiles: Array, units: Units) -> InformationEstimate:
    return InformationEstimate(
        quantity=quantity,
        levels=tuple(terms.levels),
        quantiles=tuple((nats_in(units) * quantiles).tolist()),
        names=tuple(variable.name for variable in terms.variables),
        n=len(terms.variables[0].missing),
        units=units,
        warnings=terms.warnings(),
        checkpoint=terms.estimator.checkpoint.label,
    )
