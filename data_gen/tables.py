"""Labels that need quadrature: tabulated once over a parameter, then interpolated in microseconds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.polynomial import Chebyshev
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Array", "Table", "gauss_legendre"]

Array = NDArray[np.float64]


class Table:
    """A function of one parameter on [low, high], interpolated at Chebyshev points (Trefethen 2013, ch. 5).

    `function` maps (P,) parameters to (P,) values; it is called once, here, at degree + 1 points.
    """

    def __init__(self, function: Callable[[Array], Array], low: float, high: float, degree: int) -> None:
        self.low = low
        self.high = high
        self.series = Chebyshev.interpolate(function, degree, domain=[low, high])

    def __call__(self, parameter: Tensor) -> Tensor:
        """Interpolated values of any shape, float64; ValueError outside [low, high]."""
        values = parameter.double().numpy()
        slack = 1e-9 * (self.high - self.low)
        if values.size and not (self.low - slack <= values.min() and values.max() <= self.high + slack):
            raise ValueError(
                f"got parameters from {values.min():.6g} to {values.max():.6g}, expected them on the table's "
                f"[{self.low:.6g}, {self.high:.6g}]"
            )
        return torch.from_numpy(np.asarray(self.series(values)))


def gauss_legendre(breaks: Array, order: int) -> tuple[Array, Array]:
    """Nodes and weights of the composite rule over sorted breakpoints: (..., P + 1) -> (..., P · order) each."""
    nodes, weights = np.polynomial.legendre.leggauss(order)
    half = np.diff(breaks, axis=-1)[..., None] / 2
    middle = (breaks[..., 1:] + breaks[..., :-1])[..., None] / 2
    shape = (*breaks.shape[:-1], -1)
    return (middle + half * nodes).reshape(shape), (half * weights).reshape(shape)
