"""Joints with ties: labels against other packages' sums, quadrature anew and plug-in estimates from large samples."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from sklearn.metrics import mutual_info_score

from data_gen import Joint, Streams
from data_gen.discrete import (
    Classes,
    Contingency,
    CutNormal,
    GammaPoisson,
    ZeroInflated,
    contingency_mutual_information,
    normal_cell_probabilities,
)


def law(*shape, seed=0):
    table = torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) ** 2 + 0.01
    return table / table.sum((-2, -1), keepdim=True)


def plug_in(x, y, bins=None):
    """MI of a sample in nats by counting, a continuous side cut at `bins` quantiles."""
    sides = []
    for side in (x, y):
        values = side.numpy().astype(float)
        if bins is not None and len(np.unique(values)) > 50:
            values = np.digitize(values, np.quantile(values, np.linspace(0, 1, bins + 1)[1:-1]))
        sides.append(values)
    return mutual_info_score(*sides)


class TestContingency:
    def test_label_against_entropies(self):
        table = law(4, 3).numpy()
        entropy = [stats.entropy(p) for p in (table.sum(1), table.sum(0), table.ravel())]
        label = contingency_mutual_information(torch.from_numpy(table)).item()
        assert label == pytest.approx(entropy[0] + entropy[1] - entropy[2], abs=1e-12)

    def test_independent_and_equal_variables(self):
        p = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
        assert contingency_mutual_information(p.unsqueeze(-1) * p).item() < 1e-15
        assert contingency_mutual_information(torch.diag(p)).item() == pytest.approx(stats.entropy(p.numpy()))

    def test_draws_follow_the_table(self):
        table = law(2, 3, 4, 5)
        joint = Contingency(table, 3, 2)
        assert isinstance(joint, Joint)
        torch.testing.assert_close(joint.mutual_information, contingency_mutual_information(table)[:, :2].sum(-1))
        x, y = joint.sample(40_000, Streams([0, 1]))
        assert x.shape == (2, 40_000, 3) and y.shape == (2, 40_000, 2) and x.dtype == torch.float32
        for i in range(2):
            counts = np.histogram2d(x[1, :, i], y[1, :, i], bins=[np.arange(5) - 0.5, np.arange(6) - 0.5])[0]
            assert stats.chisquare(counts.ravel(), 40_000 * table[1, i].numpy().ravel()).pvalue > 1e-3
        assert plug_in(x[0, :, 2], y[0, :, 0]) < 1e-3  # the third X has lost its partner


class TestCutNormal:
    def test_cells_against_scipy(self):
        cuts_x, cuts_y = torch.tensor([-1.2, 0.3, 0.9]).double(), torch.tensor([-0.4, 1.5]).double()
        for rho in (-0.95, -0.2, 0.0, 0.6, 0.98):
            cells = normal_cell_probabilities(torch.tensor(rho), cuts_x, cuts_y)
            normal = stats.multivariate_normal([0, 0], [[1, rho], [rho, 1]])
            below = np.array([[normal.cdf([a, b]) for b in [*cuts_y.tolist(), 9]] for a in [*cuts_x.tolist(), 9]])
            expected = np.diff(np.diff(np.pad(below, ((1, 0), (1, 0))), axis=0), axis=1)
            np.testing.assert_allclose(cells, expected, atol=2e-6)

    @pytest.mark.parametrize("rho", [0.3, -0.9, 0.98])
    def test_one_side_cut_against_adaptive_quadrature(self, rho):
        cuts = [-0.8, 0.4, 0.45, 2.0]
        edges = [-math.inf, *cuts, math.inf]

        def conditional_entropy(y):
            at = [stats.norm.cdf((edge - rho * y) / math.sqrt(1 - rho**2)) for edge in edges]
            return stats.norm.pdf(y) * stats.entropy(np.diff(at).clip(1e-300))

        corners = [cut / rho for cut in cuts if abs(cut / rho) < 9]
        inside = integrate.quad(conditional_entropy, -9, 9, points=corners, limit=400, epsabs=1e-10)[0]
        expected = stats.entropy(np.diff(stats.norm.cdf(edges))) - inside
        joint = CutNormal(torch.tensor([[rho]]).double(), torch.tensor([[cuts]]).double(), None, 1, 1)
        assert joint.mutual_information.item() == pytest.approx(expected, abs=2e-5)

    @pytest.mark.parametrize("both", [True, False])
    def test_label_against_counting(self, both):
        rho = torch.tensor([[0.8, -0.5]]).double()
        cuts = torch.tensor([[[-0.7, 0.2, 1.1], [-1.5, -0.1, 0.6]]]).double()
        joint = CutNormal(rho, cuts, cuts[..., :2] if both else None, 2, 2)
        x, y = joint.sample(60_000, Streams([0]))
        found = sum(plug_in(x[0, :, i], y[0, :, i], bins=60) for i in range(2))
        assert found == pytest.approx(joint.mutual_information.item(), abs=0.015)

    def test_cutting_loses_information(self):
        rho, cuts = torch.tensor([[0.9]]).double(), torch.tensor([[[-0.5, 0.5]]]).double()
        one, both = (CutNormal(rho, cuts, c, 1, 1).mutual_information.item() for c in (None, cuts))
        assert both < one < -0.5 * math.log(1 - 0.81)

    def test_too_sharp(self):
        with pytest.raises(ValueError, match=r"got correlations up to 0.99, expected at most 0.98"):
            CutNormal(torch.tensor([[-0.99]]).double(), torch.ones(1, 1, 1), None, 1, 1)


class TestClasses:
    share, mean = torch.tensor([[[0.5, 0.3, 0.2]], [[0.0, 1.5, -6.0]]], dtype=torch.float64).split(1)
    scale = torch.tensor([[[1.0, 0.4, 1.6]]], dtype=torch.float64)

    def test_label_against_adaptive_quadrature(self):
        laws = [stats.norm(m, s) for m, s in zip(self.mean.flatten().tolist(), self.scale.flatten().tolist())]
        share = self.share.flatten().tolist()

        def negative(y):
            density = sum(p * one.pdf(y) for p, one in zip(share, laws))
            return -density * math.log(density) if density > 0 else 0.0

        entropy = integrate.quad(negative, -18, 8, points=[-6, -3, 0, 1.5], limit=400, epsabs=1e-10)[0]
        expected = entropy - sum(p * one.entropy() for p, one in zip(share, laws))
        joint = Classes(self.share, self.mean, self.scale, 1, 1)
        assert joint.mutual_information.item() == pytest.approx(expected, abs=1e-6)

    def test_limits(self):
        far = Classes(self.share, 40 * self.mean + 1, torch.ones(1, 1, 3), 1, 1).mutual_information.item()
        assert far == pytest.approx(stats.entropy([0.5, 0.3, 0.2]), abs=1e-9)
        same = Classes(self.share, torch.zeros(1, 1, 3), torch.ones(1, 1, 3), 1, 1).mutual_information.item()
        assert same == pytest.approx(0, abs=1e-12)

    @pytest.mark.parametrize("swap", [False, True])
    def test_draws(self, swap):
        joint = Classes(self.share, self.mean, self.scale, 1, 1, swap=swap)
        x, y = joint.sample(60_000, Streams([0]))
        level, value = (y, x) if swap else (x, y)
        for k in range(3):
            inside = value[level == k]
            assert len(inside) / 60_000 == pytest.approx(self.share[0, 0, k].item(), abs=0.01)
            cdf = stats.norm(self.mean[0, 0, k].item(), self.scale[0, 0, k].item()).cdf
            assert stats.kstest(inside, cdf).pvalue > 1e-3
        assert plug_in(x[0, :, 0], y[0, :, 0], bins=80) == pytest.approx(joint.mutual_information.item(), abs=0.015)


class TestGammaPoisson:
    @pytest.mark.parametrize(("shape", "exposure"), [(0.6, 0.5), (2.0, 3.0), (5.0, 10.0)])
    def test_label_against_quadrature_over_the_rate(self, shape, exposure):
        """H(X) - E H(Poisson(exposure·Y)), the entropies by summing scipy's laws."""
        counts = np.arange(1500)
        overall = stats.entropy(stats.nbinom(shape, 1 / (1 + exposure)).pmf(counts))
        levels, weights = np.polynomial.legendre.leggauss(200)
        rates = stats.gamma(shape).ppf((levels + 1) / 2)
        given = np.array([stats.entropy(stats.poisson(exposure * rate).pmf(counts)) for rate in rates])
        joint = GammaPoisson(torch.tensor([[shape]]), torch.tensor([[exposure]]), 1, 1)
        assert joint.mutual_information.item() == pytest.approx(overall - given @ weights / 2, abs=1e-4)

    def test_draws(self):
        shape, exposure = torch.tensor([[2.0, 0.7]]), torch.tensor([[3.0, 9.0]])
        x, y = GammaPoisson(shape, exposure, 2, 2).sample(20_000, Streams([0]))
        assert (x == x.round()).all() and not (y == y.round()).any()
        for i in range(2):
            assert stats.kstest(y[0, :, i], stats.gamma(shape[0, i].item()).cdf).pvalue > 1e-3
            z = (x[0, :, i] - exposure[0, i] * y[0, :, i]) / (exposure[0, i] * y[0, :, i]).sqrt()
            assert z.mean().abs() < 0.03 and abs(z.var() - 1) < 0.1
        swapped = GammaPoisson(shape, exposure, 2, 2, swap=True).sample(50, Streams([0]))
        assert (swapped[1] == swapped[1].round()).all()

    def test_too_many_counts(self):
        with pytest.raises(ValueError, match="lower the exposure"):
            _ = GammaPoisson(torch.tensor([[9.0]]), torch.tensor([[900.0]]), 1, 1).mutual_information


class TestZeroInflated:
    rho, table = torch.tensor([[0.8]]).double(), torch.tensor([[[[0.3, 0.1], [0.1, 0.5]]]]).double()

    def test_label_against_counting(self):
        """Zeros in a cell of their own, the rest cut at quantiles: the chain rule is not used."""
        joint = ZeroInflated(self.rho, self.table, 1, 1)
        x, y = (side[0, :, 0] for side in joint.sample(100_000, Streams([0])))
        cells = [np.digitize(v, np.quantile(v[v > 0], np.linspace(0, 1, 41)[:-1])) for v in (x.numpy(), y.numpy())]
        assert (x == 0).float().mean() == pytest.approx(0.4, abs=0.01)
        assert mutual_info_score(*cells) == pytest.approx(joint.mutual_information.item(), abs=0.02)

    def test_pieces(self):
        alone = contingency_mutual_information(self.table).item()
        independent = ZeroInflated(torch.zeros(1, 1), self.table, 1, 1).mutual_information.item()
        assert independent == pytest.approx(alone)
        full = torch.tensor([[[[0.0, 0.0], [0.0, 1.0]]]])
        assert ZeroInflated(self.rho, full, 1, 1).mutual_information.item() == pytest.approx(-0.5 * math.log(0.36))


@pytest.mark.parametrize("swap", [False, True])
def test_a_data_set_depends_on_its_own_seed(swap):
    share, shape = torch.full((2, 3, 2), 0.5), torch.full((2, 3), 2.0)
    for joint in (
        Classes(share, share.cumsum(-1), torch.ones(2, 3, 2), 3, 2, swap=swap),
        GammaPoisson(shape, shape, 3, 2, swap=swap),
    ):
        whole, part = joint.sample(20, Streams([5, 6])), joint.sample(20, Streams([5, 7]))
        assert all(torch.equal(a[0], b[0]) and not torch.equal(a[1], b[1]) for a, b in zip(whole, part))
