"""Held-out kinds: labels against counting, quadrature and densities anew; and no training law can draw them."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from sklearn.metrics import mutual_info_score

from data_gen import Joint, MetaDistribution, Streams
from data_gen.copulas import copula_mutual_information
from data_gen.families import FAMILIES, KINDS
from data_gen.held_out import (
    HELD_OUT,
    Checkerboard,
    LogLinkCounts,
    MultiplicativeNoise,
    SignParity,
    Vine,
    draw_held_out,
)


def counted(x, y, bins):
    """MI in nats of two samples cut into equal cells by rank."""
    cells = [np.floor(stats.rankdata(v, method="average") / (len(v) + 1) * bins) for v in (x, y)]
    return mutual_info_score(*cells)


@pytest.mark.parametrize("num_factors", [2, 3])
def test_parity(num_factors):
    joint = SignParity(torch.tensor([0.0, 0.1, 0.5]), num_factors)
    assert joint.mutual_information.tolist() == pytest.approx(
        [math.log(2), math.log(2) - stats.entropy([0.1, 0.9]), 0], abs=1e-6
    )
    x, y = joint.sample(20_000, Streams([0, 1, 2]))
    assert x.shape == (3, 20_000, num_factors) and y.shape == (3, 20_000, 1)
    codes = (x > 0).long() @ (2 ** torch.arange(num_factors))
    for i in range(3):
        found = mutual_info_score(codes[i].numpy(), (y[i, :, 0] > 0).numpy())
        assert found == pytest.approx(joint.mutual_information[i].item(), abs=0.02)
        for j in range(num_factors):
            assert counted(x[i, :, j].numpy(), y[i, :, 0].numpy(), 8) < 0.005  # alone, a factor says nothing


@pytest.mark.parametrize("squares", [2, 4])
def test_checkerboard(squares):
    contrast = torch.tensor([[0.3, 1.0]])
    joint = Checkerboard(contrast, squares, 2, 2)
    expected = sum(0.5 * ((1 + c) * math.log(1 + c) + ((1 - c) * math.log(1 - c) if c < 1 else 0)) for c in (0.3, 1.0))
    assert joint.mutual_information.item() == pytest.approx(expected, abs=1e-6)
    x, y = (side[0].numpy() for side in joint.sample(60_000, Streams([0])))
    for i in range(2):
        assert stats.kstest(x[:, i], "uniform").pvalue > 1e-3 and stats.kstest(y[:, i], "uniform").pvalue > 1e-3
        counts = np.histogram2d(x[:, i], y[:, i], bins=squares, range=[[0, 1], [0, 1]])[0]
        black = (np.add.outer(np.arange(squares), np.arange(squares)) % 2) == 0
        law = np.where(black, 1 + contrast[0, i].item(), 1 - contrast[0, i].item()) / squares**2
        np.testing.assert_allclose(counts / 60_000, law, atol=5 * math.sqrt(0.5 / squares**2 / 60_000))
    with pytest.raises(ValueError, match="got a board of 3 squares a side, expected an even number"):
        Checkerboard(contrast, 3, 2, 2)


@pytest.mark.parametrize("power", [0.3, 1.0, 3.5])
def test_multiplicative_noise(power):
    """The mean log ratio of the conditional normal density to the marginal one, integrated anew at every point."""
    joint = MultiplicativeNoise(torch.tensor([[power]]), 1, 1)
    x, y = (side[0, :, 0].double().numpy() for side in joint.sample(3000, Streams([0])))
    noise = y / np.abs(x) ** power
    assert stats.kstest(x, "norm").pvalue > 1e-3 and stats.kstest(noise, "norm").pvalue > 1e-3
    v = np.linspace(-40, 2.3, 4001)  # log|x|
    weight = 2 * stats.norm.pdf(np.exp(v)) * np.exp(v)
    density = integrate.simpson(stats.norm.pdf(y[:, None], scale=np.exp(power * v)) * weight, x=v, axis=1)
    ratio = stats.norm.logpdf(y, scale=np.abs(x) ** power) - np.log(density)
    assert abs(ratio.mean() - joint.mutual_information.item()) < 4 * ratio.std() / math.sqrt(len(ratio))


def test_product_of_normals_in_closed_form():
    """p = 1: the density of X·N is K₀(|y|)/π."""
    from scipy.special import k0

    def integrand(v):
        density = k0(math.exp(v)) / math.pi
        return -2 * density * math.log(density) * math.exp(v) if density > 0 else 0.0

    entropy = integrate.quad(integrand, -40, 6, limit=400)[0]
    log_abs = -0.5 * (np.euler_gamma + math.log(2))  # E log|X|
    expected = entropy - 0.5 * math.log(2 * math.pi * math.e) - log_abs
    assert MultiplicativeNoise(torch.ones(1, 1), 1, 1).mutual_information.item() == pytest.approx(expected, abs=1e-5)


def test_log_link_counts():
    intercept, slope = torch.tensor([[0.5, 3.0]]), torch.tensor([[0.7, -0.3]])
    joint = LogLinkCounts(intercept, slope, 2, 2)
    x, y = (side[0].numpy() for side in joint.sample(60_000, Streams([0])))
    expected = joint.pair_information[0].tolist()
    for i in range(2):
        rate = np.exp(intercept[0, i].item() + slope[0, i].item() * x[:, i])
        z = (y[:, i] - rate) / np.sqrt(rate)
        assert abs(z.mean()) < 0.02 and abs(z.var() - 1) < 0.03
        cells = np.floor(stats.rankdata(x[:, i]) / 60_001 * 40)
        assert mutual_info_score(cells, y[:, i]) == pytest.approx(expected[i], abs=0.02)
    assert joint.mutual_information.item() == pytest.approx(sum(expected))
    with pytest.raises(ValueError, match="expected at most 3 and 0.8"):
        LogLinkCounts(torch.tensor([[5.0]]), torch.tensor([[0.1]]), 1, 1)


class TestVine:
    theta = torch.tensor([[2.0, 6.0, 0.9]], dtype=torch.float64)

    def test_information_adds_over_the_edges_that_end_in_y(self):
        vine = Vine(("clayton", "frank", "fgm"), self.theta, torch.tensor([1.0]))
        assert isinstance(vine, Joint) and (vine.dim_x, vine.dim_y) == (3, 1)
        edges = [copula_mutual_information(n, self.theta[0, i]).item() for i, n in enumerate(vine.families)]
        assert vine.mutual_information.item() == pytest.approx(sum(edges))

    def test_label_against_the_mean_log_density_of_y_given_x(self):
        """The conditional density of Y by differences of the conditional law, the marginal of Y is uniform."""
        vine = Vine(("clayton", "frank"), self.theta[:, :2], torch.tensor([1.5]))
        x, y = (side[0].double().numpy() for side in vine.sample(20_000, Streams([0])))
        for column in (*x.T, y[:, 0]):
            assert stats.kstest(column, "uniform").pvalue > 1e-3

        def clayton_given(v, u, t):  # ∂C/∂u by a difference of the printed C
            def c(u):
                return (u**-t + v**-t - 1) ** (-1 / t)

            return (c(u * (1 + 1e-5)) - c(u * (1 - 1e-5))) / (2e-5 * u)

        def frank_given(v, u, t):
            def c(u):
                return -np.log1p(np.expm1(-t * u) * np.expm1(-t * v) / np.expm1(-t)) / t

            return (c(u * (1 + 1e-5)) - c(u * (1 - 1e-5))) / (2e-5 * u)

        inside = (x.min(1) > 1e-4) & (x.max(1) < 1 - 1e-4) & (y[:, 0] > 1e-4) & (y[:, 0] < 1 - 1e-4)
        x1, x2, y = x[inside, 0], x[inside, 1], y[inside, 0]
        far = clayton_given(x1, x2, 1.5).clip(1e-9, 1 - 1e-9)  # X₁ given X₂

        def law(v):
            return frank_given(clayton_given(v, x2, 2.0).clip(1e-9, 1 - 1e-9), far, 6.0)

        assert stats.kstest(law(y), "uniform").pvalue > 1e-4  # the Rosenblatt transform
        density = (law(y * 1.0005) - law(y * 0.9995)) / (1e-3 * y)
        found = np.log(density.clip(1e-6)).mean()
        assert found == pytest.approx(vine.mutual_information.item(), abs=0.03)

    def test_only_copulas_with_a_closed_inverse(self):
        with pytest.raises(ValueError, match=r"got copulas \['gumbel'\], expected some of"):
            Vine(("gumbel",), torch.tensor([[2.0]]), torch.tensor([1.0]))


@pytest.mark.parametrize("name", HELD_OUT)
def test_drawn_kinds(name):
    random = Streams(range(32))
    joint = draw_held_out(name, random)
    x, y = joint.sample(50, random)
    assert isinstance(joint, Joint)
    assert x.shape == (32, 50, joint.dim_x) and y.shape == (32, 50, joint.dim_y)
    assert x.isfinite().all() and y.isfinite().all() and x.dtype == y.dtype == torch.float32
    labels = joint.mutual_information
    assert labels.shape == (32,) and (labels > 0).all() and labels.max() > 0.2 and labels.max() < 5


def test_no_training_law_can_draw_them(modules_behind_the_stream):
    """Neither by name nor by import: the modules behind the stream never reach this one."""
    assert not {*HELD_OUT} & {*FAMILIES, *KINDS}
    for name in HELD_OUT:
        with pytest.raises(ValueError, match="got unknown families"):
            MetaDistribution(families={name: 1.0})
    assert "data_gen.families" in modules_behind_the_stream and "data_gen.held_out" not in modules_behind_the_stream


def test_unknown_kind():
    with pytest.raises(ValueError, match="got held-out kind 'spiral', expected one of"):
        draw_held_out("spiral", Streams([0]))
