"""Rank to Gaussian scores, and an order of the points that no symmetry of MI can move.

Shapes: B data sets, D coordinates, N points; coordinates come before points here.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

__all__ = [
    "any_row",
    "argsort_last",
    "break_ties",
    "canonical_order",
    "double_ranks",
    "gaussian_scores",
    "mix",
    "rows_where",
    "score_table",
    "student_table",
    "take",
]

_MULTIPLIERS = (-7046029254386353131, -4658895280553007687)  # odd 64-bit constants of splitmix64 (Steele et al. 2014)


def argsort_last(values: Tensor) -> Tensor:
    """Unstable argsort along the last dimension; NumPy's vectorised sort on a CPU is several times faster."""
    if values.device.type == "cpu":
        return torch.from_numpy(np.argsort(values.detach().contiguous().numpy(), axis=-1))
    return values.argsort(dim=-1)


def rows_where(wanted: Tensor) -> Tensor:
    """Which rows to work on, (R,) bool -> indices: those wanted; on an accelerator, where to look is to wait, all."""
    if wanted.device.type == "cpu":
        return wanted.nonzero().squeeze(-1)
    return torch.arange(len(wanted), device=wanted.device)


def any_row(wanted: Tensor) -> bool:
    """Whether there is a row to work on, (R,) bool: one glance costs less than the work, but not on an accelerator,
    where to look is to wait."""
    return wanted.device.type != "cpu" or bool(wanted.any())


def double_ranks(values: Tensor) -> Tensor:
    """Twice the mid-rank (0-based, so integer under ties) along the last dimension; (..., N) -> (..., N) int64."""
    order = argsort_last(values)
    ordered = values.gather(-1, order)
    differs = ordered[..., 1:] != ordered[..., :-1]
    num_points = values.shape[-1]
    middle = torch.arange(0, 2 * num_points, 2, device=values.device).expand(order.shape)
    rows = rows_where(~differs.all(-1).flatten())
    if len(rows):
        middle = middle.clone()
        middle.view(-1, num_points)[rows] = _middles(differs.reshape(-1, num_points - 1)[rows])
    return torch.empty_like(order).scatter_(-1, order, middle)


def _middles(differs: Tensor) -> Tensor:
    """Twice the middle position of every run of equal values, at each of its places; (R, N - 1) -> (R, N)."""
    run = torch.nn.functional.pad(differs.long(), (1, 0)).cumsum(-1)
    size = torch.zeros_like(run).scatter_add_(-1, run, torch.ones_like(run))
    return (2 * size.cumsum(-1) - size - 1).gather(-1, run)


def _levels(num_points: int, device: torch.device) -> Tensor:
    """Levels (rank + ½)/N below the middle, by double rank 0…N-1."""
    return (torch.arange(num_points, dtype=torch.float64, device=device) + 1) / (2 * num_points)


def _mirror(lower: Tensor) -> Tensor:
    """Odd reflection about the middle, so that a falling map negates every score exactly."""
    lower = torch.cat([lower[..., :-1], torch.zeros_like(lower[..., -1:])], dim=-1)
    return torch.cat([lower, -lower[..., :-1].flip(-1)], dim=-1)


def score_table(num_points: int, device: torch.device) -> Tensor:
    """Φ⁻¹((rank + ½)/N) by double rank, (2N - 1,) float64, exactly odd about its middle."""
    return _mirror(torch.special.ndtri(_levels(num_points, device)))


def student_table(num_points: int, df: float, device: torch.device) -> Tensor:
    """Student-t quantiles by double rank, (2N - 1,) float64, exactly odd about its middle.

    Closed forms for df 1, 2 and 4 (Shaw 2006, Eqs. 36-38); Cornish-Fisher beyond (Abramowitz & Stegun 1964, 26.7.5).
    """
    p = _levels(num_points, device)
    if df == 1:
        lower = -1 / torch.tan(torch.pi * p)
    elif df == 2:
        lower = (2 * p - 1) / (2 * p * (1 - p)).sqrt()
    elif df == 4:
        a = 4 * p * (1 - p)
        lower = -2 * (torch.cos(torch.arccos(a.sqrt().clamp(max=1)) / 3) / a.sqrt() - 1).clamp(min=0).sqrt()
    else:
        z = torch.special.ndtri(p)
        z2 = z * z
        lower = z * (
            1
            + (z2 + 1) / (4 * df)
            + (5 * z2**2 + 16 * z2 + 3) / (96 * df**2)
            + (3 * z2**3 + 19 * z2**2 + 17 * z2 - 15) / (384 * df**3)
        )
    return _mirror(lower)


def take(table: Tensor, index: Tensor) -> Tensor:
    """table[index] for a (T,) table and an index of any shape; several times faster than indexing on a CPU."""
    return table.index_select(0, index.flatten()).view(index.shape)


def gaussian_scores(ranks: Tensor) -> Tensor:
    """Centred Gaussian scores of unit variance, (..., N) double ranks -> (..., N) float64."""
    scores = take(score_table(ranks.shape[-1], ranks.device), ranks)
    scores = scores - scores.mean(-1, keepdim=True)
    return scores.div_((scores * scores).mean(-1, keepdim=True).sqrt_().clamp_(min=1e-12))


def mix(words: Tensor) -> Tensor:
    """A hash of 64-bit integers (after Steele et al. 2014)."""
    for multiplier in _MULTIPLIERS:
        words = words * multiplier
        words = words ^ (words >> 29)
    return words


def canonical_order(ranks: Tensor) -> Tensor:
    """An order of the points that depends on the data set only, (B, D, N) -> (B, N) indices.

    It is unmoved by the order of points and coordinates, by swapping the sides and by falling maps: points are sorted
    by a hash of their ranks' distances from the middle, then by one of the signed distances, each coordinate weighed by
    a hash of its own asymmetry Σ_i signed_ij colour_i, an odd function. They are laid out by a permutation that
    depends on N alone, so that equal points are no neighbours. Integers add exactly in any order: those of 64 bits
    modulo 2⁶⁴, sums of products of 16 bits in float64, whose matrix products are fast, to two million points.
    """
    num_points = ranks.shape[-1]
    distance = torch.arange(num_points, device=ranks.device)  # of the double rank from the middle, N - 1 at the end
    unsigned = (mix(distance + 1) >> 24) & 0xFFFFFFFFFF
    signed = _low_bits((mix(distance + num_points + 1) >> 24) | 1)
    signed[0] = 0
    unsigned = torch.cat([unsigned.flip(0), unsigned[1:]])  # by double rank, even and odd about the middle
    signed = torch.cat([-signed.flip(0), signed[1:]])
    first = take(unsigned, ranks).sum(-2)  # (B, N)
    odd = take(signed, ranks)  # (B, D, N)
    colour = mix(first)
    for _ in range(2):  # the second round sees the signs of the first: a balanced binary column hides them from it
        asymmetry = odd @ _low_bits(colour).unsqueeze(-1)  # (B, D, 1)
        weights = asymmetry.sign() * _low_bits(mix(asymmetry.abs().long()))
        colour = mix(first ^ mix((weights.mT @ odd).squeeze(-2).long()))
    key = (first << 24) ^ (colour & 0xFFFFFF)
    order = argsort_last(key)
    layout = argsort_last(mix(torch.arange(1, num_points + 1, device=ranks.device)))
    return order[..., layout]


def break_ties(ranks: Tensor) -> Tensor:
    """Double ranks (B, D, N) with the equal values of a column spread evenly within their step: adding independent
    noise within a step, which leaves MI unchanged. (B, D, N) without ties.

    The noise is a hash of a point's place in the canonical order and of the column's asymmetry, an odd function whose
    sign turns it: what moves no estimate of continuous data moves none of these. (Where every column is binary with
    equally common levels no order is canonical, and another order of the points is another noise.)
    """
    num_points = ranks.shape[-1]
    untied = 2 * (num_points - 1) * num_points * (2 * num_points - 1) // 3  # Σ (2i)²
    wanted = ranks.square().sum(-1) != untied  # (B, D): ties lower the sum of squares
    if not any_row(wanted.flatten()):
        return ranks
    order = canonical_order(ranks)
    place = torch.empty_like(order).scatter_(-1, order, torch.arange(num_points, device=ranks.device).expand_as(order))
    colour = _low_bits(mix(place + 1))  # (B, N)
    asymmetry = ((ranks - (num_points - 1)).double() @ colour.unsqueeze(-1)).squeeze(-1)  # (B, D), exact integers
    key = asymmetry.abs().long()
    twins = (key.unsqueeze(-1) == key.unsqueeze(-2)).tril(-1).sum(-1)  # equal columns get noise of their own each
    words = mix(mix(key + 1) ^ mix(twins + num_points)).unsqueeze(-1) ^ mix(place + 1).unsqueeze(-2)
    noise = ((mix(words) >> 11) & ((1 << 52) - 1)).double() / (1 << 52) - 0.5  # (B, D, N)
    sign = torch.where(asymmetry < 0, -1.0, 1.0).unsqueeze(-1)
    return torch.where(wanted.unsqueeze(-1), double_ranks(ranks + sign * noise), ranks)


def _low_bits(words: Tensor) -> Tensor:
    """The last 16 bits, float64."""
    return (words & 0xFFFF).double()
