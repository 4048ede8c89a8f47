"""The base panel: closed-form estimates of MI, in nats, that the network weighs against one another.

Shapes: B data sets, Dx and Dy coordinates, D = Dx + Dy, N points. Matrices are float64; the caller keeps autocast off.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mist.calibration import interpolate
from mist.discrete import joint_levels, miller_madow, plug_in, side_levels
from mist.expansions import EXPANSION_CANDIDATES, expansion_candidates
from mist.gaussian import factor_information, gaussian_bias, gaussian_information
from mist.nearest_neighbours import ksg_change, ksg_mutual_information, ross_mutual_information
from mist.scores import any_row, rows_where, score_table, student_table, take

__all__ = ["CANDIDATES", "DF_GRID", "RIDGES", "Panel", "base_panel", "student_t_excess"]

RIDGES = (0.0, 0.02, 0.1, 0.4)
DF_GRID = (1.0, 2.0, 4.0, 8.0, 16.0, math.inf)
KSG_MAX_DIM = 4
CANDIDATES = (
    "zero",
    *(f"gaussian_ridge_{ridge:g}" for ridge in RIDGES),
    *(f"gaussian_ridge_{ridge:g}_debiased" for ridge in RIDGES),
    "kendall",
    "kendall_debiased",
    "student_t",
    "student_t_debiased",
    "gaussian_plus_excess_debiased",
    "best_match",
    "best_match_thresholded",
    "best_match_kendall",
    "mutual_best",
    "all_pairs_debiased",
    "radial",
    "ksg",
    "plug_in",
    "miller_madow",
    "ross",
    *EXPANSION_CANDIDATES,
)
_SHRINKAGES = (0.05, 0.2, 0.5, 1.0)  # of the robust correlation, where it is not positive definite
_EXCLUDED = -1.0  # value of a candidate that is undefined; never read, its weight is masked


@dataclass(frozen=True)
class Panel:
    """Candidates (B, C) in nats with a mask (B, C), and what the network reads beside them."""

    candidates: Tensor  # (B, C) float64, nats, >= 0
    mask: Tensor  # (B, C) bool, True where the candidate is defined
    df_weights: Tensor  # (B, len(DF_GRID)) float64, posterior weights of the t-copula's df
    radial: Tensor  # (B,) float64, correlation of the two sides' log radii
    radii_x: Tensor  # (B, N) float32, whitened squared radius of x over Dx
    radii_y: Tensor  # (B, N) float32
    bound: Tensor  # (B,) float64, nats: what a discrete side can hold, infinite where there is none


def student_t_excess(df: Tensor, dim_x: int, dim_y: int) -> Tensor:
    """MI of a Student-t beyond its Gaussian part, nats (Arellano-Valle et al. 2013); 0 at infinite df."""
    finite = df.clamp(max=1e6).double()

    def f(dim: int) -> Tensor:
        half = (finite + dim) / 2
        return torch.special.gammaln(half) - half * torch.special.digamma(half)

    return torch.where(df.isinf(), 0.0, f(0) + f(dim_x + dim_y) - f(dim_x) - f(dim_y))


def _lower_inverse(factor: Tensor) -> Tensor:
    """Inverse of lower triangular matrices, (..., D, D)."""
    eye = torch.eye(factor.shape[-1], dtype=factor.dtype, device=factor.device)
    return torch.linalg.solve_triangular(factor, eye.expand_as(factor), upper=False)


def _shrink_to_positive(robust: Tensor, correlation: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The robust correlation moved towards the ridged score correlation by the least of a few steps that makes it
    positive definite; returns the matrix, its Cholesky factor and the inverse of that, (B, D, D) each."""
    anchor = 0.95 * correlation + 0.05 * torch.eye(robust.shape[-1], dtype=robust.dtype, device=robust.device)
    if not robust.requires_grad:
        matrix, factor, inverse, _ = _least_shrunk(robust, anchor)
        return matrix, factor, inverse
    with torch.no_grad():  # factors of what is not positive definite have no gradient
        step = _least_shrunk(robust, anchor)[3].view(-1, 1, 1)
    matrix = (1 - step) * robust + step * anchor
    factor = torch.linalg.cholesky(matrix)
    return matrix, factor, _lower_inverse(factor)


def _least_shrunk(robust: Tensor, anchor: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The matrix, its factor, the inverse of that, (B, D, D) each, and the step taken, (B,)."""
    factor, inverse, defined = _well_conditioned(robust)
    found, missing, taken_step = [robust, factor, inverse], ~defined, torch.zeros_like(robust[:, 0, 0])
    for step in _SHRINKAGES:
        rows = rows_where(missing)
        if len(rows) == 0:
            break
        mixed = (1 - step) * robust[rows] + step * anchor[rows]
        factor, inverse, defined = _well_conditioned(mixed)
        taken = missing[rows] & (defined | (step == 1))
        for i, values in enumerate((mixed, factor, inverse)):
            values = torch.where(taken.view(-1, 1, 1), values, found[i][rows])
            found[i] = found[i].index_copy(0, rows, values)
        taken_step = taken_step.index_copy(0, rows, torch.where(taken, step, taken_step[rows]))
        missing = missing.index_copy(0, rows, missing[rows] & ~taken)
    return found[0], found[1], found[2], taken_step


def _well_conditioned(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Cholesky factor, its inverse, and whether no coordinate is all but determined by the others."""
    factor, info = torch.linalg.cholesky_ex(matrix)
    inverse = _lower_inverse(factor)
    precision = inverse.square().sum(-2).amax(-1)  # 1 / least variance of a coordinate given all others
    return factor, inverse, (info == 0) & (precision < 0.03**-2)


def _df_posterior(ranks: Tensor, inverse: Tensor, scores: Tensor | None = None) -> Tensor:
    """Weights of the t-copula's df on the grid by likelihood, flat prior, given the inverse Cholesky factor of its
    correlation; (B, D, N), (B, D, D) -> (B, len(DF_GRID)). Of `scores` in place of the ranks, (B, D, N) float64, they
    are differentiable."""
    dim, num_points = ranks.shape[-2:]
    if scores is None:
        inverse = inverse.float()
    else:
        normal = score_table(num_points, ranks.device)
        normal = normal / normal[::2].square().mean().sqrt()  # as scores are
    log_likelihoods = []
    for df in DF_GRID:
        table = student_table(num_points, df if math.isfinite(df) else 1e9, ranks.device)
        if scores is None:
            values = take(table.float(), ranks)
        else:
            values = interpolate(normal, table.unsqueeze(0), scores.reshape(1, -1)).view_as(scores)
        radius = (inverse @ values).square().sum(-2).double()  # (B, N)
        marginal = table[::2]
        if math.isinf(df):
            joint = -0.5 * radius.sum(-1) + 0.5 * dim * marginal.square().sum()
        else:
            constant = math.lgamma((df + dim) / 2) + (dim - 1) * math.lgamma(df / 2) - dim * math.lgamma((df + 1) / 2)
            joint = num_points * constant - 0.5 * (df + dim) * torch.log1p(radius / df).sum(-1)
            joint = joint + 0.5 * (df + 1) * dim * torch.log1p(marginal.square() / df).sum()
        log_likelihoods.append(joint)
    return torch.stack(log_likelihoods, dim=-1).softmax(-1)


def _radii(scores: Tensor, correlation: Tensor) -> Tensor:
    """Squared norm of the whitened side over its dims, (B, D, N), (B, D, D) -> (B, N) float32."""
    dim, num_points = scores.shape[-2:]
    ridge = 0.01 + dim / num_points
    factor = torch.linalg.cholesky(correlation + ridge * torch.eye(dim, dtype=correlation.dtype, device=scores.device))
    return (_lower_inverse(factor).float() @ scores.float()).square().mean(-2)


def _correlate(a: Tensor, b: Tensor) -> Tensor:
    a = a - a.mean(-1, keepdim=True)
    b = b - b.mean(-1, keepdim=True)
    return (a * b).sum(-1) / (a.square().sum(-1) * b.square().sum(-1)).clamp(min=1e-24).sqrt()


def _information(squared: Tensor) -> Tensor:
    return -0.5 * torch.log1p(-squared.clamp(0, 1 - 1e-9))


def _sparse_sums(cross: Tensor, kendall: Tensor, num_points: int) -> list[Tensor]:
    """Sums of pairwise information for dependence that sits in few pairs; cross, kendall (B, Dx, Dy)."""
    dim_x, dim_y = cross.shape[-2:]
    squared = cross.square()
    threshold = 2 * math.log(dim_x * dim_y + 1) / num_points

    def best(values: Tensor) -> Tensor:
        return 0.5 * (_information(values.amax(-1)).sum(-1) + _information(values.amax(-2)).sum(-1))

    thresholded = torch.where(squared > threshold, squared, 0.0)
    rounded = squared * (1 + 1e-9)  # equal correlations, as between discrete columns, are equal beyond rounding
    mutual = (rounded >= squared.amax(-1, keepdim=True)) & (rounded >= squared.amax(-2, keepdim=True))
    mutual_best = (_information(thresholded) * mutual).sum((-2, -1))
    everything = (_information(squared).sum((-2, -1)) - 0.5 * dim_x * dim_y / num_points).clamp(min=0)
    return [best(squared), best(thresholded), best(kendall.square()), mutual_best, everything]


def _discrete_candidates(
    scores: Tensor, ranks: Tensor, tied: Tensor | None, dim_x: int
) -> tuple[list[Tensor], list[Tensor], Tensor]:
    """Plug-in and Miller-Madow for two discrete sides and Ross for a discrete and a continuous one, with masks (B,),
    and the logarithm of the number of levels of a discrete side, the smaller of two, infinite where there is none;
    tied (B, D) is 0 where a column has no ties, None to mask all three."""
    values = [torch.zeros_like(scores[:, 0, 0]) for _ in range(3)]
    masks = [torch.zeros_like(values[0], dtype=torch.bool) for _ in range(3)]
    bound = torch.full_like(values[0], torch.inf)
    if tied is None:
        return values, masks, bound
    rows = rows_where((tied[:, :dim_x] > 0).all(-1) | (tied[:, dim_x:] > 0).all(-1))
    if len(rows) == 0:
        return values, masks, bound
    scores, ranks = scores[rows], ranks[rows]
    x, y = side_levels(ranks[:, :dim_x]), side_levels(ranks[:, dim_x:])
    joint = joint_levels(x, y)
    both, mixed_x, mixed_y = x.discrete & y.discrete, x.discrete & ~y.discrete, y.discrete & ~x.discrete
    ross = torch.zeros_like(scores[:, 0, 0])
    defined = torch.zeros_like(both)
    for levels, side, which in ((x, scores[:, dim_x:], mixed_x), (y, scores[:, :dim_x], mixed_y)):
        if side.shape[1] < KSG_MAX_DIM and any_row(which):
            ross = ross + ross_mutual_information(levels, side, which)
            defined = defined | which
    most = [torch.where(side.discrete, side.count.log(), torch.inf) for side in (x, y)]
    bound = bound.index_copy(0, rows, torch.minimum(*most).to(bound))
    found = plug_in(x, y, joint), miller_madow(x, y, joint), ross
    values = [into.index_copy(0, rows, value) for into, value in zip(values, found, strict=True)]
    masks = [into.index_copy(0, rows, mask) for into, mask in zip(masks, (both, both, defined), strict=True)]
    return values, masks, bound


def base_panel(
    scores: Tensor,
    ranks: Tensor,
    correlation: Tensor,
    kendall: Tensor,
    expanded: Tensor,
    dim_x: int,
    *,
    tied: Tensor | None = None,
    fixed: tuple[Tensor, Tensor, Tensor] | None = None,
) -> Panel:
    """All candidates of one batch.

    scores (B, D, N) float64, ranks (B, D, N) double ranks, correlation (B, D, D) of the scores, kendall (B, D, D) the
    robust correlation, expanded (B, 2D, 2D) the covariances of scores and squares, X's first; tied (B, D) marks columns
    by their ties, without it the candidates for discrete and mixed pairs are masked. Where candidates are to be
    differentiated, what is no such function of scores comes from `fixed`, scores, their correlation and an order of the
    points (B, N): KSG moves from these as smooth counts do.
    """
    fixed_scores, fixed_correlation = fixed[:2] if fixed is not None else (scores, correlation)
    batch, dim, num_points = scores.shape
    dim_y = dim - dim_x
    eye = torch.eye(dim, dtype=correlation.dtype, device=scores.device)
    regular = num_points > dim + 1
    bias = gaussian_bias(num_points, dim_x, dim_y) if regular else 0.0
    every = torch.ones(batch, dtype=torch.bool, device=scores.device)

    ridges = torch.tensor(RIDGES, dtype=correlation.dtype, device=scores.device).view(-1, 1, 1, 1)
    gaussian, defined = gaussian_information((correlation + ridges * eye) / (1 + ridges), dim_x)  # (R, B)
    defined = defined & (every.unsqueeze(0) if regular else (ridges.view(-1, 1) > 0))

    robust, factor, inverse = _shrink_to_positive(kendall.double(), fixed_correlation)
    other, info = torch.linalg.cholesky_ex(robust[:, dim_x:, dim_x:])
    robust_information, robust_defined = factor_information(factor, other, dim_x)
    robust_defined = robust_defined & (info == 0)
    df_weights = _df_posterior(ranks, inverse, None if fixed is None else scores)
    grid = torch.tensor(DF_GRID, dtype=torch.float64, device=scores.device)
    excess = df_weights @ student_t_excess(grid, dim_x, dim_y)

    radii_x = _radii(scores[:, :dim_x], correlation[:, :dim_x, :dim_x])
    radii_y = _radii(scores[:, dim_x:], correlation[:, dim_x:, dim_x:])
    radial = _correlate((radii_x.double() + 0.01).log(), (radii_y.double() + 0.01).log())

    if dim <= KSG_MAX_DIM:
        ksg = ksg_mutual_information(fixed_scores[:, :dim_x], fixed_scores[:, dim_x:])
        if fixed is not None:
            ksg = ksg + ksg_change(fixed_scores, scores, dim_x, fixed[2])
    else:
        ksg = torch.full_like(radial, _EXCLUDED)
    sparse = _sparse_sums(correlation[:, :dim_x, dim_x:], kendall.double()[:, :dim_x, dim_x:], num_points)
    discrete, discrete_masks, bound = _discrete_candidates(fixed_scores, ranks, tied, dim_x)

    expansions, expansion_masks = expansion_candidates(scores, expanded, dim_x)

    debiasable = every if regular else ~every
    values = [
        torch.zeros_like(radial),
        *gaussian,
        *(gaussian - bias),
        robust_information,
        robust_information - bias,
        robust_information + excess,
        robust_information + excess - bias,
        gaussian[0] + excess - bias,
        *sparse,
        _information(radial.square()),
        ksg,
        *discrete,
        *expansions,
    ]
    masks = [
        every,
        *defined,
        *(defined & debiasable),
        robust_defined,
        robust_defined & debiasable,
        robust_defined,
        robust_defined & debiasable,
        defined[0] & debiasable,
        *([every] * len(sparse)),
        every,
        every if dim <= KSG_MAX_DIM else ~every,
        *discrete_masks,
        *expansion_masks,
    ]
    mask = torch.stack(masks, dim=-1)
    candidates = torch.where(mask, torch.stack(values, dim=-1).clamp(0, 100), 0.0)
    assert candidates.shape[-1] == len(CANDIDATES)
    return Panel(candidates, mask, df_weights, radial, radii_x, radii_y, bound)
