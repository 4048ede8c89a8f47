"""Look-alikes have the sides' laws whatever the joint, and known labels."""

from dataclasses import replace

import pytest
import torch
from scipy import stats

from data_gen import MetaDistribution, generate_batch
from data_gen.flows import density_layers, random_flow
from data_gen.lookalikes import LookAlikes, Mixture
from data_gen.standard_sides import STANDARD_KINDS

FLOWS = random_flow("real_nvp", 3, 0), random_flow("coupling_spline", 2, 0)
LAW = LookAlikes(*FLOWS, 3, 2, (20, 60), datasets_per_batch=(16, 16))
NARROW = MetaDistribution(num_points=(10, 30), max_num_points=30, dims=(1, 3), max_dim=3, datasets_per_batch=(8, 8))


@pytest.mark.parametrize("kind", STANDARD_KINDS)
def test_a_side_follows_its_law_whatever_the_joint(kind: str) -> None:
    """Against fresh points of the base density through the same flow: Kolmogorov-Smirnov along random directions and
    of the distance from the mean."""
    law = replace(LAW, kinds={kind: 1.0}, num_points=(4000, 4000), datasets_per_batch=(4, 4))
    batch = law.batch(1, 0)
    assert set(batch.family) == {f"lookalike-{kind}"}
    for side, flow in zip((batch.x, batch.y), FLOWS, strict=True):
        points = side.reshape(-1, side.shape[-1]).double()
        fresh = flow(torch.randn(points.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2)))
        directions = torch.randn(points.shape[1], 4, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
        for first, second in zip((points @ directions).T, (fresh @ directions).T, strict=True):
            assert stats.ks_2samp(first.numpy(), second.numpy()).pvalue > 1e-3
        first, second = ((one - fresh.mean(0)).norm(dim=-1).numpy() for one in (points, fresh))
        assert stats.ks_2samp(first, second).pvalue > 1e-3


def test_a_side_that_is_not_standard_normal_would_be_found() -> None:
    """The same test on a side of twice the variance."""
    points = FLOWS[0](1.4 * torch.randn(4000, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(4)))
    fresh = FLOWS[0](torch.randn(4000, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2)))
    assert stats.ks_2samp(points.norm(dim=-1).numpy(), fresh.norm(dim=-1).numpy()).pvalue < 1e-6


def test_labels_are_those_of_the_joint_before_the_flows() -> None:
    """Undone, a Gaussian look-alike has the Gaussian MI of its label."""
    law = replace(
        LAW, kinds={"gaussian": 1.0}, turned_share=0.0, num_points=(20_000, 20_000), datasets_per_batch=(8, 8)
    )
    batch = law.batch(5, 0)
    x, y = (flow.inverse(side.double()) for flow, side in zip(FLOWS, (batch.x, batch.y), strict=True))
    found = []
    for a, b in zip(x, y, strict=True):
        whole, xx, yy = (torch.corrcoef(columns.T) for columns in (torch.cat([a, b], dim=-1), a, b))
        found.append(0.5 * (xx.logdet() + yy.logdet() - whole.logdet()))
    torch.testing.assert_close(torch.stack(found), batch.mi, atol=0.02, rtol=0.03)
    assert batch.mi.max() > 0.1


def test_a_batch_is_a_function_of_seed_and_index() -> None:
    first, again, other = LAW.batch(7, 3), LAW.batch(7, 3), LAW.batch(7, 4)
    assert torch.equal(first.x, again.x) and torch.equal(first.mi, again.mi)
    assert first.x.shape != other.x.shape or not torch.equal(first.x, other.x)
    assert len(first.mi) == 16 and 20 <= first.x.shape[1] <= 60 and first.x.shape[2] == 3 and first.y.shape[2] == 2
    assert bool((first.weight == 1).all())


def test_other_maps_take_their_share_and_all_is_read_last() -> None:
    """Maps that say where points went; a data set that a map cannot take is not learned from, whatever is read."""

    def far(points: torch.Tensor) -> torch.Tensor:
        return points + 100

    def negative(points: torch.Tensor) -> torch.Tensor:
        return -torch.nan_to_num(points)

    law = replace(LAW, push_x=torch.clone, push_y=torch.clone, others=((far, far),), other_share=0.25, read_y=negative)
    moved = []
    for index in range(100):
        batch = law.batch(11, index)
        moved += [float(x.mean() > 50) for x in batch.x]
        assert torch.equal(batch.x.mean((1, 2)) > 50, batch.y.mean((1, 2)) < -50)
    assert sum(moved) / len(moved) == pytest.approx(0.25, abs=0.07)
    assert not any(float(x.mean() > 50) for x in replace(law, others=()).batch(11, 0).x)
    broken = replace(law, push_y=lambda points: torch.full_like(points, torch.inf), others=()).batch(11, 0)
    assert bool((broken.weight == 0).all()) and bool(broken.y.isfinite().all())


def test_a_mixture_draws_from_both_laws_as_often_as_it_says() -> None:
    mixture = Mixture(LAW, NARROW, 0.3)
    original = []
    for index in range(40):
        batch = mixture.batch(9, index)
        original.append(not batch.family[0].startswith("lookalike"))
        if original[-1]:
            assert torch.equal(batch.x, generate_batch(NARROW, 9, index).x)
    assert 5 <= sum(original) <= 20
    assert len(mixture.of_size(8).batch(9, 0).mi) == 8
    with pytest.raises(ValueError, match="original_share=1.5, expected a probability"):
        Mixture(LAW, NARROW, 1.5)


def test_layers_to_fit_begin_as_the_identity_and_invert() -> None:
    layers = density_layers(5, 2, 16, torch.Generator().manual_seed(0))
    points = torch.randn(50, 5)
    for layer in layers:
        torch.testing.assert_close(layer(points)[0], points)
        for parameter in layer.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        moved, log_det = layer(points)
        back, undone = layer.inverse(moved)
        assert not torch.allclose(moved, points, atol=0.1)
        torch.testing.assert_close(back, points, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(log_det, -undone, atol=1e-4, rtol=1e-4)
