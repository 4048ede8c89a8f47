"""Functions with noise: labels against adaptive quadrature, counting and the Gaussian case; several inputs."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from sklearn.metrics import mutual_info_score

from data_gen import Joint, Streams
from data_gen.functional import CURVES, Curve, Functional, draw_curve, two_bump_entropy


def zeros(*shape):
    return torch.zeros(*shape, dtype=torch.float64)


def curve(waves=None, polynomial=None, steps=None, width=0.0, noise=(0.0, 1.0, 0.0)):
    """One curve by plain numbers."""

    def rows(values, num):
        return tuple(torch.tensor([v], dtype=torch.float64) for v in (values or [[0.0]] * num))

    return Curve(
        waves=rows(waves, 3),
        polynomial=torch.tensor([polynomial or [0.0]], dtype=torch.float64),
        steps=rows(steps, 2),
        width=torch.tensor([width], dtype=torch.float64),
        noise=tuple(torch.tensor([v], dtype=torch.float64) for v in noise),
    )


def one(c, noise=0.3):
    return Functional(c, torch.ones(1, 1, dtype=torch.float64), torch.tensor([noise]))


CASES = {
    "wave": curve(waves=[[1.0, 0.4], [1.3, 3.0], [0.3, 2.0]]),
    "polynomial": curve(polynomial=[0.5, -1.0, 0.3]),
    "steps": curve(steps=[[1.0, -2.0, 0.7], [0.2, 0.55, 0.9]]),
    "circle": curve(width=1.0),
    "heteroscedastic": curve(polynomial=[1.0], noise=(0.7, 1.1, 0.4)),
}


@pytest.mark.parametrize("noise", [0.1, 0.8])
@pytest.mark.parametrize("name", CASES)
def test_label_against_a_fine_double_sum(name, noise):
    """p(y | q) on 2,000 × 1,500 points, from the curve written out by hand."""
    c = CASES[name]
    joint = one(c, noise)
    q = (np.arange(2000) + 0.5) / 2000
    by_hand = {
        "wave": np.sin(2 * np.pi * 1.3 * q + 0.3) + 0.4 * np.sin(2 * np.pi * 3 * q + 2),
        "polynomial": 0.5 * (x := 2 * q - 1) - 0.5 * (3 * x**2 - 1) + 0.3 * 0.5 * (5 * x**3 - 3 * x),
        "steps": 1.0 * (q > 0.2) - 2.0 * (q > 0.55) + 0.7 * (q > 0.9),
        "circle": 0 * q,
        "heteroscedastic": 2 * q - 1,
    }[name]
    half = np.sqrt(1 - (2 * q - 1) ** 2) if name == "circle" else 0 * q
    relative = np.exp(0.7 * np.sin(2 * np.pi * 1.1 * q + 0.4)) if name == "heteroscedastic" else 1 + 0 * q
    s = joint.scale.item() * relative
    y = np.linspace((by_hand - half - 9 * s).min(), (by_hand + half + 9 * s).max(), 1500)
    density = sum(stats.norm.pdf(y[:, None], by_hand + sign * half, s) for sign in (-1, 1)) / 2
    product = density.mean(1)
    log_ratio = np.log(density.clip(1e-300)) - np.log(product.clip(1e-300))[:, None]
    expected = (density * log_ratio).mean(1).sum() * (y[1] - y[0])
    assert joint.mutual_information.item() == pytest.approx(expected, abs=1e-3)
    spread = math.sqrt(by_hand.var() + (half**2).mean())
    assert joint.scale.item() >= noise * spread * 0.999


@pytest.mark.parametrize("name", CASES)
def test_label_against_counting(name):
    joint = one(CASES[name])
    x, y = (side[0, :, 0].numpy() for side in joint.sample(200_000, Streams([0])))
    assert stats.kstest(x, "norm").pvalue > 1e-3
    cells = [np.floor(stats.rankdata(v) / (len(v) + 1) * 60) for v in (x, y)]
    bias = 59 * 59 / (2 * len(x))
    assert mutual_info_score(*cells) - bias == pytest.approx(joint.mutual_information.item(), abs=0.03)


def test_two_bumps():
    def entropy(r):
        def integrand(z):
            density = 0.5 * (stats.norm.pdf(z - r) + stats.norm.pdf(z + r))
            return -density * math.log(density)

        return integrate.quad(integrand, -r - 10, r + 10, limit=200)[0] - stats.norm.entropy()

    distance = torch.tensor([0.0, 0.7, 1.9, 5.0, 30.0], dtype=torch.float64)
    np.testing.assert_allclose(two_bump_entropy(distance)[:4], [entropy(r) for r in distance[:4].tolist()], atol=1e-7)
    assert two_bump_entropy(distance)[4].item() == pytest.approx(math.log(2), abs=1e-9)


def test_the_noise_rises_where_the_curve_is_too_steep():
    steep = curve(waves=[[1.0], [200.0], [0.0]])
    assert one(steep, 0.01).scale.item() > 0.3
    rare = one(curve(steps=[[1.0], [0.997]]), 0.03)  # hardly any spread, all the reach
    assert rare.scale.item() > 1 / 400 and 0.005 < rare.mutual_information.item() < 0.0204
    assert one(CASES["wave"], 0.3).scale.item() == pytest.approx(0.3 * math.sqrt(0.5 + 0.08), rel=0.1)


@pytest.mark.parametrize("swap", [False, True])
def test_only_the_weighted_sum_of_the_inputs_matters(swap):
    weight = torch.tensor([[0.6, 0.0, 0.8]], dtype=torch.float64)
    joint = Functional(CASES["wave"], weight, torch.tensor([0.3]), swap=swap)
    assert isinstance(joint, Joint) and (joint.dim_x, joint.dim_y) == ((1, 3) if swap else (3, 1))
    assert joint.mutual_information.item() == pytest.approx(one(CASES["wave"]).mutual_information.item(), abs=1e-9)
    sides = joint.sample(50_000, Streams([0]))
    inputs, y = (sides[1], sides[0]) if swap else sides
    q = torch.special.ndtr(inputs[0].double() @ weight[0])
    rest = (y[0, :, 0].double() - CASES["wave"].centre(q.unsqueeze(0))[0]) / joint.scale
    assert stats.kstest(rest, "norm").pvalue > 1e-3


@pytest.mark.parametrize("kind", CURVES)
def test_random_curves(kind):
    random = Streams(range(16))
    joint = Functional(draw_curve(kind, random), torch.ones(16, 1, dtype=torch.float64), torch.full((16,), 0.2))
    labels = joint.mutual_information
    assert (labels > 0.2).all() and (labels < 4).all() and labels.std() > 0.05
    x, y = joint.sample(30, random)
    assert x.shape == y.shape == (16, 30, 1) and y.isfinite().all()
