"""Block products add, warps of one side change nothing, mixing inverts and is as well conditioned as promised."""

import numpy as np
import pytest
import torch
from scipy import stats

from data_gen import Joint, Streams
from data_gen.additive_noise import UniformAdditiveNoise
from data_gen.composition import BlockProduct, LinearMixing, Warped
from data_gen.covariance import draw_dispersion
from data_gen.elliptical import Gaussian, gaussian_mutual_information
from data_gen.independence import IndependentCoordinates


def gaussian(dim_x, dim_y, seeds=(0, 1)):
    return Gaussian(draw_dispersion("factor", dim_x, dim_y, 0.0, Streams(seeds)), dim_x)


def test_product_of_gaussians_is_the_gaussian_of_the_block_matrix():
    first, second = gaussian(2, 1), gaussian(1, 3, (4, 5))
    product = BlockProduct([first, second])
    assert isinstance(product, Joint) and (product.dim_x, product.dim_y) == (3, 4)
    order = [0, 1, 3, 2, 4, 5, 6]  # x of both blocks first
    for b in range(2):
        block = torch.block_diag(first.dispersion[b], second.dispersion[b])[order][:, order]
        whole = gaussian_mutual_information(block, 3)
        assert product.mutual_information[b] == pytest.approx(whole.item(), abs=1e-12)


def test_product_against_the_mean_log_density_ratio_of_its_points():
    """A Gaussian block beside an additive-noise block: densities written out by hand."""
    block, epsilon = gaussian(1, 1, (3,)), 0.3
    product = BlockProduct([block, UniformAdditiveNoise(torch.tensor([[epsilon]]), 1, 1)])
    x, y = (side[0].double().numpy() for side in product.sample(40_000, Streams([2])))
    pair = np.stack([x[:, 0], y[:, 0]], 1)
    ratio = stats.multivariate_normal([0, 0], block.dispersion[0].numpy()).logpdf(pair)
    ratio -= stats.norm.logpdf(pair).sum(1)
    overlap = np.minimum(1, y[:, 1] + epsilon) - np.maximum(0, y[:, 1] - epsilon)
    ratio -= np.log(np.maximum(overlap, 1e-12))  # log p(y|x)/p(y) = log 1/(2ε) - log overlap/(2ε)
    error = ratio.std() / np.sqrt(len(ratio))
    assert abs(ratio.mean() - product.mutual_information.item()) < 4 * error


def test_noise_coordinates_add_nothing():
    block = gaussian(2, 2)
    noise = IndependentCoordinates(torch.zeros(2, 5), torch.ones(2, 5), 2)
    product = BlockProduct([block, noise])
    assert torch.equal(product.mutual_information, block.mutual_information)
    x, y = product.sample(10, Streams([0, 1]))
    assert x.shape == (2, 10, 4) and y.shape == (2, 10, 5)


@pytest.mark.parametrize("dim", [1, 2, 9, 40])
def test_linear_mixing_round_trip_and_condition_number(dim):
    random = Streams(range(30))
    mixing = LinearMixing.draw(dim, 30.0, random)
    points = random.normal(50, dim)
    mixed = mixing(points)
    assert torch.allclose(mixing.inverse(mixed), points, atol=1e-9)
    assert not torch.allclose(mixed, points)
    condition = torch.linalg.cond(mixing.matrix)
    assert condition.max() <= 30.0 * (1 + 1e-9)
    if dim > 1:
        assert condition.max() > 5 and condition.min() < 3


def test_linear_mixing_leaves_information_unmoved():
    joint = gaussian(3, 2)
    mixing = LinearMixing.draw(3, 30.0, Streams([7, 8]))
    warped = Warped(joint, mixing, None)
    assert isinstance(warped, Joint) and (warped.dim_x, warped.dim_y) == (3, 2)
    assert torch.equal(warped.mutual_information, joint.mutual_information)
    full = torch.eye(5, dtype=torch.float64).repeat(2, 1, 1)
    full[:, :3, :3] = mixing.matrix
    moved = gaussian_mutual_information(full @ joint.dispersion @ full.mT, 3)
    assert torch.allclose(moved, joint.mutual_information, atol=1e-9)
    x, y = warped.sample(20, Streams([1, 2]))
    plain_x, plain_y = joint.sample(20, Streams([1, 2]))
    assert torch.equal(y, plain_y)
    assert torch.allclose(x, plain_x @ mixing.matrix.float().mT)
