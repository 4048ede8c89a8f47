"""Mixtures of bivariate normals: labels against mean log density ratios with scipy's densities, and known limits."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from data_gen import Joint, Streams
from data_gen.families import ParameterLaw, draw_family
from data_gen.normal_mixtures import NormalMixture


def single(share, mean, scale, rho):
    values = [torch.tensor(v, dtype=torch.float64).unsqueeze(0).unsqueeze(0) for v in (share, mean, scale, rho)]
    return NormalMixture(*values, 1, 1)


def density_ratio(joint, pair, x, y):
    parts = []
    for k in range(joint.share.shape[-1]):
        share = joint.share[0, pair, k].item()
        mean, scale = joint.mean[0, pair, k].numpy(), joint.scale[0, pair, k].numpy()
        rho = joint.rho[0, pair, k].item()
        matrix = np.outer(scale, scale) * np.array([[1, rho], [rho, 1]])
        both = stats.multivariate_normal(mean, matrix).pdf(np.stack([x, y], 1))
        parts.append(
            [share * both, share * stats.norm.pdf(x, mean[0], scale[0]), share * stats.norm.pdf(y, mean[1], scale[1])]
        )
    joint_density, of_x, of_y = np.sum(parts, axis=0)
    return np.log(joint_density) - np.log(of_x) - np.log(of_y)


@pytest.mark.parametrize("variant", ["shared", "own", "contaminated"])
def test_label_against_the_mean_log_density_ratio(variant):
    for seed in range(4):
        labelled = draw_family(f"normal_mixture-{variant}", 2, 2, ParameterLaw(), Streams([seed]))
        assert isinstance(labelled, Joint)
        joint = NormalMixture(labelled.share, labelled.mean, labelled.scale, labelled.rho, 2, 2)
        assert torch.allclose(joint.pair_information, labelled.pair_information, rtol=1e-9, atol=1e-12)
        x, y = (side[0].double().numpy() for side in joint.sample(20_000, Streams([seed + 10])))
        for pair in range(2):
            ratio = density_ratio(joint, pair, x[:, pair], y[:, pair])
            error = ratio.std() / math.sqrt(len(ratio))
            assert abs(ratio.mean() - joint.pair_information[0, pair].item()) < 4 * error + 2e-3


def test_one_component_is_the_gaussian():
    joint = single([1.0], [[3.0, -2.0]], [[2.0, 0.5]], [0.8])
    assert joint.mutual_information.item() == pytest.approx(-0.5 * math.log(1 - 0.64), abs=1e-6)


def test_far_clusters_tell_which_they_are():
    joint = single([0.5, 0.3, 0.2], [[0.0, 0.0], [30.0, 40.0], [-40.0, 80.0]], [[1.0, 1.0]] * 3, [0.0] * 3)
    assert joint.mutual_information.item() == pytest.approx(stats.entropy([0.5, 0.3, 0.2]), abs=1e-6)


def test_a_component_without_weight_changes_nothing():
    two = single([1.0, 0.0], [[0.0, 0.0], [9.0, 9.0]], [[1.0, 1.0]] * 2, [0.5, 0.0])
    assert two.mutual_information.item() == pytest.approx(-0.5 * math.log(0.75), abs=1e-6)


def test_a_cross_of_two_opposite_correlations():
    """No correlation at all, yet information."""
    joint = single([0.5, 0.5], [[0.0, 0.0]] * 2, [[1.0, 1.0]] * 2, [0.85, -0.85])
    x, y = (side[0, :, 0] for side in joint.sample(20_000, Streams([0])))
    assert abs(np.corrcoef(x, y)[0, 1]) < 0.03 and joint.mutual_information.item() > 0.15


@pytest.mark.parametrize("share", [[0.8, 0.2], [0.2, 0.8]])
def test_a_narrow_component_inside_a_wide_one(share):
    """The widest and the narrowest that are drawn, against five times as many nodes on each axis."""
    joint = single(share, [[0.0, 0.0]] * 2, [[1.6, 1.6], [1 / 1.6, 1 / 1.6]], [0.0, 0.85])
    line = np.linspace(-7, 7, 1001)
    x, y = (axis.ravel() for axis in np.meshgrid(line, line))
    ratio = density_ratio(joint, 0, x, y)
    density = sum(
        p * stats.multivariate_normal([0, 0], [[s * s, r * s * s], [r * s * s, s * s]]).pdf(np.stack([x, y], 1))
        for p, s, r in zip(share, (1.6, 1 / 1.6), (0.0, 0.85))
    )
    expected = (density * ratio).sum() * (line[1] - line[0]) ** 2
    assert joint.mutual_information.item() == pytest.approx(expected, rel=0.01)
