"""The comparison with reference samples sees what differs and passes what does not; bad files are errors."""

import numpy as np
import pytest
import torch
from scipy import stats

from data_gen import Streams
from data_gen.__main__ import main
from data_gen.comparison import (
    STATISTICS,
    compare_bmi,
    compare_mist,
    format_comparison,
    rank_correlations,
    sample_statistics,
)
from data_gen.reference_files import REFERENCE_FILES, read_reference_file
from data_gen.reference_tasks import bmi_joint, draw_mist_joint
from data_gen.speed import datasets_per_second


def write(path, samples):
    """samples: (label, x, y, mi) with x (N, Dx)."""
    flat = [np.concatenate([x, y], 1).ravel() for _, x, y, _ in samples]
    np.savez(
        path,
        flat=np.concatenate(flat).astype(np.float32),
        index=np.array([[len(x), x.shape[1], y.shape[1]] for _, x, y, _ in samples]),
        mi=np.array([mi for *_, mi in samples]),
        label=np.array([label for label, *_ in samples]),
    )


def mist_samples(label, count, seed, shift=0.0):
    out = []
    for i in range(count):
        random = Streams([seed + i])
        joint = draw_mist_joint(label, 3 + i % 4, random)
        x, y = joint.sample(60, random)
        out.append((label, x[0].numpy() + shift * y[0].numpy(), y[0].numpy(), joint.mutual_information.item()))
    return out


@pytest.fixture
def folder(tmp_path):
    imd = mist_samples("multi_normal-lvm-wigglify", 40, 1000)
    oomd = mist_samples("multi_normal-sparse-asinh", 40, 3000, shift=0.5)  # the wrong points, the right labels
    joint = bmi_joint("1v1-normal-0.75")
    x, y = joint.sample(2000, Streams([1]))
    bmi = [
        ("1v1-normal-0.75 | Bivariate normal 1 × 1", x[0].numpy(), y[0].numpy(), joint.mutual_information.item()),
        ("1v1-bimodal-0.75 | Bimodal 1 × 1", x[0].numpy(), -y[0].numpy(), 0.5),
    ]
    for name, samples in zip(REFERENCE_FILES, (imd, oomd, bmi), strict=True):
        write(tmp_path / REFERENCE_FILES[name], samples)
    return tmp_path


def test_compare_passes_what_agrees_and_marks_what_does_not(folder, capsys):
    good, bad = compare_mist(folder, num_replicates=39)
    assert set(good.ranks) == {"MI", *STATISTICS}
    assert good.num_datasets == 40 and min(good.ranks.values()) > 1e-3 and good.two_sample_mi > 1e-3
    assert bad.ranks["MI"] > 1e-3 and bad.ranks["paired"] < 1e-4
    same, other = compare_bmi(folder, num_replicates=39)
    assert same.deviation < 1e-12 and same.marginals > 1e-3 and same.correlations > 0.02
    assert other.deviation == pytest.approx(0.5 - 0.41333928659223396)
    assert other.marginals < 1e-6 and other.correlations == pytest.approx(1 / 41)
    table = format_comparison([good, bad], [same, other])
    assert "multi_normal-lvm-wigglify" in table and "8.67e-02 nats (1e-4 allowed)" in table
    assert main(["compare", "--data", str(folder), "--replicates", "9"]) == 0
    assert "largest difference of a label" in capsys.readouterr().out


def test_rank_correlations_are_spearman():
    points = Streams([0]).normal(80, 4)
    assert np.allclose(rank_correlations(points)[0].numpy(), stats.spearmanr(points[0].numpy())[0])


def test_sample_statistics_of_a_normal_sample():
    values = sample_statistics(Streams([0]).normal(20_000, 2), Streams([1]).normal(20_000, 2))
    assert values["tails"][0] == pytest.approx(np.log(3), abs=0.1)
    assert values["scale"][0] == pytest.approx(np.log(1.349), abs=0.03)
    assert max(values[name][0] for name in ("within", "paired", "unpaired")) < 0.04


def test_missing_and_damaged_files_are_errors(tmp_path, capsys):
    with pytest.raises(FileNotFoundError, match="got no file .* expected reference samples; pass the folder"):
        read_reference_file(tmp_path / "none.npz")
    assert main(["compare", "--data", str(tmp_path)]) == 2
    assert "expected reference samples" in capsys.readouterr().err
    write(tmp_path / "bad.npz", mist_samples("multi_normal-dense-base", 2, 0))
    with np.load(tmp_path / "bad.npz") as file:
        np.savez(tmp_path / "bad.npz", **{**dict(file), "flat": file["flat"][:-1]})
    with pytest.raises(ValueError, match="expected .* numbers and 2 labels as its index says; fetch the file again"):
        read_reference_file(tmp_path / "bad.npz")


def test_reading_gives_back_what_was_written(tmp_path):
    samples = mist_samples("multi_normal-dense-base", 3, 0)
    write(tmp_path / "good.npz", samples)
    for read, (label, x, y, mi) in zip(read_reference_file(tmp_path / "good.npz"), samples, strict=True):
        assert (read.label, read.mi) == (label, mi)
        assert np.array_equal(read.x, x) and np.array_equal(read.y, y)


@pytest.mark.parametrize("family", ["student-factor", "product", "independent"])
def test_speed_counts_data_sets(family):
    threads = torch.get_num_threads()
    assert datasets_per_second(family, 20, 4, 0.01) > 0
    torch.set_num_threads(threads)
