"""Bivariate copulas: labels against closed forms and direct integration, draws against their distribution functions."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.special import expit

from data_gen import Joint, Streams
from data_gen.copulas import COPULAS, BivariateCopulas, copula_mutual_information

# Distribution functions as printed in Nelsen (2006), Table 4.1 and Eq. 3.2.10: they share no code with the package.
FUNCTIONS = {
    "clayton": lambda u, v, t: (u**-t + v**-t - 1) ** (-1 / t),
    "gumbel": lambda u, v, t: np.exp(-(((-np.log(u)) ** t + (-np.log(v)) ** t) ** (1 / t))),
    "frank": lambda u, v, t: -np.log1p(np.expm1(-t * u) * np.expm1(-t * v) / np.expm1(-t)) / t,
    "joe": lambda u, v, t: 1 - ((1 - u) ** t + (1 - v) ** t - ((1 - u) * (1 - v)) ** t) ** (1 / t),
    "fgm": lambda u, v, t: u * v * (1 + t * (1 - u) * (1 - v)),
}
CASES = [
    *(("clayton", t) for t in (0.05, 1.0, 6.0)),
    *(("gumbel", t) for t in (1.05, 1.7, 5.0)),
    *(("frank", t) for t in (0.3, 4.0, 18.0)),
    *(("joe", t) for t in (1.05, 2.0, 6.0)),
    *(("fgm", t) for t in (-1.0, 0.3, 1.0)),
]


def kendall(name, theta):
    """Kendall's τ in closed form (Nelsen 2006, §5.1), None where there is none."""
    return {"clayton": theta / (theta + 2), "gumbel": 1 - 1 / theta, "fgm": 2 * theta / 9}.get(name)


def information_of_cells(name, theta, num_cells=1200):
    """MI of the copula cut into cells whose edges crowd into the corners."""
    edges = expit(np.linspace(-16, 16, num_cells + 1))
    u, v = np.meshgrid(edges, edges, indexing="ij")
    mass = np.diff(np.diff(FUNCTIONS[name](u, v, theta), axis=0), axis=1).clip(1e-300)
    product = np.outer(np.diff(edges), np.diff(edges))
    return (mass * np.log(mass / product)).sum()


@pytest.mark.parametrize(("name", "theta"), CASES)
def test_label_against_differences_of_the_distribution_function(name, theta):
    label = copula_mutual_information(name, torch.tensor([theta])).item()
    assert label == pytest.approx(information_of_cells(name, theta), abs=2e-3)


def test_clayton_in_closed_form():
    theta = torch.logspace(math.log10(0.02), math.log10(30), 25, dtype=torch.float64).clamp(0.02, 30)
    expected = torch.log1p(theta) - theta / (1 + theta)
    torch.testing.assert_close(copula_mutual_information("clayton", theta), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", COPULAS)
def test_interpolation_error(name):
    """Between the nodes of the table, over the whole range of θ."""
    copula = COPULAS[name]
    ends = copula.coordinate(np.array([copula.low, copula.high]))
    theta = copula.parameter(np.linspace(*ends, 14)[1:-1])
    exact = [copula.information(float(t)) for t in theta]
    np.testing.assert_allclose(copula_mutual_information(name, torch.from_numpy(theta)), exact, atol=1e-6)


@pytest.mark.parametrize(("name", "theta"), CASES)
def test_draws_follow_the_distribution_function(name, theta):
    u, v = (
        side[0, :, 0].numpy() for side in COPULAS[name].draw(torch.tensor([[theta]]).double(), 40_000, Streams([0]))
    )
    for margin in (u, v):
        assert margin.min() >= 0 and margin.max() <= 1
        assert stats.kstest(margin, "uniform").pvalue > 1e-3
    for a in (0.05, 0.3, 0.7, 0.95):
        for b in (0.1, 0.5, 0.9):
            expected = FUNCTIONS[name](a, b, theta)
            error = math.sqrt(expected * (1 - expected) / len(u))
            assert abs(((u <= a) & (v <= b)).mean() - expected) < 4.5 * error, (a, b)
    if (tau := kendall(name, theta)) is not None:
        assert stats.kendalltau(u[:4000], v[:4000]).statistic == pytest.approx(tau, abs=0.04)


@pytest.mark.parametrize("name", COPULAS)
def test_draws_at_the_ends_of_the_range_are_finite(name):
    theta = torch.tensor([[COPULAS[name].low, COPULAS[name].high]], dtype=torch.float64)
    u, v = COPULAS[name].draw(theta, 20_000, Streams([0]))
    for side in (u, v):
        assert side.isfinite().all() and side.min() >= 0 and side.max() <= 1
        assert all(len(side[0, :, i].unique()) > 19_900 for i in range(2))  # no digits are lost


def test_rotations_turn_coordinates_and_keep_information():
    theta = torch.full((1, 3), 4.0)
    reflect_x, reflect_y = torch.tensor([[False, True, True]]), torch.tensor([[False, False, True]])
    plain, turned = (
        BivariateCopulas("clayton", theta, 3, 3),
        BivariateCopulas("clayton", theta, 3, 3, reflect_x, reflect_y),
    )
    assert isinstance(turned, Joint)
    assert torch.equal(plain.mutual_information, turned.mutual_information)
    assert plain.mutual_information.item() == pytest.approx(3 * (math.log(5) - 0.8), abs=1e-9)
    (x, y), (a, b) = (joint.sample(500, Streams([0])) for joint in (plain, turned))
    torch.testing.assert_close(a, torch.where(reflect_x, 1 - x, x))
    torch.testing.assert_close(b, torch.where(reflect_y, 1 - y, y))


def test_coordinates_without_partner_carry_nothing():
    joint = BivariateCopulas("frank", torch.full((2, 4), 9.0), 2, 4)
    assert joint.mutual_information.tolist() == pytest.approx(
        [2 * copula_mutual_information("frank", torch.tensor(9.0)).item()] * 2
    )
    x, y = joint.sample(3000, Streams([0, 1]))
    assert x.shape == (2, 3000, 2) and y.shape == (2, 3000, 4) and y.dtype == torch.float32
    cross = np.abs(np.corrcoef(torch.cat([x, y], -1)[0].T)[:2, 2:])
    assert (np.diag(cross[:, :2]) > 0.7).all() and cross[:, 2:].max() < 0.08


def test_bad_parameters():
    with pytest.raises(ValueError, match="got unknown copula 'plackett'"):
        BivariateCopulas("plackett", torch.ones(1, 1), 1, 1)
    with pytest.raises(ValueError, match=r"got θ from 40 to 40 of a gumbel copula, expected them on \[1.01, 16.0\]"):
        copula_mutual_information("gumbel", torch.tensor([40.0]))
    assert copula_mutual_information("gumbel", torch.tensor([1.01, 16.0])).isfinite().all()  # float32 ends
