"""Everything the network reads, computed from raw samples: no parameters, no autocast, float64 where it must be.

Shapes: B data sets, N points, Dx, Dy, D = Dx + Dy coordinates, K relation features, T canonical pairs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mist.discrete import tied_share
from mist.panel import CANDIDATES, DF_GRID, Panel, base_panel
from mist.relations import covariances, hermite, kendall_change, kendall_correlation, relation_features
from mist.scores import canonical_order, double_ranks, gaussian_scores

__all__ = [
    "FeatureConfig",
    "Features",
    "extract_features",
    "features_of_ranks",
    "features_of_scores",
    "global_width",
    "point_width",
]

_SPECTRUM_LEVELS = (0.0, 0.25, 0.5, 0.75, 1.0)
_CANONICAL_RIDGES = (0.02, 0.2)


@dataclass(frozen=True)
class FeatureConfig:
    """What is computed from a data set."""

    num_canonical_pairs: int = 8  # of the scores
    num_expanded_pairs: int = 4  # of the scores and their second Hermite polynomial
    num_shifts: int = 8  # cyclic differences of the Kendall-type correlation
    num_informations: int = 12  # leading canonical informations at each ridge
    ties: bool = False  # mark tied columns and offer candidates for discrete pairs: for training mixes that hold some

    def __post_init__(self) -> None:
        for name in ("num_canonical_pairs", "num_expanded_pairs", "num_shifts", "num_informations"):
            if getattr(self, name) < 1:
                raise ValueError(f"got {name}={getattr(self, name)}, expected at least 1")


@dataclass(frozen=True)
class Features:
    """One batch as the network sees it; float32 but for the candidates."""

    relations: Tensor  # (B, K, D, D)
    points: Tensor  # (B, N, P)
    summary: Tensor  # (B, G)
    candidates: Tensor  # (B, C) nats
    candidate_mask: Tensor  # (B, C)
    floor: Tensor  # (B,) known floor of the error, nats
    bound: Tensor  # (B,) what a discrete side can hold, the logarithm of its levels, nats; infinite where there is none
    dim_x: int


def point_width(config: FeatureConfig) -> int:
    """Width of a point token."""
    return 3 * (config.num_canonical_pairs + config.num_expanded_pairs) + 6


def global_width(config: FeatureConfig) -> int:
    """Width of the data set's summary."""
    spectra = 2 * len(_SPECTRUM_LEVELS)
    return 6 + 2 * len(CANDIDATES) + len(DF_GRID) + 3 + len(_CANONICAL_RIDGES) * config.num_informations + 2 * spectra


def _pad(values: Tensor, width: int) -> Tensor:
    values = values[..., :width]
    return torch.nn.functional.pad(values, (0, width - values.shape[-1]))


def _inverse_root(matrix: Tensor, ridge: float) -> Tensor:
    """L⁻¹ with L Lᵀ = matrix + ridge; (B, D, D)."""
    eye = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
    return torch.linalg.solve_triangular(torch.linalg.cholesky(matrix + ridge * eye), eye, upper=False)


def _canonical_pairs(
    xx: Tensor, yy: Tensor, xy: Tensor, x: Tensor, y: Tensor, ridge: float, num_pairs: int
) -> tuple[Tensor, Tensor]:
    """Leading canonical score pairs (B, T, N) each, of unit variance, through eigh of the smaller side."""
    with torch.no_grad():  # directions are constants
        root_x, root_y = _inverse_root(xx, ridge), _inverse_root(yy, ridge)
        whitened = root_x @ xy @ root_y.mT
        wide = whitened.shape[-2] > whitened.shape[-1]
        small = whitened.mT if wide else whitened
        squared, vectors = torch.linalg.eigh(small @ small.mT)
        squared, vectors = squared.flip(-1)[..., :num_pairs], vectors.flip(-1)[..., :num_pairs]  # (B, T), (B, small, T)
        vectors = vectors * (squared > 1e-13 * squared[..., :1] + 1e-26).unsqueeze(-2)  # the others point anywhere
        other = small.mT @ vectors
        other = other / other.square().sum(-2, keepdim=True).sqrt().clamp(min=1e-9)
        left, right = (other, vectors) if wide else (vectors, other)
    u, v = (left.mT @ root_x).float() @ x, (right.mT @ root_y).float() @ y
    return _standardise(u), _standardise(v)


def _standardise(values: Tensor) -> Tensor:
    return values / values.square().mean(-1, keepdim=True).clamp(min=1e-12).sqrt()


def _pair_features(u: Tensor, v: Tensor, width: int) -> Tensor:
    """Functions of canonical pairs that neither a common sign nor a swap moves; (B, T, N) -> (B, N, 3 width)."""
    squares_u, squares_v = u.square(), v.square()
    features = torch.stack([squares_u + squares_v, (squares_u - squares_v).abs(), u * v], dim=1)  # (B, 3, T, N)
    features = features * (1 + features.abs()).rsqrt()
    return _pad(features.permute(0, 3, 1, 2), width).flatten(-2)  # (B, N, 3 width)


def _spectrum(correlation: Tensor) -> Tensor:
    """Quantiles of the log eigenvalues of a side, (B, levels)."""
    values = torch.linalg.eigvalsh(correlation).clamp(min=1e-4).log()
    levels = torch.tensor(_SPECTRUM_LEVELS, dtype=values.dtype, device=values.device)
    position = levels * (values.shape[-1] - 1)
    low, weight = position.floor().long(), position - position.floor()
    high = (low + 1).clamp(max=values.shape[-1] - 1)
    return values[..., low] * (1 - weight) + values[..., high] * weight


def _row_maxima(cross: Tensor) -> Tensor:
    """Quantiles of every coordinate's largest |correlation| with the other side, (B, levels)."""
    best = cross.abs().amax(-1).sort(-1).values
    levels = torch.tensor(_SPECTRUM_LEVELS, dtype=torch.float64, device=best.device)
    return best[..., (levels * (best.shape[-1] - 1)).round().long()]


def _symmetric(a: Tensor, b: Tensor) -> list[Tensor]:
    return [(a + b) / 2, (a - b).abs()]


def extract_features(
    x: Tensor, y: Tensor, config: FeatureConfig, groups_x: Tensor | None = None, groups_y: Tensor | None = None
) -> Features:
    """Features of B data sets, x (B, N, Dx) and y (B, N, Dy); groups (Dx,) and (Dy,) mark indicator columns of one
    unordered variable by a common positive number, 0 elsewhere."""
    with torch.autocast(device_type=x.device.type, enabled=False), torch.no_grad():
        ranks = double_ranks(torch.cat([x.mT, y.mT.to(x.dtype)], dim=-2).contiguous())
    return features_of_ranks(ranks, x.shape[2], config, groups_x, groups_y)


def features_of_ranks(
    ranks: Tensor,
    dim_x: int,
    config: FeatureConfig,
    groups_x: Tensor | None = None,
    groups_y: Tensor | None = None,
) -> Features:
    """`extract_features` from the double ranks of every coordinate, X's first, (B, D, N) int64."""
    with torch.autocast(device_type=ranks.device.type, enabled=False), torch.no_grad():
        scores = gaussian_scores(ranks)
        return _extract(ranks, scores, scores, dim_x, config, groups_x, groups_y)


def features_of_scores(ranks: Tensor, scores: Tensor, fixed: Tensor, dim_x: int, config: FeatureConfig) -> Features:
    """Features as differentiable functions of scores, (B, D, N) float64, that stand for those of the ranks.

    The order of points, masks, who is whose neighbour, levels and the canonical directions are constants: those of the
    ranks and of the scores `fixed`, another tensor. What counts, Kendall's correlation and KSG, changes from there on
    as smooth counts do.
    """
    assert scores is not fixed
    with torch.autocast(device_type=ranks.device.type, enabled=False):
        return _extract(ranks, scores, fixed, dim_x, config, None, None)


def _extract(
    ranks: Tensor,
    scores: Tensor,
    fixed: Tensor,
    dim_x: int,
    config: FeatureConfig,
    groups_x: Tensor | None,
    groups_y: Tensor | None,
) -> Features:
    batch, dim, num_points = ranks.shape
    dim_y = dim - dim_x
    device = ranks.device
    polynomials, scale_second, scale_third = hermite(scores)  # (B, 3D, N) float64
    moments = covariances(polynomials, scale_second, scale_third)
    correlation = moments.c11
    held = moments if fixed is scores else covariances(*hermite(fixed))  # what the constants come from
    scores32 = polynomials[:, : 2 * dim].float()
    order = canonical_order(ranks)
    kendall = kendall_correlation(fixed, order, config.num_shifts)
    if fixed is not scores:
        kendall = kendall + kendall_change(fixed, scores, order, config.num_shifts)
    binary = ranks.amax(-1) - ranks.amin(-1) == num_points  # two levels: their τ-b is their correlation
    both_binary = binary.unsqueeze(-1) & binary.unsqueeze(-2)
    kendall = torch.where(both_binary, torch.sin(0.5 * math.pi * held.c11.float()), kendall)

    sides = torch.arange(dim, device=device) < dim_x
    same_side = sides.unsqueeze(-1) == sides
    groups = _marks(groups_x, groups_y, dim_x, ranks)
    same_group = (groups.unsqueeze(-1) == groups) & (groups > 0) & same_side
    tied = tied_share(ranks).sqrt() if config.ties else torch.zeros_like(scores[..., 0])  # (B, D)
    relations = relation_features(moments, kendall, same_side, same_group, tied, num_points)

    exx, eyy, exy = _blocks(moments.expanded(), dim_x)
    expanded = torch.cat([torch.cat([exx, exy], dim=-1), torch.cat([exy.mT, eyy], dim=-1)], dim=-2)
    panel = base_panel(
        scores,
        ranks,
        correlation,
        kendall,
        expanded,
        dim_x,
        tied=tied if config.ties else None,
        fixed=None if fixed is scores else (fixed, held.c11, order),
    )
    xx, yy, xy = _sides(correlation, dim_x)
    x, y = scores32[:, :dim_x], scores32[:, dim_x:dim]
    u, v = _canonical_pairs(*_sides(held.c11, dim_x), x, y, 0.05, config.num_canonical_pairs)
    ex, ey = (side.flatten(1, 2) for side in scores32.unflatten(1, (2, dim)).split([dim_x, dim_y], dim=2))
    held_expanded = (exx, eyy, exy) if held is moments else _blocks(held.expanded(), dim_x)
    eu, ev = _canonical_pairs(*held_expanded, ex, ey, 0.05 + dim / num_points, config.num_expanded_pairs)
    norms_x, norms_y = scores32[:, :dim_x].square().mean(-2), scores32[:, dim_x:dim].square().mean(-2)
    radii = [
        feature
        for a, b in ((norms_x, norms_y), (panel.radii_x, panel.radii_y))
        for la, lb in [((a + 0.05).log(), (b + 0.05).log())]
        for feature in [*_symmetric(la, lb), (la * lb) / (1 + (la * lb).abs()).sqrt()]
    ]
    points = torch.cat(
        [
            _pair_features(u, v, config.num_canonical_pairs),
            _pair_features(eu, ev, config.num_expanded_pairs),
            torch.stack(radii, dim=-1),
        ],
        dim=-1,
    )

    informations, strength = _informations(xx, yy, xy, config.num_informations)
    excess_strength = (strength - dim_x * dim_y / num_points).clamp(min=0)
    floor = (excess_strength / num_points + dim_x * dim_y / (2 * num_points**2)).sqrt()
    shape = torch.tensor(
        [
            math.log(num_points) / 4,
            (math.log(dim_x) + math.log(dim_y)) / 4,
            abs(math.log(dim_x) - math.log(dim_y)) / 2,
            math.log(num_points / dim) / 2,
            math.log(1 + min(dim_x, dim_y)) / 2,
        ],
        dtype=torch.float64,
        device=device,
    ).expand(batch, -1)
    maxima = _symmetric(_row_maxima(xy), _row_maxima(xy.mT))
    summary = torch.cat(
        [
            shape,
            floor.log().unsqueeze(-1) / 4,
            (panel.candidates + 0.05).log() / 2 * panel.mask,
            panel.df_weights,
            panel.radial.unsqueeze(-1),
            (panel.radial * math.sqrt(num_points)).clamp(-12, 12).unsqueeze(-1) / 4,
            torch.maximum(tied[:, :dim_x].mean(-1), tied[:, dim_x:].mean(-1)).unsqueeze(-1),
            informations,
            *_symmetric(_spectrum(xx), _spectrum(yy)),
            *maxima,
            _disagreements(panel, num_points),
        ],
        dim=-1,
    )
    return Features(
        relations=relations,
        points=points.float(),
        summary=summary.float(),
        candidates=panel.candidates.float(),
        candidate_mask=panel.mask,
        floor=floor.float(),
        bound=panel.bound.float(),
        dim_x=dim_x,
    )


def _disagreements(panel: Panel, num_points: int) -> Tensor:
    """By how many times 1/√n each candidate differs from the best elliptical one, compressed, (B, C): what tells noise
    from another kind of dependence when n is large and the logarithms of the candidates look alike."""
    elliptical, fallback = (CANDIDATES.index(name) for name in ("student_t_debiased", "gaussian_ridge_0.4"))
    reference = torch.where(
        panel.mask[:, elliptical], panel.candidates[:, elliptical], panel.candidates[:, fallback]
    ).unsqueeze(-1)
    return torch.asinh((panel.candidates - reference) * math.sqrt(num_points)) / 2 * panel.mask


def _blocks(gram: Tensor, dim_x: int) -> tuple[Tensor, Tensor, Tensor]:
    """X with X, Y with Y and X with Y of the covariances (B, 2D, 2D) of scores and second Hermite polynomials."""
    parts = gram.unflatten(2, (2, -1)).unflatten(1, (2, -1))  # (B, 2, D, 2, D)
    x, y = slice(None, dim_x), slice(dim_x, None)
    xx, yy, xy = (parts[:, :, i, :, j].flatten(1, 2).flatten(2) for i, j in ((x, x), (y, y), (x, y)))
    return xx, yy, xy


def _sides(correlation: Tensor, dim_x: int) -> tuple[Tensor, Tensor, Tensor]:
    """X with X, Y with Y and X with Y of (B, D, D)."""
    return correlation[:, :dim_x, :dim_x], correlation[:, dim_x:, dim_x:], correlation[:, :dim_x, dim_x:]


def _marks(groups_x: Tensor | None, groups_y: Tensor | None, dim_x: int, ranks: Tensor) -> Tensor:
    """Marks of all columns of ranks (B, D, N), (D,); zeros for a side without."""
    marks = torch.zeros(ranks.shape[1], dtype=torch.long, device=ranks.device)
    for groups, side in ((groups_x, marks[:dim_x]), (groups_y, marks[dim_x:])):
        if groups is not None:
            side.copy_(groups)
    return marks


def _informations(xx: Tensor, yy: Tensor, xy: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Leading canonical informations ½ log 1/(1 - ρ²) at each ridge (B, ridges·width), and Σρ² at the first."""
    out = []
    strengths = []
    for ridge in _CANONICAL_RIDGES:
        whitened = _inverse_root(xx, ridge) @ xy @ _inverse_root(yy, ridge).mT
        small = whitened.mT if whitened.shape[-2] > whitened.shape[-1] else whitened
        squared = torch.linalg.eigvalsh(small @ small.mT).flip(-1).clamp(0, 1 - 1e-9)
        strengths.append(squared.sum(-1))
        out.append(_pad(-0.5 * torch.log1p(-squared), width))
    return torch.cat(out, dim=-1), strengths[0]
