"""Held-out kinds beside matched data sets of the training law."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_gen.default_law import default_law
from data_gen.meta_distribution import MetaDistribution
from mist.evaluation.generalization import format_generalization, main, matched, usual_datasets
from mist.evaluation.prediction import evaluate_network
from mist.evaluation.suites import held_out

pytestmark = pytest.mark.usefixtures("unmoved_global_state")


@pytest.mark.parametrize("law", [MetaDistribution(), default_law()])
def test_usual_data_sets_have_the_n_and_dims_asked(law: MetaDistribution) -> None:
    datasets = usual_datasets(law, 40, (2, 1), 30)
    assert len(datasets) == 30 and {data.shape for data in datasets} <= {(40, 2, 1), (40, 1, 2)}
    assert len({data.family for data in datasets}) > 2
    assert [data.mi for data in usual_datasets(law, 40, (2, 1), 12)] == [data.mi for data in datasets[:12]]


def test_the_nearest_mi_is_chosen_on_the_logarithmic_scale() -> None:
    offered = np.array([0.0, 0.1, 1.0, 2.0])
    assert matched(np.array([0.01, 0.3, 1.45, 9.0]), offered).tolist() == [0, 1, 3, 3]


def test_ratio_of_errors_and_coverage(normal_network: Any) -> None:
    datasets = held_out(7 * 10, num_points=(30,))
    truths = {data.x[0, 0].item(): data.mi for data in datasets}
    rows = evaluate_network(normal_network(lambda x, y: truths[float(x[0, 0])] + 2.3, spread=1.0), datasets)
    lines = format_generalization(rows, np.full(len(rows), 1.15)).splitlines()
    assert len(lines) == 9 and lines[1].split()[:4] == ["all", "70", "2.300", "1.150"]
    assert lines[1].split()[4:7] == ["2.00", "±", "0.00"] and "0.0/0.0/0.0/0.0 %" in lines[1]  # 1.96 spreads end at 2.0


def test_command(tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--checkpoint", str(tiny_checkpoint), "--num-datasets", "8", "--num-points", "20"]
    assert main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("tiny@") and lines[2].startswith("all ") and len(lines) == 2 + 1 + 7


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--num-datasets", "7"], "got --num-datasets 7, expected at least 8"),
        (["--num-points", "9"], "got --num-points 9, expected at least 10"),
        (["--checkpoint", "nowhere"], "no checkpoint 'nowhere'"),
    ],
)
def test_what_cannot_be_used(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2 and message in capsys.readouterr().err
