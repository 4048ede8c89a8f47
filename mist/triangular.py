"""A map of one side's scores to N(0, I), component by component: a fine-tuned estimator reads a modality through it.

Shapes: N points, D columns; a batch of points may have any leading dimensions.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

__all__ = ["TriangularMap"]

_GIVEN = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48, 56)  # how many components a layer conditions on
_HIDDEN = 64
_LARGEST_LOG_SCALE = 2.0  # of a layer
_RIDGE = 1e-3


class _Conditional(nn.Module):
    """Moves and scales all components but the first `given` by what these are."""

    def __init__(self, dim: int, given: int, hidden: int) -> None:
        super().__init__()
        self.given = given
        self.net = nn.Sequential(
            nn.Linear(given, hidden),
            nn.SiLU(),
            nn.Linear(hidden, hidden),
            nn.SiLU(),
            nn.Linear(hidden, 2 * (dim - given)),
        )
        nn.init.zeros_(self.net[-1].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.net[-1].bias)  # type: ignore[arg-type]

    def _parts(self, values: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Components that are given and those that are not, and the shift and log scale of these."""
        given, rest = values[..., : self.given], values[..., self.given :]
        shift, scale = self.net(given).chunk(2, dim=-1)
        return given, rest, shift, _LARGEST_LOG_SCALE * torch.tanh(scale / _LARGEST_LOG_SCALE)

    def normalise(self, values: Tensor) -> tuple[Tensor, Tensor]:
        given, rest, shift, scale = self._parts(values)
        return torch.cat([given, (rest - shift) * (-scale).exp()], dim=-1), -scale.sum(-1)

    def forward(self, base: Tensor) -> Tensor:
        given, rest, shift, scale = self._parts(base)
        return torch.cat([given, rest * scale.exp() + shift], dim=-1)


class _Margins(nn.Module):
    """Skewness and tails of each component alone (the sinh-arcsinh transformation of Jones & Pewsey 2009)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(dim))
        self.log_scale = nn.Parameter(torch.zeros(dim))

    def normalise(self, values: Tensor) -> tuple[Tensor, Tensor]:
        moved = self.shift + self.log_scale.exp() * torch.asinh(values)
        log_cosh = moved.abs() + torch.log1p((-2 * moved.abs()).exp()) - math.log(2)
        return torch.sinh(moved), (log_cosh + self.log_scale - 0.5 * torch.log1p(values.square())).sum(-1)

    def forward(self, base: Tensor) -> Tensor:
        return torch.sinh((torch.asinh(base) - self.shift) * (-self.log_scale).exp())


class TriangularMap(nn.Module):
    """A bijection between N(0, I) and the scores of a side that makes each principal component of the scores normal
    given those of larger variance (after Rosenblatt 1952 and Knothe 1957), as far as shifts, scales and margins go.

    Any flow has a base density N(0, I), but which of its points belongs to a sample is left open by whatever maps
    N(0, I) to itself. Given the axes there is one triangular map, so that its base does not hang on how it was found;
    and small variation comes out of the way that large variation bends it. Scores of one column are normal, and need
    no layers; without layers (`hidden` 0) the map is that of a Gaussian.
    """

    mean: Tensor  # (D,)
    axes: Tensor  # (D, D) principal axes over their standard deviations
    back: Tensor  # (D, D) their inverse

    def __init__(self, dim: int, seed: int = 0, hidden: int = _HIDDEN) -> None:
        super().__init__()
        self.dim = dim
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("axes", torch.eye(dim))
        self.register_buffer("back", torch.eye(dim))
        with torch.random.fork_rng(devices=[]):  # layers draw from the global state
            torch.default_generator.manual_seed(seed)
            layers: list[nn.Module] = [
                _Conditional(dim, given, hidden) for given in _GIVEN[::-1] if given < dim and hidden
            ]
        self.layers = nn.ModuleList([*layers, _Margins(dim)] if layers else [])

    @classmethod
    def from_state(cls, state: dict[str, Tensor]) -> TriangularMap:
        """From its `state_dict`; RuntimeError or KeyError where that is of something else."""
        first = state.get("layers.0.net.0.bias")
        made = cls(state["mean"].numel(), hidden=0 if first is None else first.numel())
        made.load_state_dict(state, strict=True)
        return made.eval().requires_grad_(False)

    def standardise_by(self, scores: Tensor) -> None:
        """Take mean and principal axes (with a small ridge) from scores (N, D)."""
        exact = scores.double()
        self.mean.copy_(exact.mean(0))
        covariance = torch.cov(exact.T).view(self.dim, self.dim) + _RIDGE * torch.eye(self.dim, dtype=torch.float64)
        spectrum, vectors = torch.linalg.eigh(covariance)
        root, vectors = spectrum.flip(0).sqrt(), vectors.flip(1)
        vectors = vectors * vectors.sum(0).sign().where(vectors.sum(0) != 0, torch.ones(()).double())
        self.axes.copy_(vectors / root)
        self.back.copy_((vectors * root).T)

    def forward(self, base: Tensor) -> Tensor:
        """Points of N(0, I) to scores, (..., D) -> (..., D)."""
        values = base
        for layer in reversed(self.layers):
            values = layer(values)
        return values @ self.back + self.mean

    def inverse(self, scores: Tensor) -> Tensor:
        """Scores to points of N(0, I), (..., D) -> (..., D)."""
        return self.normalise(scores)[0]

    def normalise(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """Scores to points of N(0, I), and log |det| of the map, (..., D) -> (..., D), (...)."""
        values = (scores - self.mean) @ self.axes
        log_det = values.new_zeros(values.shape[:-1]) + torch.linalg.slogdet(self.axes)[1]
        for layer in self.layers:
            values, more = layer.normalise(values)  # type: ignore[operator]
            log_det = log_det + more
        return values, log_det

    def log_likelihood(self, scores: Tensor) -> Tensor:
        """Log density of scores, nats, (..., D) -> (...)."""
        base, log_det = self.normalise(scores)
        return log_det - 0.5 * base.square().sum(-1) - 0.5 * self.dim * math.log(2 * math.pi)
