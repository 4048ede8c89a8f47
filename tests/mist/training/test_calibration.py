"""Recalibration: a spread that is wrong on purpose comes back, and nothing but the spread moves."""

from __future__ import annotations

import copy
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

import mist
from data_gen import MetaDistribution
from data_gen.stream import generate_batch
from mist.calibration import Calibration, context, context_terms, num_terms
from mist.network import MISTNetwork, NetworkConfig
from mist.quantiles import OFFSET, level_grid
from mist.training.calibration import (
    conformal,
    coverage_of,
    fit_calibration,
    recalibrate,
)
from mist.training.sample import CALIBRATION_SEED, batches_of, draw_sample, sample_of

pytestmark = pytest.mark.usefixtures("unmoved_global_state")
META = MetaDistribution(num_points=(10, 30), max_num_points=30, dims=(1, 3), max_dim=3)


@pytest.mark.parametrize("error", [1.5, -1.5])
def test_a_wrong_spread_is_found(tiny_network: MISTNetwork, error: float) -> None:
    """The best spread, found from the network as it is, is found again from one e^1.5 times too wide or narrow."""
    expected, network = copy.deepcopy(tiny_network), copy.deepcopy(tiny_network)
    before, after = recalibrate(expected, draw_sample(expected, META, 1024)).loss
    assert after <= before
    with torch.no_grad():
        network.members[0].head.remainder.bias[0] += error
    wrong, found = recalibrate(network, draw_sample(network, META, 1024)).loss
    assert wrong > before and found == pytest.approx(after, rel=0.03)


def test_no_weight_but_those_of_the_spread_moves(tiny_network: MISTNetwork) -> None:
    network = copy.deepcopy(tiny_network)
    recalibrate(network, draw_sample(network, META, 1024))
    assert network.novelty is not None and tiny_network.novelty is None
    network.novelty = None
    for name, value in network.state_dict().items():
        moved = value != tiny_network.state_dict()[name]
        if name.startswith("members.0.head.remainder."):
            assert moved[0].any() and not moved[1:].any()
        else:
            assert not moved.any(), name
    assert network.calibration is not None and tiny_network.calibration is None
    network.calibration = None
    batch = generate_batch(META, 1, 0)
    middle = len(network.config.levels) // 2
    torch.testing.assert_close(network(batch.x, batch.y)[:, middle], tiny_network(batch.x, batch.y)[:, middle])


LEVELS = torch.tensor(level_grid(50), dtype=torch.float64)
Z = torch.special.ndtri(LEVELS)


def claims(num_datasets: int, seed: int, zeros: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """Predictions that are honest normal laws on the compressed scale (R, Q), truths (R,) in nats and counts (3, R)."""
    random = torch.Generator().manual_seed(seed)
    counts = torch.stack(
        [
            (torch.rand(num_datasets, generator=random, dtype=torch.float64) * top + start).exp().round()
            for start, top in ((2.3, 6.0), (0.0, 3.0), (0.0, 3.0))
        ]
    )
    centre = torch.randn(num_datasets, generator=random, dtype=torch.float64) - (2.5 if zeros else 0)
    spread = 0.5 * (counts[0] / 100) ** -0.3
    truth = centre + spread * torch.randn(num_datasets, generator=random, dtype=torch.float64)
    return centre.unsqueeze(-1) + spread.unsqueeze(-1) * Z, (truth.exp() - OFFSET).clamp(min=0), counts


def ranks(calibration: Calibration, compressed: Tensor, mi: Tensor, counts: Tensor) -> NDArray[np.float64]:
    """PIT of truths above 0 nats by the levels whose mapped quantile lies below them."""
    mapped = calibration.apply(compressed, LEVELS, *counts)
    return ((mapped < (mi + OFFSET).log().unsqueeze(-1)).double().mean(-1)).numpy()


class TestMap:
    def test_honest_predictions_stay(self) -> None:
        compressed, mi, counts = claims(8000, 0, zeros=True)
        assert 0.2 < float((mi == 0).double().mean()) < 0.8
        calibration = fit_calibration(compressed, mi, LEVELS, counts)
        fresh, _, counts = claims(500, 1, zeros=True)
        spread = fresh[:, -1] - fresh[:, 0]
        moved = (calibration.apply(fresh, LEVELS, *counts) - fresh).abs().amax(-1) / spread
        assert moved.quantile(0.9) < 0.06

    @pytest.mark.parametrize(("weight", "zeros"), [(1.0, 1 / 4), (0.5, 1 / 7)])
    @pytest.mark.parametrize("above", [0, 300])
    def test_what_independent_data_sets_count(self, weight: float, zeros: float, above: int) -> None:
        """Claims know that, at n over a bound, a quarter has 0 nats, and the rest is uniform to 1 nat, and cannot tell
        which is which. Of half the weight, the quarter is a seventh, and intervals hold of the rest what they hold of
        that law; at smaller n nothing is independent, and nothing changes."""
        random, count = torch.Generator().manual_seed(3), 12_000
        counts = (2.3 + 6 * torch.rand(3, count, generator=random, dtype=torch.float64)).exp().round()
        share = 0.25 * (counts[0] > above).double().unsqueeze(-1)
        claimed = (OFFSET + ((LEVELS - share) / (1 - share)).clamp(min=0)).log() + (LEVELS - share).clamp(max=0)
        draws = torch.rand(count, 1, generator=random, dtype=torch.float64)
        mi = ((draws - share) / (1 - share)).clamp(min=0).squeeze(-1)
        found = fit_calibration(claimed, mi, LEVELS, counts, degree=4, independent=weight)
        mapped = found.apply(claimed, LEVELS, *counts)
        for few, expected in ((counts[0] > above, zeros), (counts[0] <= above, 0.0)):
            rows = few & (mi > 0)
            for level in (0.5, 0.8) if rows.any() else ():
                low, high = ((0.5 + sign * level / 2 - expected) / (1 - expected) for sign in (-1, 1))
                held = coverage_of(mapped[rows], mi[rows], LEVELS, level)
                assert held == pytest.approx(high - max(0.0, low), abs=0.03)

    def test_wrong_location_and_spread_that_hang_on_n_are_found(self) -> None:
        """Claims are 0.7 as wide as they should be at small n, and off by half of their width at large n."""

        def distorted(seed: int) -> tuple[Tensor, Tensor, Tensor]:
            compressed, mi, counts = claims(12_000, seed)
            middle = compressed.mean(-1, keepdim=True)
            share = ((counts[0].log() - 2.3) / 6).unsqueeze(-1)
            width = (compressed - middle) * (0.7 + 0.3 * share)
            return middle + 0.5 * share * (compressed[:, 34:35] - middle) + width, mi, counts

        calibration = fit_calibration(*_order(distorted(0)))
        compressed, mi, counts = distorted(1)
        kept = mi > 0
        for few in (counts[0] < 60, (counts[0] >= 60) & (counts[0] < 700), counts[0] >= 700):
            rows = few & kept
            before = (compressed[rows] < (mi[rows] + OFFSET).log().unsqueeze(-1)).double().mean(-1).numpy()
            after = ranks(calibration, compressed[rows], mi[rows], counts[:, rows])
            assert stats.kstest(after, "uniform").statistic < 0.05 < stats.kstest(before, "uniform").statistic

    def test_heavy_tails_are_found_by_the_warp(self) -> None:
        compressed, mi, counts = claims(20_000, 2)
        random = np.random.default_rng(0)
        centre = compressed.mean(-1).numpy()
        width = (compressed[:, 34] - compressed[:, 15]).numpy()
        noise = random.standard_t(2, len(centre)).clip(-3, 3)  # no further than the grid can tell
        truth = torch.from_numpy(np.exp(centre + 0.7 * width * noise) - OFFSET)
        keep = truth > 0
        calibration = fit_calibration(compressed[keep], truth[keep], LEVELS, counts[:, keep])
        after = ranks(calibration, compressed[keep], truth[keep], counts[:, keep])
        assert stats.kstest(after, "uniform").statistic < 0.025  # the grid alone makes .01

    def test_tails_that_hang_on_n_are_found(self) -> None:
        """Truths are spread as Student's t with 2.5 degrees of freedom where n is large, of the claimed middle half."""
        compressed, mi, counts = claims(40_000, 8)
        random, many = np.random.default_rng(1), (counts[0] > 300).numpy()
        width = (compressed[:, 34] - compressed[:, 15]).numpy() / float(Z[34] - Z[15])
        noise = np.where(many, random.standard_t(2.5, len(many)) * 0.88, random.normal(size=len(many))).clip(-2.4, 2.4)
        truth = torch.from_numpy(np.exp(compressed[:, 24:26].mean(-1).numpy() + width * noise) - OFFSET)
        keep = truth > 0
        calibration = fit_calibration(compressed[keep], truth[keep], LEVELS, counts[:, keep], degree=4, tails=True)
        low, high = (float(tails.exp().mean()) for tails in self._tails(calibration, (20.0, 3000.0)))
        assert high > low + 0.1
        mapped = calibration.apply(compressed, LEVELS, *counts)
        for rows in (keep & torch.from_numpy(many), keep & torch.from_numpy(~many)):
            for level in (0.5, 0.8, 0.9):
                held = coverage_of(mapped[rows], truth[rows], LEVELS, level)
                assert held == pytest.approx(level, abs=0.03), (level, int(rows.sum()))  # a step, by polynomials

    def _tails(self, calibration: Calibration, sizes: tuple[float, float]) -> list[Tensor]:
        ranges = torch.tensor(calibration.ranges, dtype=torch.float64)
        found = []
        for size in sizes:
            terms = context_terms(context(torch.zeros(1, dtype=torch.float64), size, 4, 4), ranges, calibration.degree)
            found.append((terms @ calibration.coefficients()[3:].T).squeeze())
        return found

    @pytest.mark.parametrize("degree", [2, 6])
    def test_medians_stay_where_the_map_must_not_move_them(self, degree: int) -> None:
        """Claims are .6 as wide as they should be, and then lie half of their width too high."""
        compressed, mi, counts = claims(8000, 5)
        middle = (compressed[:, :1] + compressed[:, -1:]) / 2
        narrow = middle + 0.6 * (compressed - middle)
        high = narrow + 0.5 * (compressed[:, 34:35] - compressed[:, 15:16])
        for wrong, least in ((narrow, 0.0), (high, 0.1)):
            found, free = (
                fit_calibration(wrong, mi, LEVELS, counts, degree=degree, moves_median=moves).apply(
                    wrong, LEVELS, *counts
                )
                for moves in (False, True)
            )
            medians = [values[:, 24:26].mean(-1) for values in (wrong, found, free)]
            torch.testing.assert_close(medians[1], medians[0], rtol=0, atol=0.02)
            assert float((medians[0] - medians[2]).mean()) >= least - 0.02
            if not least:
                dependent = mi > 0
                held = [coverage_of(values[dependent], mi[dependent], LEVELS, 0.8) for values in (wrong, found)]
                assert abs(held[1] - 0.8) < 0.02 < abs(held[0] - 0.8)

    def test_the_90_percent_interval_is_conformal(self) -> None:
        """From too narrow claims and no other fit, the stretch alone covers 90 % of fresh data sets."""
        compressed, mi, counts = claims(4000, 3, zeros=True)
        middle = compressed.mean(-1, keepdim=True)
        narrow = middle + 0.75 * (compressed - middle)
        nothing = (0.0,) * num_terms()
        plain = Calibration(nothing, nothing, nothing, ((0.0,) * 4, (9.0,) * 4), tuple(Z.tolist()))
        found = conformal(plain, narrow, mi, LEVELS, counts)
        assert found.stretch > 1.2
        fresh, mi, counts = claims(20_000, 4, zeros=True)
        middle = fresh.mean(-1, keepdim=True)
        mapped = found.apply(middle + 0.75 * (fresh - middle), LEVELS, *counts)
        above = mi > 0
        assert coverage_of(mapped[above], mi[above], LEVELS, 0.9) == pytest.approx(0.9, abs=0.025)
        assert coverage_of(mapped, mi, LEVELS, 0.9) > 0.89  # 0 nats are held by every interval that begins there


def _order(made: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    compressed, mi, counts = made
    return compressed, mi, LEVELS, counts


def test_recalibration_says_what_it_found(tiny_network: MISTNetwork) -> None:
    network = copy.deepcopy(tiny_network)
    found = recalibrate(network, draw_sample(network, META, 2048))
    assert isinstance(network.calibration, Calibration) and not any(network.calibration.shift)
    assert sorted(found.coverage) == [0.5, 0.8, 0.9, 0.95]
    assert found.coverage[0.9][2] > 0.89  # 0.9, but for intervals whose ends lie past the grid of this rough network
    assert f"of {found.num_datasets:,} dependent data sets kept aside" in str(found) and "90% intervals cover" in str(
        found
    )


def test_few_shapes_get_a_quadratic_map_without_tails(
    tiny_network: MISTNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    degrees = []
    for many in (172, 171):  # of 256 shapes, two thirds
        monkeypatch.setattr("mist.training.calibration._MANY_SHAPES", many)
        network = copy.deepcopy(tiny_network)
        batches = [generate_batch(replace(META, datasets_per_batch=(8, 8)), 1, index) for index in range(256)]
        recalibrate(network, sample_of(network, batches))
        assert isinstance(network.calibration, Calibration)
        degrees.append((network.calibration.degree, bool(network.calibration.log_tail_low)))
    assert degrees == [(2, False), (6, True)]


def test_too_few_data_sets(tiny_network: MISTNetwork) -> None:
    with pytest.raises(ValueError, match="got 96 dependent data sets to calibrate 257 weights, expected at least 1024"):
        recalibrate(tiny_network, draw_sample(tiny_network, META, 96))


def test_a_small_network_needs_960_data_sets() -> None:
    with torch.random.fork_rng(devices=[]):
        small = MISTNetwork(NetworkConfig(trunk_width=16))
    with pytest.raises(ValueError, match="got 896 dependent data sets to calibrate 17 weights, expected at least 960"):
        recalibrate(small, draw_sample(small, META, 896))


def test_many_data_sets_of_few_shapes_are_too_few(tiny_network: MISTNetwork) -> None:
    large = [generate_batch(replace(META, datasets_per_batch=(128, 128)), 1, index) for index in range(9)]
    with pytest.raises(ValueError, match="got 9 batches to calibrate on, expected at least 30, of a shape each"):
        recalibrate(tiny_network, sample_of(tiny_network, large))


def test_data_sets_lie_evenly_in_the_bins_of_the_law() -> None:
    law = MetaDistribution(num_points=(10, 400), max_num_points=400, dims=(1, 3), max_dim=3, few_dims_probability=0.0)
    batches = list(batches_of(law, 50))
    counts: Counter[tuple[bool, bool, bool]] = Counter()
    for batch in batches:
        _, n, dim_x = batch.x.shape
        where = (n < 100, n < 300, dim_x + batch.y.shape[-1] == 2)
        counts[where] += int(((batch.mi > 0) & (batch.weight > 0)).sum())
    assert len(counts) == 6 and set(counts.values()) == {9}
    assert any(bool((batch.mi == 0).any()) for batch in batches)


def test_the_90_percent_interval_is_conformal_for_dependent_data_sets() -> None:
    """With half of all data sets independent: these are held by more than 90 %, and the others by no less."""
    law = replace(META, families={"gaussian-dense": 1.0, "independent": 1.0}, weak_probability=0.0)
    network = mist.load("tiny").network
    found = recalibrate(network, draw_sample(network, law, 1200))
    assert 0.895 <= found.coverage[0.9][2] < 0.905  # of 416; less than 0.9 where an end lies past the network's grid


def test_its_data_sets_are_its_own() -> None:
    seeds = {CALIBRATION_SEED, 1 << 40, 0, 1_000_003}
    first = {float(generate_batch(META, seed, 0).x.sum()) for seed in seeds}
    assert len(first) == len(seeds)
