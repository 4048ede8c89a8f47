"""Streams: every draw is a function of its own seed, slices are the whole, global state stays where it is."""

import pytest
import torch
from scipy import stats

from data_gen import Streams
from data_gen.streams import structure_generator

SEEDS = [3, 14, 15, 92, 65]
DRAWS = {
    "normal": lambda s: s.normal(7, 3),
    "normal float32": lambda s: s.normal(7, dtype=torch.float32),
    "uniform": lambda s: s.uniform(7, low=-1.0, high=2.0),
    "log_uniform": lambda s: s.log_uniform(7, low=0.1, high=10.0),
    "integers": lambda s: s.integers(2, 9, 7),
    "bernoulli": lambda s: s.bernoulli(0.3, 7),
    "gamma": lambda s: s.gamma(torch.linspace(0.5, 3, len(SEEDS))[: len(s)], 7),
    "orthogonal": lambda s: s.orthogonal(4),
}


@pytest.mark.parametrize("name", DRAWS)
def test_a_row_depends_on_its_own_seed_only(name):
    whole = DRAWS[name](Streams(SEEDS))
    assert whole.shape[0] == len(SEEDS)
    assert torch.equal(DRAWS[name](Streams(SEEDS[:2])), whole[:2])
    assert torch.equal(DRAWS[name](Streams(SEEDS)), whole)
    assert not torch.equal(whole[0], whole[1])


def test_the_second_draw_differs_from_the_first():
    streams = Streams(SEEDS)
    assert not torch.equal(streams.normal(5), streams.normal(5))


def test_slices_of_a_batch_are_the_batch():
    whole = Streams.for_batch(1, 5, 0, 8).normal(4)
    parts = [Streams.for_batch(1, 5, start, start + 2).normal(4) for start in range(0, 8, 2)]
    assert torch.equal(torch.cat(parts), whole)


def test_seed_batch_and_data_set_all_matter():
    rows = [Streams.for_batch(seed, k, 0, 3).normal(2) for seed in (0, 1) for k in (0, 1)]
    flat = torch.cat(rows).flatten().tolist()
    assert len(set(flat)) == len(flat)


def test_structure_is_a_function_of_seed_and_batch():
    assert structure_generator(1, 2).random() == structure_generator(1, 2).random()
    assert len({structure_generator(s, k).random() for s in (1, 2) for k in (1, 2)}) == 4


@pytest.mark.usefixtures("unmoved_global_state")
def test_global_state_is_unmoved():
    for draw in DRAWS.values():
        draw(Streams(SEEDS))
    structure_generator(0, 0).random()


def test_laws():
    streams = Streams([7])
    assert stats.kstest(streams.normal(4000)[0], "norm").pvalue > 1e-3
    assert stats.kstest(streams.gamma(torch.tensor([2.5]), 4000)[0], "gamma", args=(2.5,)).pvalue > 1e-3
    assert stats.kstest(streams.log_uniform(4000, low=0.1, high=10.0)[0].log10(), "uniform", args=(-1, 2)).pvalue > 1e-3
    assert set(streams.integers(2, 5, 1000).flatten().tolist()) == {2, 3, 4, 5}
    assert abs(streams.bernoulli(0.3, 4000).double().mean() - 0.3) < 0.03


def test_orthogonal_matrices_are_orthogonal_and_of_both_signs():
    matrices = Streams(range(50)).orthogonal(3)
    assert torch.allclose(matrices @ matrices.mT, torch.eye(3, dtype=torch.float64).expand(50, 3, 3), atol=1e-12)
    assert set(torch.linalg.det(matrices).round().tolist()) == {-1.0, 1.0}


def test_no_seeds_is_an_error():
    with pytest.raises(ValueError, match="got no seeds, expected at least one"):
        Streams([])
