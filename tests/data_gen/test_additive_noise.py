"""Uniform additive noise: the label against numerical entropy of the sum, limits, and the noise coordinates."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from data_gen import Streams
from data_gen.additive_noise import UniformAdditiveNoise, uniform_additive_noise_mutual_information


@pytest.mark.parametrize("epsilon", [0.03, 0.2, 0.4999, 0.5, 0.75, 3.0])
def test_label_against_numerical_integration(epsilon):
    """I = h(Y) - h(N), with the density of Y the length of an overlap."""

    def negative_entropy(value):
        density = max(0.0, min(1.0, value + epsilon) - max(0.0, value - epsilon)) / (2 * epsilon)
        return density * math.log(density) if density > 0 else 0.0

    corners = sorted({-epsilon, epsilon, 1 - epsilon, 1 + epsilon})
    entropy = -sum(integrate.quad(negative_entropy, a, b, epsabs=1e-10)[0] for a, b in zip(corners, corners[1:]))
    label = uniform_additive_noise_mutual_information(torch.tensor(epsilon)).item()
    assert label == pytest.approx(entropy - math.log(2 * epsilon), abs=1e-6)


def test_limits():
    tiny, huge = uniform_additive_noise_mutual_information(torch.tensor([1e-8, 1e8], dtype=torch.float64))
    assert tiny == pytest.approx(-math.log(2e-8), rel=1e-6)  # grows without bound as the noise vanishes
    assert huge < 1e-8
    left, right = uniform_additive_noise_mutual_information(torch.tensor([0.5 - 1e-9, 0.5 + 1e-9]).double())
    assert left == pytest.approx(right.item(), abs=1e-7)


def test_pairs_add_and_further_coordinates_carry_nothing():
    epsilon = torch.tensor([[0.2, 0.6]])
    joint = UniformAdditiveNoise(epsilon, 4, 3)
    expected = uniform_additive_noise_mutual_information(epsilon).sum(-1)
    assert torch.equal(joint.mutual_information, expected)
    x, y = joint.sample(5000, Streams([0]))
    assert x.shape == (1, 5000, 4) and y.shape == (1, 5000, 3)
    correlation = np.corrcoef(torch.cat([x, y], -1)[0].T)[:4, 4:]
    paired = np.zeros((4, 3), dtype=bool)
    paired[[0, 1], [0, 1]] = True
    assert (np.abs(correlation[~paired]) < 0.06).all() and (correlation[paired] > 0.5).all()
    assert stats.kstest(y[0, :, 2], "uniform").pvalue > 1e-3


def test_the_noise_is_uniform_and_as_wide_as_said():
    x, y = UniformAdditiveNoise(torch.tensor([[0.3]]), 1, 1).sample(5000, Streams([1]))
    assert stats.kstest((y - x)[0, :, 0], "uniform", args=(-0.3, 0.6)).pvalue > 1e-3
