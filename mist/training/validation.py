"""What a run knows of itself on the validation set: scores over all and kind by kind, and the calibration curve."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger
from torch import Tensor

from data_gen.families import KINDS
from mist.quantiles import interpolate_levels, pinball

__all__ = ["CalibrationFigure", "Scores"]

_KINDS = (*KINDS, "independent", "product", "categories", "lookalike")
_COLUMNS = ("count", "crps", "mse", "coverage90")  # sums over data sets


class Scores:
    """Sums over the data sets seen so far, on their device; ranks add theirs up.

    `by_kind` (K, 4) has a row for every kind of data set and the columns count, CRPS, squared error of the mean and
    whether the 90 % interval held; `below` (Q,) counts dependent data sets whose truth is no larger than the quantile
    at each level, `dependent` () those that there were.
    """

    def __init__(self, levels: Tensor) -> None:
        self.levels = levels
        self.by_kind = torch.zeros(len(_KINDS), len(_COLUMNS), device=levels.device)
        self.below = torch.zeros(len(levels), device=levels.device)
        self.dependent = torch.zeros((), device=levels.device)

    def add(self, quantiles: Tensor, mi: Tensor, family: tuple[str, ...]) -> None:
        """Predicted quantiles (B, Q) and the truth (B,) in nats of data sets of these families."""
        low, high = interpolate_levels(self.levels, quantiles, (0.05, 0.95)).unbind(-1)
        columns = [
            torch.ones_like(mi),
            2 * pinball(quantiles, mi, self.levels).mean(-1),
            (quantiles.mean(-1) - mi).square(),
            ((low <= mi) & (mi <= high)).float(),
        ]
        rows = [self.row(name) for name in family]
        places = torch.tensor(rows, dtype=torch.long, device=mi.device)
        self.by_kind.index_add_(0, places, torch.stack(columns, dim=-1))
        positive = mi > 0
        self.below += ((mi.unsqueeze(-1) <= quantiles) & positive.unsqueeze(-1)).sum(0)
        self.dependent += positive.sum()

    @staticmethod
    def row(family: str) -> int:
        """That of a family's kind in `by_kind`."""
        return _KINDS.index(family.partition("-")[0])

    def reduced(self, strategy: Any) -> Scores:
        """Those of all ranks together."""
        total = Scores(self.levels)
        for name in ("by_kind", "below", "dependent"):
            setattr(total, name, strategy.reduce(getattr(self, name), reduce_op="sum"))
        return total

    def metrics(self) -> dict[str, Tensor]:
        """Means over all data sets, and the CRPS of every kind that there was; empty where there was none."""
        sums = self.by_kind.sum(0)
        if sums[0] == 0:
            return {}
        means = {f"val/{name}": value / sums[0] for name, value in zip(_COLUMNS[1:], sums[1:], strict=True)}
        seen = self.by_kind[:, 0] > 0
        kinds = {
            f"val_crps/{name}": row[1] / row[0]
            for name, row, there in zip(_KINDS, self.by_kind, seen.tolist(), strict=True)
            if there
        }
        return {**means, **kinds}

    def calibration_curve(self) -> tuple[list[float], list[float]]:
        """Levels, and the shares of dependent data sets whose truth was no larger than the quantile at each."""
        return self.levels.tolist(), (self.below / self.dependent.clamp(min=1)).tolist()


class CalibrationFigure(Callback):
    """Draws the calibration curve after every validation, for each logger that can show it: TensorBoard and wandb, and
    a file calibration.png beside the metrics of the CSV logger. Needs matplotlib."""

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw, on the first process."""
        scores = getattr(pl_module, "last_scores", None)
        if scores is None or not trainer.is_global_zero:
            return
        for logger in trainer.loggers:
            show_figure(logger, calibration_figure(*scores.calibration_curve()), trainer.global_step)


def calibration_figure(levels: list[float], shares: list[float]) -> Any:
    """Shares of truths below the predicted quantiles against their levels, with the diagonal."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4, 4), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="black", linewidth=0.8)
    axes.plot(levels, shares, marker="o", markersize=3)
    axes.set(xlabel="level", ylabel="share of truths below the quantile", xlim=(0, 1), ylim=(0, 1), aspect="equal")
    return figure


def show_figure(logger: Logger, figure: Any, step: int) -> None:
    """Hand a figure to a logger, in its own way."""
    if isinstance(logger, TensorBoardLogger):
        logger.experiment.add_figure("val/calibration", figure, step)
    elif isinstance(logger, WandbLogger):
        logger.log_image("val/calibration", [figure], step=step)
    elif isinstance(logger, CSVLogger):
        folder = Path(logger.log_dir)
        folder.mkdir(parents=True, exist_ok=True)
        figure.savefig(folder / "calibration.png", dpi=100)
