"""The map of levels: the identity, order, continuity and symmetry of it, and what a checkpoint may carry."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest
import torch
from torch import Tensor

from mist.calibration import (
    NUM_QUANTITIES,
    Calibration,
    LocalCalibration,
    calibration_from_dict,
    context,
    context_terms,
    interpolate,
    invert,
    num_terms,
)
from mist.features import extract_features
from mist.network import MISTNetwork
from mist.quantiles import OFFSET, expand, level_grid

pytestmark = pytest.mark.usefixtures("unmoved_global_state")
LEVELS = torch.tensor(level_grid(20), dtype=torch.float64)
Z = torch.special.ndtri(LEVELS)
RANGES = ((math.log(OFFSET), math.log(10), 0.0, 0.0), (2.0, math.log(10_000), 8.0, 4.0))
PLAIN = Calibration((0.0,) * num_terms(), (0.0,) * num_terms(), (0.0,) * num_terms(), RANGES, tuple(Z.tolist()))


def predictions(num_datasets: int, seed: int = 0) -> Tensor:
    """Increasing quantiles on the compressed scale, (B, Q)."""
    random = torch.Generator().manual_seed(seed)
    steps = torch.rand(num_datasets, len(LEVELS), generator=random, dtype=torch.float64).square()
    return steps.cumsum(-1) / 5 - 3


def random_map(seed: int) -> Calibration:
    random = torch.Generator().manual_seed(seed)
    shift, low, high = (0.7 * torch.randn(3, num_terms(), generator=random, dtype=torch.float64)).tolist()
    warp = Z + 0.3 * torch.rand(len(Z), generator=random, dtype=torch.float64).cumsum(0)
    tails = (0.3 * torch.randn(2, num_terms(), generator=random, dtype=torch.float64)).tolist()
    tables = (tuple(table) for table in (shift, low, high))
    return Calibration(*tables, RANGES, tuple(warp.tolist()), 1.2, *(tuple(tail) for tail in tails))  # type: ignore[arg-type]


def test_numbers_of_0_are_the_identity() -> None:
    values = predictions(5)
    torch.testing.assert_close(PLAIN.apply(values, LEVELS, 100, 2, 3), values, atol=1e-12, rtol=0)


@pytest.mark.parametrize("seed", range(20))
def test_quantiles_never_cross(seed: int) -> None:
    mapped = random_map(seed).apply(predictions(50, seed), LEVELS, 300, 5, 1)
    assert (mapped.diff(dim=-1) >= 0).all() and mapped.isfinite().all()
    assert not torch.allclose(mapped, predictions(50, seed), atol=0.1)


def test_a_shift_and_two_spreads_by_hand() -> None:
    """Up by 0.5 normal scores, twice as wide below, half as wide above, of N(1, 3²) as far as its grid goes."""
    table = [[value] + [0.0] * (num_terms() - 1) for value in (0.5, math.log(2), math.log(0.5))]
    calibration = Calibration(*(tuple(row) for row in table), RANGES, PLAIN.warp)  # type: ignore[arg-type]
    mapped = calibration.apply((1 + 3 * Z).unsqueeze(0), LEVELS, 50, 1, 1)
    expected = 1 + 3 * (0.5 + torch.where(Z < 0, 2.0, 0.5) * Z).clamp(Z[0], Z[-1])
    torch.testing.assert_close(mapped, expected.unsqueeze(0))


def test_tails_by_hand() -> None:
    """sinh(2·asinh w) = 2w·√(1 + w²), which at 1 is 2√2: heavier below, as it is above."""
    tail = (math.log(2), *([0.0] * (num_terms() - 1)))
    calibration = dataclasses.replace(PLAIN, log_tail_low=tail, log_tail_high=(0.0,) * num_terms())
    mapped = calibration.apply((0.1 * Z - 1).unsqueeze(0), LEVELS, 50, 1, 1)
    bent = torch.where(Z < 0, Z * (1 + Z * Z).sqrt() / math.sqrt(2), Z)
    torch.testing.assert_close(mapped, (0.1 * bent.clamp(Z[0], Z[-1]) - 1).unsqueeze(0))


def test_maps_of_before_there_were_tails() -> None:
    """From numbers without them, by hand: shift + spread · warp(stretch · z), the spread of its side."""
    values, tails = random_map(8).to_dict(), ("log_tail_low", "log_tail_high")
    old = Calibration.from_dict({key: value for key, value in values.items() if key not in tails})
    assert (old.log_tail_low, old.log_tail_high) == ((), ())
    predicted = predictions(6)
    quantities = context(interpolate(Z, predicted, torch.zeros(6, 1, dtype=torch.float64)).squeeze(-1), 77, 2, 3)
    table = torch.tensor([values[name] for name in ("shift", "log_spread_low", "log_spread_high")])
    terms = context_terms(quantities, torch.tensor(RANGES, dtype=torch.float64))
    shift, low, high = (terms @ table.double().T).clamp(-1.5, 1.5).T.unsqueeze(-1)
    warped = interpolate(Z, torch.tensor([values["warp"]], dtype=torch.float64), 1.2 * Z.unsqueeze(0))
    wanted = shift + torch.where(warped < 0, low.exp(), high.exp()) * warped
    made = old.apply(predicted, LEVELS, 77, 2, 3)
    torch.testing.assert_close(made, interpolate(Z, predicted, wanted.clamp(Z[0], Z[-1])), rtol=0, atol=1e-6)
    assert not torch.allclose(made, random_map(8).apply(predicted, LEVELS, 77, 2, 3), atol=1e-3)


def test_a_fourth_power_of_n_and_older_maps_without_it() -> None:
    """The number of terms tells the degree: 15 are quadratic. The last of 24 is the fourth power of log n, on ±1."""
    assert (num_terms(2), num_terms(4), num_terms(), PLAIN.degree) == (15, 24, 37, 6)
    m, n, d, e = 0.5, -0.2, 0.3, 0.7  # median, log n, sum and difference of the logarithms of the dims, on ±1
    terms = [1, m, n, d, e, m * m, m * n, m * d, m * e, n * n, n * d, n * e, d * d, d * e, e * e]
    terms += [d**3, n * d**2, n**2 * d, n**3, d**4, n * d**3, n**2 * d**2, n**3 * d, n**4]
    ends = torch.tensor([[-1.0] * 4, [1.0] * 4], dtype=torch.float64)
    made = context_terms(torch.tensor([[m, n, d, e]], dtype=torch.float64), ends, 4)
    torch.testing.assert_close(made, torch.tensor([terms], dtype=torch.float64))
    values, rows = predictions(6), torch.randn(3, 15, generator=torch.Generator().manual_seed(1)).tolist()
    old = Calibration(*(tuple(row) for row in rows), RANGES, PLAIN.warp)  # type: ignore[arg-type]
    padded = Calibration(*((*row, *([0.0] * 9)) for row in rows), RANGES, PLAIN.warp)  # type: ignore[arg-type]
    assert old.degree == 2 and Calibration.from_dict(old.to_dict()) == old
    torch.testing.assert_close(
        old.apply(values, LEVELS, 77, 2, 3), padded.apply(values, LEVELS, 77, 2, 3), rtol=0, atol=1e-12
    )
    fourth = Calibration((*((0.0,) * 23), 0.3), (0.0,) * 24, (0.0,) * 24, RANGES, PLAIN.warp)
    for n in (10, 77, 10_000):
        place = 2 * math.log(n / 10) / math.log(1000) - 1
        wanted = (Z + 0.3 * place**4).clamp(Z[0], Z[-1]).expand(6, -1)
        torch.testing.assert_close(fourth.apply(values, LEVELS, n, 2, 3), interpolate(Z, values, wanted))


def test_swapping_the_sides_changes_nothing_and_n_and_dims_do() -> None:
    calibration, values = random_map(3), predictions(4)
    mapped = calibration.apply(values, LEVELS, 100, 2, 7)
    torch.testing.assert_close(calibration.apply(values, LEVELS, 100, 7, 2), mapped, rtol=0, atol=0)
    for counts in ((200, 2, 7), (100, 3, 7), (100, 2, 8)):
        assert not torch.allclose(calibration.apply(values, LEVELS, *counts), mapped, atol=1e-4)


def test_it_is_continuous() -> None:
    """No step as the prediction moves through 0 nats and out of the fitted range, nor as n does."""
    calibration, values = random_map(4), predictions(1)
    shifts = torch.linspace(-1, 8, 4001, dtype=torch.float64).unsqueeze(-1)
    moved = calibration.apply(values + shifts, LEVELS, 100, 2, 2)
    assert moved.diff(dim=0).abs().max() < 20 * float(shifts[1] - shifts[0])
    counts = torch.linspace(5, 50, 4001, dtype=torch.float64)
    moved = calibration.apply(values.expand(4001, -1), LEVELS, counts, 2, 2)
    assert moved.diff(dim=0).abs().max() < 0.05


def test_context_beyond_the_fitted_range_counts_as_its_end() -> None:
    calibration, values = random_map(5), predictions(3)
    far, end = (calibration.apply(values, LEVELS, n, 2, 2) for n in (10**7, 10_000))
    torch.testing.assert_close(far, end, rtol=0, atol=0)


def test_interpolate_and_invert_undo_each_other() -> None:
    values, wanted = predictions(30), torch.linspace(-4, 4, 30, dtype=torch.float64)
    reached = interpolate(Z, values, wanted.unsqueeze(-1)).squeeze(-1)
    torch.testing.assert_close(invert(Z, values, reached), wanted, atol=1e-6, rtol=0)


def test_unspread_undoes_position() -> None:
    calibration = dataclasses.replace(random_map(6), warp=PLAIN.warp, stretch=1.0)
    assert calibration.log_tail_low and calibration.log_tail_high
    quantities = context(torch.zeros(1, dtype=torch.float64), 100, 2, 3)
    assert quantities.shape == (1, NUM_QUANTITIES)
    position = calibration.position(Z, quantities).squeeze(0)
    torch.testing.assert_close(calibration.unspread(position, quantities.expand(len(Z), -1)), Z)


def test_a_network_applies_it(tiny_network: MISTNetwork) -> None:
    random = torch.Generator().manual_seed(0)
    x, y = (torch.randn(2, 40, dim, generator=random, dtype=torch.float64) for dim in (2, 3))
    compressed = tiny_network.forward_features(extract_features(x, y, tiny_network.config.features))
    warp = tuple(torch.special.ndtri(tiny_network.levels.double()).tolist())
    wide = tuple([math.log(2)] + [0.0] * (num_terms() - 1))
    calibration = Calibration((0.0,) * num_terms(), wide, wide, RANGES, warp)
    plain = tiny_network(x, y)
    tiny_network.calibration = calibration
    try:
        wider = tiny_network(x, y)
    finally:
        tiny_network.calibration = None
    assert (wider[:, -5] > plain[:, -5]).all() and torch.equal(wider[:, -1], plain[:, -1])  # no further than the grid
    expected = expand(calibration.apply(compressed, tiny_network.levels, 40, 2, 3))
    torch.testing.assert_close(wider, expected, rtol=0, atol=0)


def test_through_json_and_back() -> None:
    calibration = random_map(7)
    assert Calibration.from_dict(calibration.to_dict()) == calibration


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"shift": (0.0,)},
            "got 1, 37, 37, 0, 0 numbers in shift, .* expected as many in each, or none in the last two",
        ),
        (
            dict.fromkeys(("shift", "log_spread_low", "log_spread_high"), (0.0,) * 16),
            "got 16, 16, 16, 0, 0 .* 15, 19, 24, 30",
        ),
        ({"log_tail_low": (0.0,) * num_terms()}, "got 37, 37, 37, 37, 0 numbers"),
        ({"log_tail_low": (0.0,) * 24, "log_tail_high": (0.0,) * 24}, "got 37, 37, 37, 24, 24 numbers"),
        ({"ranges": ((0.0,), (1.0,))}, f"expected two lists of {NUM_QUANTITIES} numbers"),
        ({"ranges": ((0.0,) * 4, (1.0, 1.0, 1.0, -1.0))}, "the second no smaller than the first"),
        ({"ranges": ((math.nan,) * 4, (1.0,) * 4)}, "expected finite numbers"),
        ({"warp": (0.0, 0.0, 1.0)}, "got a warp that does not increase"),
        ({"stretch": 0.0}, "got a calibration that is not finite, or a stretch of 0 or less"),
        ({"stretch": math.inf}, "got a calibration that is not finite"),
    ],
)
def test_unusable_numbers(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(PLAIN, **change)  # type: ignore[arg-type]


def test_other_keys() -> None:
    with pytest.raises(ValueError, match=r"got calibration keys \['shift'\], expected"):
        Calibration.from_dict({"shift": []})


class TestLocal:
    """One map for all, and another near some shapes."""

    LOCAL = LocalCalibration(random_map(1), random_map(2), (100, 400), (6, 3))

    def test_it_counts_in_full_at_its_shapes_and_not_far_away(self) -> None:
        values = predictions(4)
        for n, x, y in ((100, 6, 3), (250, 3, 6), (400, 6, 3)):
            first = random_map(1).apply(values, LEVELS, n, x, y)
            expected = random_map(2).apply(first, LEVELS, n, x, y)
            torch.testing.assert_close(self.LOCAL.apply(values, LEVELS, n, x, y), expected)
        for n, x, y in ((100_000, 6, 3), (200, 60, 30), (200, 1, 18)):
            far = self.LOCAL.apply(values, LEVELS, n, x, y)
            torch.testing.assert_close(far, random_map(1).apply(values, LEVELS, n, x, y), atol=1e-5, rtol=0)
        alone = LocalCalibration(None, random_map(2), (100, 400), (6, 3))
        torch.testing.assert_close(
            alone.apply(values, LEVELS, 200, 6, 3), random_map(2).apply(values, LEVELS, 200, 6, 3)
        )

    def test_its_weight_falls_smoothly_and_is_symmetric(self) -> None:
        sizes = torch.logspace(0.5, 5, 400)
        weight = self.LOCAL.weight(sizes, 6, 3)
        assert float(weight.max()) == 1 and float(weight.min()) < 1e-6 and float(weight.diff().abs().max()) < 0.06
        assert torch.equal(self.LOCAL.weight(200, 4, 5), self.LOCAL.weight(200, 5, 4))
        assert 0 < float(self.LOCAL.weight(200, 7, 3)) < 1

    @pytest.mark.parametrize("n", [30, 90, 300, 900])
    def test_quantiles_never_cross(self, n: int) -> None:
        counts = torch.full((50,), n), torch.arange(1, 51), torch.full((50,), 3)
        assert (self.LOCAL.apply(predictions(50), LEVELS, *counts).diff(dim=-1) >= 0).all()

    def test_it_survives_json_also_on_top_of_another(self) -> None:
        twice = LocalCalibration(self.LOCAL, random_map(3), (10, 20), (1, 1))
        assert calibration_from_dict(json.loads(json.dumps(twice.to_dict()))) == twice
        assert calibration_from_dict(json.loads(json.dumps(PLAIN.to_dict()))) == PLAIN

    def test_what_is_no_local_calibration_is_refused(self) -> None:
        with pytest.raises(ValueError, match="got calibration keys .* expected everywhere, near, num_points and dims"):
            calibration_from_dict({"near": PLAIN.to_dict()})
        with pytest.raises(ValueError, match=r"got dims=\(0, 3\), expected two positive numbers"):
            LocalCalibration(None, PLAIN, (10, 20), (0, 3))
        shorter = dataclasses.replace(PLAIN, warp=PLAIN.warp[:-1])
        with pytest.raises(ValueError, match="calibrations of 19 and 20 levels, expected as many"):
            LocalCalibration(shorter, PLAIN, (10, 20), (1, 3))
