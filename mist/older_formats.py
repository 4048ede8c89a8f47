"""Checkpoints of earlier formats, read as ones of today that predict the same."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mist.panel import CANDIDATES
from mist.pooling import POWER

__all__ = ["FORMAT_VERSION", "migrate_config", "widen"]

# 2: candidates for discrete and mixed pairs; 3: calibration and novelty; 4: candidates of expansions, and how far each
# is from the elliptical one; 5: fine-tuned ones; 6: candidates of longer expansions, several members;
# 7: tails in the calibration, members that count by the square of their widths
FORMAT_VERSION = 7
_UNKNOWN = -30.0  # logit of a candidate that came after the weights: e⁻³⁰ of it vanishes in float32

_PARTS = ("points.", "embed_summary.", "coordinates.", "head.")  # of the one network before there were members
_SUMMARY_WEIGHT, _LOGIT_WEIGHT, _LOGIT_BIAS = "embed_summary.0.weight", "head.weights.weight", "head.weights.bias"
_ALONE = "members.0."
_WITHOUT_DISTANCES, _WITH_DISTANCES = 24, 26  # candidates of formats 2 and 3, and of 4 and 5
_FIRST = 6  # columns of the summary, shape and floor, before those of the candidates


def migrate_config(config: Any) -> Any:
    """config.json of an earlier format with the keys of today, as far as it is one: format 2 is format 3 without a
    calibration; the later ones have its keys, but for tails of the calibration (`mist.calibration`) and the power of
    pools, which was 1. Early ones of format 5 may name `dequantise`, which is no feature any more where it is off."""
    if isinstance(config, dict) and config.get("format_version") == 2 and "calibration" not in config:
        config = {**config, "format_version": 3, "calibration": {}}
    if isinstance(config, dict) and config.get("format_version") in range(3, FORMAT_VERSION):
        config = {**config, "format_version": FORMAT_VERSION}
        network = config.get("network")
        if isinstance(network, dict) and "num_members" in network:
            config = {**config, "network": {**network, "pool_power": 1 if network["num_members"] != 1 else POWER}}
    match config:
        case {"network": {"features": {"dequantise": False, **features}, **network}}:
            config = {**config, "network": {**network, "features": features}}
    return config


def widen(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of an earlier format: those of one network, before there were members, as the only member's, widened for
    the inputs that came later. They read none of these and give their candidates no weight, so that predictions stay
    what they were, as long as no training from them lets the new ones in."""
    if any(name.startswith(_PARTS) for name in state):
        state = {f"{_ALONE}{name}" if name.startswith(_PARTS) else name: value for name, value in state.items()}
        state["trust"] = torch.zeros(1)
    names = [_ALONE + name for name in (_SUMMARY_WEIGHT, _LOGIT_WEIGHT, _LOGIT_BIAS)]
    weight, logits, bias = (state.get(name) for name in names)
    if weight is None or logits is None or bias is None or len(logits) not in (_WITHOUT_DISTANCES, _WITH_DISTANCES):
        return state
    before = len(logits)
    missing = len(CANDIDATES) - before
    end = _FIRST + before
    new, distances = (
        weight.new_zeros(len(weight), count)
        for count in (missing, len(CANDIDATES) if before == _WITHOUT_DISTANCES else missing)
    )
    return {
        **state,
        names[0]: torch.cat([weight[:, :end], new, weight[:, end:], distances], dim=-1),
        names[1]: torch.cat([logits, logits.new_zeros(missing, logits.shape[-1])]),
        names[2]: torch.cat([bias, bias.new_full((missing,), _UNKNOWN)]),
    }
