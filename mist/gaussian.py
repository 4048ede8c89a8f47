"""MI of Gaussian sides from their correlations, and the bias of that from a sample.

Shapes: B data sets, Dx and Dy coordinates, D = Dx + Dy. Matrices are float64.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

__all__ = ["factor_information", "gaussian_bias", "gaussian_information"]

_SINGULAR = 3e-7  # standard deviation of a coordinate given others (unit variance) that rounding can make up


@lru_cache(maxsize=4096)
def gaussian_bias(num_points: int, dim_x: int, dim_y: int) -> float:
    """Bias of the plug-in Gaussian MI, nats: ½[S(dx) + S(dy) - S(dx+dy)], S(p) = Σ_{i=1..p} ψ((n-i)/2).

    From the law of log|Σ̂| (Wishart; Misra, Singh & Demchuk 2005). Exact for Gaussian data, no ridge and n > dx + dy;
    ValueError otherwise.
    """
    if num_points <= dim_x + dim_y:
        raise ValueError(f"got {num_points} points in {dim_x} + {dim_y} dims, expected more points than dims")

    def s(p: int) -> float:
        i = torch.arange(1, p + 1, dtype=torch.float64)
        return float(torch.special.digamma((num_points - i) / 2).sum())

    return 0.5 * (s(dim_x) + s(dim_y) - s(dim_x + dim_y))


def factor_information(factor: Tensor, other: Tensor, dim_x: int) -> tuple[Tensor, Tensor]:
    """Gaussian MI from the Cholesky factors of the whole correlation, which begins with X's own, and of Y's; nats, and
    whether all are positive definite beyond rounding (..., D, D), (..., Dy, Dy) -> (...), (...)."""
    whole, of_y = (matrix.diagonal(dim1=-2, dim2=-1).clamp(min=1e-150) for matrix in (factor, other))
    value = of_y.log().sum(-1) - whole[..., dim_x:].log().sum(-1)
    return value, (whole.amin(-1) > _SINGULAR) & (of_y.amin(-1) > _SINGULAR) & value.isfinite()


def gaussian_information(correlation: Tensor, dim_x: int) -> tuple[Tensor, Tensor]:
    """Gaussian MI from the correlation of X's coordinates and Y's, nats, and whether it is positive definite beyond
    rounding, (..., D, D) -> (...), (...)."""
    if correlation.requires_grad:  # what is masked must not reach the gradient: a singular factor has none
        defined = gaussian_information(correlation.detach(), dim_x)[1]
        eye = torch.eye(correlation.shape[-1], dtype=correlation.dtype, device=correlation.device)
        safe = torch.where(defined[..., None, None], correlation, eye)
        factor = torch.linalg.cholesky_ex(safe)[0]
        other = torch.linalg.cholesky_ex(safe[..., dim_x:, dim_x:])[0]
        return factor_information(factor, other, dim_x)[0], defined
    factor, info = torch.linalg.cholesky_ex(correlation)
    other, info_other = torch.linalg.cholesky_ex(correlation[..., dim_x:, dim_x:])
    value, defined = factor_information(factor, other, dim_x)
    return value, defined & (info == 0) & (info_other == 0)
