"""`mist.finetune`: a new estimator with lineage and evidence; the parent stays what it was."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import mist
from mist.calibration import LocalCalibration
from mist.finetuning import FinetunedEstimator, run
from mist.finetuning.samples import read_samples
from mist.inputs import prepare

Samples = tuple[NDArray[np.float64], NDArray[np.float64]]

pytestmark = pytest.mark.usefixtures("unmoved_global_state")


def test_the_weights_move_and_the_parents_do_not(
    parent: mist.Estimator, samples: Samples, short: dict[str, Any], finetuned: FinetunedEstimator
) -> None:
    before = copy.deepcopy(parent.network.state_dict())
    again = mist.finetune(parent, *samples, name="counts", **short)
    for name, value in parent.network.state_dict().items():
        assert torch.equal(value, before[name])
    assert finetuned.report.chosen.step > 0
    assert not torch.equal(*(each.network.members[0].head.trunk[0].weight for each in (finetuned, parent)))
    assert not torch.equal(*(each.network.members[0].points.embed[0].weight for each in (finetuned, parent)))
    assert again.checkpoint.sha256 == finetuned.checkpoint.sha256  # the same call, the same estimator


def test_what_it_reports(finetuned: FinetunedEstimator) -> None:
    report = finetuned.report
    assert (report.x.num_columns, report.x.dim, report.x.dropped, report.x.tied) == (4, 3, (1,), 3)
    assert (report.y.num_samples, report.y.dim, report.y.dropped, report.y.tied) == (300, 2, (), 2)
    assert report.x.likelihood[1] == pytest.approx(report.x.likelihood[0], abs=1.0)
    assert report.tried[0].step == 0 and report.chosen in report.tried
    assert [choice.step for choice in report.tried] == [0, 3, 6, 9, 12] and report.num_datasets >= 12 * 8
    assert [summary.count for summary in (*report.lookalikes, *report.original)] == [24, 24, 32, 32]
    assert set(report.seconds) == {"flows", "tuning", "recalibration", "evaluation"}
    text = str(report)
    for part in ("240 samples of 4 columns, 1 constant ones dropped, 3 with ties dequantised", "look-alikes", "after"):
        assert part in text
    figure = report.plot()
    assert [axes.get_title() for axes in figure.axes] == [
        "X: scores",
        "X: correlations of columns",
        "Y: scores",
        "Y: correlations of columns",
    ]


def test_lineage_and_ranges(parent: mist.Estimator, finetuned: FinetunedEstimator) -> None:
    lineage = finetuned.config["lineage"]
    assert lineage["parents"] == ["0" * 64, parent.checkpoint.sha256]
    assert lineage["hours"] >= 1.0 and lineage["source"] == "look-alikes of 240 and 300 samples"
    assert finetuned.config["trained_ranges"]["num_points"] == [10, 40]
    assert finetuned.config["extra"]["finetuning"]["x"]["dropped"] == [1]
    assert json.dumps(finetuned.config, allow_nan=False)
    assert finetuned.name == "counts" and "Fine-tuned from parent@" in finetuned.checkpoint.card


def test_saved_and_loaded_it_answers_the_same(finetuned: FinetunedEstimator, samples: Samples, tmp_path: Path) -> None:
    again = mist.load(finetuned.save(tmp_path / "counts"))
    x, y = samples[0][:40], samples[1][:40]
    with pytest.warns(mist.MISTWarning, match="constant, without information"):
        assert again.estimate(x, y).quantiles == finetuned.estimate(x, y).quantiles
    assert isinstance(again.network.calibration, LocalCalibration)
    assert again.network.calibration.dims == (3, 2) and again.network.calibration.num_points == (20, 40)


@pytest.mark.filterwarnings("ignore::mist.MISTWarning")
def test_ties_are_dequantised_in_prediction(finetuned: FinetunedEstimator, samples: Samples) -> None:
    """In any order of points and columns and for falling maps the estimate is the same, and it is one of untied data:
    breaking ties at random by hand moves it no more than another random choice does."""
    x, y = samples[0][:40], samples[1][:40]
    unwarping = finetuned.checkpoint.unwarping
    assert unwarping is not None and unwarping.x.tied and unwarping.y.tied
    assert (unwarping.x.as_is, unwarping.y.as_is) == (not finetuned.report.x.unwarped, not finetuned.report.y.unwarped)
    found = finetuned.estimate(x, y).mi
    order = np.random.default_rng(0).permutation(40)
    for same in ((x[order], y[order]), (x[:, [3, 1, 0, 2]], y), (-x, y), (y, x)):
        assert finetuned.estimate(*same).mi == pytest.approx(found, abs=1e-4)
    generator = np.random.default_rng(1)
    step = 0.9 * (np.ptp(x, axis=0) > 0)
    noisy = [
        finetuned.estimate(x + step * generator.random(x.shape), y + 0.9 * generator.random(y.shape)).mi
        for _ in range(20)
    ]
    assert min(noisy) - np.std(noisy) <= found <= max(noisy) + np.std(noisy)


def test_ties_of_other_data_are_read_as_the_parent_reads_them(finetuned: FinetunedEstimator, samples: Samples) -> None:
    """Of sides with as many columns as the samples, whichever side they stand on, ties are spread, and nothing is said
    of them; of others they are read as they are, and told."""
    unwarping = finetuned.checkpoint.unwarping
    x, y = samples[0][:40], samples[1][:40]
    for left, right in ((x, y), (y, x)):
        found = prepare(left, right, unwarping=unwarping)
        assert all(len(np.unique(column)) == 40 for side in (found.x, found.y) for column in side.values.T)
        assert not any(notice.kind == "ties" for notice in found.warnings)
    found, plain = (prepare(x[:, :3], y[:, :1], unwarping=maps) for maps in (unwarping, None))
    assert np.array_equal(found.x.values, plain.x.values) and np.array_equal(found.y.values, plain.y.values)
    assert any(notice.kind == "ties" for notice in found.warnings)


def test_a_curved_side_is_read_through_its_map(parent: mist.Estimator, short: dict[str, Any], tmp_path: Path) -> None:
    """In prediction and in the look-alikes alike: a saved child knows its own samples, and not those of the other."""
    generator = np.random.default_rng(5)
    place, across = generator.normal(size=(2, 1200))
    bent = np.stack([place, place + 0.2 * generator.normal(size=1200), np.cos(1.5 * place) + 0.2 * across], axis=1)
    straight = generator.normal(size=(300, 2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "_EVALUATION_DATASETS", (16, 16))
        found = mist.finetune(parent, bent, straight, **short)
    assert found.report.x.unwarped and not found.report.y.unwarped
    assert found.report.x.likelihood[2] > found.report.x.likelihood[0] + 0.3
    assert "it is read through its triangular map" in str(found.report)
    again = mist.load(found.save(tmp_path / "bent"))
    unwarping = again.checkpoint.unwarping
    assert again.estimate(bent[:40], straight[:40]).quantiles == found.estimate(bent[:40], straight[:40]).quantiles
    assert 0 < found.independence_test(bent[:40], straight[:40], num_permutations=19).p_value <= 1
    assert unwarping is not None and not unwarping.x.as_is and unwarping.y.as_is
    assert found.estimate(bent[:40], straight[:40]).warnings == ()
    with pytest.warns(mist.MISTWarning, match="x does not look like the samples of either side"):
        found.estimate(generator.normal(size=(40, 3)) ** 3, straight[:40])
    plain = mist.finetune(found, bent, straight, **{**short, "unwarp": False})  # new maps, or none, for the child's
    assert plain.checkpoint.unwarping is None and not plain.report.x.unwarped
    assert plain.config["lineage"]["parents"][-1] == found.checkpoint.sha256


@pytest.mark.filterwarnings("ignore:columns of y are nearly collinear")
def test_both_sides_curved_and_one_of_them_wide(parent: mist.Estimator, short: dict[str, Any], tmp_path: Path) -> None:
    """Components of wide samples are read through the map of their law."""
    generator = np.random.default_rng(6)

    def bent(num: int) -> NDArray[np.float64]:
        place, across, along = generator.normal(size=(3, num))
        return np.stack([place, place + 0.2 * along, np.cos(1.5 * place) + 0.2 * across], axis=1)

    repeated = np.repeat(bent(1200), 2, axis=1)
    wide = repeated + 0.02 * generator.normal(size=repeated.shape)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "_EVALUATION_DATASETS", (16, 16))
        found = mist.finetune(parent, wide, bent(1200), max_columns=3, **short)
    again = mist.load(found.save(tmp_path / "wide"))
    unwarping, reduction = again.checkpoint.unwarping, again.checkpoint.reduction
    assert unwarping is not None and reduction is not None and reduction.x is not None and reduction.y is None
    assert not unwarping.x.as_is and not unwarping.y.as_is and unwarping.x.width == unwarping.y.width == 3
    x, y = wide[:40], bent(40)
    with pytest.warns(mist.MISTWarning, match="x: 3 principal components of its 6 columns") as caught:
        assert again.estimate(x, y).quantiles == found.estimate(x, y).quantiles
    assert not any("look like the samples" in str(warning.message) for warning in caught)
    plain = prepare(x, y, reduction=reduction).x.values
    mapped = prepare(x, y, reduction=reduction, unwarping=unwarping).x.values
    assert plain.shape == mapped.shape == (40, 3) and not np.allclose(plain, mapped)


def test_head_only_moves_the_head_alone(parent: mist.Estimator, samples: Samples, short: dict[str, Any]) -> None:
    found = mist.finetune(parent, *samples, head_only=True, **short)
    for name, value in parent.network.state_dict().items():
        moved = not torch.equal(found.network.state_dict()[name], value)
        assert moved == (".head." in name), name


def test_wide_samples_are_refused_or_reduced(parent: mist.Estimator, samples: Samples, short: dict[str, Any]) -> None:
    wide = np.random.default_rng(2).normal(size=(200, 6)) @ np.random.default_rng(3).normal(size=(6, 6))
    with pytest.raises(mist.InputError, match="x_samples of 6 columns that vary, expected at most 3.*max_columns=3"):
        mist.finetune(parent, wide, samples[1], **short)
    found = mist.finetune(parent, wide, samples[1], max_columns=2, **short)
    assert found.report.x.dim == 2 and 0.3 < found.report.x.variance < 1
    assert "read through 2 components" in str(found.report)
    with pytest.warns(mist.MISTWarning, match="x: 2 principal components of its 6 columns"):
        found.estimate(wide[:40], samples[1][:40])
    with pytest.raises(mist.InputError, match="which reads wide sides through components of its own"):
        mist.finetune(found, wide, samples[1], max_columns=2, **short)


@pytest.mark.parametrize(
    ("broken", "error", "message"),
    [
        (lambda x: x[:99], mist.TooFewPointsError, "got 99 x_samples, expected at least 100"),
        (lambda x: np.where(x == x.max(), np.nan, x), mist.NonFiniteError, "x_samples with NaN or infinity.*drop"),
        (lambda x: np.ones_like(x), mist.InputError, "x_samples without a column that varies"),
        (lambda x: np.array(["a", "b"])[(x > 1).astype(int)], mist.InputError, "unordered categories in x_samples"),
    ],
)
def test_samples_that_cannot_be_used(
    parent: mist.Estimator, samples: Samples, short: dict[str, Any], broken: Any, error: type, message: str
) -> None:
    with pytest.raises(error, match=message):
        mist.finetune(parent, broken(samples[0]), samples[1], **short)
    with pytest.raises(error, match=message.replace("x_samples", "y_samples")):
        mist.finetune(parent, samples[0], broken(samples[1]), **short)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_points": (5, 40)}, r"num_points=\(5, 40\), expected \(low, high\) with 10 <= low <= high <= 40"),
        ({"num_points": (30, 20)}, "expected .low, high. with 10 <= low <= high"),
        ({"num_points": (10, 41)}, "<= 40, the range of the estimator at these dims"),
        ({"num_points": (10, 20, 30)}, "expected two integers"),
        ({"num_points": (10.5, 20)}, "expected two integers"),
        ({"max_steps": 0}, "got max_steps=0, expected an integer from 1"),
        ({"random_state": -1}, "got random_state=-1, expected an integer from 0"),
        ({"random_state": None}, "got random_state=None, expected an integer from 0"),
        ({"learning_rate": float("nan")}, "got learning_rate=nan, expected a positive number"),
        ({"original_share": 1.0}, "got original_share=1.0, expected a share between 0 and 1"),
        ({"max_columns": 0}, "got max_columns=0, expected an integer from 1 to 3"),
    ],
)
def test_options_that_cannot_be_used(
    parent: mist.Estimator, samples: Samples, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(mist.InputError, match=message):
        mist.finetune(parent, *samples, progress=False, **options)


def test_too_few_samples_for_so_many_columns(short: dict[str, Any]) -> None:
    wide = np.random.default_rng(0).normal(size=(150, 40))
    with pytest.raises(mist.TooFewPointsError, match="got 150 x_samples of 40 columns, expected at least 4 for each"):
        read_samples(wide, "x_samples", 64, None, 0)


def test_columns_with_few_ties_are_not_discrete() -> None:
    values = np.random.default_rng(0).normal(size=(4000, 2)).round(3)
    assert len(np.unique(values[:, 0])) < 4000
    assert read_samples(values, "x_samples", 64, None, 0).tied == 0
    assert read_samples(values.round(1), "x_samples", 64, None, 0).tied == 2


def test_a_missing_package_is_named(repository: Path) -> None:
    program = "import sys; sys.modules['normflows'] = None; import mist; mist.finetune"
    done = subprocess.run([sys.executable, "-c", program], cwd=repository, capture_output=True, text=True)
    assert done.returncode != 0 and "mist.finetune needs normflows" in done.stderr and "mist-mi[train]" in done.stderr
    with pytest.raises(AttributeError, match="module 'mist' has no attribute 'finetuned'"):
        mist.finetuned  # noqa: B018


@pytest.mark.gpu
def test_on_a_gpu(parent: mist.Estimator, samples: Samples, short: dict[str, Any]) -> None:
    """The estimator stays where it was, and answers as one that was tuned on a CPU does, but for rounding."""
    there = mist.load(parent.checkpoint.path, device="cuda")
    found = mist.finetune(there, *samples, **short)
    assert found.device.type == "cuda" and next(there.network.parameters()).is_cuda
    here = mist.finetune(parent, *samples, **short)
    x, y = samples[0][:40], samples[1][:40]
    assert found.estimate(x, y).mi == pytest.approx(here.estimate(x, y).mi, rel=0.1, abs=0.05)
