"""Two training-free estimators on the same samples: KSG and bias-corrected Gaussian (canonical correlations)."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.special import digamma, ndtri
from scipy.stats import rankdata

from mist.gaussian import gaussian_bias

__all__ = ["BASELINES", "gaussian_cca", "ksg"]

Array = NDArray[np.float64]

KSG_NEIGHBOURS = 5
_FEW_DIMS = 4
_TREE_DIM, _MANY_QUERIES = 10, 1_000  # past so many coordinates a tree saves nothing: average over fewer query points


def _standardise(points: NDArray[np.floating]) -> Array:
    exact = np.asarray(points, dtype=np.float64)
    scale = exact.std(axis=0)
    return np.asarray((exact - exact.mean(axis=0)) / np.where(scale > 0, scale, 1.0))


def _rank_scores(points: NDArray[np.floating]) -> Array:
    return np.asarray(ndtri((rankdata(points, axis=0) - 0.5) / len(points)))


def ksg(x: NDArray[np.floating], y: NDArray[np.floating], num_neighbours: int = KSG_NEIGHBOURS) -> float:
    """Nearest-neighbour estimate in nats, x (N, Dx), y (N, Dy); NaN for N <= num_neighbours.

    Kraskov, Stögbauer & Grassberger (2004), Eq. 8 (algorithm 1), maximum norm; columns are standardised first. Past 10
    coordinates in all the mean is over 1,000 query points, evenly spread; their neighbours are sought among all points.
    """
    num_points = len(x)
    if num_points <= num_neighbours:
        return math.nan
    x, y = _standardise(x), _standardise(y)
    joint = np.concatenate([x, y], axis=1)
    query = np.arange(num_points)
    if joint.shape[1] > _TREE_DIM and num_points > _MANY_QUERIES:
        query = np.linspace(0, num_points - 1, _MANY_QUERIES).round().astype(np.int64)
    distance = cKDTree(joint).query(joint[query], k=[num_neighbours + 1], p=np.inf)[0][:, 0]
    radius = np.nextafter(distance, 0.0)  # strictly nearer than the k-th neighbour
    counts = [
        cKDTree(side).query_ball_point(side[query], radius, p=np.inf, return_length=True) for side in (x, y)
    ]  # the point itself is counted: n_x + 1
    inside = np.mean(sum(digamma(np.maximum(count, 1)) for count in counts))
    return float(digamma(num_neighbours) + digamma(num_points) - inside)


def gaussian_cca(x: NDArray[np.floating], y: NDArray[np.floating], scores: Literal["raw", "rank"] = "raw") -> float:
    """Gaussian MI of the sample covariance less its bias, in nats; may be negative. NaN unless N > Dx + Dy.

    With scores="rank" the columns are replaced by the normal scores of their ranks (the bias is then approximate).
    """
    (num_points, dim_x), dim_y = x.shape, y.shape[1]
    if num_points <= dim_x + dim_y:
        return math.nan
    joint = np.concatenate([x, y], axis=1)
    joint = _rank_scores(joint) if scores == "rank" else _standardise(joint)
    covariance = joint.T @ joint / num_points - np.outer(joint.mean(axis=0), joint.mean(axis=0))
    blocks = (covariance[:dim_x, :dim_x], covariance[dim_x:, dim_x:], covariance)
    signs, logs = zip(*(np.linalg.slogdet(block) for block in blocks), strict=True)
    if min(signs) <= 0:
        return math.nan
    return float(0.5 * (logs[0] + logs[1] - logs[2])) - gaussian_bias(num_points, dim_x, dim_y)


def _ksg_3(x: NDArray[np.floating], y: NDArray[np.floating]) -> float:
    """With three neighbours, in few dims only: beyond, it says no more than with five."""
    few = x.shape[1] + y.shape[1] <= _FEW_DIMS and len(x) > 3
    return max(0.0, ksg(x, y, 3)) if few else math.nan


# Negative estimates are set to 0, as MI is never negative.
BASELINES = {
    "ksg": lambda x, y: max(0.0, ksg(x, y)) if len(x) > KSG_NEIGHBOURS else math.nan,
    "ksg_3": _ksg_3,
    "cca": lambda x, y: float(np.maximum(0.0, gaussian_cca(x, y))),
    "rank_cca": lambda x, y: float(np.maximum(0.0, gaussian_cca(x, y, scores="rank"))),
}
