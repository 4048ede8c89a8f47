"""The last step of a run: its predictions are recalibrated on fresh data sets, the rest of the network held fixed.

First the spread, one linear read-out of the head's trunk, is refitted by the training loss: it sees what kind of data
it has before it. Where several members are pooled this is done for each, and what they count for is fitted by the loss
of the pool. Then a map of levels that depends on n, dims and the predicted median (`mist.calibration`) is fitted
on the same two thirds of the shapes, where independent data sets count half, and made conformal on the dependent ones
of the last third. It leaves medians where it finds them: what would move medians for the better on average over n
and dims moves those of kinds that the law rarely has for the worse. All are drawn evenly over bins of n and dims
(`mist.evaluation.even`): intervals must hold where a law rarely goes, too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mist.calibration import DEGREE, NUM_QUANTITIES, Calibration, context, interpolate, invert, num_terms
from mist.network import Member, MISTNetwork, joined_trunks, pool_parts
from mist.novelty import Novelty
from mist.pooling import pool_quantiles
from mist.quantiles import OFFSET, expand, interpolate_levels, precision_weight, quantile_loss
from mist.training.sample import CalibrationSample

__all__ = [
    "Recalibration",
    "check_num_datasets",
    "conformal",
    "coverage_of",
    "fit_calibration",
    "recalibrate",
]

_STEPS, _RATE = 300, 3e-3
_NOMINAL = (0.5, 0.8, 0.9, 0.95)
_PENALTY = 1e-4
_TRUST_PENALTY = 1e-2  # members count alike unless the law speaks against it: it is not all that there is
_CONFORMAL = 0.9
_INDEPENDENT = 0.5  # of a data set, what one of 0 nats counts in the fit of the map
_LEAST_SHAPES, _LEAST_DATASETS = 30, 960
_MANY_SHAPES = 1500  # from which on a map of higher degree is better than a quadratic one where shapes are few
_SEED = 271_828  # of the places of atoms


@dataclass(frozen=True)
class Recalibration:
    """Loss on the fitted part before and after spread and trust were refitted; coverage of central intervals on the
    dependent data sets of the rest."""

    loss: tuple[float, float]
    coverage: dict[float, tuple[float, float, float]]  # level: as trained, with the spread refitted, with the map
    num_datasets: int  # of the rest

    def __str__(self) -> str:
        rows = [f"loss {self.loss[0]:.5f} -> {self.loss[1]:.5f}"]
        for level, found in self.coverage.items():
            rows.append(f"{level:.0%} intervals cover " + " -> ".join(f"{100 * value:.1f} %" for value in found))
        kept = f"{self.num_datasets:,} dependent data sets kept aside"
        return (
            ", ".join(rows) + f" of {kept} (as trained, spread refitted, mapped: then {_CONFORMAL:.0%} by construction)"
        )


def check_num_datasets(num_datasets: int, trunk_width: int) -> None:
    """ValueError for fewer data sets of MI above 0 than four times the read-out's weights, or than 960."""
    least = max(4 * trunk_width, _LEAST_DATASETS)
    if num_datasets < least:
        raise ValueError(
            f"got {num_datasets} dependent data sets to calibrate {trunk_width + 1} weights, expected at least "
            f"{least}, or 0 to leave predictions as they are"
        )


def recalibrate(
    network: MISTNetwork,
    sample: CalibrationSample,
    *,
    root_weight: float = 0.5,
    precision_exponent: float = 0.0,
) -> Recalibration:
    """Refit the spread's read-out and the trust in members in place, by the loss of training, and set
    `network.calibration` and `.novelty`, on what the network makes of fresh data sets (`mist.training.sample`). The
    map moves no median; it is quadratic in n and dims and has no tails for less than 1,500 shapes to fit it on.

    The 90 % interval is conformal for dependent data sets of their law: 0 nats, held by every interval that begins
    there, must not pay for narrower ones elsewhere. ValueError as `check_num_datasets` has it.
    """
    usable = (sample.weight > 0) & (sample.mi > 0)
    check_num_datasets(int(usable.sum()), network.config.trunk_width)
    if (num_shapes := len(sample.shape.unique())) < _LEAST_SHAPES:
        raise ValueError(
            f"got {num_shapes} batches to calibrate on, expected at least {_LEAST_SHAPES}, of a shape each"
        )
    relative = torch.cat([part.relative for part in sample.parts], dim=-1).mean(-1)
    precision = precision_weight(relative, precision_exponent)
    sample = replace(sample, weight=sample.weight * precision)
    kept_aside = sample.shape % 3 == 2  # whole shapes
    fitted, rest = sample.select(~kept_aside), sample.select(kept_aside & usable)
    as_trained, before = (_pooled(network, part) for part in (rest, fitted))
    for i, member in enumerate(network.members):
        assert isinstance(member, Member)
        change = _refit_spread(member, fitted, i, network.levels.cpu(), root_weight)
        fitted, rest = (_respread(part, i, change) for part in (fitted, rest))
    _refit_trust(network, fitted, root_weight)
    levels = network.levels.cpu()
    compressed, respread = (_pooled(network, part) for part in (fitted, rest))
    loss = tuple(
        float(quantile_loss(values, fitted.mi.float(), levels, fitted.weight, root_weight))
        for values in (before, compressed)
    )
    keep = fitted.weight > 0
    degree = DEGREE if len(fitted.shape.unique()) >= _MANY_SHAPES else 2
    calibration = fit_calibration(
        compressed[keep],
        fitted.mi[keep],
        levels,
        fitted.counts[:, keep],
        degree=degree,
        independent=_INDEPENDENT,
        moves_median=False,
        tails=degree > 2,
    )
    calibration = conformal(calibration, respread, rest.mi, levels, rest.counts)
    network.calibration = calibration
    unseen = kept_aside & (sample.weight > 0)
    network.novelty = Novelty.fit(joined_trunks(fitted.parts)[keep], joined_trunks(sample.select(unseen).parts)).to(
        network.levels.device
    )
    mapped = calibration.apply(respread, levels, *rest.counts)
    coverage = {
        level: tuple(coverage_of(values, rest.mi, levels, level) for values in (as_trained, respread, mapped))
        for level in _NOMINAL
    }
    return Recalibration(loss, coverage, len(rest.mi))  # type: ignore[arg-type]


def _pooled(network: MISTNetwork, sample: CalibrationSample) -> Tensor:
    """Quantiles on the compressed scale, (R, Q)."""
    return pool_parts(sample.parts, network.levels.cpu(), network.trust.cpu(), network.config.pool_power)


def _refit_spread(member: Member, sample: CalibrationSample, which: int, levels: Tensor, root_weight: float) -> Tensor:
    """Move the read-out of a member's spread to the least loss of its own quantiles; what it moved by, (W + 1,)."""
    readout, parts, mi = member.head.remainder, sample.parts[which], sample.mi.float()
    change = torch.zeros(parts.trunk.shape[-1], requires_grad=True)
    shift = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.Adam([{"params": [change], "lr": 0.1 * _RATE}, {"params": [shift], "lr": _RATE}])
    for step in range(_STEPS):
        for group, rate in zip(optimizer.param_groups, (0.1 * _RATE, _RATE), strict=True):
            group["lr"] = rate * (1 - step / _STEPS)
        optimizer.zero_grad()
        moved = parts._replace(scale=parts.scale + (parts.trunk @ change + shift).unsqueeze(-1))
        quantile_loss(moved.quantiles(), mi, levels, sample.weight, root_weight).backward()
        optimizer.step()
    with torch.no_grad():
        readout.weight[0] += change.to(readout.weight)
        readout.bias[:1] += shift.to(readout.bias)
    return torch.cat([change, shift]).detach()


def _respread(sample: CalibrationSample, which: int, change: Tensor) -> CalibrationSample:
    """What a sample is once the read-out of a member's spread has moved."""
    parts = list(sample.parts)
    moved = parts[which].scale + (parts[which].trunk @ change[:-1] + change[-1]).unsqueeze(-1)
    parts[which] = parts[which]._replace(scale=moved)
    return replace(sample, parts=tuple(parts))


def _refit_trust(network: MISTNetwork, sample: CalibrationSample, root_weight: float) -> None:
    """Let the members count for what makes the least loss of their pool."""
    if len(network.members) == 1:
        return
    members, levels = [part.quantiles().double() for part in sample.parts], network.levels.cpu().double()
    floors = torch.cat([part.relative for part in sample.parts], dim=-1).amax(-1).double()
    trust = network.trust.detach().cpu().double().requires_grad_()
    optimizer = torch.optim.LBFGS([trust], max_iter=50, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        pooled = pool_quantiles(members, levels, trust, floors, network.config.pool_power)
        value = quantile_loss(pooled, sample.mi, levels, sample.weight, root_weight)
        value = value + _TRUST_PENALTY * trust.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    network.trust.copy_(trust.detach() - trust.detach().mean())


def _scores(compressed: Tensor, mi: Tensor, levels: Tensor) -> tuple[Tensor, Tensor]:
    """Normal scores z (Q,) of the levels, and of each truth in its predicted distribution (R,).

    Truths of 0 nats, an atom, are put at random places below their score as in a randomised PIT: at probability U·P
    for U uniform and P what the prediction gives to 0.
    """
    z = torch.special.ndtri(levels.double())
    truth = invert(z, compressed.double(), (mi.double() + OFFSET).log())
    uniform = torch.rand(len(mi), dtype=torch.float64, generator=torch.Generator().manual_seed(_SEED))
    below = torch.special.ndtri(uniform * torch.special.ndtr(truth)).clamp(min=-8)
    return z, torch.where(mi <= 0, below, truth)


def fit_calibration(
    compressed: Tensor,
    mi: Tensor,
    levels: Tensor,
    counts: Tensor,
    *,
    degree: int = 2,
    independent: float = 1.0,
    moves_median: bool = True,
    tails: bool = False,
) -> Calibration:
    """The map for predictions (R, Q) on the compressed scale whose truth (R,) is known; counts (3, R) n, dim_x, dim_y;
    its degree is that of its polynomials in n and dims.

    Shift, spreads and tails minimise the pinball loss of all levels on the scale of normal scores; the warp then is the
    quantiles of what remains. Where data do not tell 0 nats from little, intervals that are even over both hold too
    many of the dependent data sets, and such as are fitted on these alone too few of the others: `independent` is what
    one of 0 nats counts, of a data set. Without `moves_median` there is no shift and the warp keeps 0; without
    `tails`, which take many data sets, their shape is the warp's for all.
    """
    z, truth = _scores(compressed, mi, levels)
    median = interpolate(z, compressed.double(), torch.zeros(len(mi), 1, dtype=torch.float64)).squeeze(-1)
    quantities = context(median, *counts)
    weight = torch.where(mi > 0, 1.0, independent).double()
    weight = weight / weight.sum()
    low, high = (quantities.quantile(q, dim=0) for q in (0.01, 0.99))
    parameters = torch.zeros(5, num_terms(degree), dtype=torch.float64, requires_grad=True)
    used = torch.tensor([float(moves_median), 1, 1, float(tails), float(tails)], dtype=torch.float64).unsqueeze(-1)
    nothing = (0.0,) * num_terms(degree)
    plain = Calibration(nothing, nothing, nothing, _ranges(low, high), tuple(z.tolist()))
    optimizer = torch.optim.LBFGS([parameters], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        wanted = plain.position(z, quantities, parameters * used)
        error = truth.unsqueeze(-1) - wanted
        pinball = torch.maximum(levels * error, (levels - 1) * error).mean(-1)
        value = (weight * pinball).sum() + _PENALTY * parameters.square().sum()
        optimizer.zero_grad()
        value.backward()
        return value

    optimizer.step(loss)
    shift, spread_low, spread_high, tail_low, tail_high = (tuple(row.tolist()) for row in (parameters * used).detach())
    fitted = replace(
        plain,
        shift=shift,
        log_spread_low=spread_low,
        log_spread_high=spread_high,
        log_tail_low=tail_low if tails else (),
        log_tail_high=tail_high if tails else (),
    )
    left, order = fitted.unspread(truth, quantities).sort()
    share = weight[order].cumsum(0)  # the last is 1
    warp = interpolate(share - weight[order] / 2, left.unsqueeze(0), levels.double().unsqueeze(0)).squeeze(0)
    if not moves_median:
        warp = warp - interpolate(z, warp.unsqueeze(0), z.new_zeros(1, 1)).squeeze()
    increasing = warp.cummax(0).values + 1e-6 * torch.arange(len(warp))
    return replace(fitted, warp=tuple(increasing.tolist()))


def _ranges(low: Tensor, high: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    assert len(low) == len(high) == NUM_QUANTITIES
    return tuple(low.tolist()), tuple(high.tolist())


def conformal(calibration: Calibration, compressed: Tensor, mi: Tensor, levels: Tensor, counts: Tensor) -> Calibration:
    """The same map stretched so that the 90 % interval covers these data sets with the finite-sample correction.

    0 nats count at their random places, so that a lower end cut at 0 does not pay for narrower intervals elsewhere;
    the interval as it is, cut, covers no less. (Where an end would lie past the network's grid it covers less.)
    """
    z, truth = _scores(compressed, mi, levels)
    median = interpolate(z, compressed.double(), torch.zeros(len(mi), 1, dtype=torch.float64)).squeeze(-1)
    left = calibration.unspread(truth, context(median, *counts))
    warp = torch.tensor(calibration.warp, dtype=torch.float64).expand(len(left), -1)
    score = invert(z, warp, left).abs()
    rank = min(len(score), math.ceil((len(score) + 1) * _CONFORMAL))
    reached = float(score.sort().values[rank - 1])
    return replace(
        calibration, stretch=max(0.1, reached / float(torch.special.ndtri(torch.tensor(0.5 + _CONFORMAL / 2))))
    )


def coverage_of(compressed: Tensor, mi: Tensor, levels: Tensor, level: float) -> float:
    """Share of the truths inside the central interval, NaN where the grid does not reach its ends."""
    if 0.5 + level / 2 > float(levels[-1]) + 1e-9:
        return math.nan
    quantiles = expand(compressed.double())
    low, high = interpolate_levels(levels.double(), quantiles, (0.5 - level / 2, 0.5 + level / 2)).unbind(-1)
    return float(((low <= mi) & (mi <= high)).double().mean())
