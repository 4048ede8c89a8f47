"""Power: the joints have the MI they are named for, and what is counted is what the intervals say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import mist.evaluation.detection as detection
from data_gen.streams import Streams
from mist.evaluation.baselines import ksg
from mist.evaluation.detection import INFORMATIONS, JOINTS, detections, main

pytestmark = pytest.mark.usefixtures("unmoved_global_state")


@pytest.mark.parametrize("name", JOINTS)
@pytest.mark.parametrize("information", INFORMATIONS)
def test_the_joints_have_the_information_asked(name: str, information: float) -> None:
    joint = JOINTS[name](information, 3)
    assert joint.mutual_information.tolist() == pytest.approx([information] * 3, abs=1e-5)
    x, y = joint.sample(50, Streams(range(3)))
    dim = int(name.split("+")[0])
    assert x.shape == y.shape == (3, 50, dim)


@pytest.mark.parametrize("name", ["1+1 Gaussian", "1+1 cross"])
def test_a_witness_finds_it_in_the_points(name: str) -> None:
    x, y = JOINTS[name](0.5, 1).sample(20_000, Streams([1]))
    assert ksg(x[0].numpy(), y[0].numpy()) == pytest.approx(0.5, abs=0.02)


def test_counts_intervals_that_begin_above_the_least(normal_network: Any) -> None:
    begins = 0.1 * 1.6449  # the 5 % quantile of N(centre, 0.1²) stands so far below its centre
    for above, expected in ((0.003, 0), (0.007, 12)):
        network = normal_network(lambda x, y, centre=begins + above: centre)
        assert detections(network, "5+5, one pair", 0.2, 40, 12) == expected


def test_command(tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(detection, "NUM_POINTS", (20, 30))
    monkeypatch.setattr(detection, "JOINTS", {name: JOINTS[name] for name in ("1+1 cross", "5+5, one pair")})
    assert main(["--checkpoint", str(tiny_checkpoint), "--num-datasets", "8"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("tiny@") and len(lines) == 3 + 2 * len(INFORMATIONS)
    assert lines[3].split()[:3] == ["1+1", "cross", "0"] and lines[3].count("%") == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--num-datasets", "7"], "got --num-datasets 7, expected at least 8"),
        (["--checkpoint", "nowhere"], "no checkpoint 'nowhere'"),
    ],
)
def test_what_cannot_be_used(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2 and message in capsys.readouterr().err
