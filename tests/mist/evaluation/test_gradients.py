"""Slopes of known functions, and the table."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mist.evaluation import gradients
from mist.evaluation.gradients import DISPLACED, PROJECTED, displacement_slopes, main, projection_slopes
from mist.inference import Estimator

pytestmark = pytest.mark.usefixtures("unmoved_global_state")


class Correlation:
    """Stands for an estimator: -½ log(1 - r²) of two columns, whose gradient torch knows."""

    def mutual_information(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Nats."""
        r = torch.corrcoef(torch.stack([x.flatten(), y.flatten()]))[0, 1]
        return -0.5 * torch.log1p(-r * r)

    def estimate(self, x: torch.Tensor, y: torch.Tensor) -> Correlation:
        """Itself, with the value as `mi`."""
        self.mi = float(self.mutual_information(x, y))
        return self


def test_slopes_of_a_smooth_function_agree() -> None:
    estimator: Estimator = Correlation()  # type: ignore[assignment]
    for slopes, draw in ((projection_slopes, PROJECTED["linear"]), (displacement_slopes, DISPLACED["Gaussian 1+1"])):
        found = slopes(estimator, draw, torch.Generator().manual_seed(0))
        assert len(found.gradient) == len(found.differences) == len(found.other) >= 5
        assert torch.allclose(found.gradient, found.differences, atol=0.02, rtol=0.05)
        assert not torch.allclose(found.differences, found.other, atol=1e-4)  # of another step


def test_command(tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gradients, "_DISPLACEMENTS", 2)
    assert main(["--checkpoint", str(tiny_checkpoint), "--num-datasets", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("tiny@")
    assert [line[9:26].strip() for line in lines[2:]] == [*PROJECTED, *DISPLACED]
    assert all(-1 <= float(line[26:34]) <= 1 for line in lines[2:])
    assert main(["--num-datasets", "0"]) == 2
