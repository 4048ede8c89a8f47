"""Ensembles of dispersions: positive definite, unit diagonal, slices equal the whole, and the latent-variable model."""

import numpy as np
import pytest
import torch

from data_gen import Streams
from data_gen.covariance import ENSEMBLES, attenuate, draw_dispersion, latent_variable_dispersion
from data_gen.elliptical import gaussian_mutual_information

DIMS = [(1, 1), (1, 4), (3, 3), (7, 2), (32, 32), (64, 48)]


@pytest.mark.parametrize("dims", DIMS)
@pytest.mark.parametrize("ensemble", ENSEMBLES)
def test_positive_definite_with_unit_diagonal(ensemble, dims):
    matrices = draw_dispersion(ensemble, *dims, 0.3, Streams(range(24)))
    assert matrices.shape == (24, sum(dims), sum(dims)) and matrices.dtype == torch.float64
    assert torch.allclose(matrices, matrices.mT, atol=1e-14)
    assert torch.allclose(matrices.diagonal(dim1=1, dim2=2), torch.ones(24, sum(dims), dtype=torch.float64), atol=1e-9)
    assert torch.linalg.eigvalsh(matrices).min() > (1e-7 if ensemble == "strong" else 1e-4)
    labels = gaussian_mutual_information(matrices, dims[0])
    assert (labels >= 0).all() and labels.std() > 0


@pytest.mark.parametrize("ensemble", ENSEMBLES)
def test_a_slice_of_the_seeds_gives_a_slice_of_the_matrices(ensemble):
    whole = draw_dispersion(ensemble, 5, 3, 0.5, Streams(range(6)))
    part = draw_dispersion(ensemble, 5, 3, 0.5, Streams(range(2, 4)))
    assert torch.allclose(part, whole[2:4], atol=1e-12)


def test_latent_variable_model_against_its_own_mixing():
    """Covariance of X = αU + β_x U_x + λV + ηW + E built from the matrix of its coefficients."""
    dim_x, dim_y, pairs = 4, 3, 2
    alpha, strength, beta_x, beta_y, eta = 0.7, [1.3, 0.4, 9.0], 0.5, 1.1, 2.0
    columns = []
    columns.append([alpha] * 7)
    columns.append([beta_x] * 4 + [0] * 3)
    columns.append([0] * 4 + [beta_y] * 3)
    for m in range(pairs):
        columns.append([strength[m] if i in (m, dim_x + m) else 0 for i in range(7)])
    for i in range(7):
        columns.append([float(i == j) for j in range(7)])
        columns.append([eta * (i == j) if (i if i < dim_x else i - dim_x) >= pairs else 0 for j in range(7)])
    mixing = np.array(columns, dtype=float).T
    covariance = mixing @ mixing.T
    scale = np.sqrt(np.diag(covariance))
    one = [torch.tensor([v], dtype=torch.float64) for v in (alpha, beta_x, beta_y, eta)]
    ours = latent_variable_dispersion(
        dim_x, dim_y, torch.tensor([pairs]), one[0], torch.tensor([strength]).double(), one[1], one[2], one[3]
    )
    assert np.allclose(ours[0].numpy(), covariance / np.outer(scale, scale), atol=1e-12)


def test_attenuation_lowers_information_and_keeps_the_sides():
    matrices = draw_dispersion("canonical", 4, 4, 0.0, Streams(range(8)))
    weak = attenuate(matrices, 4, torch.full((8,), 0.3, dtype=torch.float64))
    assert torch.equal(weak[:, :4, :4], matrices[:, :4, :4])
    assert torch.linalg.eigvalsh(weak).min() > 0
    before, after = gaussian_mutual_information(matrices, 4), gaussian_mutual_information(weak, 4)
    assert (after < before).all()
    none = attenuate(matrices, 4, torch.zeros(8, dtype=torch.float64))
    assert gaussian_mutual_information(none, 4).abs().max() < 1e-12


def test_strong_dependence_is_nearly_deterministic():
    """Up to 7 nats in a single pair and 35 in all, with white sides."""
    pairs = draw_dispersion("strong", 1, 1, 0.0, Streams(range(200)))
    labels = gaussian_mutual_information(pairs, 1)
    assert 6 < labels.max() <= 7 + 1e-6 and labels.min() < 1.5
    wide = draw_dispersion("strong", 20, 12, 0.0, Streams(range(200)))
    labels = gaussian_mutual_information(wide, 20)
    assert 30 < labels.max() <= 35 + 1e-6 and labels.quantile(0.2) < 8
    assert torch.allclose(wide[:, :20, :20], torch.eye(20).double().expand(200, 20, 20), atol=1e-12)


def test_weak_dependence_is_drawn_when_asked_for():
    never = gaussian_mutual_information(draw_dispersion("dense", 2, 2, 0.0, Streams(range(400))), 2)
    always = gaussian_mutual_information(draw_dispersion("dense", 2, 2, 1.0, Streams(range(400))), 2)
    assert always.median() < 0.3 * never.median()
