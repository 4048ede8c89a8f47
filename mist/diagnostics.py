"""What makes a side hard to read: nearly collinear columns and heavy ties."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mist.errors import Notice

__all__ = [
    "COLLINEARITY_LIMIT",
    "COLLINEARITY_MAX_POINTS",
    "TIES_LIMIT",
    "collinearity_warning",
    "condition_number",
    "tied_pairs",
    "ties_warning",
]

COLLINEARITY_LIMIT = 30.0  # condition number of the score correlation of one side
COLLINEARITY_MAX_POINTS = 2000  # past this many points such a side is read well enough
TIES_LIMIT = 0.05  # share of the pairs of points that tie in a column


def collinearity_warning(values: NDArray[np.float64], side: str) -> Notice | None:
    """A warning where columns of (n, d) nearly repeat each other at few points, else None.

    Sampling alone spreads the eigenvalues of n points in d independent columns by ((1+√γ)/(1-√γ))², γ = d/n
    (Marchenko & Pastur 1967), so the limit is scaled by that; with n < 2d nothing can be told.
    """
    num_points, dim = values.shape
    if dim < 2 or num_points > COLLINEARITY_MAX_POINTS or num_points < 2 * dim:
        return None
    root = np.sqrt(dim / num_points)
    spread = ((1 + root) / (1 - root)) ** 2
    condition = condition_number(values)
    if condition <= COLLINEARITY_LIMIT * spread:
        return None
    return Notice(
        f"columns of {side} are nearly collinear (condition number {condition:.3g} at n={num_points}): "
        "information that lies in their small differences is under-read; drop or combine near-copies, or add points",
        "collinear",
    )


def condition_number(values: NDArray[np.float64]) -> float:
    """Condition number of the correlation of the Gaussian rank scores of (n, d); infinite where singular."""
    from scipy.special import ndtri  # dear to import: when it is needed
    from scipy.stats import rankdata

    scores = ndtri((rankdata(values, axis=0) - 0.5) / len(values))
    spectrum = np.linalg.eigvalsh(np.corrcoef(scores, rowvar=False))
    return float(spectrum[-1] / spectrum[0]) if spectrum[0] > 1e-12 * spectrum[-1] else float("inf")


def ties_warning(values: NDArray[np.float64], names: Sequence[str]) -> Notice | None:
    """A warning that names the columns of (n, d) with heavy ties, else None."""
    shares = tied_pairs(values)
    heavy = [f"{name} ({share:.0%})" for name, share in zip(names, shares) if share > TIES_LIMIT]
    if not heavy:
        return None
    shown = ", ".join(heavy[:5]) + (f" and {len(heavy) - 5} more" if len(heavy) > 5 else "")
    return Notice(
        f"heavy ties (share of pairs of points that tie): {shown}; the estimate was made for continuous values", "ties"
    )


def tied_pairs(values: NDArray[np.float64]) -> NDArray[Any]:
    """Share of pairs of points that tie, per column of (n, d): (d,)."""
    num_points = len(values)
    shares = []
    for column in np.sort(values, axis=0).T:
        starts = np.flatnonzero(np.concatenate([[True], column[1:] != column[:-1]]))
        runs = np.diff(np.append(starts, num_points)).astype(np.float64)
        shares.append(float((runs * (runs - 1)).sum()) / (num_points * (num_points - 1)))
    return np.array(shares)
