"""Mixtures in several dims: labels against scipy's densities, closed forms and quadrature; swaps and wide sides."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from data_gen import Streams
from data_gen.covariance import draw_dispersion
from data_gen.elliptical import Gaussian
from data_gen.families import ParameterLaw, draw_family
from data_gen.joint import label_error
from data_gen.mixtures import MultivariateNormalMixture, draw_mixture, mixture_information, mixture_pool
from data_gen.monte_carlo import mean_log_ratio
from data_gen.normal_mixtures import NormalMixture
from data_gen.pools import Pool


def scipy_log_density(points, share, mean, covariance):
    parts = [np.log(p) + stats.multivariate_normal(m, c).logpdf(points) for p, m, c in zip(share, mean, covariance)]
    return np.logaddexp.reduce(parts)


def scipy_ratio(joint, row, x, y):
    """log p(x, y)/p(x)p(y) of one mixture at points (N, Dx) and (N, Dy)."""
    keep = joint.share[row] > 0
    share, mean = joint.share[row, keep].numpy(), joint.mean[row, keep].numpy()
    covariance = (joint.factor[row, keep] @ joint.factor[row, keep].mT).numpy()
    d = joint.dim_x
    both = scipy_log_density(np.concatenate([x, y], axis=1), share, mean, covariance)
    of_x = scipy_log_density(x, share, mean[:, :d], covariance[:, :d, :d])
    return both - of_x - scipy_log_density(y, share, mean[:, d:], covariance[:, d:, d:])


@pytest.mark.parametrize("variant", ["clusters", "contaminated"])
@pytest.mark.parametrize("dims", [(1, 1), (3, 2), (2, 3), (6, 8)])
def test_label_against_densities_of_scipy(variant, dims):
    joint = draw_mixture(variant, *dims, 0, Streams([1, 2, 3]))
    assert (joint.dim_x, joint.dim_y) == dims
    x, y = (side.double().numpy() for side in joint.sample(8000, Streams([4, 5, 6])))
    for row in range(3):
        ratio = scipy_ratio(joint, row, x[row], y[row])
        error = math.hypot(ratio.std() / math.sqrt(len(ratio)), joint.standard_error[row].item())
        assert abs(ratio.mean() - joint.mutual_information[row].item()) < 4 * error + 1e-3


def test_one_component_is_the_gaussian():
    dispersion = draw_dispersion("factor", 3, 2, 0.0, Streams(range(4)))
    factor = torch.linalg.cholesky(dispersion).unsqueeze(1)
    share, mean = torch.ones(4, 1, dtype=torch.float64), torch.zeros(4, 1, 5, dtype=torch.float64)
    found, error = mixture_information(share, mean, factor, 3, Streams(range(4)))
    exact = Gaussian(dispersion, 3).mutual_information
    assert ((found - exact).abs() < 4 * error).all() and (error <= 0.02 * (found + 0.05)).all()


def test_pairs_have_the_label_that_quadrature_gives():
    """The bivariate family's label is a quadrature in whitened coordinates: no points, other code."""
    share = torch.tensor([[[0.5, 0.3, 0.2]]], dtype=torch.float64)
    mean = torch.tensor([[[[0.0, 0.0], [2.0, 1.0], [-1.0, 3.0]]]], dtype=torch.float64)
    scale = torch.tensor([[[[1.0, 1.0], [0.7, 1.2], [1.3, 0.8]]]], dtype=torch.float64)
    rho = torch.tensor([[[0.5, -0.7, 0.0]]], dtype=torch.float64)
    exact = NormalMixture(share, mean, scale, rho, 1, 1).mutual_information.item()
    correlation = torch.ones(1, 3, 2, 2, dtype=torch.float64)
    correlation[..., 0, 1] = correlation[..., 1, 0] = rho[0]
    covariance = correlation * scale[0].unsqueeze(-1) * scale[0].unsqueeze(-2)
    factor = torch.linalg.cholesky(covariance)
    found, error = mixture_information(share[0], mean[0], factor, 1, Streams([0]))
    assert abs(found.item() - exact) < 4 * error.item()


def test_far_clusters_tell_which_they_are():
    share = torch.tensor([[0.5, 0.3, 0.2]], dtype=torch.float64)
    mean = 60 * torch.eye(3, dtype=torch.float64).repeat(1, 2).unsqueeze(0)  # X and Y both say which
    factor = torch.eye(6, dtype=torch.float64).expand(1, 3, 6, 6)
    found, error = mixture_information(share, mean, factor, 3, Streams([0]))
    assert abs(found.item() - stats.entropy([0.5, 0.3, 0.2])) < 4 * error.item()


def test_a_contamination_of_independent_points_lowers_the_label():
    """Same margins: I of the mixture is below its share of I of the joint (convexity in p(y | x))."""
    factor = torch.linalg.cholesky(torch.tensor([[1.0, 0.95], [0.95, 1.0]], dtype=torch.float64))
    factor = torch.stack([factor, torch.eye(2, dtype=torch.float64)]).unsqueeze(0)
    share, mean = torch.tensor([[0.6, 0.4]], dtype=torch.float64), torch.zeros(1, 2, 2, dtype=torch.float64)
    found, error = mixture_information(share, mean, factor, 1, Streams([0]))
    whole = -0.5 * math.log(1 - 0.95**2)
    assert 0.2 * whole < found.item() < 0.6 * whole + 2 * error.item()


def test_swapped_sides_are_the_same_mixture():
    wide, tall = (draw_mixture("clusters", *dims, 3, Streams(range(5))) for dims in ((4, 2), (2, 4)))
    assert torch.equal(wide.mutual_information, tall.mutual_information)
    x, y = tall.sample(4000, Streams(range(5)))
    for row in range(5):
        ratio = scipy_ratio(wide, row, y[row].double().numpy(), x[row].double().numpy())
        error = math.hypot(ratio.std() / math.sqrt(len(ratio)), wide.standard_error[row].item())
        assert abs(ratio.mean() - wide.mutual_information[row].item()) < 4 * error + 1e-3


def test_wide_sides_are_filled_up_with_noise():
    random = Streams(range(3))
    joint = draw_family("mixture-contaminated", 11, 3, ParameterLaw(), random)
    inner = draw_family("mixture-contaminated", 8, 3, ParameterLaw(), Streams(range(3)))
    assert (joint.dim_x, joint.dim_y) == (11, 3)
    assert torch.equal(joint.mutual_information, inner.mutual_information)
    assert torch.equal(label_error(joint), label_error(inner)) and (label_error(joint) > 0).all()
    assert joint.sample(7, random)[0].shape == (3, 7, 11)


def test_the_error_sought_decides_how_many_points_are_drawn():
    """Rows of known mean and spread: each gets about (spread / wanted)² points, and its error is what it says."""
    drawn = torch.zeros(3)
    spread = torch.tensor([0.1, 1.0, 3.0], dtype=torch.float64)

    def log_ratio(rows, num_points):
        drawn[rows] += num_points
        noise = Streams([int(drawn.sum())]).normal(len(rows), num_points)[0]
        return 1.0 + spread[rows].unsqueeze(-1) * noise

    value, error = mean_log_ratio(log_ratio, 3)
    assert (error <= 0.02 * (value + 0.05)).all() and ((value - 1).abs() < 4 * error).all()
    assert torch.allclose(error, spread / drawn.sqrt(), rtol=0.1)
    assert drawn[0] < drawn[2] and drawn[2] >= (3 / 0.021) ** 2 * 0.8


def test_a_pool_is_what_the_family_draws_from():
    pool = mixture_pool("clusters", 2, 1)
    assert isinstance(pool, Pool)
    joint = draw_mixture("clusters", 2, 1, 7, Streams(range(40)))
    assert isinstance(joint, MultivariateNormalMixture)
    known = pool.chunk(7)["mi"]
    assert torch.isin(joint.mutual_information, known).all() and joint.mutual_information.unique().numel() > 6
