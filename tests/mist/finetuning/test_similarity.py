"""Two-sample tests: samples of one law pass, of another do not."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mist.finetuning.similarity import classifier_accuracy, correlation_test, similarity

pytestmark = pytest.mark.usefixtures("unmoved_global_state")


def samples(seed: int, correlation: float = 0.0, bend: float = 0.0) -> Tensor:
    z = torch.randn(600, 3, generator=torch.Generator().manual_seed(seed))
    second = correlation * z[:, 0] + (1 - correlation**2) ** 0.5 * z[:, 1] + bend * (z[:, 0].square() - 1)
    return torch.stack([z[:, 0], second, z[:, 2]], dim=-1)


def test_samples_of_one_law_pass() -> None:
    found = similarity(samples(0, 0.5), samples(1, 0.5))
    assert found.correlation_p > 0.01 and found.accuracy_p > 0.01 and found.num_samples == 600
    assert found.correlation < 0.1 and found.accuracy == pytest.approx(0.5, abs=0.07)


def test_other_correlations_are_found() -> None:
    found = similarity(samples(0, 0.5), samples(1, 0.0))
    assert found.correlation_p == pytest.approx(1 / 200) and found.correlation == pytest.approx(0.29, abs=0.06)


def test_what_correlations_do_not_show_a_classifier_finds() -> None:
    found = similarity(samples(0, bend=0.7), samples(1))
    assert found.accuracy > 0.6 and found.accuracy_p < 1e-4


def test_p_values_are_uniform_under_one_law() -> None:
    """Both tests at 20 pairs of samples: neither rejects often."""
    generator = torch.Generator().manual_seed(3)
    ps = [correlation_test(samples(2 * i)[:80], samples(2 * i + 1)[:80], generator)[1] for i in range(20)]
    assert sum(p <= 0.1 for p in ps) <= 6 and 0.25 < sum(ps) / 20 < 0.75


def test_one_column_has_no_correlations() -> None:
    first, second = samples(0)[:, :1], samples(1)[:, :1]
    assert correlation_test(first, second, torch.Generator()) == (0.0, 1.0)
    accuracy, tested = classifier_accuracy(first, second + 5, torch.Generator().manual_seed(0))
    assert accuracy > 0.98 and tested == 600


def test_the_larger_sample_is_cut_to_the_smaller() -> None:
    assert similarity(samples(0), samples(1)[:200]).num_samples == 200
