"""Suites: reproducible, of the shapes promised, labelled, apart from any training stream."""

import math
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from data_gen import MetaDistribution, generate_batch
from data_gen.held_out import HELD_OUT
from data_gen.reference_tasks import BMI_TASKS, MIST_IMD, MIST_NUM_POINTS, MIST_OOMD
from mist.evaluation.prediction import evaluate_network
from mist.evaluation.suites import (
    SUITES,
    bivariate,
    bmi_40,
    build_suite,
    core,
    held_out,
    independence,
    mist_imd,
    mist_oomd,
    read_reference,
)

SIZES = {
    "core": 24,
    "mist-imd": 480,
    "mist-oomd": 560,
    "bmi-40": 40,
    "independence": 12,
    "held-out": 21,
    "bivariate": 52,
}
PER_POINTS = {"bmi-40": 3, "bivariate": 4}  # values of n


def same(first, second):
    return (first.family, first.mi, first.shape) == (second.family, second.mi, second.shape) and np.array_equal(
        first.x, second.x
    )


@pytest.mark.usefixtures("unmoved_global_state")
@pytest.mark.parametrize("name", SUITES)
def test_reproducible_and_well_formed(name):
    first, again = (build_suite(name, num_datasets=SIZES[name]) for _ in range(2))
    assert len(first) == len(again) == SIZES[name] * PER_POINTS.get(name, 1)
    assert all(same(a, b) for a, b in zip(first, again, strict=True))
    other = build_suite(name, num_datasets=SIZES[name], seed=1)
    assert not any(np.array_equal(a.x, b.x) for a, b in zip(first, other, strict=True))
    for data in first:
        assert data.suite == name and data.x.dtype == data.y.dtype == np.float32
        assert len(data.x) == len(data.y) and data.x.ndim == data.y.ndim == 2
        assert np.isfinite(data.x).all() and np.isfinite(data.y).all() and math.isfinite(data.mi) and data.mi >= 0


@pytest.mark.parametrize(("suite", "labels"), [(mist_imd, MIST_IMD), (mist_oomd, MIST_OOMD)])
def test_mist_suites_fill_every_cell(suite, labels):
    datasets = suite(num_datasets=80 * len(labels))
    cells = Counter((data.family, data.shape[0]) for data in datasets)
    assert cells == {(label, n): 4 for label in labels for n in MIST_NUM_POINTS}
    dims = {data.shape[1:] for data in datasets}
    assert all(dim_x == dim_y and 2 <= dim_x <= 32 for dim_x, dim_y in dims) and len(dims) > 20
    assert len(suite(num_datasets=160 * len(labels))) == 160 * len(labels)


def test_bmi_samples_of_smaller_budgets_are_the_first_points():
    datasets = bmi_40(num_points=(20, 50))
    assert [data.family for data in datasets] == [*BMI_TASKS, *BMI_TASKS]
    for small, large in zip(datasets[:40], datasets[40:], strict=True):
        assert (small.shape[0], large.shape[0]) == (20, 50) and small.mi == large.mi
        assert np.array_equal(small.x, large.x[:20]) and np.array_equal(small.y, large.y[:20])
    assert len(bmi_40(num_datasets=80, num_points=(20,))) == 80


def test_independent_samples_have_ten_points_a_coordinate():
    for data in independence(60):
        n, dim_x, dim_y = data.shape
        assert 10 * (dim_x + dim_y) <= n <= 4000 and data.mi == 0.0


def test_core_is_no_training_batch():
    """A training run with the same small seed, and even the same law, sees none of it."""
    meta = MetaDistribution(datasets_per_batch=(8, 8))
    datasets = core(16, seed=3, meta=meta)
    drawn = {value for index in range(3) for value in generate_batch(meta, 3, index).mi.tolist() if value > 0}
    assert not drawn & {data.mi for data in datasets}


def test_every_continuous_kind_comes_at_every_n_with_one_coordinate_a_side():
    datasets = bivariate(52, num_points=(20, 50))
    kinds = {data.family for data in datasets}
    assert {"gaussian", "copula", "functional", "loop", "mixture"} <= kinds and len(kinds) == 13
    assert not kinds & {"contingency", "classes", "noise"}
    for kind in kinds:
        assert [data.shape for data in datasets if data.family == kind] == [(20, 1, 1)] * 4 + [(50, 1, 1)] * 4
    small, large = datasets[:52], datasets[52:]
    assert all(np.array_equal(a.x, b.x[:20]) and a.mi == b.mi for a, b in zip(small, large, strict=True))
    assert len({data.mi for data in small}) > 45


def test_held_out_kinds_come_at_every_n():
    datasets = held_out(num_datasets=42, num_points=(50, 200))
    assert Counter((data.family, data.shape[0]) for data in datasets) == {
        (k, n): 3 for k in HELD_OUT for n in (50, 200)
    }
    small, large = datasets[0], datasets[len(datasets) // 2]
    assert small.mi == large.mi and np.array_equal(small.x, large.x[:50])


def test_core_is_drawn_from_the_law_it_is_given():
    law = MetaDistribution(families={"additive": 1.0}, max_num_points=40, num_points=(10, 40))
    assert {data.family for data in build_suite("core", num_datasets=8, meta=law)} == {"additive"}


def test_marks_of_categories_reach_the_network():
    law = MetaDistribution(category_probability=1.0, num_points=(10, 20), max_num_points=20)
    datasets = core(16, meta=law)
    assert all(sum(data.groups_x) >= 3 and len(data.groups_x) == data.shape[1] for data in datasets)
    seen = []

    class Network(torch.nn.Module):
        config = SimpleNamespace(levels=(0.5,))

        def forward(self, x, y, groups_x=None, groups_y=None):
            seen.append((x.shape[-1], groups_x.tolist(), None if groups_y is None else groups_y.tolist()))
            return torch.zeros(len(x), 1)

    evaluate_network(Network(), datasets)
    expected = {(data.shape[1], data.groups_x, data.groups_y or None) for data in datasets}
    assert {(dim, tuple(x), None if y is None else tuple(y)) for dim, x, y in seen} == expected


def test_reference_files_are_read_back(tmp_path):
    datasets = [data for data in mist_imd() if data.shape[0] == 35][:6]
    np.savez(
        tmp_path / "mist_imd.npz",
        flat=np.concatenate([np.concatenate([d.x, d.y], 1).ravel() for d in datasets]),
        index=np.array([d.shape for d in datasets]),
        mi=np.array([d.mi for d in datasets]),
        label=np.array([d.family for d in datasets]),
    )
    read = read_reference(tmp_path / "mist_imd.npz", "mist-imd")
    assert all(same(a, b) and np.array_equal(a.y, b.y) for a, b in zip(read, datasets, strict=True))
    assert len(build_suite("mist-imd", data=tmp_path)) == 6
    assert len(build_suite("mist-imd", data=tmp_path, num_datasets=3)) == 3
    with pytest.raises(FileNotFoundError, match="expected reference samples; pass the folder"):
        build_suite("mist-oomd", data=tmp_path)


def test_unknown_suite():
    with pytest.raises(ValueError, match="got suite 'cores', expected one of"):
        build_suite("cores")
