"""The base panel: every candidate against a known case, its mask, and the law of its bias."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from mist.expansions import EXPANSION_CANDIDATES
from mist.gaussian import gaussian_bias
from mist.panel import (
    CANDIDATES,
    DF_GRID,
    KSG_MAX_DIM,
    RIDGES,
    Panel,
    _df_posterior,
    _shrink_to_positive,
    base_panel,
    student_t_excess,
)
from mist.relations import kendall_correlation
from mist.scores import double_ranks, gaussian_scores

DISCRETE = ("plug_in", "miller_madow", "ross")  # undefined without ties
pytestmark = pytest.mark.usefixtures("unmoved_global_state")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def paired(num_datasets: int, num_points: int, dim: int, rho: float, df: float = math.inf, seed: int = 0) -> Tensor:
    """Student-t (normal at infinite df) with x_i and y_i correlated by rho, (B, 2 dim, N)."""
    sample = torch.randn(num_datasets, 2 * dim, num_points, generator=generator(seed), dtype=torch.float64)
    sample[:, dim:] = rho * sample[:, :dim] + math.sqrt(1 - rho**2) * sample[:, dim:]
    if math.isfinite(df):
        shape = torch.full((num_datasets, 1, num_points), df / 2, dtype=torch.float64)
        sample = sample * (2 * torch._standard_gamma(shape, generator=generator(seed + 1)) / df).rsqrt()
    return sample


def expanded_covariance(scores: Tensor, dim_x: int) -> Tensor:
    """Of scores and their squares, X's first, (B, D, N) -> (B, 2D, 2D)."""
    sides = [part for side in (scores[:, :dim_x], scores[:, dim_x:]) for part in (side, side**2 - 1)]
    functions = torch.cat(sides, dim=1)
    return functions @ functions.mT / scores.shape[-1]


def panel_of(sample: Tensor, dim_x: int) -> Panel:
    """The panel of (B, D, N) data, all pairs of points in the Kendall correlation."""
    ranks = double_ranks(sample)
    scores = gaussian_scores(ranks)
    correlation = scores @ scores.mT / scores.shape[-1]
    order = torch.arange(sample.shape[-1]).expand(len(sample), -1)
    kendall = kendall_correlation(scores, order, 40)
    return base_panel(scores, ranks, correlation, kendall, expanded_covariance(scores, dim_x), dim_x)


def candidate(panel: Panel, name: str) -> Tensor:
    index = CANDIDATES.index(name)
    assert panel.mask[:, index].all(), f"{name} is undefined"
    return panel.candidates[:, index]


def information(rho: float) -> float:
    return -0.5 * math.log(1 - rho**2)


def test_student_t_excess() -> None:
    df = torch.tensor([1.0, 3.0, 1e5, math.inf])
    excess = student_t_excess(df, 2, 3)
    assert excess[0] > excess[1] > 0 and excess[2] < 1e-3 and excess[3] == 0
    # Bivariate Cauchy: log(8 pi) - 3 = 0.2242 nats beyond the Gaussian part (Arellano-Valle et al. 2013)
    assert float(student_t_excess(torch.tensor([1.0]), 1, 1)) == pytest.approx(math.log(8 * math.pi) - 3, abs=1e-9)


class TestCandidates:
    def test_gaussian_at_every_ridge(self) -> None:
        sample = paired(4, 60, 2, 0.7)
        panel = panel_of(sample, 2)
        scores = gaussian_scores(double_ranks(sample))
        for ridge in RIDGES:
            matrix = scores @ scores.mT / 60 + ridge * torch.eye(4, dtype=torch.float64)
            logs = [torch.logdet(block) for block in (matrix[:, :2, :2], matrix[:, 2:, 2:], matrix)]
            expected = 0.5 * (logs[0] + logs[1] - logs[2])
            found = candidate(panel, f"gaussian_ridge_{ridge:g}")
            torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
            debiased = candidate(panel, f"gaussian_ridge_{ridge:g}_debiased")
            torch.testing.assert_close(
                debiased, (expected - gaussian_bias(60, 2, 2)).clamp(min=0), rtol=1e-9, atol=1e-9
            )

    @pytest.mark.parametrize(
        "name",
        [
            "gaussian_ridge_0",
            "gaussian_ridge_0_debiased",
            "kendall",
            "kendall_debiased",
            "best_match",
            "best_match_thresholded",
            "best_match_kendall",
            "mutual_best",
            "all_pairs_debiased",
        ],
    )
    @pytest.mark.parametrize("rho", [0.3, 0.8])
    def test_normal_pairs(self, name: str, rho: float) -> None:
        panel = panel_of(paired(8, 4000, 3, rho), 3)
        assert float(candidate(panel, name).mean()) == pytest.approx(3 * information(rho), abs=0.05)

    @pytest.mark.parametrize("name", ["student_t", "student_t_debiased", "gaussian_plus_excess_debiased"])
    @pytest.mark.parametrize("df", [2.0, 8.0, math.inf])
    def test_student_pairs(self, name: str, df: float) -> None:
        panel = panel_of(paired(8, 4000, 2, 0.5, df), 2)
        truth = 2 * information(0.5) + float(student_t_excess(torch.tensor([df]), 2, 2))
        tolerance = 0.12 if name.startswith("gaussian") else 0.05  # the score correlation is not a t's dispersion
        assert float(candidate(panel, name).mean()) == pytest.approx(truth, abs=tolerance)

    @pytest.mark.parametrize("dim", [1, 2])
    def test_nearest_neighbours(self, dim: int) -> None:
        panel = panel_of(paired(8, 500, dim, 0.6), dim)
        assert float(candidate(panel, "ksg").mean()) == pytest.approx(dim * information(0.6), abs=0.06)

    def test_radial_reads_a_common_radius(self) -> None:
        common = panel_of(paired(8, 2000, 3, 0.0, df=2.0), 3)
        apart = panel_of(paired(8, 2000, 3, 0.0), 3)
        assert candidate(common, "radial").min() > 0.1 > 0.01 > candidate(apart, "radial").max()
        expected = -0.5 * torch.log1p(-common.radial.square())
        torch.testing.assert_close(candidate(common, "radial"), expected)
        assert common.radii_x.shape == common.radii_y.shape == (8, 2000)
        assert float(common.radii_x.mean()) == pytest.approx(1, abs=0.05)

    def test_independent_sides(self) -> None:
        panel = panel_of(paired(16, 1000, 3, 0.0), 3)
        assert torch.equal(candidate(panel, "zero"), torch.zeros(16, dtype=torch.float64))
        for name in ("gaussian_ridge_0_debiased", "kendall_debiased", "student_t_debiased", "best_match_thresholded"):
            assert float(candidate(panel, name).mean()) < 0.02, name

    def test_no_candidate_is_negative_or_infinite(self) -> None:
        panel = panel_of(paired(8, 10, 2, 0.9999), 2)
        assert panel.candidates.isfinite().all() and (panel.candidates >= 0).all() and (panel.candidates <= 100).all()
        assert torch.equal(panel.candidates[~panel.mask], torch.zeros(int((~panel.mask).sum()), dtype=torch.float64))


class TestMask:
    def defined(self, num_points: int, dim: int) -> dict[str, bool]:
        mask = panel_of(paired(4, num_points, dim, 0.3), dim).mask
        assert (mask == mask[:1]).all()
        return dict(zip(CANDIDATES, mask[0].tolist(), strict=True))

    @pytest.mark.parametrize(("num_points", "dim"), [(6, 4), (8, 4), (10, 20)])
    def test_fewer_points_than_dims(self, num_points: int, dim: int) -> None:
        undefined = {name for name, there in self.defined(num_points, dim).items() if not there}
        assert undefined == {
            *DISCRETE,
            "ksg",
            "gaussian_ridge_0",
            *(f"gaussian_ridge_{ridge:g}_debiased" for ridge in RIDGES),
            "kendall_debiased",
            "student_t_debiased",
            "gaussian_plus_excess_debiased",
            *EXPANSION_CANDIDATES,
        }

    @pytest.mark.parametrize(("num_points", "dim"), [(30, 1), (42, KSG_MAX_DIM // 2), (62, 10)])
    def test_enough_points(self, num_points: int, dim: int) -> None:
        defined = self.defined(num_points, dim)
        longer = EXPANSION_CANDIDATES[2:] if dim == 10 else ()
        assert all(there for name, there in defined.items() if name not in {"ksg", *DISCRETE, *longer})
        assert defined["ksg"] == (2 * dim <= KSG_MAX_DIM)

    def test_equal_columns_leave_no_ridge_0(self) -> None:
        sample = paired(4, 50, 1, 0.5)
        panel = panel_of(torch.cat([sample, sample[:, :1]], dim=1), 2)
        assert not panel.mask[:, CANDIDATES.index("gaussian_ridge_0")].any()
        assert panel.mask[:, CANDIDATES.index("gaussian_ridge_0.02")].all()


def test_shrinkage_that_is_differentiated_is_the_one_that_is_not() -> None:
    """Copied columns, whose robust correlation has no factor: gradients are finite."""
    correlation = torch.eye(4, dtype=torch.float64).repeat(3, 1, 1)
    robust = correlation.clone()
    robust[1, 0, 1] = robust[1, 1, 0] = 1.0
    robust[2] = 0.9 - 1.8 * torch.eye(4).flip(0) + 1.0 * torch.eye(4)
    robust[2] = (robust[2] + robust[2].mT) / 2
    moving = robust.clone().requires_grad_()
    plain, found = _shrink_to_positive(robust, correlation), _shrink_to_positive(moving, correlation)
    assert not torch.equal(plain[0][1], robust[1]) and torch.equal(plain[0][0], robust[0])
    for one, other in zip(plain, found, strict=True):
        torch.testing.assert_close(one, other.detach(), atol=1e-12, rtol=1e-12)
    sum(part.sum() for part in found).backward()
    assert moving.grad is not None and torch.isfinite(moving.grad).all()


class TestDegreesOfFreedom:
    @pytest.mark.parametrize("df", DF_GRID)
    def test_posterior_finds_those_of_a_t_copula(self, df: float) -> None:
        weights = panel_of(paired(4, 4000, 3, 0.5, df), 3).df_weights
        assert weights.shape == (4, len(DF_GRID))
        torch.testing.assert_close(weights.sum(-1), torch.ones(4, dtype=torch.float64))
        assert (weights.argmax(-1) == DF_GRID.index(df)).all()

    def test_marginals_do_not_matter(self) -> None:
        sample = paired(4, 500, 2, 0.5, 4.0)
        assert torch.equal(panel_of(sample.sinh(), 2).df_weights, panel_of(sample, 2).df_weights)

    def test_of_scores_that_move_it_is_that_of_their_ranks(self) -> None:
        """One candidate of a copula for another: scores are moved to those of a heavier tail."""
        samples = [paired(4, 400, 2, 0.5, df, seed=3) for df in (16.0, 3.0)]
        ranks = [double_ranks(sample) for sample in samples]
        scores = [gaussian_scores(rank) for rank in ranks]
        correlation = scores[0] @ scores[0].mT / 400
        inverse = torch.linalg.inv(torch.linalg.cholesky(correlation))
        for rank, score in zip(ranks, scores, strict=True):
            moving = score.clone().requires_grad_()
            found = _df_posterior(ranks[0], inverse, moving)  # the first one's ranks are not read
            torch.testing.assert_close(found.detach(), _df_posterior(rank, inverse), atol=1e-4, rtol=0)
            found[:, 1].log().sum().backward()
            assert moving.grad is not None and torch.isfinite(moving.grad).all() and moving.grad.any()

    def test_few_points_leave_it_open(self) -> None:
        assert panel_of(paired(8, 6, 1, 0.5), 1).df_weights.max() < 0.9


@pytest.mark.parametrize("dim", [1, 3])
@pytest.mark.parametrize("num_points", [4, 30])
@pytest.mark.parametrize("kind", ["duplicates", "binary", "copy", "constant"])
def test_finite_whatever_the_ties(kind: str, num_points: int, dim: int) -> None:
    sample = paired(6, num_points, dim, 0.5)
    if kind == "duplicates":
        sample[..., num_points // 2 :] = sample[..., : num_points - num_points // 2]
    if kind == "binary":
        sample = (sample > sample.median(-1, keepdim=True).values).double()
    if kind == "copy":
        sample[:, dim:] = sample[:, :dim]
    if kind == "constant":
        sample[:, 0] = 1.0
    panel = panel_of(sample, dim)
    for values in (panel.candidates, panel.df_weights, panel.radial, panel.radii_x, panel.radii_y):
        assert values.isfinite().all()
    assert panel.mask[:, 0].all()
