"""The law of one side of a modality, learned from unlabelled samples: a normalizing flow of its rank scores.

The network reads ranks, so margins do not matter: what a flow has to learn is how the columns of a side go together.
Shapes: N samples, D columns.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from data_gen.flows import density_layers
from mist.scores import double_ranks, gaussian_scores
from mist.triangular import TriangularMap

__all__ = ["FlowFit", "SideFlow", "dequantised_scores", "fit_flow", "fit_triangular"]

Flow = TypeVar("Flow", "SideFlow", TriangularMap)

_LAYERS, _HIDDEN = 8, 64
_KEPT_ASIDE = 0.2  # of the samples, to stop by
_BATCH, _RATE, _CLIP = 128, 1e-3, 5.0  # of few samples; twice the batch and the rate of many
_WEIGHT_DECAYS = 1.0, 3.0  # the better one is taken, where samples are few; else the first
_TRIANGULAR_DECAYS = 0.1, 1.0, 3.0
_FEW_SAMPLES = 4000
_JITTER = 0.1  # noise on the scores in fitting (Bishop 1995), fading to none
_PATIENCE, _MOST_EPOCHS, _MOST_STEPS = 30, 300, 4000
_RIDGE = 1e-3
_CHECKED = 1000  # samples whose round trip is checked
_TOLERANCE = 1e-3  # of a round trip in float64, of the distance to the nearest neighbour


def dequantised_scores(columns: Tensor, generator: torch.Generator) -> Tensor:
    """Normal scores of the ranks of columns (N, D), equal values in a random order: within a step of a discrete column
    they are spread evenly (uniform dequantisation, Theis et al. 2016). (N, D) float32."""
    ranks = double_ranks(columns.T.contiguous()).double()
    noise = torch.rand(ranks.shape, generator=generator, dtype=torch.float64) - 0.5
    return gaussian_scores(double_ranks(ranks + noise)).T.float()


class SideFlow(nn.Module):
    """A bijection between N(0, I) and the scores of a side: affine couplings between rotations, which begin as the
    identity, then a linear map, which is all that a Gaussian side needs."""

    mean: Tensor
    root: Tensor
    rotations: Tensor

    def __init__(self, dim: int, seed: int = 0, num_layers: int = _LAYERS) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        num_layers = num_layers if dim > 1 else 0  # the scores of one column are normal
        self.dim = dim
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("root", torch.eye(dim))
        turns = torch.linalg.qr(torch.randn(num_layers, dim, dim, generator=generator, dtype=torch.float64)).Q
        self.register_buffer("rotations", turns.float())
        self.layers = density_layers(dim, num_layers, _HIDDEN, generator) if num_layers else nn.ModuleList()

    def standardise_by(self, scores: Tensor) -> None:
        """Take mean and covariance (with a small ridge) from scores (N, D)."""
        exact = scores.double()
        self.mean.copy_(exact.mean(0))
        covariance = torch.cov(exact.T).view(self.dim, self.dim)
        spectrum, vectors = torch.linalg.eigh(covariance + _RIDGE * torch.eye(self.dim, dtype=torch.float64))
        self.root.copy_((vectors * spectrum.sqrt()) @ vectors.T)

    def forward(self, base: Tensor) -> Tensor:
        """Points of N(0, I) to scores, the sampling direction; (..., D) -> (..., D)."""
        values = base.reshape(-1, self.dim)
        for layer, rotation in zip(self.layers, self.rotations, strict=True):
            values, _ = layer(values @ rotation)
        return (values @ self.root + self.mean).view(base.shape)

    def inverse(self, scores: Tensor) -> Tensor:
        """Scores to points of the base density, (..., D) -> (..., D)."""
        return self.normalise(scores)[0]

    def normalise(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Scores to points of the base density, and log |det| of the map, (..., D) -> (..., D), (...)."""
        values = torch.linalg.solve(self.root, (scores.reshape(-1, self.dim) - self.mean).T).T
        log_det = values.new_zeros(len(values)) - torch.linalg.slogdet(self.root)[1]
        for layer, rotation in reversed(list(zip(self.layers, self.rotations, strict=True))):
            values, more = layer.inverse(values)
            values, log_det = values @ rotation.T, log_det + more
        return values.view(scores.shape), log_det.view(scores.shape[:-1])

    def log_likelihood(self, scores: Tensor) -> Tensor:
        """Log density of scores, (..., D) -> (...)."""
        base, log_det = self.normalise(scores)
        return log_det - 0.5 * base.square().sum(-1) - 0.5 * self.dim * math.log(2 * math.pi)


@dataclass(frozen=True)
class FlowFit:
    """Mean log-likelihood, nats, of the samples that a flow was stopped by, under the Gaussian that it begins with and
    under the flow, and the epoch at which it was best; 0 where the Gaussian was."""

    gaussian: float
    flow: float
    epoch: int


def fit_flow(
    columns: Tensor, *, seed: int = 0, progress: Callable[[str], None] | None = None
) -> tuple[SideFlow, FlowFit]:
    """Fit the flow of a side to its columns (N, D) by maximum likelihood of their scores, stopped by a fifth of the
    samples kept aside.

    Ties are broken anew in every epoch. A flow that no epoch makes better than the Gaussian of the same covariance is
    that Gaussian. FloatingPointError where the flow found does not invert to a thousandth of the points' spacing.
    """
    return _fit_best(lambda: SideFlow(columns.shape[-1], seed=seed), _WEIGHT_DECAYS, columns, seed, progress)


def fit_triangular(
    columns: Tensor, *, seed: int = 0, progress: Callable[[str], None] | None = None
) -> tuple[TriangularMap, FlowFit]:
    """The triangular map of a side, fitted as its flow is."""
    return _fit_best(lambda: TriangularMap(columns.shape[-1], seed=seed), _TRIANGULAR_DECAYS, columns, seed, progress)


def _fit_best(
    make: Callable[[], Flow],
    weight_decays: Sequence[float],
    columns: Tensor,
    seed: int,
    progress: Callable[[str], None] | None,
) -> tuple[Flow, FlowFit]:
    generator = torch.Generator().manual_seed(seed)
    columns = columns[torch.randperm(len(columns), generator=generator)]
    num_aside = max(1, round(_KEPT_ASIDE * len(columns)))
    aside = dequantised_scores(columns, generator)[:num_aside]
    found: list[tuple[Flow, FlowFit]] = []
    for weight_decay in weight_decays if len(columns) < _FEW_SAMPLES else weight_decays[:1]:
        found.append(_fit(make(), columns, num_aside, aside, weight_decay, seed, progress))
        if columns.shape[-1] == 1:
            break
    flow, fit = max(found, key=lambda one: one[1].flow)
    flow.eval().requires_grad_(False)
    _check_exact(flow, aside[:_CHECKED])
    return flow, fit


def _fit(
    flow: Flow,
    columns: Tensor,
    num_aside: int,
    aside: Tensor,
    weight_decay: float,
    seed: int,
    progress: Callable[[str], None] | None,
) -> tuple[Flow, FlowFit]:
    """The flow at its best epoch; the first samples are those of `aside`."""
    generator = torch.Generator().manual_seed(seed)
    flow.standardise_by(dequantised_scores(columns, generator)[num_aside:])

    def held_out() -> float:
        with torch.no_grad():
            return float(flow.log_likelihood(aside).mean())

    best = gaussian = held_out()
    state, found_at = copy.deepcopy(flow.state_dict()), 0
    times = 1 if len(columns) < _FEW_SAMPLES else 2
    rate, batch_size = times * _RATE, times * _BATCH
    steps_per_epoch = math.ceil((len(columns) - num_aside) / batch_size)
    num_epochs = min(_MOST_EPOCHS, math.ceil(_MOST_STEPS / steps_per_epoch)) if flow.layers else 0
    optimizer = torch.optim.AdamW(flow.parameters(), lr=rate, weight_decay=weight_decay) if num_epochs else None
    for epoch in range(1, num_epochs + 1):
        assert optimizer is not None
        left = 1 - (epoch - 1) / num_epochs
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, 2 * left)
        fitted = dequantised_scores(columns, generator)[num_aside:]
        for batch in fitted[torch.randperm(len(fitted), generator=generator)].split(batch_size):
            optimizer.zero_grad()
            noisy = batch + left * _JITTER * torch.randn(batch.shape, generator=generator)
            loss = -flow.log_likelihood(noisy).mean()
            loss.backward()
            nn.utils.clip_grad_norm_(flow.parameters(), _CLIP)
            optimizer.step()
        found = held_out()
        if found > best:
            best, state, found_at = found, copy.deepcopy(flow.state_dict()), epoch
        if progress is not None:
            progress(f"epoch {epoch}, held-out log-likelihood {found:.2f}, best {best:.2f}")
        if epoch - found_at >= _PATIENCE:
            break
    flow.load_state_dict(state)
    return flow, FlowFit(gaussian, best, found_at)


def _check_exact(flow: SideFlow | TriangularMap, scores: Tensor) -> None:
    exact = copy.deepcopy(flow).double()
    base = exact.inverse(scores.double())
    error = torch.linalg.vector_norm(exact.inverse(exact(base)) - base, dim=-1)
    spacing = torch.cdist(base, base).fill_diagonal_(torch.inf).amin(-1)
    if not bool((error <= _TOLERANCE * spacing).all()):
        raise FloatingPointError(
            f"got a fitted flow whose inverse misses by up to {float((error / spacing).max()):.1g} of the distance "
            f"between samples, expected at most {_TOLERANCE:g}; give more samples, or drop columns that others decide"
        )
