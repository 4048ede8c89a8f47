"""Mutual information as a loss: a differentiable function of the points that stands for the estimate.

The estimate is a function of ranks, whose gradient is zero. Here ranks are smooth: every column is mapped to its scores
by a monotone cubic spline fixed at the values given (Fritsch & Carlson 1980), and the rank of a point there is the sum
over all points of a normal distribution function of their distance, of standard deviation 0.4n^(-1/3); the scores of
these ranks are brought to mean 0 and variance 1. The order of the points, masks, who is whose neighbour and the
canonical directions are held constant; all else, from the covariances to the network, is differentiated: by Cholesky
factors and eigenvalues, never by singular vectors. What counts moves as smooth counts do: Kendall's correlation, and
with it the t-copula's degrees of freedom (`mist.relations.kendall_change`), and KSG
(`mist.nearest_neighbours.ksg_change`). By how much the features of smooth ranks are off at the points given is a
constant, too, that is taken away: there the value is the estimate's. (Taken from the scores instead, it would let
marginals move, to which the network is no guide.) `python -m mist.evaluation.gradients` says where its gradient points.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from mist.columns import MIN_POINTS
from mist.errors import InputError, LengthMismatchError, NonFiniteError, NonNumericError, ShapeError, TooFewPointsError
from mist.features import Features, features_of_ranks, features_of_scores
from mist.quantiles import OFFSET
from mist.scores import double_ranks, gaussian_scores

if TYPE_CHECKING:
    from mist.inference import Estimator

__all__ = ["MOST_POINTS", "Surrogate", "surrogate_mutual_information"]

MOST_POINTS = 5_000  # every point is compared with every other
_KNOTS = 33
_BANDWIDTH = 0.4  # of the smooth ranks, over the cube root of n, in scores


def surrogate_mutual_information(estimator: Estimator, x: Tensor, y: Tensor) -> Tensor:
    """The mean of the predicted distribution, nats, as a differentiable scalar: `Estimator.mutual_information`."""
    return Surrogate(estimator, x, y)(x, y)


class Surrogate:
    """The function whose gradient `Estimator.mutual_information` has: made at some points, to be asked near them."""

    def __init__(self, estimator: Estimator, x: Tensor, y: Tensor) -> None:
        self.estimator = estimator
        checkpoint = estimator.checkpoint
        if checkpoint.reduction is not None or checkpoint.unwarping is not None:
            raise InputError(
                f"checkpoint {checkpoint.label} reads sides through the maps of its modality, which have no gradient "
                "here: expected one that reads columns as they are, such as its parent"
            )
        sides = _checked(x, y)
        values = [side.detach().to(estimator.device).double() for side in sides]
        self.varying = [side.amax(0) > side.amin(0) for side in values]
        self.dim_x = int(self.varying[0].sum())
        self.is_constant = 0 in (self.dim_x, int(self.varying[1].sum()))
        if not self.is_constant:
            points = self._columns(*values)
            ranks = double_ranks(points)
            scores = gaussian_scores(ranks)
            self.ranks = ranks.unsqueeze(0)
            self.splines = [_Spline(column, score) for column, score in zip(points, scores)]
            self.fixed = self._smooth_scores(points).unsqueeze(0)
            self.start = self._features(self.fixed.clone())  # as moved by nothing
            self.at_ranks = features_of_ranks(self.ranks, self.dim_x, estimator.network.config.features)

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """Nats, a scalar."""
        x, y = (side.to(self.estimator.device).double() for side in _checked(x, y))
        if self.is_constant:  # it carries no information, whatever it is
            return 0 * (x.sum() + y.sum())
        features = self._features(self._smooth_scores(self._columns(x, y)).unsqueeze(0))
        moved = _plus_difference(self.at_ranks, features, self.start)
        return (self.estimator.network.read_features(moved)[0].exp() - OFFSET).clamp(min=0).mean()

    def _features(self, scores: Tensor) -> Features:
        """Of smooth scores (1, D, N), with constants from those that it was made with."""
        return features_of_scores(self.ranks, scores, self.fixed, self.dim_x, self.estimator.network.config.features)

    def _smooth_scores(self, points: Tensor) -> Tensor:
        """(D, N) -> (D, N), differentiable."""
        return torch.stack([_smooth(spline(column)) for spline, column in zip(self.splines, points)])

    def _columns(self, x: Tensor, y: Tensor) -> Tensor:
        """Columns that vary, (D, N)."""
        return torch.cat([x[:, self.varying[0]], y[:, self.varying[1]]], dim=1).T.contiguous()


def _plus_difference(features: Features, end: Features, start: Features) -> Features:
    """Features moved by the difference of others, number by number where they are finite numbers."""
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(Features):
        value, last, first = (getattr(which, field.name) for which in (features, end, start))
        if isinstance(value, Tensor) and value.is_floating_point():
            changes[field.name] = torch.where(value.isfinite(), value + (last - first), value)
    return dataclasses.replace(features, **changes)


def _smooth(z: Tensor) -> Tensor:
    """Scores of smooth ranks, (N,) -> (N,)."""
    bandwidth = _BANDWIDTH * len(z) ** (-1 / 3)
    ranks = torch.special.ndtr((z.unsqueeze(1) - z.unsqueeze(0)) / bandwidth).sum(1)  # ½ for the point itself
    smooth = torch.special.ndtri(ranks / len(z))
    smooth = smooth - smooth.mean()
    return smooth / smooth.square().mean().sqrt()  # as the scores of ranks are


class _Spline:
    """A monotone map of a column near its scores: cubic through quantiles of both, straight lines beyond."""

    def __init__(self, values: Tensor, scores: Tensor) -> None:
        from scipy.interpolate import PchipInterpolator  # when it is needed

        known, wanted = values.cpu().numpy(), scores.cpu().numpy()
        order = np.argsort(known, kind="stable")
        places, where = np.unique(known[order], return_index=True)
        chosen = np.unique(np.linspace(0, len(places) - 1, min(_KNOTS, len(places))).round().astype(int))
        knots, heights = places[chosen], wanted[order][where[chosen]]
        spline = PchipInterpolator(knots, heights)
        self.knots, self.heights, self.slopes, self.coefficients = (
            torch.from_numpy(np.ascontiguousarray(array)).to(values)
            for array in (knots, heights, spline.derivative()(knots), spline.c)
        )

    def __call__(self, values: Tensor) -> Tensor:
        """(N,) -> (N,)."""
        piece = (torch.searchsorted(self.knots, values.detach(), right=True) - 1).clamp(0, len(self.knots) - 2)
        step = values - self.knots[piece]
        cubic = self.coefficients[:, piece]  # (4, N), highest power first
        inside = ((cubic[0] * step + cubic[1]) * step + cubic[2]) * step + cubic[3]
        below, above = (self.heights[i] + self.slopes[i] * (values - self.knots[i]) for i in (0, -1))
        return torch.where(values < self.knots[0], below, torch.where(values > self.knots[-1], above, inside))


def _checked(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Both sides as (n, d), or an error."""
    x, y = _side(x, "x"), _side(y, "y")
    if len(x) != len(y):
        raise LengthMismatchError(f"x has {len(x)} points and y has {len(y)}: expected pairs, row by row")
    if len(x) < MIN_POINTS:
        raise TooFewPointsError(f"got {len(x)} points, expected at least {MIN_POINTS}")
    if len(x) > MOST_POINTS:
        raise InputError(f"got {len(x)} points, expected at most {MOST_POINTS:,}: pass a batch of them")
    return x, y


def _side(side: Tensor, name: str) -> Tensor:
    if not isinstance(side, Tensor):
        raise InputError(f"{name} is a {type(side).__name__}: expected a torch tensor; estimate() takes all else")
    if side.ndim not in (1, 2) or 0 in side.shape:
        raise ShapeError(f"{name} has shape {tuple(side.shape)}: expected (n,) or (n, d)")
    if side.is_complex():
        raise NonNumericError(f"{name} has dtype {side.dtype}: expected real numbers, which have an order")
    if not torch.isfinite(side.detach()).all():
        raise NonFiniteError(f"{name} holds NaN or infinite values: expected finite ones; has training diverged?")
    return side.unsqueeze(1) if side.ndim == 1 else side
