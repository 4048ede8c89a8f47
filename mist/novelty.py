"""How unlike the training data a data set looks to the network: a warning that needs no truth.

Shapes: B or R data sets, W width of the head's trunk, K principal axes, T tabulated scores.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["LIMIT", "NUM_AXES", "Novelty"]

LIMIT = 0.99  # past which an estimate warns: by its meaning, one in a hundred, not fitted to any foreign data
NUM_AXES = 48
_NUM_SCORES = 200
_SMALLEST_TAIL = 1e-3  # finer shares than this of the reference data sets are not told apart


class Novelty(nn.Module):
    """The share of reference data sets, drawn from the training law, that look less unusual than a given one.

    The score is the squared Mahalanobis distance of the head's trunk along its principal axes plus that of what the
    axes leave, each relative to its mean (Lee et al. 2018 use the distance to tell foreign inputs by what a network's
    last layer makes of them). A table of the scores of data sets that neither the network nor the axes were fitted on
    turns it into a share, so that 0.99 is passed by one in a hundred data sets like those of training.

    What looks to the network like some other training data cannot be told: it sees no more than its summary.
    """

    mean: Tensor  # (W,)
    axes: Tensor  # (W, K) orthonormal principal axes
    scale: Tensor  # (K,) standard deviations along them
    left: Tensor  # () mean square of what they leave
    table: Tensor  # (T,) non-decreasing scores

    def __init__(self, width: int, num_axes: int = NUM_AXES, num_scores: int = _NUM_SCORES) -> None:
        super().__init__()
        for name, shape in (
            ("mean", (width,)),
            ("axes", (width, num_axes)),
            ("scale", (num_axes,)),
            ("left", ()),
            ("table", (num_scores,)),
        ):
            self.register_buffer(name, torch.zeros(shape))

    @classmethod
    def fit(cls, trunk: Tensor, kept_aside: Tensor, num_axes: int = NUM_AXES) -> Novelty:
        """Axes from the trunks of some data sets (R, W), the table from those of others (R', W)."""
        num_axes = min(num_axes, trunk.shape[-1] - 1)
        made = cls(trunk.shape[-1], num_axes)
        exact = trunk.double()
        made.mean.copy_(exact.mean(0))
        values, vectors = torch.linalg.eigh((exact - exact.mean(0)).mT.cov())
        made.axes.copy_(vectors[:, -num_axes:])
        made.scale.copy_(values[-num_axes:].clamp(min=1e-12).sqrt())
        made.left.copy_(values[:-num_axes].clamp(min=0).sum().clamp(min=1e-12))
        made.table.copy_(made.score(kept_aside.float()).double().quantile(_shares(_NUM_SCORES).double()))
        return made

    def score(self, trunk: Tensor) -> Tensor:
        """(B, W) -> (B,), about 1 for each of its two parts on average."""
        centred = trunk - self.mean
        along = centred @ self.axes
        rest = (centred.square().sum(-1) - along.square().sum(-1)).clamp(min=0)
        return (along / self.scale).square().mean(-1) + rest / self.left

    def forward(self, trunk: Tensor) -> Tensor:
        """(B, W) -> (B,) in [0, 1 - 1e-3], linear between the tabulated scores."""
        score = self.score(trunk)
        right = torch.searchsorted(self.table, score).clamp(1, len(self.table) - 1)
        below, above = self.table[right - 1], self.table[right]
        weight = ((score - below) / (above - below).clamp(min=1e-12)).clamp(0, 1)
        shares = _shares(len(self.table)).to(score)
        return shares[right - 1] + weight * (shares[right] - shares[right - 1])


def _shares(num_scores: int) -> Tensor:
    """Where the table is taken: from 0 to 1 - 1e-3, ever finer towards the tail."""
    return 1 - _SMALLEST_TAIL ** torch.linspace(0, 1, num_scores, dtype=torch.float64)
