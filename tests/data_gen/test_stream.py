"""The stream is a function of (seed, k): slices, workers and resumed runs see the same data sets."""

import itertools
from dataclasses import replace

import pytest
import torch

from data_gen import MetaDistribution, generate_batch, stream
from data_gen.streams import structure_generator

META = MetaDistribution(num_points=(10, 60), max_num_points=80, dims=(1, 6), max_dim=8, datasets_per_batch=(8, 16))


def same(first, second):
    return (
        torch.equal(first.x, second.x)
        and torch.equal(first.y, second.y)
        and torch.equal(first.mi, second.mi)
        and first.family == second.family
        and first.index == second.index
    )


@pytest.mark.usefixtures("unmoved_global_state")
def test_a_batch_is_a_function_of_seed_and_index():
    for index in range(12):
        batch = generate_batch(META, 3, index)
        torch.randn(3, generator=torch.Generator().manual_seed(1))
        assert same(batch, generate_batch(META, 3, index))


@pytest.mark.usefixtures("unmoved_global_state")
@pytest.mark.parametrize("num_slices", [2, 4, 8])
def test_slices_in_order_are_the_batch(num_slices):
    for index in range(25):  # enough to meet every kind of family
        whole = generate_batch(META, 5, index)
        parts = [generate_batch(META, 5, index, slice_index=r, num_slices=num_slices) for r in range(num_slices)]
        for name in ("x", "y", "mi", "weight"):
            joined = torch.cat([getattr(part, name) for part in parts])
            assert torch.allclose(joined, getattr(whole, name), rtol=1e-5, atol=1e-6), (whole.family, name)
        assert sum((part.family for part in parts), ()) == whole.family


def test_seeds_indices_and_data_sets_differ():
    fixed = replace(META, families={"gaussian-factor": 1.0}, num_points=(20, 20), uniform_points_probability=1.0)
    fixed = replace(fixed, dims=(3, 3), equal_dims_probability=1.0, mixed_probability=0.0)
    labels = [generate_batch(fixed, seed, index).mi for seed in (0, 1) for index in (0, 1)]
    values = torch.cat(labels)
    assert values.unique().numel() == values.numel()


def test_shapes_of_a_batch():
    for index in range(20):
        batch = generate_batch(META, 0, index)
        groups = META.draw_shapes(structure_generator(0, index))
        assert len(groups) == META.groups_per_batch
        count = sum(group.num_datasets for group in groups)
        assert count % 8 == 0 and META.datasets_per_batch[0] <= count <= META.datasets_per_batch[1]
        assert batch.x.shape == (count, groups[0].num_points, groups[0].dim_x)
        assert batch.y.shape == (count, groups[0].num_points, groups[0].dim_y)
        assert batch.mi.shape == batch.weight.shape == (count,) and len(batch.family) == count
        assert batch.mi.dtype == torch.float64 and batch.weight.dtype == torch.float32
        assert batch.x.isfinite().all() and batch.y.isfinite().all()


def test_labels_beyond_the_limit_weigh_nothing():
    limited = replace(META, max_mi=0.4)
    met = 0
    for index in range(20):
        batch, full = generate_batch(limited, 0, index), generate_batch(META, 0, index)
        assert torch.equal(batch.x, full.x)
        assert torch.equal(batch.weight == 0, full.mi > 0.4)
        assert (batch.mi <= 0.4).all()
        met += int((batch.weight == 0).sum())
    assert met > 0


def test_stream_starts_and_steps_where_told():
    everything = list(itertools.islice(stream(META, 2), 6))
    assert [batch.index for batch in everything] == list(range(6))
    resumed = next(stream(META, 2, start=4))
    assert same(resumed, everything[4])
    worker = list(itertools.islice(stream(META, 2, start=1, step=2), 3))
    assert [batch.index for batch in worker] == [1, 3, 5]
    assert all(same(batch, everything[batch.index]) for batch in worker)


def test_a_slice_count_that_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="got num_slices=3, expected a divisor of the batch's .* choose 1, 2, 4 or 8"):
        generate_batch(META, 0, 0, num_slices=3)
