"""Independence: MI is exactly zero, and the points show none, whatever happens inside a side."""

import numpy as np
import torch
from scipy import stats

from data_gen import Streams
from data_gen.elliptical import StudentT
from data_gen.independence import IndependentCoordinates, IndependentSides


def correlated_student(batch):
    matrix = 0.9 * torch.ones(4, 4) + 0.1 * torch.eye(4)
    return StudentT(matrix.repeat(batch, 1, 1), torch.full((batch,), 1.5), 2)


def test_labels_are_exactly_zero():
    sides = IndependentSides(correlated_student(3), correlated_student(3), 3)
    coordinates = IndependentCoordinates(torch.zeros(3, 5), torch.ones(3, 5), 2)
    for joint, dims in ((sides, (2, 2)), (coordinates, (2, 3))):
        assert torch.equal(joint.mutual_information, torch.zeros(3, dtype=torch.float64))
        assert (joint.dim_x, joint.dim_y) == dims


def test_sides_are_independent_by_permutation():
    """The largest rank correlation across the sides is no more than under shuffling, on |x| too (heavy tails)."""
    x, y = IndependentSides(correlated_student(1), correlated_student(1), 1).sample(800, Streams([5]))
    x, y = x[0].numpy(), y[0].numpy()
    generator = np.random.default_rng(0)
    for transform in (np.array, np.abs):
        ranks_x, ranks_y = (stats.rankdata(transform(side), axis=0) for side in (x, y))

        def strongest(order, ranks_x=ranks_x, ranks_y=ranks_y):
            return np.abs(np.corrcoef(ranks_x.T, ranks_y[order].T)[:2, 2:]).max()

        shuffled = [strongest(generator.permutation(800)) for _ in range(200)]
        assert strongest(np.arange(800)) <= np.quantile(shuffled, 0.999)
    assert stats.spearmanr(x[:, 0], x[:, 1])[0] > 0.7  # the sides themselves are dependent


def test_marginals_are_those_of_the_sinh_arcsinh_law():
    skew, tail = torch.tensor([[0.0, 0.6]]), torch.tensor([[1.0, 1.7]])
    x, y = IndependentCoordinates(skew, tail, 1).sample(4000, Streams([3]))
    assert stats.kstest(x[0, :, 0], "norm").pvalue > 1e-3  # no skew and unit tail: normal
    normal = np.sinh(np.arcsinh(y[0, :, 0].double().numpy()) / 1.7 - 0.6)
    assert stats.kstest(normal, "norm").pvalue > 1e-3
