"""Gaussian MI of non-linear functions of each side, for dependence that no correlation of coordinates shows.

Shapes: B data sets, N points, Dx, Dy, D = Dx + Dy coordinates, F functions. Matrices are float64.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from mist.gaussian import gaussian_bias, gaussian_information

__all__ = [
    "EXPANSION_CANDIDATES",
    "EXPANSION_MAX_DIM",
    "as_correlation",
    "expansion_candidates",
    "norm_level",
    "num_products",
    "products",
    "radial_covariance",
    "turned_by_cosines",
]

EXPANSION_MAX_DIM = 64  # coordinates in all; past it the functions are too many for the points that people have
_MAX_TURNED, _MAX_PRODUCTS = 80, 112  # functions of both sides: more take longer than they tell
_NUM_COSINES = (1, 2, 4)  # by which scores are multiplied
_DEGREES = (2, 3)  # of products
_RIDGE = 1e-3  # functions of one coordinate may be all but collinear
_CHUNK = 1 << 20  # numbers, of functions held at a time
EXPANSION_CANDIDATES = (
    "squares_debiased",
    "turns_debiased",
    *(f"turns_by_{count}_cosines" for count in _NUM_COSINES),
    *(f"products_{degree}" for degree in _DEGREES),
    *(f"regression_{degree}_{which}" for degree in _DEGREES for which in ("low", "high")),
)

Found = tuple[Tensor, Tensor] | None  # values and mask, (B,) each; None where there are too many functions


def expansion_candidates(scores: Tensor, expanded: Tensor, dim_x: int) -> tuple[list[Tensor], list[Tensor]]:
    """Debiased Gaussian MI of non-linear functions of the sides, in the order of `EXPANSION_CANDIDATES`, with masks:
    (B,) each; scores (B, D, N), X's first.

    Of the scores and their squares, whose covariances `expanded` (B, 2D, 2D) are; of the scores turned by angles that
    grow with the norm, to second order and by cosines; of products of the Hermite polynomials of either side, where
    what is Gaussian is counted again in every degree; and of the products of one side with the scores of the other, the
    lower and the higher of both ways round, where it is not. Functions that do not vary, as squares of a balanced
    binary column do not, are taken for ones that do: such columns are debiased by too much.
    """
    dim_y, num_points = scores.shape[1] - dim_x, scores.shape[2]
    sides = scores[:, :dim_x], scores[:, dim_x:]
    found: list[Found] = []
    for functions in (2, 3):
        if dim_x + dim_y > EXPANSION_MAX_DIM or num_points <= functions * (dim_x + dim_y) + 1:
            found.append(None)
            continue
        correlation = as_correlation(expanded if functions == 2 else radial_covariance(scores, dim_x))
        value, defined = gaussian_information(_with_ridge(correlation), functions * dim_x)
        found.append((value - gaussian_bias(num_points, functions * dim_x, functions * dim_y), defined))
    found += [*_turned(sides), *_products(sides)]
    nothing = torch.zeros_like(scores[:, 0, 0])
    values, masks = zip(*(pair or (nothing, nothing.bool()) for pair in found), strict=True)
    return list(values), list(masks)


def _turned(sides: tuple[Tensor, Tensor]) -> list[Found]:
    """By each number of cosines."""
    (_, dim_x, num_points), dim_y = sides[0].shape, sides[1].shape[1]
    most = min(_MAX_TURNED, (num_points - 1) // 2)
    counts = [count for count in _NUM_COSINES if (count + 1) * (dim_x + dim_y) <= most]
    if not counts:
        return [None] * len(_NUM_COSINES)
    levels = [norm_level(side) for side in sides]

    def functions(points: slice) -> list[Tensor]:
        return [
            function
            for side, level in zip(sides, levels, strict=True)
            for function in turned_by_cosines(side[..., points], level[..., points], counts[-1])
        ]

    nested = _Nested([dim_x] * (counts[-1] + 1), [dim_y] * (counts[-1] + 1), functions, sides[0])
    both = nested.of_both()
    biases = [gaussian_bias(num_points, (count + 1) * dim_x, (count + 1) * dim_y) for count in counts]
    found = [_checked(both[:, count] - bias) for count, bias in zip(counts, biases, strict=True)]
    return [*found, *[None] * (len(_NUM_COSINES) - len(counts))]


def _products(sides: tuple[Tensor, Tensor]) -> list[Found]:
    """Of both sides' products by degree, then of one side's and the other's scores, the lower and the higher; as long
    as the products of both are few enough."""
    (_, dim_x, num_points), dim_y = sides[0].shape, sides[1].shape[1]
    sizes = {degree: (num_products(dim_x, degree), num_products(dim_y, degree)) for degree in _DEGREES}
    degrees = [degree for degree in _DEGREES if sum(sizes[degree]) <= min(_MAX_PRODUCTS, (num_points - 1) // 2)]
    if not degrees:
        return [None] * (3 * len(_DEGREES))
    most = degrees[-1]

    def functions(points: slice) -> list[Tensor]:
        return [block for side in sides for block in products(side[..., points], most)]

    widths = [[math.comb(dim + k - 1, k) for k in range(1, most + 1)] for dim in (dim_x, dim_y)]
    nested = _Nested(widths[0], widths[1], functions, sides[0])
    of_both, (of_x, of_y) = nested.of_both(), nested.of_one()
    both: list[Found] = [None] * len(_DEGREES)
    one: list[Found] = [None] * (2 * len(_DEGREES))
    for i, degree in enumerate(degrees):
        size_x, size_y = sizes[degree]
        both[i] = _checked(of_both[:, degree - 1] - gaussian_bias(num_points, size_x, size_y))
        ways = (
            of_x[:, degree - 1] - gaussian_bias(num_points, size_x, dim_y),
            of_y[:, degree - 1] - gaussian_bias(num_points, dim_x, size_y),
        )
        one[2 * i : 2 * i + 2] = [_checked(torch.minimum(*ways)), _checked(torch.maximum(*ways))]
    return [*both, *one]


def _checked(value: Tensor) -> Found:
    return value, value.isfinite()


class _Nested:
    """Gaussian MI, not debiased, of growing sets of functions of X and of Y, block by block; NaN where a matrix is not
    positive definite.

    `functions` gives the blocks of some points, X's first, (B, F, n) of these `widths`; `like` is (B, ..., N).
    """

    def __init__(
        self, widths_x: list[int], widths_y: list[int], functions: Callable[[slice], list[Tensor]], like: Tensor
    ) -> None:
        widths = [*widths_x, *widths_y]
        num_points = like.shape[-1]
        step = max(1, _CHUNK // (len(like) * sum(widths)))
        total = like.new_zeros(len(like), sum(widths), 1)
        gram = like.new_zeros(len(like), sum(widths), sum(widths))
        for start in range(0, num_points, step):
            part = torch.cat(functions(slice(start, start + step)), dim=-2)
            total = total + part.sum(-1, keepdim=True)
            gram = torch.baddbmm(gram, part, part.mT)
        mean = total / num_points
        self.correlation = _with_ridge(as_correlation(gram / num_points - mean @ mean.mT))
        spans = [slice(*bounds) for bounds in itertools.pairwise([0, *itertools.accumulate(widths)])]
        self.x, self.y = spans[: len(widths_x)], spans[len(widths_x) :]
        self.alone_x, self.alone_y = (self._log_determinants([[span] for span in side]) for side in (self.x, self.y))

    def of_both(self) -> Tensor:
        """Of the first k blocks of each side, (B, K)."""
        both = self._log_determinants([[a, b] for a, b in zip(self.x, self.y, strict=True)])
        return (self.alone_x + self.alone_y - both) / 2

    def of_one(self) -> tuple[Tensor, Tensor]:
        """Of the first k blocks of one side and the first of the other, X's and Y's, (B, K) each."""
        from_x = self._log_determinants([[self.y[0], self.x[0]], *([span] for span in self.x[1:])])
        from_y = self._log_determinants([[self.x[0], self.y[0]], *([span] for span in self.y[1:])])
        return (self.alone_x + self.alone_y[:, :1] - from_x) / 2, (self.alone_x[:, :1] + self.alone_y - from_y) / 2

    def _log_determinants(self, blocks: Sequence[Sequence[slice]]) -> Tensor:
        """Of the leading parts of the correlation with its rows in the order of `blocks`, after each of them."""
        order = [span for block in blocks for span in block]
        rows = torch.cat([self.correlation[:, span] for span in order], dim=-2)
        factor, _ = torch.linalg.cholesky_ex(torch.cat([rows[..., span] for span in order], dim=-1))
        logs = 2 * factor.diagonal(dim1=-2, dim2=-1).log().cumsum(-1)
        ends = itertools.accumulate(sum(span.stop - span.start for span in block) for block in blocks)
        return torch.stack([logs[:, end - 1] for end in ends], dim=-1)


def _with_ridge(correlation: Tensor) -> Tensor:
    eye = torch.eye(correlation.shape[-1], dtype=correlation.dtype, device=correlation.device)
    return (correlation + _RIDGE * eye) / (1 + _RIDGE)


def radial_covariance(scores: Tensor, dim_x: int) -> Tensor:
    """Covariances of every coordinate times 1, s and s² - 1, s the standardised norm of its side; coordinates of X
    first, X's three kinds before Y's, (B, D, N) -> (B, 3D, 3D).

    To second order in the angle, these span the inverse of every map that turns the side's planes by an angle which
    depends on the norm, as the spiral of Czyż et al. (2023) does: the Gaussian MI of the two spans is then that
    before the turn.
    """
    parts = []
    for side in (scores[:, :dim_x], scores[:, dim_x:]):
        norm = _standardised_norm(side)
        parts += [side, side * norm, side * (norm.square() - 1)]
    return _covariance(torch.cat(parts, dim=-2))


def _covariance(functions: Tensor) -> Tensor:
    """(B, F, N) -> (B, F, F)."""
    mean = functions.mean(-1, keepdim=True)  # taken off the products, not off the points: it is small beside the spread
    return torch.baddbmm(mean @ mean.mT, functions, functions.mT, beta=-1, alpha=1 / functions.shape[-1])


def _standardised_norm(side: Tensor) -> Tensor:
    """(B, D, N) -> (B, 1, N)."""
    norm = side.square().mean(-2, keepdim=True).clamp(min=1e-24).sqrt()  # a slope at 0, too
    norm = norm - norm.mean(-1, keepdim=True)
    return norm / norm.square().mean(-1, keepdim=True).clamp(min=1e-12).sqrt()


def as_correlation(covariance: Tensor) -> Tensor:
    """Scaled to a unit diagonal, (B, D, D); what does not vary is independent of all else."""
    variance = covariance.diagonal(dim1=-2, dim2=-1)
    scale = torch.where(variance > 1e-9, variance, torch.inf).rsqrt()  # (B, D)
    correlation = covariance * scale.unsqueeze(-1) * scale.unsqueeze(-2)
    eye = torch.eye(covariance.shape[-1], dtype=covariance.dtype, device=covariance.device)
    return torch.where(eye.bool(), 1.0, correlation)


def norm_level(side: Tensor) -> Tensor:
    """Φ(the standardised norm of a side), (B, D, N) -> (B, 1, N) in (0, 1)."""
    return torch.special.ndtr(_standardised_norm(side))


def turned_by_cosines(side: Tensor, level: Tensor, count: int) -> list[Tensor]:
    """The scores of a side times cos(jπu), u its `norm_level`, for j = 0 … count; (B, D, N) -> as many.

    As `radial_covariance` has it, for turns of any speed: where the two norms are independent, their Gaussian MI grows
    towards that before the turn as cosines are added, and by how much it grows yet tells what is missing. Bounded
    multipliers keep its noise low.
    """
    cosines = [torch.ones_like(level), (math.pi * level).cos()]
    for j in range(2, count + 1):
        cosines.append(2 * cosines[1] * cosines[j - 1] - cosines[j - 2])
    return [side, *(side * cosine for cosine in cosines[1 : count + 1])]


def num_products(dim: int, degree: int) -> int:
    """Of products of Hermite polynomials of `dim` coordinates whose degrees add up to 1 … `degree`."""
    return math.comb(dim + degree, degree) - 1


def products(side: Tensor, degree: int) -> list[Tensor]:
    """Products of normalised Hermite polynomials of the coordinates of a side by their degrees 1 … `degree` in all,
    (B, D, N) -> (B, F, N) each: orthonormal where the scores are independent and Gaussian."""
    dim = side.shape[-2]
    polynomials = [torch.ones_like(side), side]
    for k in range(1, degree):
        polynomials.append(side * polynomials[k] - k * polynomials[k - 1])
    polynomials = [p / math.sqrt(math.factorial(k)) for k, p in enumerate(polynomials)]
    out = [side]
    for total in range(2, degree + 1):
        block = []
        for i in range(dim):  # the last coordinate: what may stand before it leads the block of the other degrees
            for k in range(1, total + 1):
                before = math.comb(i + total - k - 1, total - k) if k < total else 1
                if before:
                    last = polynomials[k][..., i : i + 1, :]
                    block.append(last if k == total else out[total - k - 1][..., :before, :] * last)
        out.append(torch.cat(block, dim=-2))
    return out
