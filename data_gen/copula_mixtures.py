"""Mixtures of two bivariate copulas, or of one and independence, each rotated: asymmetric tails at opposite corners.

The density is exact (Joe 2014, chapter 4); the MI is its mean logarithm, which a pool holds: by a trapezoid
where it converges, since the labels of many weak pairs add up with their errors, by Monte Carlo where it does not.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from torch import Tensor

from data_gen.coordinate_pairs import LabelledPairs
from data_gen.copulas import COPULAS, reflect
from data_gen.monte_carlo import mean_log_ratio
from data_gen.pools import Pool
from data_gen.streams import Streams

__all__ = ["COPULA_MIXTURES", "CopulaMixture", "copula_log_density", "copula_mixture_pool"]

_CHUNK_SIZE, _NUM_CHUNKS = 128, 12
_GRIDS, _REACH, _ROWS = (161, 321, 641), 6.5, 8  # points and ends of a trapezoid in normal scores, pairs at once
_GRID_ERROR = 0.002  # from half as many points, of (mi + 0.05): else more points, at last Monte Carlo
_EDGE = 1e-15


def _clayton(u: Tensor, v: Tensor, theta: Tensor) -> Tensor:
    a, b = -theta * u.log(), -theta * v.log()  # log(e^a + e^b - 1) below, a and b >= 0
    top, low = torch.maximum(a, b), torch.minimum(a, b)
    grown = top + torch.log1p(torch.exp(low - top) - torch.exp(-top))
    return torch.log1p(theta) + (1 + 1 / theta) * (a + b) - (2 + 1 / theta) * grown


def _gumbel(u: Tensor, v: Tensor, theta: Tensor) -> Tensor:
    x, y = -u.log(), -v.log()
    log_s = torch.logaddexp(theta * x.log(), theta * y.log()) / theta
    s = log_s.exp()
    return x + y - s + (theta - 1) * (x.log() + y.log()) + (1 - 2 * theta) * log_s + torch.log(s + theta - 1)


def _frank(u: Tensor, v: Tensor, theta: Tensor) -> Tensor:
    first = -theta * u + torch.log(-torch.expm1(-theta * v))
    second = -theta * v + torch.log(-torch.expm1(-theta * (1 - v)))
    return theta.log() + torch.log(-torch.expm1(-theta)) - theta * (u + v) - 2 * torch.logaddexp(first, second)


def _joe(u: Tensor, v: Tensor, theta: Tensor) -> Tensor:
    log_u, log_v = torch.log1p(-u), torch.log1p(-v)
    a, b = theta * log_u, theta * log_v
    t = a.exp() - b.exp() * torch.expm1(a)  # a^θ + b^θ - (ab)^θ
    return (1 / theta - 2) * t.log() + (theta - 1) * (log_u + log_v) + torch.log(theta - 1 + t)


def _fgm(u: Tensor, v: Tensor, theta: Tensor) -> Tensor:
    return torch.log1p(theta * (1 - 2 * u) * (1 - 2 * v))


_LOG_DENSITIES: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "clayton": _clayton,
    "gumbel": _gumbel,
    "frank": _frank,
    "joe": _joe,
    "fgm": _fgm,
}
COPULA_MIXTURES = (
    *("_".join(names) for names in itertools.combinations_with_replacement(COPULAS, 2)),
    *(f"{name}_independent" for name in COPULAS),
)


def copula_log_density(name: str, u: Tensor, v: Tensor, theta: Tensor) -> Tensor:
    """log c(u, v) of a copula of `data_gen.copulas`, or 0 of "independent"; tensors that broadcast, u and v in (0, 1).

    Clayton, Gumbel, Frank and Joe: Joe (2014), §4.3-4.8; FGM: Nelsen (2006), Eq. 3.2.10.
    """
    if name == "independent":
        return torch.zeros_like(u)
    return _LOG_DENSITIES[name](u.clamp(_EDGE, 1 - _EDGE), v.clamp(_EDGE, 1 - _EDGE), theta.double())


class CopulaMixture(LabelledPairs):
    """Pairs of density p·c₁ + (1 - p)·c₂ with uniform margins; `names`: the copulas, the second may be "independent".

    `share` p (B, P), `theta` (B, P, 2), `reflect_x` and `reflect_y` (B, P, 2) booleans, one of each copula;
    `information` and `error` (B, P) are the pairs' MI in nats and its standard error.
    """

    def __init__(
        self,
        names: tuple[str, str],
        share: Tensor,
        theta: Tensor,
        reflect_x: Tensor,
        reflect_y: Tensor,
        dim_x: int,
        dim_y: int,
        information: Tensor,
        error: Tensor,
    ) -> None:
        super().__init__(dim_x, dim_y, information, error)
        self.names = names
        self.share, self.theta = share.double(), theta.double()
        self.reflect_x, self.reflect_y = reflect_x, reflect_y

    def draw_pairs(self, num_points: int, random: Streams) -> tuple[Tensor, Tensor]:
        """N points of every pair: (B, N, P) each."""
        return _draw(self.names, self.share, self.theta, self.reflect_x, self.reflect_y, num_points, random)


def _draw(
    names: tuple[str, str], share: Tensor, theta: Tensor, flip_x: Tensor, flip_y: Tensor, num: int, random: Streams
) -> tuple[Tensor, Tensor]:
    first = random.uniform(num, share.shape[-1]) < share.unsqueeze(-2)
    sides = []
    for i, name in enumerate(names):
        if name == "independent":
            u, v = random.uniform(2, num, share.shape[-1]).unbind(1)
        else:
            u, v = COPULAS[name].draw(theta[..., i], num, random)
        sides.append((reflect(u, flip_x[..., i]), reflect(v, flip_y[..., i])))
    return torch.where(first, sides[0][0], sides[1][0]), torch.where(first, sides[0][1], sides[1][1])


def _log_density(
    names: tuple[str, str], u: Tensor, v: Tensor, share: Tensor, theta: Tensor, flip_x: Tensor, flip_y: Tensor
) -> Tensor:
    """log density of the mixture at u, v (R, M); parameters (R,) and (R, 2)."""
    parts = []
    for i, (name, weight) in enumerate(zip(names, (share, 1 - share), strict=True)):
        a = torch.where(flip_x[:, i : i + 1], 1 - u, u)
        b = torch.where(flip_y[:, i : i + 1], 1 - v, v)
        parts.append(weight.log().unsqueeze(-1) + copula_log_density(name, a, b, theta[:, i : i + 1]))
    return torch.logaddexp(*parts)


def _make(names: tuple[str, str], random: Streams) -> dict[str, Tensor]:
    """Strengths uniform on the scale on which a copula's MI is smooth; any rotation of either."""
    thetas = []
    for name in names:
        level = random.uniform(1)
        if name == "independent":
            thetas.append(torch.zeros_like(level))
            continue
        copula = COPULAS[name]
        low, high = copula.coordinate(np.array([copula.low, copula.high]))
        theta = torch.from_numpy(copula.parameter((low + (high - low) * level).numpy()))
        thetas.append(theta.clamp(copula.low, copula.high))
    theta = torch.cat(thetas, dim=-1)
    share = random.uniform(1, low=0.05, high=0.95).squeeze(-1)
    flip_x, flip_y = random.bernoulli(0.5, 2), random.bernoulli(0.5, 2)

    information = torch.zeros(len(random), dtype=torch.float64)
    error = torch.full_like(information, torch.inf)
    for num_nodes in _GRIDS:
        todo = (error > _GRID_ERROR * (information + 0.05)).nonzero().squeeze(-1)
        for rows in todo.split(_ROWS):
            few, many = (
                _information_on_grid(names, share[rows], theta[rows], flip_x[rows], flip_y[rows], nodes)
                for nodes in (num_nodes // 2 + 1, num_nodes)
            )
            information[rows], error[rows] = many, (many - few).abs()
    hard = (error > _GRID_ERROR * (information + 0.05)).nonzero().squeeze(-1)

    def log_ratio(some: Tensor, num_points: int) -> Tensor:
        rows = hard[some]
        p, t, fx, fy = share[rows], theta[rows], flip_x[rows], flip_y[rows]
        u, v = _draw(
            names,
            p.unsqueeze(-1),
            t.unsqueeze(-2),
            fx.unsqueeze(-2),
            fy.unsqueeze(-2),
            num_points,
            random.select(rows),
        )
        return _log_density(names, u.squeeze(-1), v.squeeze(-1), p, t, fx, fy)

    information[hard], error[hard] = mean_log_ratio(log_ratio, len(hard), relative=0.015)
    return {
        "share": share,
        "theta": theta,
        "reflect_x": flip_x,
        "reflect_y": flip_y,
        "mi": information,
        "standard_error": error,
    }


def _information_on_grid(
    names: tuple[str, str], share: Tensor, theta: Tensor, flip_x: Tensor, flip_y: Tensor, num_nodes: int
) -> Tensor:
    """E log c by a trapezoid in the normal scores of u and v; parameters (R,) and (R, 2) -> (R,)."""
    z = torch.linspace(-_REACH, _REACH, num_nodes, dtype=torch.float64)
    weight = torch.exp(-0.5 * z**2)
    q = torch.special.ndtr(z)
    u, v = (side.flatten().expand(len(share), -1) for side in torch.meshgrid(q, q, indexing="ij"))
    log_density = _log_density(names, u, v, share, theta, flip_x, flip_y)
    mass = log_density.exp() * torch.outer(weight, weight).flatten()
    return ((mass * log_density).sum(-1) / mass.sum(-1)).clamp(min=0)


@cache
def copula_mixture_pool(variant: str) -> Pool:
    """The pool of one pair of copulas, by a name of COPULA_MIXTURES."""
    first, second = variant.split("_")
    return Pool(
        f"copula_mixture-{variant}",
        _CHUNK_SIZE,
        _NUM_CHUNKS,
        lambda random: _make((first, second), random),
        ("data_gen.copula_mixtures", "data_gen.copulas"),
    )
