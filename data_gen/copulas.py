"""Bivariate copulas, one per pair of coordinates: Archimedean (Clayton, Gumbel, Frank, Joe) and FGM.

MI is minus the copula's entropy. For an Archimedean copula with generator ψ, the pair (ψ⁻¹(U), ψ⁻¹(V)) has density
ψ''(x + y), so it is R·(S, 1 - S) with S uniform and R of density r·ψ''(r) (McNeil & Nešlehová 2009), and
log c(U, V) = log ψ''(R) - log|ψ'(RS)| - log|ψ'(R(1 - S))|: one expectation over two independent uniforms.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from data_gen.coordinate_pairs import CoordinatePairs
from data_gen.streams import Streams
from data_gen.tables import Array, Table

__all__ = [
    "COPULAS",
    "BivariateCopulas",
    "Copula",
    "clayton_inverse",
    "copula_mutual_information",
    "fgm_inverse",
    "frank_inverse",
    "reflect",
]

_DEGREE = 64


_Draw = Callable[[Tensor, int, Streams], tuple[Tensor, Tensor]]  # θ (B, K), N -> u, v (B, N, K)


@dataclass(frozen=True)
class Copula:
    """A family with one parameter θ; `coordinate` maps θ to the scale on which its MI is smooth."""

    low: float
    high: float
    coordinate: Callable[[Array], Array]
    parameter: Callable[[Array], Array]  # the inverse of `coordinate`
    information: Callable[[float], float]  # θ -> nats, by quadrature
    draw: _Draw


# Archimedean generators: log ψ(r), log|ψ'(r)| and log ψ''(r) by g = log r and θ; ψ of the last two falls like e^{-r}.
_Logs = tuple[Array, Array, Array]


def _clayton_logs(g: Array, theta: float) -> _Logs:
    grown = np.logaddexp(0, g)
    a = 1 / theta
    return -a * grown, np.log(a) - (a + 1) * grown, np.log(a) + np.log(a + 1) - (a + 2) * grown


def _gumbel_logs(g: Array, theta: float) -> _Logs:
    a = 1 / theta
    power = np.exp(a * g)
    return -power, np.log(a) + (a - 1) * g - power, np.log(a) + (a - 2) * g - power + np.log((1 - a) + a * power)


def _frank_logs(g: Array, theta: float) -> _Logs:
    r = np.exp(g)
    scale = -np.expm1(-theta)
    rest = -np.log(np.exp(-theta) + scale * -np.expm1(-r))  # log 1/(1 - scale·e^{-r})
    first = np.log(scale) - r - np.log(theta) + rest
    with np.errstate(divide="ignore"):
        return np.log(rest / theta), first, first + rest


def _joe_logs(g: Array, theta: float) -> _Logs:
    r = np.exp(g)
    a = 1 / theta
    with np.errstate(divide="ignore"):
        lower = np.where(g < -30, g, np.log(-np.expm1(-r)))  # log(1 - e^{-r})
        first = np.log(a) - r + (a - 1) * lower
        return np.log(-np.expm1(a * lower)), first, first - lower + np.log1p(-a * np.exp(-r))


def _archimedean_information(logs: Callable[[Array, float], _Logs], theta: float, largest: float = 5.0) -> float:
    """E log c(U, V): trapezoids over the logits of P(R > r) and of S, R by bisection on log r below `largest`."""
    logit = np.arange(-32, 32.01, 0.25)
    level = 1 / (1 + np.exp(-logit))
    weight = level * (1 - level)
    low, high = np.full_like(level, -80.0 * max(theta, 1)), np.full_like(level, largest)
    for _ in range(80):
        middle = (low + high) / 2
        psi, first, _ = logs(middle, theta)
        survival = np.exp(psi) + np.exp(middle + first)  # ψ(r) - r·ψ'(r)
        low, high = np.where(survival > level, middle, low), np.where(survival > level, high, middle)
    g = (low + high) / 2
    log_share = -np.logaddexp(0, -logit)  # log S
    joint = logs(g, theta)[2]
    margin = logs(g[:, None] + log_share, theta)[1] @ weight / weight.sum()
    return float(weight @ (joint - 2 * margin) / weight.sum())


def clayton_inverse(w: Tensor, u: Tensor, theta: Tensor) -> Tensor:
    """v with P(V <= v | U = u) = w (Nelsen 2006, §4.3), in logarithms."""
    grown = -theta * u.log() + torch.expm1(-theta / (1 + theta) * w.log()).log()  # log of u^{-θ}(w^{-θ/(1+θ)} - 1)
    return (-torch.nn.functional.softplus(grown) / theta).exp()


def frank_inverse(w: Tensor, u: Tensor, theta: Tensor) -> Tensor:
    """v with P(V <= v | U = u) = w (Genest 1987), in logarithms."""
    log_rest = torch.log1p(-w) - theta * u  # of (1 - w)·e^{-θu}
    v = (torch.logaddexp(w.log(), log_rest) - torch.logaddexp(log_rest, w.log() - theta)) / theta
    return v.clamp(0, 1)


def fgm_inverse(w: Tensor, u: Tensor, theta: Tensor) -> Tensor:
    """v with P(V <= v | U = u) = w (Johnson 1987, §10.1)."""
    a = theta * (1 - 2 * u)
    return 2 * w / (1 + a + ((1 + a) ** 2 - 4 * a * w).sqrt())


def _draw_by_inverse(inverse: Callable[[Tensor, Tensor, Tensor], Tensor]) -> _Draw:
    def draw(theta: Tensor, num_points: int, random: Streams) -> tuple[Tensor, Tensor]:
        u, w = random.uniform(2, num_points, theta.shape[-1]).clamp(min=1e-16).unbind(1)
        return u, inverse(w, u, theta.unsqueeze(-2))

    return draw


def _draw_gumbel(theta: Tensor, num_points: int, random: Streams) -> tuple[Tensor, Tensor]:
    """-log C is Exp(1) or, with probability 1/θ, Gamma(2); its share S^{1/θ} falls to U (from the law of R)."""
    draws = random.uniform(4, num_points, theta.shape[-1]).clamp(min=1e-16)
    a = (1 / theta).unsqueeze(-2)
    depth = -draws[:, 0].log() - torch.where(draws[:, 1] < a, draws[:, 2].log(), 0.0)
    share = draws[:, 3]
    return (-depth * share**a).exp(), (-depth * (1 - share) ** a).exp()


def _draw_joe(theta: Tensor, num_points: int, random: Streams) -> tuple[Tensor, Tensor]:
    """Marshall-Olkin with a Sibuya frailty (Hofert 2011, Proposition 3.2): U = 1 - (1 - e^{-E/V})^{1/θ}."""
    draws = random.uniform(3, num_points, theta.shape[-1]).clamp(min=1e-16)
    a = (1 / theta).unsqueeze(-2)
    tail = draws[:, 0]  # P(V > n) = 1/(n·B(n, 1 - a)) at integers
    approximate = (tail.log() + torch.special.gammaln(1 - a)).neg().div(a).exp()
    floor = approximate.floor().clamp(min=1)
    log_survival = (
        torch.special.gammaln(floor + 1 - a) - torch.special.gammaln(1 - a) - torch.special.gammaln(floor + 1)
    )
    exact = torch.where(tail.log() < log_survival, floor + 1, floor)
    frailty = torch.where(tail >= 1 - a, 1.0, torch.where(approximate > 1e6, approximate, exact))
    pair = [-torch.expm1(a * (-torch.expm1(draws[:, i].log() / frailty)).log()) for i in (1, 2)]
    return pair[0].clamp(0, 1), pair[1].clamp(0, 1)


def _fgm_information(theta: float) -> float:
    """Gauss-Legendre in both coordinates of c·log c, c = 1 + θ(1 - 2u)(1 - 2v)."""
    nodes, weights = np.polynomial.legendre.leggauss(60)
    density = 1 + theta * np.outer(nodes, nodes)
    return float(weights @ (density * np.log(density)) @ weights / 4)


def _identity(values: Array) -> Array:
    return values


def _log_excess(theta: Array) -> Array:
    return np.log(theta - 1)


def _one_plus_exp(values: Array) -> Array:
    return 1 + np.exp(values)


COPULAS = {
    "clayton": Copula(
        0.02,
        30.0,
        np.log,
        np.exp,
        lambda t: _archimedean_information(_clayton_logs, t, 40 * max(t, 1)),
        _draw_by_inverse(clayton_inverse),
    ),
    "gumbel": Copula(
        1.01,
        16.0,
        _log_excess,
        _one_plus_exp,
        lambda t: _archimedean_information(_gumbel_logs, t, 40 * t),
        _draw_gumbel,
    ),
    "frank": Copula(
        0.1, 60.0, np.log, np.exp, lambda t: _archimedean_information(_frank_logs, t), _draw_by_inverse(frank_inverse)
    ),
    "joe": Copula(1.01, 30.0, _log_excess, _one_plus_exp, lambda t: _archimedean_information(_joe_logs, t), _draw_joe),
    "fgm": Copula(-1.0, 1.0, _identity, _identity, _fgm_information, _draw_by_inverse(fgm_inverse)),
}


@cache
def _table(name: str) -> Table:
    copula = COPULAS[name]
    low, high = copula.coordinate(np.array([copula.low, copula.high]))
    return Table(
        lambda values: np.array([copula.information(float(t)) for t in copula.parameter(values)]), low, high, _DEGREE
    )


def copula_mutual_information(name: str, theta: Tensor) -> Tensor:
    """MI in nats of the named copula, interpolated (error below 1e-6); ValueError outside its range."""
    copula = COPULAS[name]
    values = theta.double()
    slack = 1e-6 * abs(copula.high)  # the ends may come in single precision
    if values.numel() and not (
        copula.low - slack <= float(values.min()) and float(values.max()) <= copula.high + slack
    ):
        raise ValueError(
            f"got θ from {float(values.min()):.6g} to {float(values.max()):.6g} of a {name} copula, expected them on "
            f"[{copula.low}, {copula.high}]"
        )
    coordinate = copula.coordinate(values.clamp(copula.low, copula.high).numpy())
    return _table(name)(torch.from_numpy(np.asarray(coordinate))).clamp(min=0)


class BivariateCopulas(CoordinatePairs):
    """Pairs of one copula family, each with its θ and rotation; `theta` is (B, max(Dx, Dy)), margins are uniform.

    `reflect_x` and `reflect_y`, booleans like `theta`, turn a coordinate upside down: the rotations by 90°, 180°, 270°.
    """

    def __init__(
        self,
        name: str,
        theta: Tensor,
        dim_x: int,
        dim_y: int,
        reflect_x: Tensor | None = None,
        reflect_y: Tensor | None = None,
    ) -> None:
        super().__init__(dim_x, dim_y, theta.shape[-1])
        if name not in COPULAS:
            raise ValueError(f"got unknown copula {name!r}, expected one of {sorted(COPULAS)}")
        self.name = name
        self.theta = theta.double()
        self.reflect_x = reflect_x
        self.reflect_y = reflect_y

    @property
    def pair_information(self) -> Tensor:
        """MI of every pair in nats, (B, P) float64."""
        return copula_mutual_information(self.name, self.theta)

    def draw_pairs(self, num_points: int, random: Streams) -> tuple[Tensor, Tensor]:
        """N points of every pair: (B, N, P) each."""
        u, v = COPULAS[self.name].draw(self.theta, num_points, random)
        return reflect(u, self.reflect_x), reflect(v, self.reflect_y)


def reflect(values: Tensor, which: Tensor | None) -> Tensor:
    """values (B, N, P), upside down where `which` (B, P) is true."""
    return values if which is None else torch.where(which.unsqueeze(-2), 1 - values, values)
