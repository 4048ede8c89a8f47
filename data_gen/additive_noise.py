"""Y = X + N, coordinate by coordinate, with uniform X and uniform noise."""

from __future__ import annotations

import torch
from torch import Tensor

from data_gen.streams import Streams

__all__ = ["UniformAdditiveNoise", "uniform_additive_noise_mutual_information"]


def uniform_additive_noise_mutual_information(epsilon: Tensor) -> Tensor:
    """MI in nats of X ~ U(0, 1) and X + N, N ~ U(-ε, ε). Czyż et al. (2023), Appendix (additive noise).

    h(X + N) of the trapezoidal sum less h(N) = log 2ε: ε - log 2ε where ε <= ½, else 1/(4ε).
    """
    epsilon = epsilon.double()
    return torch.where(epsilon <= 0.5, epsilon - torch.log(2 * epsilon), 1 / (4 * epsilon))


class UniformAdditiveNoise:
    """K independent pairs Y_i = X_i + N_i, X_i ~ U(0, 1), N_i ~ U(-ε_i, ε_i); further coordinates are U(0, 1) noise.

    `epsilon` is (B, K) with K <= min(Dx, Dy), positive.
    """

    def __init__(self, epsilon: Tensor, dim_x: int, dim_y: int) -> None:
        assert epsilon.shape[-1] <= min(dim_x, dim_y), "more pairs than coordinates"
        self.epsilon = epsilon.double()
        self.dim_x = dim_x
        self.dim_y = dim_y

    @property
    def mutual_information(self) -> Tensor:
        """True MI in nats, (B,) float64."""
        return uniform_additive_noise_mutual_information(self.epsilon).sum(-1)

    def sample(self, num_points: int, random: Streams) -> tuple[Tensor, Tensor]:
        """N points of each: x (B, N, Dx), y (B, N, Dy)."""
        x = random.uniform(num_points, self.dim_x, dtype=torch.float32)
        y = random.uniform(num_points, self.dim_y, dtype=torch.float32)  # becomes the noise of the first K
        pairs = self.epsilon.shape[-1]
        epsilon = self.epsilon.float().unsqueeze(-2)  # (B, 1, K)
        y[..., :pairs] = x[..., :pairs] + (2 * y[..., :pairs] - 1) * epsilon
        return x, y
