"""Joints with ties: both sides discrete, one discrete and one continuous, cut, counted or zero-inflated.

Every family is made of pairs of coordinates; K is the number of levels, and levels are the numbers 0 … K-1.
"""

from __future__ import annotations

import torch
from scipy import special
from torch import Tensor

from data_gen.coordinate_pairs import CoordinatePairs
from data_gen.streams import Streams

__all__ = [
    "Classes",
    "Contingency",
    "CutNormal",
    "GammaPoisson",
    "ZeroInflated",
    "contingency_mutual_information",
    "draw_num_levels",
    "draw_shares",
    "normal_cell_probabilities",
    "pick",
    "take_level",
]

_REACH, _NODES = 7.5, 97  # standard deviations and nodes of a trapezoid under a normal density


def _normal_rule() -> tuple[Tensor, Tensor]:
    """Nodes and weights of E f(Z), Z ~ N(0, 1)."""
    nodes = torch.linspace(-_REACH, _REACH, _NODES, dtype=torch.float64)
    weights = torch.exp(-0.5 * nodes**2)
    return nodes, weights / weights.sum()


def draw_num_levels(most: int, pairs: int, random: Streams) -> Tensor:
    """Numbers of levels from 2 to `most`, small ones often: the same for all pairs of a data set half of the time."""
    high = most + 0.999
    own, common = random.log_uniform(pairs, low=2.0, high=high), random.log_uniform(1, low=2.0, high=high)
    return torch.where(random.bernoulli(0.5, 1), own, common).long()


def draw_shares(most: int, pairs: int, random: Streams) -> Tensor:
    """Unequal probabilities of a random number of levels, at most `most`; those past it have none; (B, P, most)."""
    num_levels = draw_num_levels(most, pairs, random)
    weight = (random.uniform(1, 1) * random.normal(pairs, most)).exp()
    weight = weight * (torch.arange(most) < num_levels.unsqueeze(-1))
    return weight / weight.sum(-1, keepdim=True)


def pick(cumulative: Tensor, uniforms: Tensor) -> Tensor:
    """Levels by inverse distribution function: cumulative (B, P, K), uniforms (B, N, P) -> (B, N, P) int64."""
    found = torch.searchsorted(cumulative[..., :-1].contiguous(), uniforms.mT.contiguous(), right=True)
    return found.mT


def contingency_mutual_information(table: Tensor) -> Tensor:
    """Σ p(a, b) log p(a, b)/p(a)p(b) in nats; (..., Kx, Ky) -> (...). Cover & Thomas (2006), Eq. 2.28."""
    table = table.double()
    product = table.sum(-1, keepdim=True) * table.sum(-2, keepdim=True)
    return (torch.special.xlogy(table, table) - torch.special.xlogy(table, product)).sum((-2, -1)).clamp(min=0)


class Contingency(CoordinatePairs):
    """Both coordinates of a pair discrete, with joint law `table` (B, P, Kx, Ky) that sums to 1."""

    def __init__(self, table: Tensor, dim_x: int, dim_y: int) -> None:
        super().__init__(dim_x, dim_y, table.shape[1])
        self.table = table.double()

    @property
    def pair_information(self) -> Tensor:
        """MI of every pair in nats, (B, P) float64."""
        return contingency_mutual_information(self.table)

    def draw_pairs(self, num_points: int, random: Streams) -> tuple[Tensor, Tensor]:
        """N points of every pair: (B, N, P) each, levels as numbers."""
        cell = pick(self.table.flatten(-2).cumsum(-1), random.uniform(num_points, self.table.shape[1]))
        num_y = self.table.shape[-1]
        return (cell // num_y).double(), (cell % num_y).double()


def normal_cell_probabilities(rho: Tensor, cuts_x: Tensor, cuts_y: Tensor) -> Tensor:
    """Probabilities of the cells of a bivariate normal cut in both coordinates, through Owen's T (Owen 1956).

    rho (...), cuts_x (..., Kx - 1) and cuts_y (..., Ky - 1) rising and not 0; returns (..., Kx, Ky).
    """
    h, k = cuts_x.double().unsqueeze(-1), cuts_y.double().unsqueeze(-2)
    r = rho.double().unsqueeze(-1).unsqueeze(-1)
    root = (1 - r * r).sqrt()
    marginal_x, marginal_y = torch.special.ndtr(h), torch.special.ndtr(k)
    t_h = torch.from_numpy(special.owens_t(h.numpy(), ((k / h - r) / root).numpy()))
    t_k = torch.from_numpy(special.owens_t(k.numpy(), ((h / k - r) / root).numpy()))
    below = 0.5 * (marginal_x + marginal_y) - t_h - t_k - 0.5 * (h * k < 0).double()
    full = torch.cat([torch.zeros_like(marginal_y), below, marginal_y], dim=-2)  # rows x = -∞, cuts, ∞
    edge = torch.cat(
        [torch.zeros_like(marginal_x[..., :1, :]), marginal_x, torch.ones_like(marginal_x[..., :1, :])], -2
    )
    full = torch.cat([torch.zeros_like(edge), full, edge], dim=-1)
    return full.diff(dim=-2).diff(dim=-1).clamp(min=0)


class CutNormal(CoordinatePairs):
    """A bivariate normal pair, X cut into levels at `cuts_x` (B, P, Kx - 1) and Y at `cuts_y`, or left continuous.

    `rho` (B, P), at most 0.98 in size: Likert scales, grades, rounded measurements. Cuts rise and are not 0.
    """

    def __init__(self, rho: Tensor, cuts_x: Tensor, cuts_y: Tensor | None, dim_x: int, dim_y: int) -> None:
        super().__init__(dim_x, dim_y, rho.shape[-1])
        if float(rho.abs().max()) > 0.98 + 1e-6:
            raise ValueError(f"got correlations up to {float(rho.abs().max()):.4g}, expected at most 0.98 in size")
        self.rho = rho.double()
        self.cuts_x = cuts_x.double().contiguous()
        self.cuts_y = None if cuts_y is None else cuts_y.double().contiguous()

    @property
    def pair_information(self) -> Tensor:
        """MI of every pair in nats, (B, P) float64: a sum over cells, or H(X) - E H(X | Y) by a trapezoid in Y."""
        if self.cuts_y is not None:
            return contingency_mutual_information(normal_cell_probabilities(self.rho, self.cuts_x, self.cuts_y))
        nodes, weights = _normal_rule()
        rho, cuts = self.rho[..., None, None], self.cuts_x.unsqueeze(-2)
        below = torch.special.ndtr((cuts - rho * nodes.unsqueeze(-1)) / (1 - rho * rho).sqrt())  # (B, P, nodes, K - 1)
        edges = torch.zeros_like(below[..., :1])
        given = torch.cat([edges, below, edges + 1], dim=-1).diff(dim=-1).clamp(min=0)
        overall = torch.special.ndtr(self.cuts_x)
        overall = torch.cat([edges[..., 0, :], overall, edges[..., 0, :] + 1], dim=-1).diff(dim=-1)
        return (torch.special.entr(overall).sum(-1) - torch.special.entr(given).sum(-1) @ weights).clamp(min=0)

    def draw_pairs(self, num_points: int, random: Streams) -> tuple[Tensor, Tensor]:
        """N points of every pair: (B, N, P) each, levels as numbers."""
        noise = random.normal(2, num_points, self.rho.shape[-1])
        rho = self.rho.unsqueeze(-2)
        x, y = noise[:, 0], rho * noise[:, 0] + (1 - rho * rho).sqrt() * noise[:, 1]
        levels_x = torch.searchsorted(self.cuts_x, x.mT.contiguous()).mT.double()
        if self.cuts_y is not None:
            y = torch.searchsorted(self.cuts_y, y.mT.contiguous()).mT.double()
        return levels_x, y


class Classes(CoordinatePairs):
    """X a class with probabilities `share`, Y normal given the class; `share`, `mean`, `scale` are (B, P, K).

    Standard deviations of one pair differ by a factor of 4 at most. With `swap`, Y is the class.
    """

    def __init__(
        self, share: Tensor, mean: Tensor, scale: Tensor, dim_x: int, dim_y: int, *, swap: bool = False
    ) -> None:
        super().__init__(dim_x, dim_y, share.shape[1])
        self.share = share.double()
        self.mean = mean.double()
        self.scale = scale.double()
        self.swap = swap

    @property
    def pair_information(self) -> Tensor:
        """MI of every pair in nats, (B, P) float64: Σ_k p_k KL(p(y | k) ‖ p(y)) by a trapezoid in every class."""
        nodes, weights = _normal_rule()
        y = self.mean.unsqueeze(-1) + self.scale.unsqueeze(-1) * nodes  # (B, P, K, nodes)
        spread = self.scale.unsqueeze(-1).unsqueeze(-1)
        offset = (y.unsqueeze(-3) - self.mean[..., None, None]) / spread  # (B, P, class of the density, K, nodes)
        log_parts = self.share.log()[..., None, None] - 0.5 * offset**2 - spread.log()
        log_given = -0.5 * nodes**2 - self.scale.log().unsqueeze(-1)
        divergence = (log_given - torch.logsumexp(log_parts, dim=-3)) @ weights
        return (self.share * divergence).sum(-1).clamp(min=0)

    def draw_pairs(self, num_points: int, random: Streams) -> tuple[Tensor, Tensor]:
        """N points of every pair: (B, N, P) each, classes as numbers."""
        shape = (num_points, self.share.shape[1])
        level = pick(self.share.cumsum(-1), random.uniform(*shape))
        y = take_level(self.mean, level) + take_level(self.scale, level) * random.normal(*shape)
        return (y, level.double()) if self.swap else (level.double(), y)


def take_level(values: Tensor, level: Tensor) -> Tensor:
    """values (B, P, K) at levels (B, N, P) -> (B, N, P)."""
    return values.gather(-1, level.mT).mT


class GammaPoisson(CoordinatePairs):
    """Y ~ Gamma(shape, rate 1) and X | Y ~ Poisson(exposure · Y); `shape` and `exposure` are (B, P).

    X is negative binomial and Y | X = x is Gamma(shape + x, 1 + exposure), so MI is a difference of gamma entropies
    (Gelman et al. 2013, §2.6). With `swap`, Y is the count.
    """

    _COUNTS = 1024  # summed over

    def __init__(self, shape: Tensor, exposure: Tensor, dim_x: int, dim_y: int, *, swap: bool = False) -> None:
        super().__init__(dim_x, dim_y, shape.shape[-1])
        self.shape = shape.double()
        self.exposure = exposure.double()
        self.swap = swap

    @property
    def pair_information(self) -> Tensor:
        """MI of every pair in nats, (B, P) float64."""
        mean = self.shape * self.exposure
        reach = float((mean + 12 * (mean * (1 + self.exposure)).sqrt() + 40 * (1 + self.exposure)).max())
        if reach > self._COUNTS:
            raise ValueError(f"got counts that reach {reach:.0f}, expected at most {self._COUNTS}: lower the exposure")
        x = torch.arange(self._COUNTS, dtype=torch.float64)  # as many whatever the neighbours in the batch
        shape, exposure = self.shape.unsqueeze(-1), self.exposure.unsqueeze(-1)
        log_law = torch.special.gammaln(shape + x) - torch.special.gammaln(shape) - torch.special.gammaln(x + 1)
        log_law = log_law + x * torch.log(exposure / (1 + exposure)) - shape * torch.log1p(exposure)
        posterior = _gamma_entropy(shape + x) - torch.log1p(exposure)
        return (_gamma_entropy(self.shape) - (log_law.exp() * posterior).sum(-1)).clamp(min=0)

    def draw_pairs(self, num_points: int, random: Streams) -> tuple[Tensor, Tensor]:
        """N points of every pair: (B, N, P) each."""
        rate = random.gamma_like(self.shape.unsqueeze(-2).expand(-1, num_points, -1)).clamp(min=1e-30)
        count = random.poisson(rate * self.exposure.unsqueeze(-2))
        return (rate, count) if self.swap else (count, rate)


def _gamma_entropy(shape: Tensor) -> Tensor:
    """Differential entropy of Gamma(shape, rate 1) in nats."""
    return shape + torch.special.gammaln(shape) + (1 - shape) * torch.special.digamma(shape)


class ZeroInflated(CoordinatePairs):
    """X = A·eᵁ, Y = C·eⱽ: (U, V) normal of correlation `rho` (B, P), (A, C) in {0, 1}² of law `table` (B, P, 2, 2).

    A and C can be read off X and Y and are independent of (U, V), so I = I(A;C) + P(A = C = 1)·I(U;V) (chain rule,
    Cover & Thomas 2006, Theorem 2.5.2).
    """

    def __init__(self, rho: Tensor, table: Tensor, dim_x: int, dim_y: int) -> None:
        super().__init__(dim_x, dim_y, rho.shape[-1])
        self.rho = rho.double()
        self.table = table.double()

    @property
    def pair_information(self) -> Tensor:
        """MI of every pair in nats, (B, P) float64."""
        both = self.table[..., 1, 1]
        return contingency_mutual_information(self.table) - 0.5 * both * torch.log1p(-self.rho.square())

    def draw_pairs(self, num_points: int, random: Streams) -> tuple[Tensor, Tensor]:
        """N points of every pair: (B, N, P) each."""
        noise = random.normal(2, num_points, self.rho.shape[-1])
        rho = self.rho.unsqueeze(-2)
        u, v = noise[:, 0], rho * noise[:, 0] + (1 - rho * rho).sqrt() * noise[:, 1]
        cell = pick(self.table.flatten(-2).cumsum(-1), random.uniform(num_points, self.rho.shape[-1]))
        return torch.where(cell >= 2, u.exp(), 0.0), torch.where(cell % 2 == 1, v.exp(), 0.0)
