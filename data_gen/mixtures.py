"""Mixtures of normals in several dims, and joints contaminated by another joint; their labels come from a pool.

The density of a mixture is exact, its MI the mean log density ratio over points of its own (`data_gen.monte_carlo`).
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from data_gen.covariance import draw_dispersion
from data_gen.monte_carlo import mean_log_ratio
from data_gen.pools import Pool
from data_gen.streams import Streams

__all__ = [
    "MAX_MIXTURE_DIM",
    "MIXTURES",
    "MultivariateNormalMixture",
    "draw_mixture",
    "mixture_information",
    "mixture_pool",
]

MAX_MIXTURE_DIM = 8  # of each side
MIXTURES = ("clusters", "contaminated")
_COMPONENTS, _CHUNK_SIZE, _NUM_CHUNKS = 6, 128, 6
_MORE = 24  # chunks where both sides have most dims: wider joints draw from there, too
_ENSEMBLES = ("wishart", "factor", "canonical", "latent_variable", "sparse", "strong")


class MultivariateNormalMixture:
    """K normals of weights `share` (B, K), means `mean` (B, K, D) and lower Cholesky factors `factor` (B, K, D, D).

    X is the first `dim_x` coordinates. `information` and `standard_error` (B,) are the label in nats and its error.
    """

    def __init__(
        self, share: Tensor, mean: Tensor, factor: Tensor, dim_x: int, information: Tensor, standard_error: Tensor
    ) -> None:
        self.share, self.mean, self.factor = share.double(), mean.double(), factor.double()
        self.dim_x = dim_x
        self.dim_y = mean.shape[-1] - dim_x
        self.mutual_information = information
        self.standard_error = standard_error

    def sample(self, num_points: int, random: Streams) -> tuple[Tensor, Tensor]:
        """N points of each: x (B, N, Dx), y (B, N, Dy), float32."""
        points = _draw(self.share, self.mean, self.factor, num_points, random).float()
        return points[..., : self.dim_x], points[..., self.dim_x :]


def _draw(share: Tensor, mean: Tensor, factor: Tensor, num_points: int, random: Streams) -> Tensor:
    """(B, N, D) points."""
    level = torch.searchsorted(share.cumsum(-1)[:, :-1].contiguous(), random.uniform(num_points), right=True)
    noise = random.normal(num_points, mean.shape[-1])
    points = torch.zeros_like(noise)
    for k in range(share.shape[-1]):  # K products are cheaper than a matrix for every point
        part = noise @ factor[:, k].mT + mean[:, k].unsqueeze(-2)
        points = torch.where((level == k).unsqueeze(-1), part, points)
    return points


def _log_ratio(points: Tensor, share: Tensor, mean: Tensor, inverse: Tensor, inverse_y: Tensor, dim_x: int) -> Tensor:
    """log p(x, y)/p(x)p(y) at points (B, M, D) -> (B, M); inverses of the Cholesky factors of all, and of Y alone.

    The leading coordinates, whitened by the whole factor, are whitened by X's own. Constants of the dims cancel.
    """
    log_share = share.log().unsqueeze(-1)
    both, of_x, of_y = [], [], []
    for k in range(share.shape[-1]):
        offset = points - mean[:, k].unsqueeze(-2)
        squares = (offset @ inverse[:, k].mT).square()
        squares_y = (offset[..., dim_x:] @ inverse_y[:, k].mT).square().sum(-1)
        logs = inverse[:, k].diagonal(dim1=-2, dim2=-1).log()
        logs_y = inverse_y[:, k].diagonal(dim1=-2, dim2=-1).log().sum(-1, keepdim=True)
        both.append(log_share[:, k] + logs.sum(-1, keepdim=True) - 0.5 * squares.sum(-1))
        of_x.append(log_share[:, k] + logs[:, :dim_x].sum(-1, keepdim=True) - 0.5 * squares[..., :dim_x].sum(-1))
        of_y.append(log_share[:, k] + logs_y - 0.5 * squares_y)
    joint, alone_x, alone_y = (torch.logsumexp(torch.stack(parts), dim=0) for parts in (both, of_x, of_y))
    return joint - alone_x - alone_y


def mixture_information(
    share: Tensor, mean: Tensor, factor: Tensor, dim_x: int, random: Streams
) -> tuple[Tensor, Tensor]:
    """MI of mixtures in nats and its standard error, (B,) each; shapes as in `MultivariateNormalMixture`."""
    lower = factor[..., dim_x:, :]
    inverse, inverse_y = (
        torch.linalg.solve_triangular(f, torch.eye(f.shape[-1], dtype=f.dtype), upper=False)
        for f in (factor, torch.linalg.cholesky(lower @ lower.mT))
    )

    def log_ratio(rows: Tensor, num_points: int) -> Tensor:
        p, m = share[rows], mean[rows]
        points = _draw(p, m, factor[rows], num_points, random.select(rows))
        return _log_ratio(points, p, m, inverse[rows], inverse_y[rows], dim_x)

    return mean_log_ratio(log_ratio, len(share))


def _clusters(dim_x: int, dim_y: int, random: Streams) -> tuple[Tensor, Tensor, Tensor]:
    """Two to six clusters, often of very unequal size; means, or covariances, sometimes shared."""
    dim = dim_x + dim_y
    number = random.integers(2, _COMPONENTS, 1)
    weight = (random.uniform(1, high=2.5) * random.normal(_COMPONENTS)).exp()
    weight = weight * (torch.arange(_COMPONENTS) < number)
    spread = random.log_uniform(1, 1, low=0.1, high=6.0) / dim**0.25
    apart = random.normal(_COMPONENTS, dim) * ~random.bernoulli(0.15, 1, 1)
    ensembles = _ENSEMBLES[:5]
    dispersion = torch.stack(
        [draw_dispersion(ensembles[k % 5], dim_x, dim_y, 0.3, random) for k in range(_COMPONENTS)], dim=1
    )
    order = random.uniform(_COMPONENTS).argsort(-1)  # which ensemble is the first
    dispersion = dispersion[torch.arange(len(random)).unsqueeze(-1), order]
    scale = 1.8 ** random.uniform(_COMPONENTS, dim, low=-1.0, high=1.0)
    shared = random.bernoulli(0.3, 1, 1)
    scale = torch.where(shared, scale[:, :1], scale).unsqueeze(-1)
    dispersion = torch.where(shared.unsqueeze(-1), dispersion[:, :1], dispersion)
    return weight / weight.sum(-1, keepdim=True), spread * apart, dispersion * scale * scale.mT


def _contaminated(dim_x: int, dim_y: int, random: Streams) -> tuple[Tensor, Tensor, Tensor]:
    """A joint and, with a share of 1 to 50 %, its sides independent, or another joint with a centre of its own."""
    dim = dim_x + dim_y
    ensembles = [draw_dispersion(name, dim_x, dim_y, 0.1, random) for name in _ENSEMBLES]
    first, second = (
        torch.stack(ensembles, dim=1)[torch.arange(len(random)), random.integers(0, len(ensembles) - 1, 1).squeeze(-1)]
        for _ in range(2)
    )
    apart = first.clone()
    apart[:, :dim_x, dim_x:] = 0
    apart[:, dim_x:, :dim_x] = 0
    independent = random.bernoulli(0.5, 1, 1)
    size = random.log_uniform(1, 1, low=0.2, high=5.0)
    centre = random.log_uniform(1, low=0.05, high=3.0) * random.normal(dim)
    second = torch.where(independent, apart, second * size)
    share = random.log_uniform(1, low=0.01, high=0.5)
    mean = torch.stack([torch.zeros_like(centre), torch.where(independent[..., 0], 0.0, centre)], dim=1)
    return torch.cat([1 - share, share], dim=-1), mean, torch.stack([first, second], dim=1)


def _make(variant: str, dim_x: int, dim_y: int, random: Streams) -> dict[str, Tensor]:
    draw = _clusters if variant == "clusters" else _contaminated
    share, mean, dispersion = draw(dim_x, dim_y, random)
    ridge = 1e-9 * torch.eye(dim_x + dim_y, dtype=torch.float64)
    factor = torch.linalg.cholesky(dispersion + ridge).float()  # the label is that of the numbers as they are kept
    share, mean = share.double(), mean.float()
    information, error = mixture_information(share, mean.double(), factor.double(), dim_x, random)
    return {"share": share, "mean": mean, "factor": factor, "mi": information, "standard_error": error}


@cache
def mixture_pool(variant: str, dim_x: int, dim_y: int) -> Pool:
    """The pool of a variant at dims of at most MAX_MIXTURE_DIM; Dx >= Dy, the rest is the same with sides swapped."""
    assert variant in MIXTURES and MAX_MIXTURE_DIM >= dim_x >= dim_y >= 1, (variant, dim_x, dim_y)
    return Pool(
        f"mixture-{variant}-{dim_x}-{dim_y}",
        _CHUNK_SIZE,
        _MORE if dim_y == MAX_MIXTURE_DIM else _NUM_CHUNKS,
        lambda random: _make(variant, dim_x, dim_y, random),
        ("data_gen.mixtures", "data_gen.covariance"),
    )


def draw_mixture(variant: str, dim_x: int, dim_y: int, number: int, random: Streams) -> MultivariateNormalMixture:
    """B mixtures from chunk `number` of the pool, uniformly."""
    swap = dim_y > dim_x
    rows = mixture_pool(variant, max(dim_x, dim_y), min(dim_x, dim_y)).rows(number, random.uniform(1).squeeze(-1))
    share, mean, factor = rows["share"], rows["mean"], rows["factor"].double()
    if swap:
        order = torch.cat([torch.arange(dim_y, dim_x + dim_y), torch.arange(dim_y)])
        mean = mean[..., order]
        factor = torch.linalg.cholesky((factor @ factor.mT)[..., order, :][..., order])
    return MultivariateNormalMixture(share, mean, factor, dim_x, rows["mi"], rows["standard_error"])
