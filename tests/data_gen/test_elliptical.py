"""Gaussian and Student-t: labels against numerical witnesses that share no code with them, and limit cases."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from data_gen import Joint, Streams
from data_gen.covariance import draw_dispersion
from data_gen.elliptical import Gaussian, StudentT, gaussian_mutual_information, student_t_excess


def dispersion(dim_x, dim_y, seed=0):
    return draw_dispersion("factor", dim_x, dim_y, 0.0, Streams([seed]))


def log_ratio(density, matrix, dim_x, points):
    """Mean of log p(x, y) / p(x) p(y) and its standard error, with scipy's densities."""
    joint = density(matrix, points)
    x = density(matrix[:dim_x, :dim_x], points[:, :dim_x])
    y = density(matrix[dim_x:, dim_x:], points[:, dim_x:])
    ratio = joint - x - y
    return ratio.mean(), ratio.std() / math.sqrt(len(ratio))


def test_bivariate_gaussian_against_quadrature():
    rho = 0.8
    label = gaussian_mutual_information(torch.tensor([[1.0, rho], [rho, 1.0]]), 1).item()
    normal = stats.multivariate_normal([0, 0], [[1, rho], [rho, 1]])

    def integrand(y, x):
        p = normal.pdf([x, y])
        return p * (math.log(p) - stats.norm.logpdf(x) - stats.norm.logpdf(y)) if p > 1e-300 else 0.0

    value, _ = integrate.dblquad(integrand, -7, 7, -7, 7, epsabs=1e-6)
    assert value == pytest.approx(label, abs=1e-5)


@pytest.mark.parametrize("dims", [(1, 1), (2, 3), (5, 2)])
def test_gaussian_against_the_mean_log_density_ratio(dims):
    matrix = dispersion(*dims)
    joint = Gaussian(matrix, dims[0])
    x, y = joint.sample(40_000, Streams([1]))
    points = torch.cat([x, y], -1)[0].double().numpy()

    def density(m, p):
        return stats.multivariate_normal(np.zeros(len(m)), m).logpdf(p)

    mean, error = log_ratio(density, matrix[0].numpy(), dims[0], points)
    assert abs(mean - joint.mutual_information.item()) < 4 * error


@pytest.mark.parametrize(("dims", "df"), [((1, 1), 1.0), ((2, 3), 2.5), ((4, 4), 1.3), ((3, 1), 12.0)])
def test_student_against_the_mean_log_density_ratio(dims, df):
    matrix = dispersion(*dims, seed=2)
    joint = StudentT(matrix, torch.tensor([df]), dims[0])
    x, y = joint.sample(40_000, Streams([3]))
    points = torch.cat([x, y], -1)[0].double().numpy()

    def density(m, p):
        return stats.multivariate_t(np.zeros(len(m)), m, df=df).logpdf(p)

    mean, error = log_ratio(density, matrix[0].numpy(), dims[0], points)
    assert abs(mean - joint.mutual_information.item()) < 4 * error


def test_student_tends_to_gaussian():
    df = torch.tensor([1e2, 1e3, 1e4], dtype=torch.float64)
    excess = student_t_excess(df, 4, 7)
    assert (excess > 0).all() and (excess.diff() < 0).all()
    assert excess[-1] < 1e-6


def test_student_excess_of_uncorrelated_coordinates_is_positive():
    joint = StudentT(torch.eye(4).unsqueeze(0), torch.tensor([2.0]), 2)
    assert joint.mutual_information.item() == pytest.approx(0.1931471805599454, abs=1e-12)  # Czyż et al. (2023)


def test_independent_blocks_have_no_gaussian_information():
    assert gaussian_mutual_information(torch.eye(5), 2).item() == 0.0


def test_strong_dependence_stays_exact_in_float64():
    rho = 1 - 1e-9
    label = gaussian_mutual_information(torch.tensor([[1.0, rho], [rho, 1.0]], dtype=torch.float64), 1).item()
    assert label == pytest.approx(-0.5 * math.log1p(-(rho**2)), rel=1e-6)


def test_information_is_symmetric_in_the_sides():
    matrix = dispersion(3, 2)
    swapped = matrix[:, [3, 4, 0, 1, 2]][:, :, [3, 4, 0, 1, 2]]
    assert torch.allclose(Gaussian(matrix, 3).mutual_information, Gaussian(swapped, 2).mutual_information)


def test_shapes_types_and_marginals():
    df = torch.tensor([3.0, 5.0])
    joint = StudentT(torch.cat([dispersion(3, 2), dispersion(3, 2, 5)]), df, 3)
    assert isinstance(joint, Joint)
    x, y = joint.sample(3000, Streams([1, 2]))
    assert x.shape == (2, 3000, 3) and y.shape == (2, 3000, 2) and x.dtype == torch.float32
    assert joint.mutual_information.shape == (2,) and joint.mutual_information.dtype == torch.float64
    for row, value in zip(x, df.tolist(), strict=True):
        assert stats.kstest(row[:, 0], "t", args=(value,)).pvalue > 1e-3


def test_a_matrix_that_is_not_positive_definite_is_refused():
    with pytest.raises(ValueError, match="not positive definite, expected positive definite"):
        gaussian_mutual_information(torch.tensor([[1.0, 2.0], [2.0, 1.0]]), 1)
