"""Elliptical scale mixtures: labels against the mean log density ratio with densities integrated anew, and limits."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from data_gen import Joint, Streams
from data_gen.covariance import draw_dispersion
from data_gen.elliptical import gaussian_mutual_information
from data_gen.scale_mixtures import ContaminatedNormal, ScaleMixture, _entropy_table, contaminated_excess


def dispersion(dim_x, dim_y, seed=0):
    return draw_dispersion("factor", dim_x, dim_y, 0.0, Streams([seed]))


def mixing_density(law, parameter):
    """Density of log W and where it matters."""
    if law == "slash":
        return (lambda v: 0.5 * parameter * math.exp(-0.5 * parameter * v)), (0, 60 / parameter)
    gamma = stats.gamma(parameter, scale=1 / parameter)
    return (lambda v: math.exp(v) * gamma.pdf(math.exp(v))), (math.log(gamma.ppf(1e-9)), math.log(gamma.isf(1e-9)))


def log_density(law, parameter, matrix, points):
    """Simpson's rule over log W of the normal density."""
    density, (low, high) = mixing_density(law, parameter)
    grid = np.linspace(low, high, 601)
    weights = np.array([density(v) for v in grid])
    dim = len(matrix)
    square = np.einsum("ni,ij,nj->n", points, np.linalg.inv(matrix), points)
    exponent = -0.5 * square[:, None] * np.exp(-grid) - 0.5 * dim * grid
    top = exponent.max(1, keepdims=True)
    value = integrate.simpson(np.exp(exponent - top) * weights, x=grid, axis=1)
    return np.log(value) + top[:, 0] - 0.5 * dim * math.log(2 * math.pi) - 0.5 * np.linalg.slogdet(matrix)[1]


CASES = [("slash", 1.2), ("slash", 4.0), ("variance_gamma", 0.6), ("variance_gamma", 1.0), ("variance_gamma", 5.0)]


@pytest.mark.parametrize("dims", [(1, 1), (2, 3)])
@pytest.mark.parametrize(("law", "parameter"), CASES)
def test_label_against_the_mean_log_density_ratio(law, parameter, dims):
    matrix = dispersion(*dims)
    joint = ScaleMixture(matrix, law, torch.tensor([parameter]), dims[0])
    assert isinstance(joint, Joint)
    x, y = joint.sample(4000, Streams([1]))
    points, full = torch.cat([x, y], -1)[0].double().numpy(), matrix[0].numpy()
    ratio = (
        log_density(law, parameter, full, points)
        - log_density(law, parameter, full[: dims[0], : dims[0]], points[:, : dims[0]])
        - log_density(law, parameter, full[dims[0] :, dims[0] :], points[:, dims[0] :])
    )
    assert abs(ratio.mean() - joint.mutual_information.item()) < 4 * ratio.std() / math.sqrt(len(ratio))


@pytest.mark.parametrize("dim", [1, 3])
def test_entropy_of_laplace_in_closed_form_and_by_quadrature(dim):
    """W ~ Exp(1) in one dimension is the Laplace law with b = 1/√2: h = 1 + log √2."""
    found = _entropy_table("variance_gamma", dim)(torch.zeros(1)).item()
    if dim == 1:
        assert found == pytest.approx(1 + math.log(math.sqrt(2)), abs=1e-9)
    else:  # density of p = 3: e^{-√2 r} / (2π r)

        def integrand(r):
            log_f = -math.sqrt(2) * r - math.log(2 * math.pi * r)
            return -4 * math.pi * r * r * math.exp(log_f) * log_f

        assert found == pytest.approx(integrate.quad(integrand, 0, 60)[0], abs=1e-7)


def test_entropy_of_the_cauchy_like_slash():
    """q = 1, p = 1: f(x) = (φ(0) - φ(x))/x²."""

    def integrand(v):
        x = math.exp(v)
        f = (
            (1 - math.exp(-0.5 * x * x)) / (x * x * math.sqrt(2 * math.pi))
            if x > 1e-4
            else 0.5 / math.sqrt(2 * math.pi)
        )
        return -2 * x * f * math.log(f)

    expected = integrate.quad(integrand, -30, 40, limit=400)[0]
    assert _entropy_table("slash", 1)(torch.zeros(1)).item() == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("dims", [(1, 1), (20, 30), (64, 64)])
@pytest.mark.parametrize("law", ["slash", "variance_gamma"])
def test_excess_is_positive_and_falls_as_the_law_narrows(law, dims):
    parameter = torch.tensor([1.0, 2.0, 5.0, 12.0])
    eye = torch.eye(sum(dims), dtype=torch.float64).expand(4, -1, -1)
    excess = ScaleMixture(eye, law, parameter, dims[0]).mutual_information
    assert (excess > 0).all() and (excess.diff() < 0).all() and excess[-1] < 0.75


@pytest.mark.parametrize("dims", [(1, 1), (2, 3), (10, 20)])
def test_contaminated_normal(dims):
    matrix = dispersion(*dims)
    share, variance = 0.2, 30.0
    joint = ContaminatedNormal(matrix, torch.tensor([share]), torch.tensor([variance]), dims[0])
    x, y = joint.sample(20_000, Streams([1]))
    points, full = torch.cat([x, y], -1)[0].double().numpy(), matrix[0].numpy()

    def density(m, p):
        parts = [stats.multivariate_normal(np.zeros(len(m)), k * m).logpdf(p) for k in (1, variance)]
        return np.logaddexp(math.log(1 - share) + parts[0], math.log(share) + parts[1])

    d = dims[0]
    ratio = density(full, points) - density(full[:d, :d], points[:, :d]) - density(full[d:, d:], points[:, d:])
    assert abs(ratio.mean() - joint.mutual_information.item()) < 4 * ratio.std() / math.sqrt(len(ratio))


def test_contamination_of_no_width_changes_nothing():
    excess = contaminated_excess(torch.tensor([0.3, 0.3, 0.01]), torch.tensor([1.0, 50.0, 50.0]), 2, 2)
    assert excess[0] < 1e-9 and 0.1 < excess[1] <= math.log(2) and excess[2] < excess[1]


def test_information_holds_the_gaussian_part():
    matrix = dispersion(3, 2)
    eye = torch.eye(5, dtype=torch.float64).unsqueeze(0)
    both, alone = (ScaleMixture(m, "slash", torch.tensor([2.0]), 3).mutual_information for m in (matrix, eye))
    assert torch.allclose(both - alone, gaussian_mutual_information(matrix, 3))


def test_bad_parameters():
    with pytest.raises(ValueError, match=r"got a contamination of variance 1e\+05, expected at most 10000"):
        contaminated_excess(torch.tensor([0.1]), torch.tensor([1e5]), 1, 1)
    with pytest.raises(ValueError, match="got unknown mixing law 'cauchy'"):
        ScaleMixture(dispersion(1, 1), "cauchy", torch.ones(1), 1)
    with pytest.raises(ValueError, match="expected them on the table's"):
        _ = ScaleMixture(dispersion(1, 1), "slash", torch.tensor([0.5]), 1).mutual_information
