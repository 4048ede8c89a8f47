"""Two-sample tests of how columns go together: of real samples against synthetic ones, on rank scores.

Shapes: N samples, D columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from scipy.stats import binomtest
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Similarity", "classifier_accuracy", "correlation_test", "similarity"]

_PERMUTATIONS = 199
_MOST_SAMPLES = 4000  # of each kind
_HIDDEN, _EPOCHS, _BATCH, _RATE, _WEIGHT_DECAY, _JITTER = 64, 60, 128, 2e-3, 0.1, 0.2


@dataclass(frozen=True)
class Similarity:
    """How far synthetic samples are from as many real ones.

    `correlation` is the root mean square difference of the correlations of two columns, `correlation_p` its p-value by
    permutation (1 for a single column); `accuracy` is that of a small classifier on samples that it was not trained
    on, 0.5 where they cannot be told apart, `accuracy_p` its p-value (one-sided binomial; Lopez-Paz & Oquab 2017).
    """

    correlation: float
    correlation_p: float
    accuracy: float
    accuracy_p: float
    num_samples: int  # of each kind


def similarity(real: Tensor, synthetic: Tensor, seed: int = 0) -> Similarity:
    """Both tests on scores of real and of synthetic samples, (N, D) each; as many of both are used, at most 4,000."""
    count = min(len(real), len(synthetic), _MOST_SAMPLES)
    generator = torch.Generator().manual_seed(seed)
    real, synthetic = (
        side[torch.randperm(len(side), generator=generator)[:count]].float() for side in (real, synthetic)
    )
    difference, p = correlation_test(real, synthetic, generator)
    accuracy, num_tested = classifier_accuracy(real, synthetic, generator)
    correct = round(accuracy * num_tested)
    return Similarity(
        difference, p, accuracy, float(binomtest(correct, num_tested, 0.5, alternative="greater").pvalue), count
    )


def correlation_test(real: Tensor, synthetic: Tensor, generator: torch.Generator) -> tuple[float, float]:
    """Root mean square difference of the correlations of two columns, and its p-value by permutation; (0, 1) for one
    column."""
    if real.shape[-1] == 1:
        return 0.0, 1.0
    pooled = torch.cat([real, synthetic])
    off_diagonal = ~torch.eye(real.shape[-1], dtype=torch.bool)

    def statistic(order: Tensor) -> float:
        first, second = (torch.corrcoef(pooled[part].T) for part in (order[: len(real)], order[len(real) :]))
        return float((first - second)[off_diagonal].square().mean().sqrt())

    found = statistic(torch.arange(len(pooled)))
    shuffled = [statistic(torch.randperm(len(pooled), generator=generator)) for _ in range(_PERMUTATIONS)]
    return found, (1 + sum(value >= found for value in shuffled)) / (1 + _PERMUTATIONS)


def classifier_accuracy(real: Tensor, synthetic: Tensor, generator: torch.Generator) -> tuple[float, int]:
    """Accuracy of a small network, trained on half of the samples, on the other half; and the size of that half."""
    points = torch.cat([real, synthetic])
    labels = torch.cat([torch.ones(len(real)), torch.zeros(len(synthetic))])
    order = torch.randperm(len(points), generator=generator)
    half = len(points) // 2
    train, test = order[:half], order[half:]
    with torch.random.fork_rng(devices=[]):  # layers draw from the global state
        torch.default_generator.manual_seed(int(torch.randint(1 << 31, (), generator=generator)))
        net = nn.Sequential(
            nn.Linear(points.shape[-1], _HIDDEN),
            nn.ReLU(),
            nn.Linear(_HIDDEN, _HIDDEN),
            nn.ReLU(),
            nn.Linear(_HIDDEN, 1),
        )
    optimizer = torch.optim.AdamW(net.parameters(), lr=_RATE, weight_decay=_WEIGHT_DECAY)
    for _ in range(_EPOCHS):
        for batch in train[torch.randperm(half, generator=generator)].split(_BATCH):
            noisy = points[batch] + _JITTER * torch.randn(points[batch].shape, generator=generator)
            optimizer.zero_grad()
            functional.binary_cross_entropy_with_logits(net(noisy).squeeze(-1), labels[batch]).backward()
            optimizer.step()
    with torch.no_grad():
        right = (net(points[test]).squeeze(-1) > 0) == (labels[test] > 0.5)
    return float(right.double().mean()), len(test)
