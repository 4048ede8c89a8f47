"""Even draws over bins of n and dims, and what is printed of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mist.evaluation.even as even
from data_gen.meta_distribution import MetaDistribution
from data_gen.stream import EVALUATION_SEED, generate_batch
from mist.evaluation.coverage import even_records, format_independent, main, plot_transforms

pytestmark = pytest.mark.usefixtures("unmoved_global_state")
LAW = MetaDistribution(num_points=(20, 400), max_num_points=400, uniform_points_probability=1.0, dims=(1, 5), max_dim=5)
PER_BIN = 20


def test_every_bin_that_the_law_reaches_is_filled(normal_network: Any) -> None:
    assert even.reached_bins(LAW, EVALUATION_SEED) == {(i, j) for i in range(3) for j in range(3)}
    network = normal_network(lambda x, y: 1.0)
    records = even_records(network, LAW, PER_BIN)
    dim, dependent = records.dim_x + records.dim_y, records.mi > 0
    counts = [
        int(
            (
                dependent & (records.num_points >= low) & (records.num_points < high) & (dim >= least) & (dim < most)
            ).sum()
        )
        for low, high in ((0, 100), (100, 300), (300, 501))
        for least, most in ((2, 3), (3, 9), (9, 33))
    ]
    assert counts == [PER_BIN] * 9 and dependent.sum() == 9 * PER_BIN < len(records)
    again = even_records(network, LAW, PER_BIN)
    assert np.array_equal(again.mi, records.mi) and not np.array_equal(even_records(network, LAW, 20, 1).mi, records.mi)
    first = generate_batch(replace(LAW, datasets_per_batch=(8, 8), groups_per_batch=8), EVALUATION_SEED, 0)
    assert records.mi[:8].tolist() == first.mi.tolist() and records.family[:8].tolist() == list(first.family)


def test_a_law_without_dependence_gives_up(normal_network: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(even, "_BARREN", 3)
    records = even_records(normal_network(lambda x, y: 1.0), replace(LAW, families={"independent": 1.0}), 8)
    assert len(records) == 9 * 3 * 8 and (records.mi == 0).all()


def test_a_bin_that_is_hardly_ever_reached_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(even, "_PILOT", 1000)
    rare = replace(LAW, uniform_points_probability=0.995, max_num_points=2000)
    everything = {even._of_shape(rare, 0, index)[0] for index in range(1000)}
    assert everything == {0, 1, 2, 3} and {points for points, _ in even.reached_bins(rare, 0)} == {0, 1, 2}


def test_independent_data_sets_are_reported_apart(normal_network: Any) -> None:
    law = MetaDistribution(families={"independent": 1.0, "additive": 1.0}, num_points=(20, 30), max_num_points=30)
    records = even_records(normal_network(lambda x, y: -1.0), replace(law, dims=(1, 1), max_dim=1), 16)
    lines = format_independent(records).splitlines()
    zeros = int((records.mi == 0).sum())
    assert (
        zeros > 0
        and (records.mi > 0).sum() == 16
        and lines[0]
        == f"  MI = 0, {zeros} data sets: intervals hold "
        + ", ".join(f"100.0% of {level}%" for level in (50, 80, 90, 95))
    )
    assert "0.0% of 90%" in lines[1]


def test_command(tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    picture = tmp_path / "pictures" / "pit.png"
    arguments = ["--checkpoint", str(tiny_checkpoint), "--per-bin", "8", "--threads", "1", "--out", str(picture)]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("tiny@") and "inside their band" in printed and "MI = 0" in printed
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--per-bin", "7"], "got --per-bin 7, expected at least 8"),
        (["--checkpoint", "nowhere"], "no checkpoint 'nowhere'"),
    ],
)
def test_what_cannot_be_used(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2 and message in capsys.readouterr().err


def test_the_picture_needs_no_independent_data_sets(normal_network: Any, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    records = even_records(normal_network(lambda x, y: 1.0), replace(LAW, dims=(1, 1), max_dim=1), 8)
    plot_transforms(records.select(records.mi > 0), tmp_path / "pit.png", "title")
    assert (tmp_path / "pit.png").stat().st_size > 5000
