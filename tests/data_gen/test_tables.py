"""Interpolated labels and quadrature rules against the functions they stand for."""

import numpy as np
import pytest
import torch

from data_gen.tables import Table, gauss_legendre


def test_interpolates_a_smooth_function_to_rounding():
    table = Table(lambda t: np.exp(np.sin(3 * t)), -1.0, 2.0, degree=60)
    points = torch.linspace(-1, 2, 301, dtype=torch.float64)
    assert torch.allclose(table(points), torch.exp(torch.sin(3 * points)), atol=1e-12)
    assert table(points.view(7, 43)).shape == (7, 43) and table(points[:0]).shape == (0,)


@pytest.mark.parametrize("value", [-1.1, 2.1, float("nan")])
def test_does_not_extrapolate(value):
    table = Table(np.cos, -1.0, 2.0, degree=8)
    with pytest.raises(ValueError, match=r"expected them on the table's \[-1, 2\]"):
        table(torch.tensor([0.0, value]))


def test_composite_rule_is_exact_for_polynomials_between_the_breaks():
    nodes, weights = gauss_legendre(np.array([[-1.0, 0.0, 3.0], [0.0, 1.0, 2.0]]), 4)
    assert nodes.shape == weights.shape == (2, 8)
    np.testing.assert_allclose((weights * np.abs(nodes) ** 7).sum(-1), [(1 + 3**8) / 8, 2**8 / 8], rtol=1e-13)
