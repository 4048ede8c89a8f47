"""Sides that look like those of fine-tuning are read through the maps of these, others as they are."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import special

import mist
from mist.checkpoint import load_checkpoint, save_checkpoint
from mist.columns import Column, to_columns
from mist.inputs import prepare
from mist.network import MISTNetwork
from mist.scores import double_ranks, gaussian_scores
from mist.triangular import TriangularMap
from mist.unwarping import Margins, SideMap, Unwarping

pytestmark = pytest.mark.usefixtures("unmoved_global_state")

Array = NDArray[np.float64]

X_AXES, Y_AXES = (np.random.default_rng(seed).normal(size=(3, 3)) for seed in (1, 2))


def made_map(axes: Array, seed: int) -> TriangularMap:
    """A map that bends, fitted to nothing but the covariance."""
    found = TriangularMap(3, seed=seed, hidden=8)
    for parameter in found.layers.parameters():
        torch.nn.init.normal_(parameter, std=0.3, generator=torch.Generator().manual_seed(seed))
    found.standardise_by(scores(np.random.default_rng(0).normal(size=(4000, 3)) @ axes))
    return found.eval().requires_grad_(False)


def scores(values: Array) -> torch.Tensor:
    return gaussian_scores(double_ranks(torch.from_numpy(np.ascontiguousarray(values.T)))).T


MAPS = made_map(X_AXES, 1), made_map(Y_AXES, 2)


GAUSSIAN = TriangularMap(3, hidden=0)


def side(which: int, base: Array) -> Array:
    """Points of the base, (n, 3), to columns of X (0: four, the second constant) or Y (1: three)."""
    with torch.no_grad():
        values = MAPS[which](torch.from_numpy(base).float()).double().numpy()
    return np.insert(values, 1, 7.0, axis=1) if which == 0 else values


UNWARPING = Unwarping(SideMap((0, 2, 3), 4, MAPS[0]), SideMap((0, 1, 2), 3, MAPS[1]))


@pytest.fixture
def estimator(tmp_path: Path, tiny_network: MISTNetwork, tiny_arguments: dict[str, Any]) -> mist.Estimator:
    return mist.load(save_checkpoint(tmp_path / "mine", tiny_network, unwarping=UNWARPING, **tiny_arguments))


@pytest.fixture(scope="module")
def data() -> tuple[Array, Array]:
    generator = np.random.default_rng(3)
    z = generator.normal(size=(300, 3))
    return side(0, z), side(1, 0.8 * z + 0.6 * generator.normal(size=(300, 3)))


def read(x: Any, y: Any, **options: Any) -> tuple[Array, Array, list[str]]:
    prepared = prepare(x, y, unwarping=UNWARPING, **options)
    kinds = [notice.kind for notice in prepared.warnings if notice.kind not in ("constant", "collinear")]
    return prepared.x.values, prepared.y.values, kinds


def test_sides_like_the_samples_are_read_through_their_maps(data: tuple[Array, Array]) -> None:
    x, y, kinds = read(*data)
    assert kinds == []
    for found, values, map_ in ((x, data[0][:, [0, 2, 3]], MAPS[0]), (y, data[1], MAPS[1])):
        np.testing.assert_allclose(found, map_.inverse(scores(values).float()).numpy(), atol=1e-4)
    other = np.random.default_rng(4).normal(size=(300, 3))
    batch = torch.from_numpy(np.stack([data[1], data[1][::-1], other]))  # ranks are all that counts without margins
    many = SideMap((0, 1, 2), 3, MAPS[1]).unwarp(batch).numpy()
    np.testing.assert_allclose(many[:2], np.stack([y, y[::-1]]), atol=1e-5)
    # Look-alikes are read as data sets are: that which does not look like the samples as it is.
    np.testing.assert_allclose(many[2], scores(other).numpy(), atol=1e-5)


@pytest.mark.filterwarnings("ignore::mist.MISTWarning")
def test_what_moves_no_estimate_moves_none_of_these(estimator: mist.Estimator, data: tuple[Array, Array]) -> None:
    x, y = data
    found = estimator.estimate(x, y)
    order = np.random.default_rng(0).permutation(len(x))
    for same in ((x[order], y[order]), (np.exp(x), y), (x, y**3), (y, x)):
        assert estimator.estimate(*same).mi == pytest.approx(found.mi, rel=1e-5)
    assert (found.n, found.dim_x, found.dim_y) == (300, 4, 3)
    assert estimator.estimate_many([(x, y)])[0].mi == pytest.approx(found.mi, rel=1e-5)
    plain = mist.Estimator(estimator.checkpoint)
    assert plain.estimate(x[:, :3], y[:, 0]).mi >= 0


def test_sides_unlike_the_samples_are_read_as_they_are_and_told(data: tuple[Array, Array]) -> None:
    other = np.random.default_rng(4).normal(size=(300, 3))
    x, y, kinds = read(data[0], other)
    assert kinds == ["unrecognised"] and np.array_equal(y, other)
    assert not np.array_equal(x, data[0][:, [0, 2, 3]])
    told = prepare(data[0], other, unwarping=UNWARPING).warnings
    assert any("y does not look like the samples of either side" in notice for notice in told)


def test_sides_of_other_columns_are_left_alone(data: tuple[Array, Array]) -> None:
    x, y = data[0][:, [0, 2]], data[1][:, :2]
    found_x, found_y, kinds = read(x, y)
    assert np.array_equal(found_x, x) and np.array_equal(found_y, y) and kinds == []
    moved = np.where(np.arange(4) == 1, np.arange(300)[:, None], data[0])  # a column varies that did not
    found_x, _, kinds = read(moved, y)
    assert np.array_equal(found_x, moved) and kinds == ["unrecognised"]


def test_a_column_that_is_constant_here_is_spread(data: tuple[Array, Array]) -> None:
    """As a pixel that is dark in all of these images, but not in all of the samples."""
    axes = np.array([[1.0, 0.0, 0.9], [0.0, 1.0, 0.0], [0.0, 0.0, 0.3]])  # the first and the last go together
    weak = TriangularMap(3, hidden=0)
    weak.standardise_by(scores(np.random.default_rng(8).normal(size=(4000, 3)) @ axes))
    maps = Unwarping(SideMap((0, 1, 2), 3, weak), SideMap((0, 1, 2), 3, weak))
    dark = np.random.default_rng(9).normal(size=(300, 3)) @ axes
    dark[:, 1] = 0.0
    prepared = prepare(dark, data[1][:, :2], unwarping=maps)
    kinds = [notice.kind for notice in prepared.warnings]
    assert "constant" in kinds and "unrecognised" not in kinds
    assert np.isfinite(prepared.x.values).all()
    np.testing.assert_allclose(prepared.x.values.std(0), 1, atol=0.2)


def test_a_side_without_a_map_is_read_as_it_is_and_nothing_told() -> None:
    """Though the other side's map is for as many columns."""
    base = np.random.default_rng(10).normal(size=(300, 3))
    straight = base @ np.random.default_rng(11).normal(size=(3, 3))
    plain = TriangularMap(3, hidden=0)
    plain.standardise_by(scores(np.random.default_rng(12).normal(size=(4000, 3)) @ np.linalg.lstsq(base, straight)[0]))
    maps = Unwarping(SideMap((0, 1, 2), 3, plain, as_is=True), SideMap((0, 1, 2), 3, MAPS[1]))
    prepared = prepare(straight, side(1, base), unwarping=maps)
    assert np.array_equal(prepared.x.values, straight) and not np.array_equal(prepared.y.values, side(1, base))
    assert not any(notice.kind == "unrecognised" for notice in prepared.warnings)
    swapped = prepare(side(1, base), straight, unwarping=maps)
    np.testing.assert_allclose(swapped.x.values, prepared.y.values, atol=1e-5)


def test_what_is_told_of_columns_is_told_of_these(data: tuple[Array, Array]) -> None:
    """Not of the components: a column of X that is a function of one of Y would be mixed with others."""
    y = np.concatenate([data[1][:, :2], np.exp(data[0][:, :1])], axis=1)
    for maps in (None, UNWARPING):
        kinds = [notice.kind for notice in prepare(data[0], y, unwarping=maps).warnings]
        assert "deterministic" in kinds and "constant" in kinds


def test_ties_of_a_side_that_is_read_as_it_is_are_spread_where_the_samples_had_some() -> None:
    base = np.random.default_rng(13).normal(size=(300, 3))
    x, y = np.round(5 * base @ X_AXES), side(1, base)
    plain = TriangularMap(3, hidden=0)
    plain.standardise_by(scores(np.random.default_rng(14).normal(size=(4000, 3)) @ X_AXES))
    for tied in (False, True):
        maps = Unwarping(SideMap((0, 1, 2), 3, plain, as_is=True, tied=tied), UNWARPING.y)
        prepared = prepare(x, y, unwarping=Unwarping.from_state(maps.state()))
        assert np.array_equal(prepared.x.values, x) != tied
        assert any(notice.kind == "ties" for notice in prepared.warnings) != tied
        for given, found in zip(x.T, prepared.x.values.T, strict=True):
            assert (len(np.unique(found)) == 300) == tied
            assert (np.diff(found[np.lexsort((found, given))]) >= 0).all()  # within a step only


def test_ties_are_spread_where_samples_of_either_side_had_some() -> None:
    """Of sides of equal widths that are read as they are, whichever the data look more like."""
    one, other = TriangularMap(3, hidden=0), TriangularMap(3, hidden=0)
    for seed, map_ in enumerate((one, other)):
        map_.standardise_by(scores(np.random.default_rng(seed).normal(size=(500, 3))))
    maps = Unwarping(SideMap((0, 1, 2), 3, one, as_is=True, tied=True), SideMap((0, 1, 2), 3, other, as_is=True))
    generator = np.random.default_rng(15)
    for _ in range(10):
        x, y = generator.poisson(3.0, (200, 3)).astype(float), generator.normal(size=(200, 3))
        for prepared, tied in ((prepare(x, y, unwarping=maps), "x"), (prepare(y, x, unwarping=maps), "y")):
            assert all(len(np.unique(column)) == 200 for column in getattr(prepared, tied).values.T)


def test_categories_are_left_alone() -> None:
    labels = np.array(["a", "b", "c"])[np.random.default_rng(5).integers(0, 3, (300, 3))]
    columns, _ = to_columns(labels, "y", None)
    assert UNWARPING.apply(columns, columns) == (None, None, ())


def test_ties_are_spread_within_their_step(data: tuple[Array, Array]) -> None:
    """In any order of points, and either way round, alike; what is read has no ties, and no noise beyond a step."""
    x, y = (np.round(20 * values) for values in data)
    found_x, found_y, kinds = read(x, y, ties_known=True)
    assert kinds == [] and all(len(np.unique(values)) == 300 for values in (*found_x.T, *found_y.T))
    order = np.random.default_rng(0).permutation(300)
    again_x, again_y, _ = read(x[order], y[order], ties_known=True)
    np.testing.assert_allclose(again_x, found_x[order], atol=1e-5)
    swapped_y, swapped_x, _ = read(y, x, ties_known=True)
    np.testing.assert_allclose(swapped_x, found_x, atol=1e-5)
    np.testing.assert_allclose(swapped_y, found_y, atol=1e-5)
    twice = np.concatenate([y[:150], y[:150]])  # the same points of y beside others of x
    few = x[:, [0, 2]]
    first, again = (read(few[rows], twice[rows], ties_known=True)[1] for rows in (np.arange(300), order))
    np.testing.assert_allclose(again, first[order], atol=1e-5)
    finer, _, _ = read(np.round(200 * data[0]), y, ties_known=True)
    assert float(np.corrcoef(finer[:, 0], read(*data)[0][:, 0])[0, 1]) > 0.999


@pytest.mark.parametrize("rounded", [False, True])
def test_with_the_sides_apart_nothing_of_one_hangs_on_the_other(rounded: bool, data: tuple[Array, Array]) -> None:
    x, y = (np.round(20 * values) if rounded else values for values in data)
    shuffled = np.random.default_rng(0).permutation(y)
    first, second = (read(x, other, sides_apart=True, ties_known=True)[0] for other in (y, shuffled))
    np.testing.assert_array_equal(first, second)
    twins = read(x, x, sides_apart=True, ties_known=True)
    assert np.array_equal(*twins[:2]) != rounded  # equal sides that were tied get noise of their own


def test_it_travels_with_the_checkpoint(estimator: mist.Estimator, tmp_path: Path) -> None:
    again = load_checkpoint(estimator.save(tmp_path / "copy"))
    assert again.sha256 == estimator.checkpoint.sha256
    assert again.unwarping is not None
    assert (again.unwarping.x.columns, again.unwarping.x.width) == ((0, 2, 3), 4)
    for key, value in MAPS[0].state_dict().items():
        assert torch.equal(again.unwarping.x.map.state_dict()[key].float(), value)
    assert Unwarping.from_state({}) is None
    plain = Unwarping.from_state(Unwarping(SideMap((0, 2, 3), 4, GAUSSIAN, as_is=True), UNWARPING.y).state())
    assert plain is not None and plain.x.as_is and not plain.y.as_is and not len(plain.x.map.layers)


def test_a_broken_map_is_told(tmp_path: Path, tiny_network: MISTNetwork, tiny_arguments: dict[str, Any]) -> None:
    class Broken(Unwarping):
        def state(self) -> dict[str, torch.Tensor]:
            return {key: value for key, value in super().state().items() if not key.endswith("x.mean")}

    folder = save_checkpoint(
        tmp_path / "broken", tiny_network, unwarping=Broken(UNWARPING.x, UNWARPING.y), **tiny_arguments
    )
    with pytest.raises(mist.CorruptCheckpointError, match="does not fit the network"):
        load_checkpoint(folder)
    for key in ("columns", "map"):
        state = UNWARPING.state()
        with pytest.raises((TypeError, LookupError, RuntimeError)):
            Unwarping.from_state({**state, f"unwarping.x.{'mean' if key == 'map' else key}": torch.tensor(1.0)})
    nothing = copy.deepcopy(UNWARPING)
    nothing.x.map.mean.fill_(torch.nan)
    with pytest.raises(ValueError, match="unwarping.x.mean.* hold NaN or infinity"):
        save_checkpoint(tmp_path / "nan", tiny_network, unwarping=nothing, **tiny_arguments)
    for columns, width in (((0, 1), 4), ((0, 1, 4), 4), ((0, 1, 1), 4), ((1, 0, 2), 4)):
        with pytest.raises(ValueError, match="for a map of 3, expected as many of them"):
            SideMap(columns, width, MAPS[0])


KNOWN = np.random.default_rng(6).gamma(2.0, size=(3000, 3)) * [1, 10, 100]
MARGINS = Margins.of(KNOWN)


def test_margins_are_those_of_the_samples() -> None:
    """Against the exact distribution function; increasing and finite wherever a value lies."""
    fresh = np.random.default_rng(7).gamma(2.0, size=(500, 3))
    np.testing.assert_allclose(
        special.ndtr(MARGINS.scores(fresh * [1, 10, 100])), special.gammainc(2.0, fresh), atol=0.05
    )
    far = np.linspace(-1e6, 1e6, 20001)[:, None] * np.ones(3)
    assert (np.diff(MARGINS.scores(far), axis=0) > 0).all() and np.abs(MARGINS.scores(far)).max() < 30


def test_margins_match_more_of_the_same_only() -> None:
    matching = [MARGINS.match(np.random.default_rng(k).gamma(2.0, size=(200, 3)) * [1, 10, 100]) for k in range(100)]
    assert sum(matching) >= 99
    assert not MARGINS.match(KNOWN[:500] * 1.3) and not MARGINS.match(np.log(KNOWN[:200]))
    assert MARGINS.match(KNOWN) and not MARGINS.match(np.concatenate([KNOWN, KNOWN]))  # ranks of more tell more


@pytest.mark.filterwarnings("ignore::mist.MISTWarning")
def test_scores_are_of_the_margins_where_they_match(data: tuple[Array, Array], tmp_path: Path) -> None:
    """Then points are read one by one, whatever the others; else by their ranks."""
    samples = side(1, np.random.default_rng(8).normal(size=(5000, 3)))
    mapped = SideMap((0, 1, 2), 3, MAPS[1], Margins.of(samples))
    known = Unwarping.from_state(Unwarping(UNWARPING.x, mapped).state())
    assert known is not None

    def of(y: Array) -> Array:
        return prepare(data[0][: len(y)], y, unwarping=known).y.values

    y = data[1]
    np.testing.assert_allclose(of(y)[:100], of(y[:100]), atol=1e-6)
    by_ranks = of(np.exp(y))
    assert not np.allclose(by_ranks, of(y), atol=1e-3)
    np.testing.assert_allclose(by_ranks, read(data[0], y)[1], atol=1e-4)
    scores_of = torch.from_numpy(Margins.of(samples).scores(y))
    np.testing.assert_allclose(mapped.unwarp(scores_of[None])[0].numpy(), of(y), atol=1e-4)
    with pytest.raises(ValueError, match="got margins of 2 columns for a map of 3"):
        SideMap((0, 1, 2), 3, MAPS[1], Margins.of(samples[:, :2]))
    with pytest.raises(ValueError, match="expected three or more for each column, in order"):
        Margins(np.array([[1.0], [0.0], [2.0]]), 10)
    with pytest.raises(ValueError, match="got margins of 1 samples, expected two or more"):
        Margins(np.array([[0.0], [1.0], [2.0]]), 1)


@pytest.mark.filterwarnings("ignore::mist.MISTWarning")
def test_a_check_reads_columns_as_they_are(
    estimator: mist.Estimator, data: tuple[Array, Array], tmp_path: Path
) -> None:
    """All of its numbers are of one reading, that of the same network without maps."""
    plain = mist.Estimator(replace(estimator.checkpoint, unwarping=None))
    assert estimator.check(*data).estimate.quantiles == plain.estimate(*data).quantiles
    assert estimator.estimate(*data).quantiles != plain.estimate(*data).quantiles


def test_a_constant_side_stays_one() -> None:
    columns = [Column(f"y column {k}", np.zeros(20), False) for k in range(3)]
    assert UNWARPING.apply(columns, columns) == (None, None, ())
