"""MI of Gaussian sides, and the law of its bias."""

import math

import pytest
import torch
from torch import Tensor

from mist.gaussian import gaussian_bias, gaussian_information

pytestmark = pytest.mark.usefixtures("unmoved_global_state")


@pytest.mark.parametrize(("num_points", "dim_x", "dim_y"), [(4, 1, 1), (8, 2, 3), (30, 5, 4)])
def test_bias_is_the_mean_error_of_the_plug_in_estimate(num_points: int, dim_x: int, dim_y: int) -> None:
    num_datasets, dim = 40_000, dim_x + dim_y
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(dim, dim, generator=generator, dtype=torch.float64)
    raw = mixing @ torch.randn(num_datasets, dim, num_points, generator=generator, dtype=torch.float64)

    def plug_in(covariance: Tensor) -> Tensor:
        blocks = (covariance[..., :dim_x, :dim_x], covariance[..., dim_x:, dim_x:], covariance)
        logs = [torch.linalg.slogdet(block).logabsdet for block in blocks]
        return 0.5 * (logs[0] + logs[1] - logs[2])

    raw = raw - raw.mean(-1, keepdim=True)
    error = plug_in(raw @ raw.mT / num_points) - plug_in(mixing @ mixing.mT)
    standard_error = float(error.std()) / math.sqrt(num_datasets)
    assert gaussian_bias(num_points, dim_x, dim_y) == pytest.approx(float(error.mean()), abs=4 * standard_error)


def test_bias_of_many_points() -> None:
    assert gaussian_bias(10_000, 3, 4) == pytest.approx(3 * 4 / (2 * 10_000), rel=0.01)
    assert gaussian_bias(50, 3, 4) == gaussian_bias(50, 4, 3)


@pytest.mark.parametrize(("num_points", "dim_x", "dim_y"), [(5, 2, 3), (4, 2, 3)])
def test_bias_of_too_few_points(num_points: int, dim_x: int, dim_y: int) -> None:
    with pytest.raises(ValueError, match=f"got {num_points} points in 2 [+] 3 dims, expected more points than dims"):
        gaussian_bias(num_points, dim_x, dim_y)


def test_information_of_one_pair() -> None:
    correlation = torch.tensor([[[1.0, 0.6], [0.6, 1.0]], [[1.0, 1.0], [1.0, 1.0]]], dtype=torch.float64)
    value, defined = gaussian_information(correlation, 1)
    assert float(value[0]) == pytest.approx(-0.5 * math.log(1 - 0.6**2), abs=1e-12)
    assert defined.tolist() == [True, False]


def test_a_singular_matrix_leaves_the_gradient_of_the_others_finite() -> None:
    correlation = torch.tensor([[[1.0, 0.6], [0.6, 1.0]], [[1.0, 1.0], [1.0, 1.0]]], dtype=torch.float64)
    correlation.requires_grad_()
    value, defined = gaussian_information(correlation, 1)
    value[defined].sum().backward()
    assert correlation.grad is not None and correlation.grad.isfinite().all()
    assert float(correlation.grad[0, 0, 1].abs() + correlation.grad[0, 1, 0].abs()) > 0.1
