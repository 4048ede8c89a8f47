"""The data sets that a network is recalibrated on: the same ones whoever draws them."""

from __future__ import annotations

import os
from itertools import pairwise

import pytest
import torch

import mist
from data_gen.meta_distribution import MetaDistribution
from mist.network import MISTNetwork
from mist.training.sample import batches_of, draw_sample, sample_of

pytestmark = pytest.mark.usefixtures("unmoved_global_state")
META = MetaDistribution(num_points=(10, 30), max_num_points=30, dims=(1, 3), max_dim=3)


def test_processes_share_the_work_and_find_the_same(tiny_network: MISTNetwork) -> None:
    alone, shared = (draw_sample(tiny_network, META, 100, num_processes=count) for count in (1, 2))
    for name in ("mi", "weight", "counts", "shape"):
        assert torch.equal(getattr(shared, name), getattr(alone, name)), name
    for ours, theirs in zip(shared.parts[0], alone.parts[0], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    assert len(alone.shape.unique()) == int(alone.shape.max()) + 1


def test_a_sample_is_of_what_the_head_makes_of_the_batches(tiny_network: MISTNetwork) -> None:
    batches = list(batches_of(META, 20))
    sample = sample_of(tiny_network, batches)
    assert torch.equal(sample.mi, torch.cat([batch.mi for batch in batches]))
    starts = [0, *torch.tensor([len(batch.mi) for batch in batches]).cumsum(0).tolist()]
    for which in (0, len(batches) - 1):
        batch, rows = batches[which], sample.select(sample.shape == which)
        assert len(rows.mi) == starts[which + 1] - starts[which]
        assert set(rows.counts[0].tolist()) == {float(batch.x.shape[1])}
        with torch.no_grad():
            expected = tiny_network(batch.x, batch.y)
        assert tiny_network.calibration is None
        found = (tiny_network.pool(rows.parts).exp() - 0.05).clamp(min=0)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_each_data_set_of_a_shape_has_a_composition_of_its_own() -> None:
    law = MetaDistribution(num_points=(10, 30), max_num_points=30, families={"gaussian-dense": 1.0, "additive": 1.0})
    batches = list(batches_of(law, 200))
    alike = [[first == second for first, second in pairwise(batch.family)] for batch in batches]
    assert not any(all(column) for column in zip(*alike, strict=True))  # no two neighbours share one in every batch


def test_every_batch_is_of_one_part_only() -> None:
    indices = [batch.index for batch in batches_of(META, 200)]
    assert len(set(indices)) == len(indices) > 20 and {index % 8 for index in indices} == set(range(8))


def test_few_data_sets_leave_parts_without_any() -> None:
    network = mist.load("tiny").network
    assert network.novelty is not None
    alone, shared = (draw_sample(network, META, 9, num_processes=count) for count in (1, 2))
    assert int((alone.mi > 0).sum()) >= 1 and torch.equal(shared.mi, alone.mi)


def test_processes_need_few_open_files(tiny_network: MISTNetwork) -> None:
    """Tensors travel as bytes: torch would pass each of them as an open file, once a task."""
    resource = pytest.importorskip("resource", reason="no limits of this kind")
    before = tiny_network.trust.is_shared()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    num_open = len(os.listdir("/dev/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (num_open + 60, hard))
    try:
        draw_sample(tiny_network, META, 9, num_processes=2)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert tiny_network.trust.is_shared() == before


def test_no_process_draws_nothing(tiny_network: MISTNetwork) -> None:
    with pytest.raises(ValueError, match="got num_processes=0, expected 1 or more"):
        draw_sample(tiny_network, META, 100, num_processes=0)
