"""One prediction from several networks': each counts for more the surer it is.

Shapes: M members, B data sets, Q levels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from mist.quantiles import OFFSET, interpolate_levels

__all__ = ["POWER", "pool_quantiles"]

POWER = 2  # of the width that a member's weight is divided by
_WIDTH_BETWEEN = 0.05, 0.95
_BELOW_ZERO = 1.0  # on the compressed scale: further below 0 nats than this counts as this


def pool_quantiles(
    members: Sequence[Tensor], levels: Tensor, trust: Tensor, least_width: Tensor, power: int = POWER
) -> Tensor:
    """Weighted mean of quantiles on the compressed scale, M of (B, Q) at levels (Q,) -> (B, Q), non-decreasing.

    A member's weight is e^trust, (M,), over a power of the width of its 90 % interval for the data set: the square
    errs least where errors are independent (Bates & Granger 1969). What of an interval lies below 0 nats does not
    count, but `least_width`, (B,), is added to every one: nobody is sure beyond all measure.
    Values further below 0 nats than a unit count as that, and have no gradient then. One member's are left alone.
    Means over one level at a time keep the shape of the members' laws, where their mixture would be wider than each
    (Ratcliff 1979).
    """
    if len(members) == 1:
        return members[0]
    zero = math.log(OFFSET)
    values = torch.stack(list(members))  # (M, B, Q)
    low, high = interpolate_levels(levels, values.clamp(min=zero), _WIDTH_BETWEEN).unbind(-1)
    logits = trust.unsqueeze(-1) - power * (high - low + least_width).log()
    return (logits.softmax(0).unsqueeze(-1) * values.clamp(min=zero - _BELOW_ZERO)).sum(0)
