"""What fine-tuning did, in numbers and in a figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from data_gen.lookalikes import LookAlikes
from mist.evaluation.prediction import evaluate_network
from mist.evaluation.report import format_table
from mist.evaluation.suites import Dataset
from mist.evaluation.summary import Summary, summarise
from mist.finetuning.sides import SideReport
from mist.finetuning.tuning import Choice
from mist.inputs import prepare
from mist.network import MISTNetwork
from mist.reduction import Reduction
from mist.unwarping import Unwarping

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["FinetuneReport", "as_read", "before_and_after", "lookalike_suite"]

_SUITE_BATCH = 8


def lookalike_suite(law: LookAlikes, num_datasets: int, seed: int) -> list[Dataset]:
    """Labelled data sets of a law of look-alikes, eight of a shape."""
    law = law.of_size(_SUITE_BATCH)
    found: list[Dataset] = []
    index = 0
    while len(found) < num_datasets:
        batch = law.batch(seed, index)
        rows = zip(batch.family, batch.x.numpy(), batch.y.numpy(), batch.mi.tolist(), batch.weight.tolist())
        found += [Dataset("look-alikes", family, x, y, mi) for family, x, y, mi, weight in rows if weight > 0]
        index += 1
    return found[:num_datasets]


@dataclass(frozen=True)
class FinetuneReport:
    """Evidence of a fine-tune; `print` it, or `plot` it."""

    x: SideReport
    y: SideReport
    num_points: tuple[int, int]
    num_datasets: int  # learned from
    lookalikes: tuple[Summary, Summary]  # before and after, on joints pushed through the second half's flows
    original: tuple[Summary, Summary]  # before and after, on the law of the parent
    tried: tuple[Choice, ...]  # validation CRPS
    chosen: Choice
    recalibration: str
    seconds: dict[str, float]
    samples: dict[str, NDArray[np.float32]] = field(repr=False, default_factory=dict)  # scores, for the figure

    @property
    def forgotten(self) -> float:
        """Growth of the mean absolute error on the parent's law, as a share of it."""
        before, after = self.original
        return after.mae.mean / before.mae.mean - 1

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, fit for JSON: sizes, errors (nats) and coverage before and after, seconds."""
        measured = {
            name: {
                when: {
                    "num_datasets": found.count,
                    "mae": found.mae.mean,
                    "mse": found.mse.mean,
                    "crps": found.crps.mean,
                    "coverage": {f"{c.nominal:g}": c.observed for c in found.coverage},
                }
                for when, found in zip(("before", "after"), pair, strict=True)
            }
            for name, pair in (("lookalikes", self.lookalikes), ("original", self.original))
        }
        sides = {
            name: {
                "num_samples": side.num_samples,
                "num_columns": side.num_columns,
                "dropped": list(side.dropped),
                "dim": side.dim,
                "variance": side.variance,
                "tied": side.tied,
                "pushed": side.pushed,
                "classifier_accuracy": side.synthetic.accuracy,
            }
            for name, side in (("x", self.x), ("y", self.y))
        }
        return {
            **sides,
            **measured,
            "num_points": list(self.num_points),
            "step": self.chosen.step,
            "seconds": {name: round(value, 1) for name, value in self.seconds.items()},
        }

    def __str__(self) -> str:
        low, high = self.num_points
        tried = ", ".join(f"{c.step}: {c.lookalikes:.4f}/{c.original:.4f}" for c in self.tried)
        spent = ", ".join(f"{name} {seconds:.0f}" for name, seconds in self.seconds.items())
        return "\n".join(
            [
                f"X: {self.x}",
                f"Y: {self.y}",
                "",
                format_table([*self.lookalikes, *self.original]),
                f"look-alikes are of the half of the samples that training did not see, n = {low} to {high}; "
                f"the error on the parent's law grew by {100 * self.forgotten:.1f} %",
                f"validation CRPS, look-alikes/original, by step: {tried}; step {self.chosen.step} was taken",
                f"recalibrated: {self.recalibration}",
                f"seconds: {spent}; {sum(self.seconds.values()):.0f} in all",
            ]
        )

    def plot(self) -> Figure:
        """Real samples beside synthetic ones: their leading components, and their correlations. Needs matplotlib."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(8, 8), layout="constrained")
        axes = figure.subplots(2, 2)
        for row, side in zip(axes, ("x", "y"), strict=True):
            real, synthetic = self.samples[f"{side}_real"], self.samples[f"{side}_synthetic"]
            components = np.linalg.svd(real - real.mean(0), full_matrices=False).Vh
            for points, label in ((real, "real"), (synthetic, "synthetic")):
                shown = (points - real.mean(0)) @ components[:2].T
                second = shown[:, 1] if shown.shape[1] > 1 else np.zeros(len(shown))
                row[0].scatter(shown[:, 0], second, s=4, alpha=0.5, label=label)
            row[0].set(xlabel="first component", ylabel="second component", title=f"{side.upper()}: scores")
            row[0].legend()
            if real.shape[1] > 1:
                places = np.triu_indices(real.shape[1], 1)
                row[1].scatter(*(np.asarray(np.corrcoef(columns.T))[places] for columns in (real, synthetic)), s=4)
            row[1].plot([-1, 1], [-1, 1], color="black", linewidth=0.8)
            row[1].set(
                xlabel="real", ylabel="synthetic", title=f"{side.upper()}: correlations of columns", aspect="equal"
            )
        return figure


def as_read(
    suite: Sequence[Dataset], unwarping: Unwarping | None, reduction: Reduction | None = None
) -> tuple[list[Dataset], int]:
    """What an estimator gives its network for data sets, and of how many a side was not recognised. (Those with
    indicator columns stay as they are, and so do constant ones.)"""
    if unwarping is None and reduction is None:
        return list(suite), 0
    found, unrecognised = [], 0
    for data in suite:
        if not (any(data.groups_x) or any(data.groups_y)):
            sides = prepare(data.x, data.y, ties_known=True, reduction=reduction, unwarping=unwarping)
            unrecognised += any(notice.kind == "unrecognised" for notice in sides.warnings)
            if not sides.is_degenerate:
                data = replace(data, x=sides.x.values.astype(np.float32), y=sides.y.values.astype(np.float32))
        found.append(data)
    return found, unrecognised


def before_and_after(
    networks: Sequence[MISTNetwork], suites: Sequence[Sequence[Dataset]], name: str
) -> tuple[Summary, Summary]:
    """What the parent and the fine-tuned network make of data sets, as each of them reads them."""
    before, after = (
        summarise(evaluate_network(network, datasets), name, cell)
        for network, datasets, cell in zip(networks, suites, ("before", "after"), strict=True)
    )
    return before, after
