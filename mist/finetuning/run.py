"""Fine-tuning for a modality: from unlabelled samples of X and Y to an estimator that knows what they look like."""

from __future__ import annotations

import copy
import math
import sys
import tempfile
import time
from dataclasses import replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import torch

from data_gen.lookalikes import LookAlikes, Mixture
from data_gen.meta_distribution import MetaDistribution
from data_gen.stream import EVALUATION_SEED, generate_batch
from mist.checkpoint import load_checkpoint, save_checkpoint
from mist.errors import InputError
from mist.evaluation.suites import core
from mist.finetuning.flow import dequantised_scores
from mist.finetuning.recalibration import recalibrate_locally
from mist.finetuning.report import FinetuneReport, as_read, before_and_after, lookalike_suite
from mist.finetuning.samples import read_samples
from mist.finetuning.sides import Side, fit_sides
from mist.finetuning.tuning import TuningConfig, tune
from mist.inference import Estimator
from mist.network import MISTNetwork
from mist.reduction import Reduction
from mist.training.sample import CALIBRATION_SEED
from mist.unwarping import Unwarping

__all__ = ["FinetunedEstimator", "finetune"]

_MOST_POINTS = 2000  # of a look-alike, unless told otherwise
_VAL_EVERY = 250  # steps
_CALIBRATION_BATCHES = 180, 240  # of 16 look-alikes, and of 8 data sets of the original law
_EVALUATION_DATASETS = 600, 1600  # look-alikes, and of the original law, whose errors differ more
_FIGURE_SAMPLES = 1000
_TRAINING_SEED = 1 << 39  # no stream of the parent's training
_SEEDS = 1 << 32


class FinetunedEstimator(Estimator):
    """An estimator fresh from fine-tuning, with the evidence; `save` it, and `mist.load` reads it as any other."""

    report: FinetuneReport


def finetune(
    estimator: Estimator,
    x_samples: Any,
    y_samples: Any,
    *,
    name: str = "finetuned",
    num_points: tuple[int, int] | None = None,
    max_steps: int = 600,
    learning_rate: float = 5e-4,
    head_only: bool = False,
    original_share: float = 0.5,
    max_columns: int | None = None,
    unwarp: bool = True,
    random_state: int = 0,
    progress: bool = True,
) -> FinetunedEstimator:
    """A new estimator for data like these samples, from the given one; with `.report`, the evidence.

    x_samples, y_samples: (n, d) or (n,), at least 100 and four for each column: unlabelled and not paired, numbers
        only; numpy, torch, pandas, polars or nested lists. Constant columns are dropped. Where columns are discrete, as
        counts or pixels are, ties are spread evenly within their step, which leaves MI unchanged; in prediction, too,
        by `estimate`, `estimate_many` and `independence_test` of sides that look like the samples.
    num_points: (low, high) of n to be good at, log-uniform; by default the number of samples, at most 2,000, and from a
        twentieth of it (at least 20).
    max_steps, learning_rate: of the loop; the best step by validation is taken.
    head_only: attention and embeddings stay as they are, the head alone learns.
    original_share: of batches from the law that the estimator was trained on, so that it is not forgotten. (Of one that
        was fine-tuned before, the law it began with; new maps take the place of those that it reads sides through.)
    max_columns: of a side with more columns than the estimator was trained on (64), as many leading principal
        components of the scores are read, in prediction too; None: an error says that there are too many.
    unwarp: a side whose law is not Gaussian is read, in prediction too, through a map of it to N(0, I), which brings
        out what large variation hides of small; MI is what it was. False, where single columns of X are known to go
        with single columns of Y: the map mixes columns.
    random_state: seed of everything, 0 to 2³² - 1; the same call gives the same estimator.
    progress: show what is going on.

    Flows and triangular maps learn the law of each side from half of the samples; joints with known MI whose sides are
    N(0, I) are pushed through these and so look like the samples; the estimator is trained and recalibrated on such
    joints. The report is about joints that were pushed through what was fitted to the other half.
    Raises an `InputError` subclass for samples and options that cannot be used.
    """
    widest = int(estimator.checkpoint.trained_range("dim_x")[1])
    _check_options(estimator, max_steps, learning_rate, original_share, max_columns, widest, random_state)
    samples = [
        read_samples(data, label, widest, max_columns, random_state)
        for label, data in (("x_samples", x_samples), ("y_samples", y_samples))
    ]
    dims = samples[0].dim, samples[1].dim
    points = _num_points(estimator, num_points, min(side.num_samples for side in samples), dims)
    clock = _Clock(progress)
    sides = fit_sides(samples, random_state, unwarp, clock.status if progress else None)
    for label, side in zip(("X", "Y"), sides, strict=True):
        clock.say(f"{label}: {side.report}")
    clock.lap("flows")
    original = MetaDistribution.from_dict(estimator.config["meta_distribution"])
    known, kept_aside = (_lookalikes(sides, half, points, original.max_mi) for half in (0, 1))
    parent = estimator.network
    network = copy.deepcopy(parent).cpu()
    looks = math.ceil(max_steps / _VAL_EVERY) if max_steps > 4 * _VAL_EVERY else min(4, max_steps)
    config = TuningConfig(
        max_steps=looks * (max_steps // looks),  # the last step is looked at, too
        learning_rate=learning_rate,
        val_every=max_steps // looks,
        head_only=head_only,
        seed=_TRAINING_SEED + random_state,
    )
    mixture = Mixture(known, original, original_share)
    best = tune(network, mixture, config, parent=parent, device=estimator.device, progress=progress)
    clock.lap("tuning")
    recalibration = recalibrate_locally(
        network,
        partial(known.of_size(16).batch, CALIBRATION_SEED + random_state),
        partial(generate_batch, replace(original, datasets_per_batch=(8, 8)), CALIBRATION_SEED + random_state),
        _CALIBRATION_BATCHES,
        points,
    )
    clock.lap("recalibration")
    networks = parent, network
    as_they_are = replace(kept_aside, read_x=None, read_y=None)
    suites = [
        lookalike_suite(law, _EVALUATION_DATASETS[0], EVALUATION_SEED + random_state)
        for law in (as_they_are, kept_aside)
    ]
    readings = estimator.checkpoint.unwarping, _unwarping(sides)
    suites[0], _ = as_read(suites[0], readings[0], estimator.checkpoint.reduction)
    lookalikes = before_and_after(networks, suites, "look-alikes")
    own = core(_EVALUATION_DATASETS[1], meta=original)
    before = before_and_after(networks, [as_read(own, reading)[0] for reading in readings], "law of the parent")
    clock.lap("evaluation")
    report = FinetuneReport(
        x=sides[0].report,
        y=sides[1].report,
        num_points=points,
        num_datasets=best.num_datasets,
        lookalikes=lookalikes,
        original=before,
        tried=tuple(best.tried),
        chosen=best.chosen,
        recalibration=str(recalibration),
        seconds=clock.laps,
        samples=_figure_samples(sides, random_state),
    )
    components = samples[0].components, samples[1].components
    reduction = None if components == (None, None) else Reduction(*components)
    return _as_estimator(estimator, network, name, report, reduction, readings[1], random_state)


def _unwarping(sides: list[Side]) -> Unwarping | None:
    """What the new estimator does to its sides first; None for nothing."""
    if any(side.report.unwarped or side.samples.tied for side in sides):
        return Unwarping(sides[0].map, sides[1].map)
    return None


def _lookalikes(sides: list[Side], half: int, num_points: tuple[int, int], max_mi: float) -> LookAlikes:
    """Pushed through what one half of the samples has taught, and read as the new estimator will read them."""
    x, y = sides
    pushes = list(zip(x.pushes(half), y.pushes(half), strict=True))
    read_x, read_y = (side.map.unwarp if side.report.unwarped else None for side in sides)
    return LookAlikes(
        *pushes[0],
        x.samples.dim,
        y.samples.dim,
        num_points,
        others=tuple(pushes[1:]),
        max_mi=max_mi,
        read_x=read_x,
        read_y=read_y,
    )


def _check_options(
    estimator: Estimator,
    max_steps: int,
    learning_rate: float,
    original_share: float,
    max_columns: int | None,
    widest: int,
    random_state: int,
) -> None:
    for option, value, low, high in (
        ("max_steps", max_steps, 1, 10_000_000),
        ("random_state", random_state, 0, _SEEDS - 1),
        ("max_columns", 1 if max_columns is None else max_columns, 1, widest),
    ):
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise InputError(f"got {option}={value!r}, expected an integer from {low} to {high}")
    if not learning_rate >= 0:
        raise InputError(f"got learning_rate={learning_rate!r}, expected a positive number, such as 5e-4")
    if not 0 < original_share < 1:
        raise InputError(f"got original_share={original_share!r}, expected a share between 0 and 1, such as 0.5")
    if estimator.checkpoint.reduction is not None:
        raise InputError(
            f"got checkpoint {estimator.checkpoint.label}, which reads wide sides through components of its own, "
            "expected one that does not; fine-tune its parent"
        )


def _num_points(
    estimator: Estimator, num_points: tuple[int, int] | None, num_samples: int, dims: tuple[int, int]
) -> tuple[int, int]:
    least, most = (int(end) for end in estimator.checkpoint.trained_points(*dims))
    if num_points is None:
        high = min(_MOST_POINTS, num_samples, most)
        return min(high, max(least, 20, high // 20)), high
    if len(num_points) != 2 or not all(isinstance(end, int) for end in num_points):
        raise InputError(f"got num_points={num_points!r}, expected two integers (low, high)")
    low, high = num_points
    if not least <= low <= high <= most:
        raise InputError(
            f"got num_points={num_points}, expected (low, high) with {least} <= low <= high <= {most}, the range of "
            "the estimator at these dims"
        )
    return low, high


def _figure_samples(sides: list[Side], seed: int) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for name, side in zip(("x", "y"), sides, strict=True):
        real = dequantised_scores(side.samples.halves[1], generator)[:_FIGURE_SAMPLES]
        found[f"{name}_real"] = real.numpy()
        base = torch.randn(real.shape, generator=generator)
        found[f"{name}_synthetic"] = dequantised_scores(side.pushes(0)[0](base).double(), generator).numpy()
    return found


def _as_estimator(
    estimator: Estimator,
    network: MISTNetwork,
    name: str,
    report: FinetuneReport,
    reduction: Reduction | None,
    unwarping: Unwarping | None,
    seed: int,
) -> FinetunedEstimator:
    """Written and read once, so that what is returned is what a saved one will be."""
    parent = estimator.config
    before = parent["lineage"]
    lineage = {
        **before,
        "parents": [*before.get("parents", []), parent["weights_sha256"]],
        "hours": round(before.get("hours", 0.0) + sum(report.seconds.values()) / 3600, 3),
        "num_datasets": before.get("num_datasets", 0) + report.num_datasets,
        "steps": report.chosen.step,
        "seed": seed,
        "date": date.today().isoformat(),
        "source": f"look-alikes of {report.x.num_samples:,} and {report.y.num_samples:,} samples",
    }
    with tempfile.TemporaryDirectory() as folder:
        save_checkpoint(
            Path(folder) / "checkpoint",
            network,
            trained_ranges=parent["trained_ranges"],
            meta_distribution=parent["meta_distribution"],
            lineage=lineage,
            card=_card(name, estimator, report),
            extra={**parent["extra"], "finetuning": report.to_dict()},
            name=name,
            reduction=reduction,
            unwarping=unwarping,
        )
        made = FinetunedEstimator(load_checkpoint(Path(folder) / "checkpoint"), device=estimator.device)
    made.report = report
    return made


def _card(name: str, estimator: Estimator, report: FinetuneReport) -> str:
    return f"""# {name}

Fine-tuned from {estimator.checkpoint.label} for a modality of which {report.x.num_samples:,} samples of X
({report.x.num_columns} columns) and {report.y.num_samples:,} of Y ({report.y.num_columns} columns) were given.

```
{report}
```
"""


class _Clock:
    """Seconds of each part, and what is going on, on standard error."""

    def __init__(self, progress: bool) -> None:
        self.progress = progress
        self.laps: dict[str, float] = {}
        self._start = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name], self._start = now - self._start, now

    def say(self, message: str) -> None:
        if self.progress:
            print(f"\r{message}", file=sys.stderr)

    def status(self, message: str) -> None:
        if self.progress:
            print(f"\r{message}", end="", file=sys.stderr, flush=True)
