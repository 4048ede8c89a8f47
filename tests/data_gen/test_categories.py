"""Unordered variables as indicators: labels, marks, the batches about them and independence among them."""

from dataclasses import replace
from importlib import import_module

import pytest
import torch
from sklearn.metrics import mutual_info_score

from data_gen import MetaDistribution, Streams, generate_batch
from data_gen.categories import MOST_LEVELS, Indicators, draw_categories
from data_gen.elliptical import Gaussian
from data_gen.streams import structure_generator

META = MetaDistribution(category_probability=1.0, num_points=(20, 60), max_num_points=60, datasets_per_batch=(8, 8))


def test_two_categories_against_the_plug_in_estimate():
    joint = draw_categories(4, 5, 0.0, Streams(range(6)))
    x, y = joint.sample(40_000, Streams(range(6)))
    assert x.shape == (6, 40_000, 4) and y.shape == (6, 40_000, 5)
    for side in (x, y):
        assert torch.equal(side.sum(-1), torch.ones_like(side[..., 0]))
    for i in range(6):
        found = mutual_info_score(x[i].argmax(-1).numpy(), y[i].argmax(-1).numpy())
        assert found == pytest.approx(joint.mutual_information[i].item(), abs=0.02)


def test_a_category_beside_a_number():
    joint = draw_categories(3, 0, 0.0, Streams(range(6)))
    x, y = joint.sample(20_000, Streams(range(6)))
    assert x.shape == (6, 20_000, 3) and y.shape == (6, 20_000, 1)
    for i in range(6):  # cut the number finely: its information about the class hardly falls
        cuts = y[i, :, 0].quantile(torch.linspace(0, 1, 41)[1:-1])
        cells = torch.bucketize(y[i, :, 0].contiguous(), cuts)
        found = mutual_info_score(x[i].argmax(-1).numpy(), cells.numpy())
        assert found == pytest.approx(joint.mutual_information[i].item(), abs=0.04)


def test_some_have_no_dependence():
    for levels_y in (0, 4):
        joint = draw_categories(3, levels_y, 1.0, Streams(range(8)))
        assert (joint.mutual_information < 1e-9).all()


def test_batches_about_categories_carry_their_marks():
    both = several = 0
    for index in range(24):
        shapes = META.draw_shapes(structure_generator(0, index))
        batch = generate_batch(META, 0, index)
        levels_x, levels_y = shapes[0].levels
        assert all(shape.levels == (levels_x, levels_y) and shape.family == "categories" for shape in shapes)
        assert 3 <= levels_x <= MOST_LEVELS and batch.x.shape[-1] == shapes[0].dim_x
        for side, levels, marks in ((batch.x, levels_x, batch.groups_x), (batch.y, levels_y, batch.groups_y)):
            assert marks.tolist() == [1] * levels + [0] * (side.shape[-1] - levels)
            if levels:
                assert torch.equal(side[..., :levels].sum(-1), torch.ones_like(side[..., 0]))
        both += levels_y > 0
        several += batch.x.shape[-1] > levels_x
    assert 3 < both < 20 and 5 < several < 20


def test_levels_that_no_point_has_do_not_count():
    """The estimator is never sent an indicator that is constant."""
    seen, kept = 0, []
    for index in range(12):
        batch = generate_batch(META, 1, index)
        for side, marks in ((batch.x, batch.groups_x), (batch.y, batch.groups_y)):
            absent = (side[..., marks > 0].sum(1) == 0).any(-1)
            seen += int(absent.sum())
            assert (batch.weight[absent] == 0).all()
        kept.append(batch.weight.mean().item())
    assert seen > 0 and sum(kept) / len(kept) > 0.4


def test_other_batches_carry_no_marks():
    batch = generate_batch(MetaDistribution(), 0, 0)
    assert not batch.groups_x.any() and not batch.groups_y.any() and (batch.standard_error == 0).all()


def test_only_pairs_of_coordinates_become_indicators():
    joint = Gaussian(torch.eye(3).double().unsqueeze(0), 2)
    with pytest.raises(ValueError, match=r"got a joint of dims \(2, 1\), expected one coordinate a side"):
        Indicators(joint, 3)


def test_labels_of_large_error_do_not_count(monkeypatch):
    law = replace(META, category_probability=0.0, families={"additive": 1.0}, dims=(1, 3), max_dim=3)
    exact = generate_batch(law, 0, 0)
    assert exact.weight.all()
    share = torch.tensor([0.015, 0.025])  # of mi + 0.05, in turn
    module = import_module("data_gen.stream")  # the package has a function of that name
    monkeypatch.setattr(module, "label_error", lambda joint: share * (joint.mutual_information + 0.05))
    batch = generate_batch(law, 0, 0)
    assert batch.weight.tolist() == [1.0, 0.0] * 4
    kept = batch.weight > 0
    assert torch.allclose(batch.standard_error[kept], 0.015 * (batch.mi[kept] + 0.05))
    assert torch.equal(batch.mi[kept], exact.mi[kept]) and not batch.mi[~kept].any()
