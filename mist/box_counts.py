"""How many points lie in a box around each: sorting for one coordinate, a wavelet matrix or bits for two, else bits.

Shapes: B data sets, D coordinates, N points. Sorting and the matrix are vectorised over B and N, on any device.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mist.scores import argsort_last

__all__ = ["count_within"]

_BLOCK = 1024  # points whose sets of bits, and boxes that are asked of them, are in the cache together
_BITS_OF_TWO = range(256, 50_000)  # points of two coordinates among which bits count faster than the matrix on a CPU
_SET_BITS = np.array([value.bit_count() for value in range(1 << 8)], dtype=np.uint8)


def count_within(side: Tensor, radius: Tensor) -> Tensor:
    """Points, itself among them, no further than `radius` from each in the maximum norm; (B, D, N), (B, N) -> (B, N).

    O(N log N) for D = 1 and 2: the points between two bounds of the first coordinate stand side by side once sorted,
    and a wavelet matrix (Claude & Navarro 2012) counts among them those between two bounds of the second. Past that,
    and for D = 2 where it is faster, O(D N²) with a small constant, a bit for each pair of near points and coordinate.
    """
    bits_of_two = side.device.type == "cpu" and side.shape[-1] in _BITS_OF_TWO
    if side.shape[1] > 2 or (side.shape[1] == 2 and bits_of_two):
        counts = [_count_by_bits(*arrays) for arrays in zip(side.cpu().numpy(), radius.cpu().numpy(), strict=True)]
        return torch.from_numpy(np.stack(counts)).to(side.device)
    order, left, right = _bounds(side[:, 0], radius)
    if side.shape[1] == 1:
        return right - left
    by_second, low, high = _bounds(side[:, 1], radius)
    places = torch.arange(side.shape[-1], device=side.device).expand_as(order)
    position = torch.empty_like(order).scatter_(-1, by_second, places)
    return _count_between(position.gather(-1, order), left, right, low, high)


def _bounds(values: Tensor, radius: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The order of the values and, for each, the first place in it within the radius below and the first beyond it
    above, (B, N) each. They are looked up in that order: one after another they read the same memory."""
    order = argsort_last(values)
    ordered, reach = values.gather(-1, order), radius.gather(-1, order)
    low = torch.searchsorted(ordered, ordered - reach)
    high = torch.searchsorted(ordered, ordered + reach, right=True)
    return order, torch.empty_like(low).scatter_(-1, order, low), torch.empty_like(high).scatter_(-1, order, high)


def _count_between(sequence: Tensor, left: Tensor, right: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Entries of a permutation of 0…N-1 at positions left ≤ i < right with values low ≤ v < high; all (B, N).

    From the highest bit down, the sequence is split stably into zeros and ones, and every interval of positions follows
    the bit of its bound; what turns off to the zeros where the bound has a one lies below the bound.
    """
    num_points = sequence.shape[-1]
    bounds = torch.cat([low, high], dim=-1)
    begin, end = left.repeat(1, 2), right.repeat(1, 2)
    below = torch.zeros_like(bounds)
    places = torch.arange(num_points, device=sequence.device)
    for bit in reversed(range(num_points.bit_length())):  # a bound may be N itself
        ones = sequence >> bit & 1
        zeros_before = torch.nn.functional.pad((1 - ones).cumsum(-1), (1, 0))  # (B, N + 1)
        num_zeros = zeros_before[:, -1:]
        begin_zeros, end_zeros = zeros_before.gather(-1, begin), zeros_before.gather(-1, end)
        up = (bounds >> bit & 1).bool()
        below += torch.where(up, end_zeros - begin_zeros, 0)
        begin = torch.where(up, num_zeros + begin - begin_zeros, begin_zeros)
        end = torch.where(up, num_zeros + end - end_zeros, end_zeros)
        before = zeros_before[:, :-1]
        target = torch.where(ones.bool(), num_zeros + places - before, before)
        sequence = torch.empty_like(sequence).scatter_(-1, target, sequence)
    return below[:, num_points:] - below[:, :num_points]


def _count_by_bits(side: NDArray[np.float64], radius: NDArray[np.float64]) -> NDArray[np.int64]:
    """`count_within` of one data set, (D, N), (N,) -> (N,): the points between two bounds of a coordinate are a set of
    bits, the difference of two of the sets that grow point by point along it, and a box is what the sets share.

    A block of points is a slab, consecutive where boxes are narrowest, and asked by the boxes that reach it.
    """
    num_points = side.shape[1]
    orders = np.argsort(side, axis=-1)
    rank, low, high = (np.empty(side.shape, dtype=np.int64) for _ in range(3))
    for i, (values, order) in enumerate(zip(side, orders, strict=True)):
        ordered, reach = values[order], radius[order]
        rank[i, order] = np.arange(num_points)
        low[i, order] = np.searchsorted(ordered, ordered - reach)
        high[i, order] = np.searchsorted(ordered, ordered + reach, side="right")
    narrowest = (high - low).sum(-1).argmin()
    order = orders[narrowest]  # of points and of boxes: those of a slab read the same memory
    rank, low, high = rank[:, order], low[:, order], high[:, order]
    found = np.zeros(num_points, dtype=np.int64)
    for start in range(0, num_points, _BLOCK):
        stop = min(start + _BLOCK, num_points)
        hit = np.flatnonzero((low[narrowest] < stop) & (high[narrowest] > start))
        sets, bounds = [], []
        for places, below, above in zip(rank[:, start:stop], low, high, strict=True):
            member = np.zeros(num_points + 1, dtype=np.int32)
            member[places + 1] = 1
            before = member.cumsum(dtype=np.int32)  # points of the block that come before each place
            sets.append(_growing_sets(before[places]))
            bounds.append((before[below[hit]], before[above[hit]]))
        for first in range(0, len(hit), _BLOCK):
            boxes = slice(first, first + _BLOCK)
            shared = np.bitwise_and.reduce(
                [grown[above[boxes]] ^ grown[below[boxes]] for grown, (below, above) in zip(sets, bounds, strict=True)]
            )
            found[hit[boxes]] += _num_bits(shared)
    counts = np.empty_like(found)
    counts[order] = found
    return counts


def _growing_sets(places: NDArray[np.int32]) -> NDArray[np.uint64]:
    """Sets of points as bits, (M + 1, M/64): the k-th holds those whose place, a permutation of 0…M-1, is below k."""
    index = np.arange(len(places))
    sets = np.zeros((len(places) + 1, -(-len(places) // 64)), dtype=np.uint64)
    sets[places + 1, index >> 6] = np.uint64(1) << (index & 63).astype(np.uint64)
    return np.bitwise_or.accumulate(sets, axis=0, out=sets)


def _num_bits(sets: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Members of each set, (R, W) -> (R,)."""
    if hasattr(np, "bitwise_count"):  # NumPy 2
        return np.bitwise_count(sets).sum(-1, dtype=np.int64)
    return _SET_BITS[sets.view(np.uint8)].sum(-1, dtype=np.int64)
