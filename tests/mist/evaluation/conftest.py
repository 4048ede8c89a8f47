"""A network that knows a law: quantiles of a normal around what a function of the sample says."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import stats


class NormalNetwork(torch.nn.Module):
    """Answers the quantiles of N(centre(x, y), spread²), cut at 0 nats."""

    def __init__(self, centre, spread=0.1, num_levels=50):
        super().__init__()
        self.centre, self.spread = centre, spread
        self.config = SimpleNamespace(levels=tuple((i + 0.5) / num_levels for i in range(num_levels)))
        self.batches = []

    def forward(self, x, y):
        assert not torch.is_grad_enabled() and not self.training
        self.batches.append(tuple(x.shape))
        offsets = self.spread * stats.norm.ppf(self.config.levels)
        return torch.tensor(np.stack([np.maximum(0, self.centre(a, b) + offsets) for a, b in zip(x, y, strict=True)]))


@pytest.fixture
def normal_network():
    return NormalNetwork
