"""Counting in boxes against all pairs."""

import numpy as np
import pytest
import torch

from mist import box_counts
from mist.box_counts import count_within


def brute_force(side: torch.Tensor, radius: torch.Tensor) -> torch.Tensor:
    distance = (side[..., :, None] - side[..., None, :]).abs().amax(1)  # (B, N, N)
    return (distance <= radius.unsqueeze(-1)).sum(-1)


@pytest.mark.parametrize(
    "num_points", [1, 2, 7, 8, 9, 64, 300]
)  # around powers of two, where a bound needs one bit more
@pytest.mark.parametrize(("dim", "bits"), [(1, False), (2, False), (2, True), (3, True), (5, True)])
@pytest.mark.parametrize("levels", [None, 4])
def test_counts_equal_all_pairs(
    num_points: int, dim: int, levels: int | None, bits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(box_counts, "_BITS_OF_TWO", range(1 << 20) if bits else range(0))
    generator = torch.Generator().manual_seed(num_points)
    side = torch.randn(3, dim, num_points, generator=generator, dtype=torch.float64)
    if levels:
        side = (side * levels).round() / levels  # ties, and neighbours at exactly the radius
    radius = torch.rand(3, num_points, generator=generator, dtype=torch.float64)
    if levels:
        radius = (radius * levels).round() / levels
    radius[:, 0] = 10  # everything
    assert torch.equal(count_within(side, radius), brute_force(side, radius))


@pytest.mark.parametrize("spreads", [(1.0, 1.0), (8.0, 1.0, 0.125), (0.125, 1.0, 8.0)])  # where boxes are narrowest
@pytest.mark.parametrize("levels", [None, 4])
@pytest.mark.parametrize("counted", ["by numpy", "by a table"])
def test_many_blocks_of_bits(
    counted: str, levels: int | None, spreads: tuple[float, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(box_counts, "_BLOCK", 70)
    if counted == "by a table":
        monkeypatch.delattr(np, "bitwise_count", raising=False)
    generator = torch.Generator().manual_seed(0)
    side = torch.randn(2, len(spreads), 300, generator=generator, dtype=torch.float64)
    radius = torch.rand(2, 300, generator=generator, dtype=torch.float64)
    if levels:
        side, radius = (side * levels).round() / levels, (radius * levels).round() / levels
    side = side * torch.tensor(spreads, dtype=torch.float64).unsqueeze(-1)
    radius[:, :3] = torch.tensor([0.0, 100.0, torch.inf], dtype=torch.float64)
    assert torch.equal(count_within(side, radius), brute_force(side, radius))


def test_two_coordinates_are_counted_by_bits_where_they_are_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = []
    by_bits = box_counts._count_by_bits
    monkeypatch.setattr(box_counts, "_count_by_bits", lambda *arrays: counted.append(1) or by_bits(*arrays))
    for num_points, expected in ((255, 0), (256, 1)):
        side = torch.randn(1, 2, num_points, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        radius = torch.full((1, num_points), 0.3, dtype=torch.float64)
        assert torch.equal(count_within(side, radius), brute_force(side, radius))
        assert len(counted) == expected
