"""What a side is pushed and read through hangs on what was learned of the half that was kept aside."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from data_gen.lookalikes import LookAlikes
from mist.finetuning import sides as module
from mist.finetuning.report import as_read, lookalike_suite
from mist.finetuning.samples import read_samples
from mist.finetuning.sides import Side, fit_sides
from mist.triangular import TriangularMap
from mist.unwarping import SideMap, Unwarping

pytestmark = pytest.mark.usefixtures("unmoved_global_state")

Array = NDArray[np.float64]


def fitted(values: Array, unwarp: bool = True) -> Side:
    (side,) = fit_sides([read_samples(values, "x_samples", 64, None, 0)], 0, unwarp)
    return side


def bent(num: int = 600) -> Array:
    place, across, along = np.random.default_rng(0).normal(size=(3, num))
    return np.stack([place, place + 0.2 * along, np.cos(1.5 * place) + 0.2 * across], axis=1)


def test_a_flow_that_is_no_likelier_than_the_gaussian_gives_way_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where samples are few: then look-alikes are Gaussian of the covariance of each half."""
    values = bent()
    assert fitted(values, unwarp=False).report.pushed == "flow"

    class Worse(module.SideFlow):
        def log_likelihood(self, scores: torch.Tensor) -> torch.Tensor:
            return super().log_likelihood(scores) - 10.0 * len(self.layers)

    monkeypatch.setattr(module, "SideFlow", Worse)
    side = fitted(values, unwarp=False)
    assert side.report.pushed == "Gaussian" and not side.report.unwarped
    assert side.report.synthetic.accuracy == pytest.approx(side.report.gaussian.accuracy, abs=0.05)
    assert "pushed through the Gaussian" in str(side.report)
    base = torch.randn(20_000, 3, generator=torch.Generator().manual_seed(1))
    for half, of in ((0, side.samples.halves[0]), (1, side.samples.halves[1])):
        first, other = side.pushes(half)
        covariance = np.cov(module.dequantised_scores(of, torch.Generator().manual_seed(0)).numpy().T)
        for push in (first, other):
            np.testing.assert_allclose(torch.cov(push(base).T).numpy(), covariance, atol=0.05)


def test_what_is_not_wanted_is_not_fitted() -> None:
    plain = fitted(bent(300), unwarp=False)
    assert plain.triangular == () and plain.report.likelihood[2] is None and plain.map.as_is
    assert "under the triangular map" not in str(plain.report)
    mapped = fitted(bent(1200))
    assert len(mapped.triangular) == 3 and mapped.report.pushed == "triangular map"
    assert mapped.pushes(0)[0] is mapped.triangular[2] and mapped.pushes(1)[0] is mapped.triangular[1]
    assert mapped.map is mapped.map and mapped.map.map is mapped.triangular[0]
    gaussian, flow, _ = mapped.report.likelihood
    assert flow > gaussian and mapped.pushes(0)[1] is mapped.flows[0] and mapped.pushes(1)[1] is mapped.flows[1]
    no_better = replace(mapped, report=replace(mapped.report, likelihood=(gaussian, gaussian, 0.0)))
    assert no_better.pushes(0) == (mapped.triangular[2], mapped.gaussians[0])


def test_what_is_not_recognised_is_counted() -> None:
    """A data set whose sides look like nothing that the maps know, beside some that do."""
    law = TriangularMap(3, hidden=0)
    axes = torch.tensor([[1.0, 0.9, 0.0], [0.0, 0.3, 0.0], [0.0, 0.0, 1.0]])
    law.standardise_by(torch.randn(4000, 3, generator=torch.Generator().manual_seed(0)) @ axes)
    maps = Unwarping(SideMap((0, 1, 2), 3, law), SideMap((0, 1, 2), 3, law))
    suite = lookalike_suite(LookAlikes(law, law, 3, 3, (200, 200)), 8, seed=0)
    turned = lookalike_suite(LookAlikes(lambda z: -law(z)[..., [2, 1, 0]], law, 3, 3, (200, 200)), 4, seed=0)
    found, unrecognised = as_read([*suite, *turned], maps)
    assert unrecognised == 4
    for data, read in zip([*suite, *turned], found, strict=True):
        assert (read.mi, read.x.shape, read.x.dtype) == (data.mi, (200, 3), np.float32)
    correlations = [abs(np.corrcoef(data.x.T)[0, 1]) for data in found[:8]]
    assert max(correlations) < 0.3
    assert all(np.array_equal(read.x, data.x) for data, read in zip(turned, found[8:], strict=True))
    plain, unrecognised = as_read(suite, None)
    assert unrecognised == 0 and all(np.array_equal(a.x, b.x) for a, b in zip(plain, suite, strict=True))
