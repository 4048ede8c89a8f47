"""From predictions to tables: grouping, cells, files, and that the numbers in them are the ones meant."""

import csv
import math

import numpy as np
import pytest
import torch

from mist.evaluation.metrics import crps
from mist.evaluation.prediction import Records, evaluate_network, predict
from mist.evaluation.report import (
    format_against,
    format_coverage_grid,
    format_false_alarms,
    format_table,
    write_report,
)
from mist.evaluation.suites import Dataset
from mist.evaluation.summary import coverage_grid, false_alarms, summarise, summarise_cells


def labelled(count=60, suite="core", mi=None, seed=0):
    """Data sets whose label is written into their first point."""
    generator = np.random.default_rng(seed)
    out = []
    for i in range(count):
        n, dim_x, dim_y = (10, 2, 2) if i % 3 == 0 else (40, 1, 3) if i % 3 == 1 else (150, 20, 20)
        truth = float(generator.uniform(0.5, 4)) if mi is None else mi
        x, y = (generator.standard_normal((n, d)).astype(np.float32) for d in (dim_x, dim_y))
        x[0, 0] = truth + 0.1 * generator.standard_normal()
        out.append(Dataset(suite, f"family {i % 2}", x, y, truth))
    return out


def read_label(x, y):
    return float(x[0, 0])


@pytest.mark.usefixtures("unmoved_global_state")
def test_predict_groups_shapes_and_keeps_the_order(normal_network):
    datasets, network = labelled(), normal_network(read_label)
    network.train()
    quantiles = predict(type("Estimator", (), {"network": network})(), datasets)
    assert network.training and network.batches == [(20, 10, 2), (20, 40, 1), (20, 150, 20)]
    assert quantiles.shape == (60, 50)
    assert quantiles.mean(1) == pytest.approx([data.x[0, 0] for data in datasets], abs=1e-6)


def test_large_data_sets_go_one_by_one(normal_network):
    network = normal_network(read_label)
    big = [Dataset("core", "a", np.zeros((60_000, 10), np.float32), np.zeros((60_000, 10), np.float32), 0.0)] * 2
    predict(type("Estimator", (), {"network": network})(), big)
    assert network.batches == [(1, 60_000, 10)] * 2


def test_summary_numbers_by_hand(normal_network):
    datasets = labelled(120)
    records = evaluate_network(normal_network(read_label), datasets).with_baselines(datasets)
    summary = summarise(records, "core", "all")
    error = np.array([data.x[0, 0] - data.mi for data in datasets])
    assert summary.count == 120 and summary.mse.mean == pytest.approx((error**2).mean(), rel=1e-3)
    assert summary.mse.error == pytest.approx((error**2).std(ddof=1) / math.sqrt(120), rel=1e-3)
    assert summary.mae.mean == pytest.approx(np.abs(error).mean(), rel=1e-3)
    assert summary.bias.mean == pytest.approx(error.mean(), rel=1e-2)
    assert summary.crps.mean == pytest.approx(crps(records.levels, records.quantiles, records.mi).mean())
    assert [c.nominal for c in summary.coverage] == [0.5, 0.8, 0.9, 0.95]
    assert all(c.low <= c.observed <= c.high and c.agrees for c in summary.coverage)
    assert summary.baseline_mse["cca"].count == 120 and summary.baseline_mse["ksg"].count == 120


def test_cells(normal_network):
    summaries = summarise_cells(evaluate_network(normal_network(read_label), labelled()))
    counts = {summary.cell: summary.count for summary in summaries}
    assert counts == {
        "all": 60,
        "n = 10": 20,
        "n 10-100": 40,
        "n 100-300": 20,
        "dims 3-8": 40,
        "dims 33-64": 20,
        "family 0": 30,
        "family 1": 30,
    }
    wide = normal_network(read_label, spread=5.0)
    table = format_table(summarise_cells(evaluate_network(wide, labelled())))
    assert "100.0 ± " in table and "*" in table and "n = 10" in table and "standard error" in table


def test_bins_of_n_and_dims(normal_network):
    records = evaluate_network(normal_network(read_label, spread=0.1), labelled(600))
    grid = coverage_grid(records)
    assert [(s.cell, s.count) for s in grid] == [("n 10-100, dims 3-8", 400), ("n 100-300, dims 33-64", 200)]
    assert all(c.agrees for summary in grid for c in summary.coverage)
    narrow = coverage_grid(evaluate_network(normal_network(read_label, spread=0.02), labelled(600)))
    assert not any(c.agrees for summary in narrow for c in summary.coverage)
    lines = format_coverage_grid([*grid, *narrow]).splitlines()
    assert lines[-1].strip() == "8 of 16 inside their band (50%)"
    assert "*" not in lines[1] and lines[3].count("*") == 4


def test_errors_against_a_baseline(normal_network):
    """The network errs by .1 · √(2/π) on average, the baselines by .2 and nothing at all."""
    records = evaluate_network(normal_network(read_label), labelled(600))
    for name, error in (("ksg", 0.2), ("perfect", 0.0)):
        records.baselines[name] = records.mi + error
    head, first, second = format_against(records, "ksg").splitlines()
    assert head.split("n = ")[0].strip() == "MAE, KSG" and first.split()[0] == "family"
    numbers = [float(word.strip(",")) for word in first.split()[2:6:3]]
    assert numbers[0] == pytest.approx(0.08, abs=0.02) and "0.2000" in second and "*" not in first + second
    assert format_against(records, "perfect").count("*") == 6


def test_false_alarms_of_independent_samples(normal_network):
    datasets = labelled(30, "independence", mi=0.0)
    records = evaluate_network(normal_network(lambda x, y: 0.0 if len(x) > 10 else 1.0), datasets)
    shares = {threshold: share for threshold, share, _, _ in false_alarms(records)}
    assert list(shares) == ["> 0", "> 0.005", "> 0.01", "> 0.05"]
    assert list(shares.values()) == pytest.approx([1 / 3] * 4)
    assert "> 0.01 nats: 33.3 %" in format_false_alarms(records)


def test_files_hold_what_the_table_says(tmp_path, normal_network):
    first, second = labelled(30), labelled(30, "mist-imd", seed=1)
    network = normal_network(read_label)
    parts = [evaluate_network(network, datasets).with_baselines(datasets) for datasets in (first, second)]
    records = Records.concatenate(parts)
    written = write_report(records, tmp_path / "report", "tiny")
    names = [path.name for path in written]
    assert names[:2] == ["datasets.csv", "summary.csv"]
    assert names[2:] == [f"{s}_{k}.png" for s in ("core", "mist-imd") for k in ("estimates", "calibration")]
    assert all(path.stat().st_size > 0 for path in written)
    assert all(path.read_bytes()[:4] == b"\x89PNG" for path in written[2:])
    with written[0].open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 60 and [row["suite"] for row in rows] == ["core"] * 30 + ["mist-imd"] * 30
    for row, data in zip(rows, first + second, strict=True):
        assert float(row["mi"]) == data.mi
        assert float(row["low_90"]) < float(row["median"]) < float(row["high_90"])
    assert rows[0]["ksg"] and rows[0]["rank_cca"]
    with written[1].open(encoding="utf-8") as file:
        summary = next(csv.DictReader(file))
    expected = np.mean([(float(row["mean"]) - float(row["mi"])) ** 2 for row in rows[:30]])
    assert float(summary["mse_of_mean"]) == pytest.approx(expected)
    assert summary["coverage_90_inside_binomial_band"] in ("yes", "no")
    assert len(write_report(records, tmp_path / "plain", plots=False)) == 2


def test_selection_keeps_rows_together(normal_network):
    datasets = labelled()
    records = evaluate_network(normal_network(read_label), datasets).with_baselines(datasets)
    part = records.select(records.family == "family 1")
    assert len(part) == 30 and part.mi.tolist() == [data.mi for data in datasets[1::2]]
    assert len(part.baselines["ksg"]) == 30


def test_a_network_on_real_features(tiny_network):
    records = evaluate_network(tiny_network, labelled(6))
    assert records.quantiles.shape == (6, len(tiny_network.config.levels))
    assert (np.diff(records.quantiles) >= 0).all() and (records.quantiles >= 0).all()
    assert torch.is_grad_enabled()
