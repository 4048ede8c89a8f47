"""Uniform additive noise: the label against numerical entropy of the sum, limits, and the noise coordinates."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from data_gen import Streams
from data_gen.additive_noise import (
    NOISE_LAWS,
    AdditiveNoise,
    UniformAdditiveNoise,
    _table,
    additive_noise_mutual_information,
    uniform_additive_noise_mutual_information,
)


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


LAWS = {
    "uniform": stats.uniform(-math.sqrt(3), 2 * math.sqrt(3)),
    "triangular": stats.triang(0.5, -math.sqrt(6), 2 * math.sqrt(6)),
    "normal": stats.norm(),
    "laplace": stats.laplace(0, math.sqrt(0.5)),
}
PAIRS = [(x, noise) for x in LAWS for noise in LAWS]


def information_on_a_grid(law_x, law_noise, ratio):
    """h(X + N) - h(N) from a discrete convolution of the two densities on a grid of 2¹⁶ points."""
    half, num = 60.0 * max(1, ratio), 1 << 16
    grid, step = np.linspace(-half, half, num, endpoint=False, retstep=True)
    masses = []
    for scale, law in ((1, law_x), (ratio, law_noise)):
        edges = np.append(grid, half) - step / 2
        masses.append(np.diff(LAWS[law].cdf(edges / scale)))
    total = np.fft.irfft(np.fft.rfft(masses[0]) * np.fft.rfft(masses[1]), num).clip(1e-300)
    entropy = -(total * np.log(total / step)).sum()
    return entropy - LAWS[law_noise].entropy() - math.log(ratio)


@pytest.mark.parametrize(("law_x", "law_noise"), PAIRS)
def test_general_label_against_a_discrete_convolution(law_x, law_noise):
    ratio = torch.tensor([0.05, 0.7, 6.0], dtype=torch.float64)
    expected = [information_on_a_grid(law_x, law_noise, r) for r in ratio.tolist()]
    np.testing.assert_allclose(additive_noise_mutual_information(law_x, law_noise, ratio), expected, atol=2e-4)


def test_general_label_against_closed_forms():
    """Between the nodes of the tables: the uniform pair has corners, the normal one none."""
    ratio = torch.logspace(math.log10(0.021), math.log10(49), 41, dtype=torch.float64)
    found = additive_noise_mutual_information("uniform", "uniform", ratio)
    np.testing.assert_allclose(found, uniform_additive_noise_mutual_information(ratio / 2), atol=5e-5)
    found = _table("normal", "normal")(ratio.log())
    np.testing.assert_allclose(found, 0.5 * torch.log1p(ratio**-2), atol=1e-9)
    assert torch.equal(additive_noise_mutual_information("normal", "normal", ratio), 0.5 * torch.log1p(ratio**-2))


@pytest.mark.parametrize("law", LAWS)
def test_laws_are_of_unit_variance_and_drawn_as_named(law):
    draws = NOISE_LAWS[law].draw(Streams([0]), 20_000).numpy()
    assert draws.shape == (1, 20_000) and draws.dtype == np.float32
    assert stats.kstest(draws[0], LAWS[law].cdf).pvalue > 1e-3
    assert LAWS[law].var() == pytest.approx(1)
    assert NOISE_LAWS[law].entropy == pytest.approx(LAWS[law].entropy())
    grid = np.linspace(-8, 8, 101) + 1e-3
    np.testing.assert_allclose(NOISE_LAWS[law].density(grid), LAWS[law].pdf(grid), atol=1e-12)


def test_general_pairs():
    ratio = torch.tensor([[0.1, 1.0, 0.1]])
    joint = AdditiveNoise("laplace", "triangular", ratio, 2, 3)
    assert torch.equal(
        joint.mutual_information, additive_noise_mutual_information("laplace", "triangular", ratio[:, :2]).sum(-1)
    )
    x, y = joint.sample(5000, Streams([0]))
    assert x.shape == (1, 5000, 2) and y.shape == (1, 5000, 3) and x.dtype == torch.float32
    noise = (y[0, :, :2] - x[0]) / ratio[0, :2]
    for i in range(2):
        assert stats.kstest(noise[:, i], LAWS["triangular"].cdf).pvalue > 1e-3
    assert abs(np.corrcoef(torch.cat([x, y], -1)[0].T)[:2, 4]).max() < 0.06  # the third Y has lost its partner


def test_bad_parameters():
    with pytest.raises(ValueError, match=r"got unknown laws \['cauchy'\]"):
        AdditiveNoise("normal", "cauchy", torch.ones(1, 1), 1, 1)
    with pytest.raises(ValueError, match=r"got parameters of 2 pairs, expected max\(1, 3\)"):
        AdditiveNoise("normal", "normal", torch.ones(1, 2), 1, 3)
    with pytest.raises(ValueError, match="expected them on the table's"):
        _ = AdditiveNoise("uniform", "normal", torch.full((1, 1), 0.001), 1, 1).mutual_information
