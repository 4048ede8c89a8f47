"""How many points lie in a box around each: sorting for one coordinate, a wavelet matrix for two.

Shapes: B data sets, D coordinates, N points. Everything is vectorised over B and N, on any device.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["MAX_BOX_DIM", "count_within"]

MAX_BOX_DIM = 2


def count_within(side: Tensor, radius: Tensor) -> Tensor:
    """Points, itself among them, no further than `radius` from each in the maximum norm; (B, D, N), (B, N) -> (B, N).

    D is 1 or 2. O(N log N) for either: the points between two bounds of the first coordinate stand side by side once
    sorted, and a wavelet matrix (Claude & Navarro 2012) counts among them those between two bounds of the second.
    """
    assert 1 <= side.shape[1] <= MAX_BOX_DIM
    first, order = side[:, 0].contiguous().sort(-1)
    left, right = _bounds(first, side[:, 0], radius)
    if side.shape[1] == 1:
        return right - left
    second, by_second = side[:, 1].contiguous().sort(-1)
    low, high = _bounds(second, side[:, 1], radius)
    position = torch.empty_like(by_second)
    position.scatter_(-1, by_second, torch.arange(side.shape[-1], device=side.device).expand_as(by_second))
    return _count_between(position.gather(-1, order), left, right, low, high)


def _bounds(ordered: Tensor, values: Tensor, radius: Tensor) -> tuple[Tensor, Tensor]:
    """First position within the radius below and first beyond it above, (B, N) each."""
    return (
        torch.searchsorted(ordered, (values - radius).contiguous()),
        torch.searchsorted(ordered, (values + radius).contiguous(), right=True),
    )


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
