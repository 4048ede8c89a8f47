"""Noisy loops: labels against mean log density ratios, limits, and what they look like."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from data_gen import Streams
from data_gen.loops import SMALLEST_NOISE, Loop, loop_information


def loop(frequency, phase, noise):
    values = [torch.tensor([[v]], dtype=torch.float64) for v in (frequency, phase, noise)]
    return Loop(*values, 1, 1, loop_information(*(v[0] for v in values)).unsqueeze(0))


def densities(x, y, frequency, phase, noise):
    """p(x, y), p(x) and p(y) at points (N,): sums over six thousand angles."""
    angle = np.linspace(0, 2 * math.pi, 6001)[:-1]
    of_x = stats.norm.pdf(x[:, None], np.cos(frequency[0] * angle), noise[0])
    of_y = stats.norm.pdf(y[:, None], np.cos(frequency[1] * angle + phase), noise[1])
    return (of_x * of_y).mean(1), of_x.mean(1), of_y.mean(1)


@pytest.mark.parametrize(
    ("frequency", "phase", "noise"),
    [((1, 1), math.pi / 2, (0.2, 0.4)), ((1, 1), 0.7, (0.1, 0.1)), ((3, 2), 1.0, (0.15, 0.1))],
)
def test_label_against_the_mean_log_density_ratio(frequency, phase, noise):
    joint = loop([float(f) for f in frequency], phase, list(noise))
    x, y = (side[0, :, 0].double().numpy() for side in joint.sample(1500, Streams([0])))
    both, of_x, of_y = densities(x, y, frequency, phase, noise)
    ratio = np.log(both / of_x / of_y)
    assert abs(ratio.mean() - joint.mutual_information.item()) < 4 * ratio.std() / math.sqrt(len(ratio))


def test_much_noise_leaves_the_correlation_of_an_ellipse():
    """Far below the noise a loop is a small perturbation: I = r²/2 with r = ½cos φ / (½ + σ²)."""
    found = loop([1.0, 1.0], 0.3, [6.0, 6.0]).mutual_information.item()
    r = 0.5 * math.cos(0.3) / (0.5 + 36)
    assert found == pytest.approx(r * r / 2, rel=0.01)


def test_a_circle_has_no_correlation_yet_information():
    joint = loop([1.0, 1.0], math.pi / 2, [0.1, 0.1])
    x, y = (side[0, :, 0].numpy() for side in joint.sample(20_000, Streams([0])))
    assert abs(np.corrcoef(x, y)[0, 1]) < 0.03 and joint.mutual_information.item() > 0.5
    assert np.hypot(x, y).std() < 0.15


def test_swapping_the_coordinates_changes_nothing():
    frequency, noise = torch.tensor([[3.0, 1.0]]).double(), torch.tensor([[0.1, 0.5]]).double()
    first = loop_information(frequency, torch.tensor([0.9]), noise)
    # cos(3s - 3·0.9) beside cos(s): the phase moves to the other coordinate, by a shift of the angle
    second = loop_information(frequency.flip(-1), torch.tensor([-2.7]).double(), noise.flip(-1))
    assert first.item() == pytest.approx(second.item(), rel=1e-6)


def test_too_little_noise_is_refused():
    with pytest.raises(ValueError, match=f"got noise of 0.01, expected at least {SMALLEST_NOISE}"):
        loop_information(torch.ones(1, 2), torch.zeros(1), torch.tensor([[0.01, 1.0]]))
