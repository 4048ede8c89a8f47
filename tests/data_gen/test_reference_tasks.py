"""The benchmark tasks: labels against published constants, laws of the reference configurations, shapes."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from data_gen import Joint, Streams
from data_gen.reference_tasks import BMI_TASKS, MIST_IMD, MIST_NUM_POINTS, MIST_OOMD, bmi_joint, draw_mist_joint

# Ground truth of the BMI benchmark (Czyż et al. 2023), benchmark-mi 0.1.3, nats.
NORMAL = 0.41333928659223396
PAIRS = 1.0216512475319819
CONSTANTS = {
    "1v1-normal-0.75": NORMAL,
    "normal_cdf-1v1-normal-0.75": NORMAL,
    "1v1-additive-0.1": 1.7094379663467407,
    "1v1-additive-0.75": 0.3333333333333333,
    "1v1-bimodal-0.75": NORMAL,
    "wiggly-1v1-normal-0.75": NORMAL,
    "half_cube-1v1-normal-0.75": NORMAL,
    "student-identity-1-1-1": 0.22417142752923613,
    "asinh-student-identity-1-1-1": 0.22417142752923613,
    "swissroll_x-normal_cdf-1v1-normal-0.75": NORMAL,
    "multinormal-dense-2-2-0.5": 0.2938933324510593,
    "multinormal-dense-3-3-0.5": 0.41333928659223407,
    "multinormal-dense-5-5-0.5": 0.5928118328288701,
    "multinormal-dense-25-25-0.5": 1.2921837216593275,
    "multinormal-dense-50-50-0.5": 1.6242653743036897,
    "multinormal-sparse-2-2-2-2.0": PAIRS,
    "multinormal-sparse-3-3-2-2.0": PAIRS,
    "multinormal-sparse-5-5-2-2.0": PAIRS,
    "multinormal-sparse-25-25-2-2.0": PAIRS,
    "student-identity-2-2-1": 0.43194562200144127,
    "student-identity-2-2-2": 0.1931471805599454,
    "student-identity-3-3-2": 0.29092192268276484,
    "student-identity-3-3-3": 0.17871185309236282,
    "student-identity-5-5-2": 0.44815067691532917,
    "student-identity-5-5-3": 0.29854362265275824,
    "normal_cdf-multinormal-sparse-3-3-2-2.0": PAIRS,
    "normal_cdf-multinormal-sparse-5-5-2-2.0": PAIRS,
    "normal_cdf-multinormal-sparse-25-25-2-2.0": PAIRS,
    "half_cube-multinormal-sparse-3-3-2-2.0": PAIRS,
    "half_cube-multinormal-sparse-5-5-2-2.0": PAIRS,
    "half_cube-multinormal-sparse-25-25-2-2.0": PAIRS,
    "spiral-multinormal-sparse-3-3-2-2.0": PAIRS,
    "spiral-multinormal-sparse-5-5-2-2.0": PAIRS,
    "spiral-multinormal-sparse-25-25-2-2.0": PAIRS,
    "spiral-normal_cdf-multinormal-sparse-3-3-2-2.0": PAIRS,
    "spiral-normal_cdf-multinormal-sparse-5-5-2-2.0": PAIRS,
    "spiral-normal_cdf-multinormal-sparse-25-25-2-2.0": PAIRS,
    "asinh-student-identity-2-2-1": 0.43194562200144127,
    "asinh-student-identity-3-3-2": 0.29092192268276484,
    "asinh-student-identity-5-5-2": 0.44815067691532917,
}


def test_the_tasks_are_the_forty():
    assert [task.split(" | ")[0] for task in BMI_TASKS] == list(CONSTANTS)
    assert len(BMI_TASKS) == 40


@pytest.mark.parametrize("task", BMI_TASKS, ids=list(CONSTANTS))
def test_bmi_labels_shapes_and_finite_points(task):
    joint = bmi_joint(task, 2)
    name = task.split(" | ")[0]
    assert isinstance(joint, Joint)
    assert torch.allclose(joint.mutual_information, torch.tensor(CONSTANTS[name], dtype=torch.float64), atol=1e-4)
    dims = (2, 1) if name.startswith("swissroll") else (1, 1) if "1v1" in name else None
    if dims is None:
        dims = tuple(int(word) for word in task.split("×")[0].split()[-1:] + task.split("×")[1].split()[:1])
    assert (joint.dim_x, joint.dim_y) == dims
    x, y = joint.sample(50, Streams([0, 1]))
    assert x.shape == (2, 50, dims[0]) and y.shape == (2, 50, dims[1])
    assert x.isfinite().all() and y.isfinite().all()


def test_bmi_marginals():
    def column(task, side=0):
        return bmi_joint(task).sample(4000, Streams([1]))[side][0, :, 0].numpy()

    assert stats.kstest(column("normal_cdf-1v1-normal-0.75"), "uniform").pvalue > 1e-3
    assert stats.kstest(column("student-identity-3-3-2"), "t", args=(2,)).pvalue > 1e-3
    assert stats.kstest(np.sinh(column("asinh-student-identity-1-1-1")), "cauchy").pvalue > 1e-3
    cubed = column("half_cube-1v1-normal-0.75", 1)
    assert stats.kstest(np.sign(cubed) * np.abs(cubed) ** (2 / 3), "norm").pvalue > 1e-3


def test_unknown_tasks_are_refused():
    with pytest.raises(ValueError, match="got task 'multinormal-odd', expected one of"):
        bmi_joint("multinormal-odd")
    with pytest.raises(ValueError, match="got configuration 'multi_normal-odd-base', expected one of"):
        draw_mist_joint("multi_normal-odd-base", 3, Streams([0]))


@pytest.mark.parametrize("label", [*MIST_IMD, *MIST_OOMD])
def test_mist_configurations(label):
    random = Streams(range(6))
    joint = draw_mist_joint(label, 7, random)
    assert (joint.dim_x, joint.dim_y) == (7, 7)
    x, y = joint.sample(40, random)
    assert x.shape == y.shape == (6, 40, 7) and x.isfinite().all() and y.isfinite().all()
    labels = joint.mutual_information
    assert (labels > 0).all() and labels.unique().numel() == 6
    assert torch.equal(draw_mist_joint(label, 7, Streams([2, 3])).mutual_information, labels[2:4])


def test_mist_counts_and_grid():
    assert (len(MIST_IMD), len(MIST_OOMD), len(MIST_NUM_POINTS)) == (6, 7, 20)
    assert MIST_NUM_POINTS == tuple(int(n) for n in np.linspace(10, 500, 20))


def test_laws_of_the_mist_parameters():
    """Parameters read back out of the joints are uniform on the ranges of the reference generator."""
    many = Streams(range(2000))
    dense = draw_mist_joint("multi_student-dense-base", 3, many)
    assert stats.kstest(dense.df, "uniform", args=(1, 9)).pvalue > 1e-3
    assert stats.kstest(dense.dispersion[:, 0, 4], "uniform", args=(0, 0.5)).pvalue > 1e-3
    noise = draw_mist_joint("multi_additive_noise-base", 3, many)
    assert stats.kstest(noise.epsilon.flatten(), "uniform", args=(0.1, 1.9)).pvalue > 1e-3
    joint = draw_mist_joint("multi_normal-sparse-asinh", 5, many)
    sparse = joint.joint.dispersion
    matched = sparse[:, torch.arange(5), 5 + torch.arange(5)]
    pairs = (matched > 0).sum(1)
    assert stats.chisquare(torch.bincount(pairs, minlength=6)[1:].numpy()).pvalue > 1e-3
    strength = (matched[:, 0] / (1 - matched[:, 0])).sqrt()  # r = λ² / (1 + λ²)
    assert stats.kstest(strength, "uniform", args=(0.1, 4.9)).pvalue > 1e-3
    expected = -0.5 * pairs * torch.log1p(-matched[:, 0].square())
    assert torch.allclose(joint.mutual_information, expected, atol=1e-9)
    lvm = draw_mist_joint("multi_normal-lvm-wigglify", 2, many).mutual_information
    assert lvm.isfinite().all() and lvm.min() < 0.1 and lvm.max() > 1


def test_a_spiral_hides_what_a_spiral_the_other_way_shows():
    name = "spiral-multinormal-sparse-5-5-2-2.0"
    joint = bmi_joint(name)
    x, y = joint.sample(4000, Streams([4]))
    plain = stats.spearmanr(joint.warp_x.inverse(x)[0, :, 0], joint.warp_y.inverse(y)[0, :, 0])[0]
    assert plain == pytest.approx(6 / math.pi * math.asin(0.4), abs=0.03)  # r = λ²/(1+λ²) = 0.8
    assert stats.spearmanr(x[0, :, 0], y[0, :, 0])[0] < plain - 0.1
