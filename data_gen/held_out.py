"""Kinds of dependence that no training law can draw: the honest test of what an estimator has learnt.

Only the evaluation imports this module; `MetaDistribution` knows none of these names.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from torch import Tensor

from data_gen.coordinate_pairs import CoordinatePairs
from data_gen.copulas import COPULAS, clayton_inverse, copula_mutual_information, fgm_inverse, frank_inverse
from data_gen.joint import Joint
from data_gen.streams import Streams
from data_gen.tables import Array, Table

__all__ = [
    "HELD_OUT",
    "Checkerboard",
    "LogLinkCounts",
    "MultiplicativeNoise",
    "SignParity",
    "Vine",
    "draw_held_out",
]


def _binary_entropy(p: Tensor) -> Tensor:
    return torch.special.entr(p) + torch.special.entr(1 - p)


class SignParity:
    """Y's sign is the product of the signs of X's coordinates but for flips; magnitudes are independent.

    No proper subset of X's coordinates says anything of Y: I = log 2 - H(flip), nats. `flip` is (B,), in [0, ½];
    X has `num_factors` normal coordinates and Y one.
    """

    dim_y = 1

    def __init__(self, flip: Tensor, num_factors: int) -> None:
        self.flip = flip.double()
        self.dim_x = num_factors

    @property
    def mutual_information(self) -> Tensor:
        """True MI in nats, (B,) float64."""
        return float(np.log(2)) - _binary_entropy(self.flip)

    def sample(self, num_points: int, random: Streams) -> tuple[Tensor, Tensor]:
        """N points of each: x (B, N, num_factors), y (B, N, 1)."""
        x = random.normal(num_points, self.dim_x, dtype=torch.float32)
        magnitude = random.normal(num_points, 1, dtype=torch.float32).abs()
        kept = random.uniform(num_points, 1) >= self.flip.view(-1, 1, 1)
        sign = x.sign().prod(-1, keepdim=True)
        return x, magnitude * torch.where(kept, sign, -sign)


class Checkerboard(CoordinatePairs):
    """Uniform margins, density 1 + c on the black and 1 - c on the white squares of a board with k × k squares, k even.

    I = ½[(1 + c)·log(1 + c) + (1 - c)·log(1 - c)] nats whatever k; `contrast` c is (B, P), in [0, 1].
    """

    def __init__(self, contrast: Tensor, num_squares: int, dim_x: int, dim_y: int) -> None:
        super().__init__(dim_x, dim_y, contrast.shape[-1])
        if num_squares % 2:
            raise ValueError(f"got a board of {num_squares} squares a side, expected an even number")
        self.contrast = contrast.double()
        self.num_squares = num_squares

    @property
    def pair_information(self) -> Tensor:
        """MI of every pair in nats, (B, P) float64."""
        return float(np.log(2)) - _binary_entropy((1 + self.contrast) / 2)

    def draw_pairs(self, num_points: int, random: Streams) -> tuple[Tensor, Tensor]:
        """N points of every pair: (B, N, P) each."""
        draws = random.uniform(3, num_points, self.contrast.shape[-1])
        black = draws[:, 2] < (1 + self.contrast.unsqueeze(-2)) / 2
        x, k = draws[:, 0], self.num_squares
        column = (x * k).floor()
        position = draws[:, 1] * (k / 2)  # of y among the k/2 squares of its colour
        row = 2 * position.floor() + (column + ~black) % 2
        return x, (row + position - position.floor()) / k


class MultiplicativeNoise(CoordinatePairs):
    """Y = |X|^p · N with X and N standard normal: X sets the scale of Y and nothing else; `power` p is (B, P).

    I = h(p·log|X| + log|N|) - h(log|N|), a convolution of two log-chi laws, by quadrature.
    """

    RANGE = (0.2, 5.0)

    def __init__(self, power: Tensor, dim_x: int, dim_y: int) -> None:
        super().__init__(dim_x, dim_y, power.shape[-1])
        self.power = power.double()

    @property
    def pair_information(self) -> Tensor:
        """MI of every pair in nats, (B, P) float64."""
        return _multiplicative_table()(self.power.log())

    def draw_pairs(self, num_points: int, random: Streams) -> tuple[Tensor, Tensor]:
        """N points of every pair: (B, N, P) each."""
        noise = random.normal(2, num_points, self.power.shape[-1])
        return noise[:, 0], noise[:, 0].abs() ** self.power.unsqueeze(-2) * noise[:, 1]


def _log_chi_density(values: Array) -> Array:
    """Density of log|Z|, Z ~ N(0, 1)."""
    return np.sqrt(2 / np.pi) * np.exp(values - 0.5 * np.exp(2 * values))


@cache
def _multiplicative_table() -> Table:
    """MI in nats by log p: trapezoids over log|X| and the sum; the densities are smooth and fall exponentially."""
    inner = np.arange(-30, 2.4, 0.06)
    weights = _log_chi_density(inner) * 0.06
    entropy = -(_log_chi_density(inner) * 0.06 * np.log(_log_chi_density(inner).clip(1e-300))).sum()

    def information(power: float) -> float:
        total = np.arange(-30 * max(power, 1) - 5, 2.4 * (1 + power), 0.06)
        density = _log_chi_density(total[:, None] - power * inner) @ weights
        return float(-(density * 0.06 * np.log(density.clip(1e-300))).sum() - entropy)

    low, high = np.log(MultiplicativeNoise.RANGE)
    return Table(lambda logs: np.array([information(p) for p in np.exp(logs)]), low, high, degree=32)


class LogLinkCounts(CoordinatePairs):
    """X ~ N(0, 1), Y | X ~ Poisson(exp(a + b·X)); `intercept` a and `slope` b are (B, P), a <= 3 and |b| <= 0.8.

    I = H(Y) - E H(Y | X) by a trapezoid over X and sums over counts, nats.
    """

    def __init__(self, intercept: Tensor, slope: Tensor, dim_x: int, dim_y: int) -> None:
        super().__init__(dim_x, dim_y, slope.shape[-1])
        if float(intercept.max()) > 3 or float(slope.abs().max()) > 0.8:
            raise ValueError(
                f"got intercepts up to {float(intercept.max()):.3g} and slopes up to {float(slope.abs().max()):.3g}, "
                "expected at most 3 and 0.8: the counts would be too many to sum over"
            )
        self.intercept = intercept.double()
        self.slope = slope.double()

    @property
    def pair_information(self) -> Tensor:
        """MI of every pair in nats, (B, P) float64."""
        nodes = torch.linspace(-7, 7, 113, dtype=torch.float64)
        weights = torch.exp(-0.5 * nodes**2)
        weights = weights / weights.sum()
        log_rate = self.intercept.unsqueeze(-1) + self.slope.unsqueeze(-1) * nodes  # (B, P, nodes)
        rate = log_rate.exp()
        counts = torch.arange(int((rate.max() + 10 * rate.max().sqrt()).item()) + 30, dtype=torch.float64)
        overall = torch.zeros(*self.slope.shape, len(counts), dtype=torch.float64)
        given = torch.zeros_like(self.slope)
        for i, weight in enumerate(weights):  # one node at a time keeps memory small
            log_law = counts * log_rate[..., i, None] - rate[..., i, None] - torch.special.gammaln(counts + 1)
            overall += weight * log_law.exp()
            given -= weight * (log_law.exp() * log_law).sum(-1)
        return (torch.special.entr(overall).sum(-1) - given).clamp(min=0)

    def draw_pairs(self, num_points: int, random: Streams) -> tuple[Tensor, Tensor]:
        """N points of every pair: (B, N, P) each."""
        x = random.normal(num_points, self.slope.shape[-1])
        return x, random.poisson((self.intercept.unsqueeze(-2) + self.slope.unsqueeze(-2) * x).exp())


class Vine:
    """A D-vine X_1 - … - X_k - Y of bivariate copulas, a family and a θ of its own for every edge that ends in Y.

    In such a vine I(X; Y) is the sum of the MI of the copulas of (X_k, Y), (X_{k-1}, Y | X_k), …, (X_1, Y | rest)
    (chain rule and Joe 1996); X's own coordinates are a chain of Clayton copulas of parameter `inside` (B,).
    `families` names the copulas, nearest first, `theta` is (B, k).
    """

    dim_y = 1

    def __init__(self, families: tuple[str, ...], theta: Tensor, inside: Tensor) -> None:
        if unknown := set(families) - set(_CONDITIONAL):
            raise ValueError(f"got copulas {sorted(unknown)}, expected some of {sorted(_CONDITIONAL)}")
        assert theta.shape[-1] == len(families), "one θ per edge"
        self.families = families
        self.theta = theta.double()
        self.inside = inside.double()
        self.dim_x = len(families)

    @property
    def mutual_information(self) -> Tensor:
        """True MI in nats, (B,) float64."""
        edges = [copula_mutual_information(name, self.theta[:, i]) for i, name in enumerate(self.families)]
        return torch.stack(edges).sum(0)

    def sample(self, num_points: int, random: Streams) -> tuple[Tensor, Tensor]:
        """N points of each: x (B, N, k), y (B, N, 1)."""
        w = random.uniform(self.dim_x + 1, num_points).clamp(1e-12, 1 - 1e-12)
        inside = self.inside.unsqueeze(-1)
        forward, inverse = _CONDITIONAL["clayton"]
        chain = [w[:, 0]]  # X_1, X_2, …: each given its predecessor only, so higher edges are independence
        for i in range(1, self.dim_x):
            chain.append(inverse(w[:, i], chain[-1], inside).clamp(1e-12, 1 - 1e-12))
        # X_{k-j} given X_{k-j+1}, …, X_k: by the Markov chain, given X_{k-j+1} alone
        given = [chain[-1]]
        for i in range(self.dim_x - 2, -1, -1):
            given.append(forward(chain[i], chain[i + 1], inside))
        y = w[:, self.dim_x]
        for i in range(self.dim_x - 1, -1, -1):
            y = _CONDITIONAL[self.families[i]][1](y, given[i], self.theta[:, i].unsqueeze(-1)).clamp(1e-12, 1 - 1e-12)
        return torch.stack(chain, dim=-1).float(), y.unsqueeze(-1).float()


def _clayton_conditional(v: Tensor, u: Tensor, theta: Tensor) -> Tensor:
    """P(V <= v | U = u)."""
    return (1 + u**theta * (v**-theta - 1)) ** (-1 / theta - 1)


def _frank_conditional(v: Tensor, u: Tensor, theta: Tensor) -> Tensor:
    a, b, c = torch.expm1(-theta * u), torch.expm1(-theta * v), torch.expm1(-theta)
    return (a + 1) * b / (c + a * b)


def _fgm_conditional(v: Tensor, u: Tensor, theta: Tensor) -> Tensor:
    return v * (1 + theta * (1 - 2 * u) * (1 - v))


_Conditional = Callable[[Tensor, Tensor, Tensor], Tensor]
_CONDITIONAL: dict[str, tuple[_Conditional, _Conditional]] = {
    "clayton": (_clayton_conditional, clayton_inverse),
    "frank": (_frank_conditional, frank_inverse),
    "fgm": (_fgm_conditional, fgm_inverse),
}


def _draw_parity(num_factors: int) -> Callable[[Streams], Joint]:
    return lambda random: SignParity(0.5 * random.uniform(1).squeeze(-1) ** 2, num_factors)


def _draw_vine(random: Streams) -> Joint:
    families = ("clayton", "frank", "fgm")
    theta = []
    for name in families:
        low, high = COPULAS[name].coordinate(np.array([COPULAS[name].low, COPULAS[name].high]))
        coordinate = low + (high - low) * random.uniform(1, low=0.2, high=0.8).squeeze(-1)
        theta.append(torch.from_numpy(COPULAS[name].parameter(coordinate.numpy())))
    return Vine(families, torch.stack(theta, dim=-1), random.log_uniform(1, low=0.2, high=3.0).squeeze(-1))


HELD_OUT: dict[str, Callable[[Streams], Joint]] = {
    "parity_2": _draw_parity(2),
    "parity_3": _draw_parity(3),
    "multiplicative_noise": lambda random: MultiplicativeNoise(random.log_uniform(1, low=0.3, high=4.0), 1, 1),
    "checkerboard_2": lambda random: Checkerboard(random.uniform(1, low=0.2), 2, 1, 1),
    "checkerboard_4": lambda random: Checkerboard(random.uniform(1, low=0.2), 4, 1, 1),
    "log_link_counts": lambda random: LogLinkCounts(
        random.uniform(1, low=-1.0, high=3.0), random.uniform(1, low=0.1, high=0.8), 1, 1
    ),
    "vine": _draw_vine,
}


def draw_held_out(name: str, random: Streams) -> Joint:
    """Parameters of B joints of a held-out kind, each of its own small dims; ValueError for an unknown name."""
    if name not in HELD_OUT:
        raise ValueError(f"got held-out kind {name!r}, expected one of {sorted(HELD_OUT)}")
    return HELD_OUT[name](random)
