"""The LightningModule: features, network, quantile loss, AdamW with warm-up and decay."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch
from lightning import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from mist.features import Features, extract_features
from mist.network import HeadParts, MISTNetwork, NetworkConfig
from mist.quantiles import expand, precision_weight, quantile_loss
from mist.training.config import OptimizationConfig
from mist.training.validation import Scores

__all__ = ["EstimatorModule", "learning_rate_factor"]


def learning_rate_factor(step: int, max_steps: int, config: OptimizationConfig) -> float:
    """Share of the peak rate at a step: linear warm-up, constant, linear decay to 0 at max_steps."""
    warmup = min(1.0, (step + 1) / max(1, config.warmup_steps))
    decay_steps = max(1, round(config.decay_fraction * max_steps))
    return warmup * min(1.0, max(0.0, (max_steps - step) / decay_steps))


class EstimatorModule(LightningModule):
    """Trains a MISTNetwork; logs train/loss, the throughput and its shares, the gradient's norm, val/crps, val/mse,
    val/coverage90 and val_crps/KIND."""

    def __init__(self, network: NetworkConfig, optimization: OptimizationConfig, max_steps: int) -> None:
        super().__init__()
        self.network = MISTNetwork(network)
        self.optimization = optimization
        self.max_steps = max_steps
        self.num_datasets = 0  # learned from, over all ranks and resumptions
        self.seconds = 0.0  # spent in training, over all resumptions
        self._clock: float | None = None
        self._window = 0
        self._in_data = self._in_features = 0.0  # seconds of the window, as the host sees them
        self._batch_end: float | None = None
        self.scores = Scores(self.network.levels)
        self.last_scores: Scores | None = None  # of the last validation, all ranks together

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Loss of one batch of equal shapes."""
        start = time.perf_counter()
        features = self._features(batch)
        self._in_features += time.perf_counter() - start
        loss = self.loss(batch, features)
        self.log("train/loss", loss, on_step=True, prog_bar=True, batch_size=len(batch["mi"]))
        return loss

    def loss(self, batch: dict[str, Any], features: Features) -> Tensor:
        """The quantile loss of one batch, as its data sets and its precision count, the mean over members: each learns
        by itself from what is drawn, and whose features are computed, once for all."""
        network, losses = self.network, []
        for part in network.head_parts(features):
            weight = self.weight(batch, [part])
            compressed, root_weight = part.quantiles().float(), self.optimization.root_weight
            losses.append(quantile_loss(compressed, batch["mi"].float(), network.levels, weight, root_weight))
        return torch.stack(losses).mean()

    def weight(self, batch: dict[str, Any], parts: Sequence[HeadParts]) -> Tensor:
        """What each data set counts for, by the floors of its error, (B,)."""
        relative = torch.cat([part.relative for part in parts], dim=-1).detach().float().mean(-1)
        return batch["weight"] * precision_weight(relative, self.optimization.precision_exponent)

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip each member's gradient by its own norm, as that of the mean over members: a steep one holds up none."""
        if gradient_clip_val:
            for member in self.network.members:
                torch.nn.utils.clip_grad_norm_(member.parameters(), gradient_clip_val / len(self.network.members))

    def _features(self, batch: dict[str, Any]) -> Features:
        return extract_features(
            batch["x"], batch["y"], self.network.config.features, batch["groups_x"], batch["groups_y"]
        )

    def on_train_start(self) -> None:
        """Start the clock."""
        self._clock = time.perf_counter()

    def on_train_batch_start(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Count data sets and move the stream's state: at the end of the batch, callbacks save before modules act."""
        if self._batch_end is not None:
            self._in_data += time.perf_counter() - self._batch_end
        count = self.trainer.datamodule.begin(batch)  # type: ignore[attr-defined]
        self.num_datasets += count
        self._window += count

    def on_train_batch_end(self, outputs: Any, batch: dict[str, Any], batch_idx: int) -> None:
        """Log the throughput over the last steps, and the shares of waiting for data and of features in them."""
        self._batch_end = time.perf_counter()
        if (batch_idx + 1) % self.trainer.log_every_n_steps == 0 and self._clock is not None:  # type: ignore[attr-defined]
            if not torch.isfinite(outputs["loss"]).all():
                raise FloatingPointError(
                    f"got a loss of {float(outputs['loss'])} at step {self.global_step}, expected a finite one: the "
                    "run diverged; lower optimization.learning_rate and resume from the last state saved before"
                )
            self._stop_clock()

    def on_train_end(self) -> None:
        """Count the steps since the last log."""
        if self._clock is not None:
            self._stop_clock()

    def on_validation_start(self) -> None:
        """Time spent in validation does not count as training."""
        if self._clock is not None:
            self._stop_clock()

    def on_validation_end(self) -> None:
        """Go on counting."""
        self._batch_end = None
        if self._clock is not None:
            self._clock = time.perf_counter()

    def _stop_clock(self) -> None:
        now = time.perf_counter()
        assert self._clock is not None
        elapsed, self._clock = now - self._clock, now
        self.seconds += elapsed
        if self._window:  # else a second stop within one step: the rate shown before stands
            rate = self._window / max(elapsed, 1e-9)
            self.trainer.progress_bar_metrics["datasets/s"] = round(rate)
            if self.trainer.logger is not None:
                metrics = {
                    "train/datasets_per_second": rate,
                    "train/datasets": float(self.num_datasets),
                    "train/data_share": self._in_data / max(elapsed, 1e-9),
                    "train/features_share": self._in_features / max(elapsed, 1e-9),
                }
                self.trainer.logger.log_metrics(metrics, step=self.global_step)
        self._window = 0
        self._in_data = self._in_features = 0.0

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Log the gradient's norm before it is clipped, at the steps that are logged."""
        if (self.trainer.global_step + 1) % self.trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            gradients = [weights.grad for weights in self.parameters() if weights.grad is not None]
            self.log("train/gradient_norm", torch.nn.utils.get_total_norm(gradients), on_step=True)

    def on_validation_epoch_start(self) -> None:
        """Nothing was scored yet."""
        self.scores = Scores(self.network.levels)

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """CRPS and MSE in nats and nats², and coverage of the 90 % interval, on the fixed set."""
        features = self._features(batch)
        quantiles = expand(self.network.forward_features(features).float())  # (B, Q)
        keep = batch["weight"] > 0
        family = tuple(name for name, kept in zip(batch["family"], keep.tolist(), strict=True) if kept)
        self.scores.add(quantiles[keep], batch["mi"].float()[keep], family)

    def on_validation_epoch_end(self) -> None:
        """Log the scores of all ranks."""
        self.last_scores = self.scores.reduced(self.trainer.strategy)
        metrics = self.last_scores.metrics()
        self.log_dict({name: value for name, value in metrics.items() if name.startswith("val/")}, prog_bar=True)
        self.log_dict({name: value for name, value in metrics.items() if not name.startswith("val/")})

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW; weight decay on matrices only."""
        matrices = [p for p in self.parameters() if p.ndim > 1]
        vectors = [p for p in self.parameters() if p.ndim <= 1]
        groups = [
            {"params": matrices, "weight_decay": self.optimization.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ]
        # one fused step saves a thousand small ones; Lightning does not clip the gradients of one in mixed precision
        fused = next(self.parameters()).device.type == "cpu" and "mixed" not in str(self.trainer.precision)
        optimizer = torch.optim.AdamW(
            groups, lr=self.optimization.learning_rate, betas=(0.9, 0.98), fused=fused or None
        )
        schedule = LambdaLR(optimizer, lambda step: learning_rate_factor(step, self.max_steps, self.optimization))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the counts of the lineage."""
        checkpoint["lineage"] = {"num_datasets": self.num_datasets, "seconds": self.seconds}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on counting."""
        self.num_datasets = checkpoint["lineage"]["num_datasets"]
        self.seconds = checkpoint["lineage"]["seconds"]
