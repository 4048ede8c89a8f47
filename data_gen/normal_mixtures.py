"""Pairs of coordinates drawn from a mixture of bivariate normals: clusters, crosses, contaminated dependence."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from data_gen.coordinate_pairs import CoordinatePairs
from data_gen.discrete import draw_shares, pick, take_level
from data_gen.pools import Pool
from data_gen.streams import Streams

__all__ = ["NORMAL_MIXTURES", "NormalMixture", "normal_mixture_pool"]

NORMAL_MIXTURES = ("shared", "own", "contaminated")
_REACH, _NODES = 5.2, 37  # of a trapezoid in each of the two whitened coordinates of a component
_ROWS = 8  # pairs whose densities fit the processor's cache
_COMPONENTS, _CHUNK_SIZE, _NUM_CHUNKS = 6, 512, 24


class NormalMixture(CoordinatePairs):
    """K components of weights `share` (B, P, K), means `mean` (B, P, K, 2), standard deviations `scale` (B, P, K, 2)
    and correlations `rho` (B, P, K), at most 0.85 in size.

    MI is the mean log density ratio, integrated component by component on a 37 × 37 trapezoid of its own. Standard
    deviations of one coordinate may differ by a factor of 2.6: a component's narrow axis is then wider than the step of
    another's nodes.
    """

    def __init__(
        self,
        share: Tensor,
        mean: Tensor,
        scale: Tensor,
        rho: Tensor,
        dim_x: int,
        dim_y: int,
        information: Tensor | None = None,
    ) -> None:
        super().__init__(dim_x, dim_y, share.shape[1])
        self.information = information
        self.share, self.mean, self.scale, self.rho = (values.double() for values in (share, mean, scale, rho))

    @property
    def pair_information(self) -> Tensor:
        """MI of every pair in nats, (B, P) float64: the `information` given, where a pool knows it."""
        if self.information is not None:
            return self.information
        line = torch.linspace(-_REACH, _REACH, _NODES, dtype=torch.float64)
        first, second = torch.meshgrid(line, line, indexing="ij")
        weight = torch.exp(-0.5 * (first.square() + second.square())).flatten()
        weight = weight / weight.sum()
        root = (1 - self.rho.square()).sqrt().unsqueeze(-1)
        x = self.mean[..., 0, None] + self.scale[..., 0, None] * first.flatten()  # (B, P, K, nodes)
        y = self.mean[..., 1, None] + self.scale[..., 1, None] * (
            self.rho.unsqueeze(-1) * first.flatten() + root * second.flatten()
        )
        ratio = torch.zeros_like(self.share)
        for pair in range(self.share.shape[1]):  # a pair at a time keeps memory small
            ratio[:, pair] = self._log_ratio(pair, x[:, pair], y[:, pair]) @ weight
        return (self.share * ratio).sum(-1).clamp(min=0)

    def _log_ratio(self, pair: int, x: Tensor, y: Tensor) -> Tensor:
        """log p(x, y) / p(x) p(y) at points (B, K, nodes) of one pair."""

        def of_component(values: Tensor) -> Tensor:  # (B, K') against (B, K, nodes)
            return values[:, pair].unsqueeze(-1).unsqueeze(-1)

        share = of_component(self.share).log()
        u, v = (
            (points.unsqueeze(1) - of_component(self.mean[..., i])) / of_component(self.scale[..., i])
            for i, points in enumerate((x, y))
        )  # (B, K', K, nodes)
        rho = of_component(self.rho)
        log_x = -0.5 * u.square() - of_component(self.scale[..., 0]).log()
        log_y = -0.5 * v.square() - of_component(self.scale[..., 1]).log()
        rest = 1 - rho.square()
        log_joint = log_x + log_y - 0.5 * rest.log() - 0.5 * ((v - rho * u).square() / rest - v.square())
        joint, alone_x, alone_y = (torch.logsumexp(share + values, dim=1) for values in (log_joint, log_x, log_y))
        return joint - alone_x - alone_y  # the constants log 2π cancel

    def draw_pairs(self, num_points: int, random: Streams) -> tuple[Tensor, Tensor]:
        """N points of every pair: (B, N, P) each."""
        level = pick(self.share.cumsum(-1), random.uniform(num_points, self.share.shape[1]))
        noise = random.normal(2, num_points, self.share.shape[1])
        rho = take_level(self.rho, level)
        second = rho * noise[:, 0] + (1 - rho.square()).sqrt() * noise[:, 1]
        x, y = (
            take_level(self.mean[..., i], level) + take_level(self.scale[..., i], level) * values
            for i, values in enumerate((noise[:, 0], second))
        )
        return x, y


def _make(variant: str, random: Streams) -> dict[str, Tensor]:
    """Two to six clusters; with "shared" or "own" scales and correlations, or "contaminated", all about one centre."""
    share = draw_shares(_COMPONENTS, 1, random)
    spread = (0.05 * 120 ** random.uniform(1)).view(-1, 1, 1, 1)
    mean = spread * random.normal(1, _COMPONENTS, 2)
    scale = 1.6 ** random.uniform(1, _COMPONENTS, 2, low=-1.0, high=1.0)
    rho = 0.85 * (2 * random.uniform(1, _COMPONENTS) - 1)
    if variant == "shared":
        scale, rho = scale[:, :, :1].expand_as(scale), rho[:, :, :1].expand_as(rho)
    elif variant == "contaminated":
        mean = torch.zeros_like(mean)
    information = torch.cat(
        [
            NormalMixture(share[i], mean[i], scale[i], rho[i], 1, 1).pair_information
            for i in torch.arange(len(random)).split(_ROWS)
        ]
    )
    rows = {"share": share, "mean": mean, "scale": scale, "rho": rho, "mi": information}
    return {**{name: values.squeeze(1) for name, values in rows.items()}, "standard_error": 0 * information.squeeze(1)}


@cache
def normal_mixture_pool(variant: str) -> Pool:
    """The pool of one of NORMAL_MIXTURES."""
    return Pool(
        f"normal_mixture-{variant}",
        _CHUNK_SIZE,
        _NUM_CHUNKS,
        lambda random: _make(variant, random),
        ("data_gen.normal_mixtures", "data_gen.discrete"),
    )
