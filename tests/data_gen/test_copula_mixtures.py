"""Mixed copulas: densities against the distribution functions, labels against quadrature on a grid, margins."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from data_gen import Streams
from data_gen.copula_mixtures import (
    COPULA_MIXTURES,
    _draw,
    _log_density,
    copula_log_density,
    copula_mixture_pool,
)
from data_gen.copulas import COPULAS, copula_mutual_information
from data_gen.families import ParameterLaw, draw_family

THETA = {"clayton": 2.0, "gumbel": 1.8, "frank": 5.0, "joe": 2.5, "fgm": 0.8}


def distribution(name, u, v):
    """C(u, v) (Nelsen 2006, Table 4.1)."""
    t = THETA[name]
    if name == "clayton":
        return (u**-t + v**-t - 1) ** (-1 / t)
    if name == "gumbel":
        return math.exp(-(((-math.log(u)) ** t + (-math.log(v)) ** t) ** (1 / t)))
    if name == "frank":
        return -math.log1p(math.expm1(-t * u) * math.expm1(-t * v) / math.expm1(-t)) / t
    if name == "joe":
        a, b = (1 - u) ** t, (1 - v) ** t
        return 1 - (a + b - a * b) ** (1 / t)
    return u * v * (1 + t * (1 - u) * (1 - v))


@pytest.mark.parametrize("name", COPULAS)
@pytest.mark.parametrize("point", [(0.3, 0.6), (0.05, 0.1), (0.9, 0.95), (0.2, 0.9)])
def test_density_is_the_mixed_derivative_of_the_distribution(name, point):
    u, v, h = *point, 1e-4
    corners = [(a * b, distribution(name, u + a * h, v + b * h)) for a in (-1, 1) for b in (-1, 1)]
    expected = sum(sign * value for sign, value in corners) / (4 * h * h)
    sides = [torch.tensor(value, dtype=torch.float64) for value in (u, v, THETA[name])]
    assert copula_log_density(name, *sides).exp().item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("name", COPULAS)
@pytest.mark.parametrize("level", [0.1, 0.5, 1.0])
def test_mean_log_density_is_the_tabulated_information(name, level):
    copula = COPULAS[name]
    low, high = copula.coordinate(np.array([copula.low, copula.high]))
    theta = torch.tensor([[float(copula.parameter(np.array(low + (high - low) * level)))]]).double()
    theta = theta.clamp(copula.low, copula.high)
    u, v = copula.draw(theta, 40_000, Streams([1]))
    ratio = copula_log_density(name, u[0, :, 0], v[0, :, 0], theta[0])
    exact = copula_mutual_information(name, theta).item()
    assert abs(ratio.mean().item() - exact) < 4 * ratio.std().item() / 200 + 1e-4


@pytest.mark.parametrize("variant", ["clayton_gumbel", "frank_joe", "fgm_independent"])
def test_label_against_quadrature_on_a_grid_of_normal_scores(variant):
    joint = draw_family(f"copula_mixture-{variant}", 1, 1, ParameterLaw(), Streams(range(12)))
    z = torch.linspace(-6.5, 6.5, 1201, dtype=torch.float64)
    weight = torch.exp(-0.5 * z**2) / math.sqrt(2 * math.pi) * (z[1] - z[0])
    q = torch.special.ndtr(z)
    names = variant.split("_")
    compared = 0
    for row in range(12):
        total = torch.zeros(len(z), len(z), dtype=torch.float64)
        for i, name in enumerate(names):
            p = joint.share[row, 0] if i == 0 else 1 - joint.share[row, 0]
            u = 1 - q if joint.reflect_x[row, 0, i] else q
            v = 1 - q if joint.reflect_y[row, 0, i] else q
            total += p * copula_log_density(name, u.unsqueeze(-1), v.unsqueeze(0), joint.theta[row, 0, i]).exp()
        mass = total * weight.unsqueeze(-1) * weight
        if abs(mass.sum().item() - 1) > 1e-4:  # a density with a ridge finer than this grid
            continue
        compared += 1
        expected = torch.special.xlogy(mass, total).sum().item()
        label, error = joint.mutual_information[row].item(), joint.standard_error[row].item()
        assert abs(label - expected) < 4 * error + 1e-3 * label
    assert compared >= 6


def test_label_against_the_mean_log_density_where_a_component_is_a_fine_ridge():
    chunk = copula_mixture_pool("joe_joe").chunk(0)
    assert (chunk["theta"].amax(-1) > 15).any()
    names, rows = ("joe", "joe"), torch.arange(12)
    num_points = 40_000
    u, v = _draw(
        names,
        *(chunk[k].unsqueeze(1) for k in ("share", "theta", "reflect_x", "reflect_y")),
        num_points,
        Streams(rows),
    )
    log_c = _log_density(
        names, u.squeeze(-1), v.squeeze(-1), *(chunk[k] for k in ("share", "theta", "reflect_x", "reflect_y"))
    )
    spread = (log_c.var(-1) / num_points + chunk["standard_error"].square()).sqrt()
    assert ((log_c.mean(-1) - chunk["mi"]).abs() < 4.5 * spread).all()


@pytest.mark.parametrize("variant", ["joe_joe", "clayton_independent"])
def test_margins_are_uniform(variant):
    joint = draw_family(f"copula_mixture-{variant}", 2, 3, ParameterLaw(), Streams([3]))
    for side in joint.sample(4000, Streams([4])):
        for column in side[0].T.numpy():
            assert stats.kstest(column, "uniform").pvalue > 1e-3


def test_every_pair_of_copulas_and_every_one_beside_independence():
    assert len(COPULA_MIXTURES) == 15 + 5 == len(set(COPULA_MIXTURES))
