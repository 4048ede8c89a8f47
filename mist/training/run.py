"""One training run: build, fit, evaluate, export."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging, LearningRateMonitor, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities import rank_zero_info

from data_gen.shards import ShardedBatches
from mist.checkpoint import find_checkpoint, load_checkpoint
from mist.network import Member, MISTNetwork, NetworkConfig
from mist.training.config import TrainingConfig
from mist.training.data import StreamDataModule
from mist.training.export import calibrate, evaluation_table, export
from mist.training.hardware import Hardware, detect
from mist.training.module import EstimatorModule
from mist.training.states import AtomicCheckpointIO, check_writable
from mist.training.validation import CalibrationFigure

__all__ = ["build_logger", "build_trainer", "train"]

_NEW_CANDIDATES = -1.5  # logit of all together that the weights do not read yet, once they count


def build_logger(values: Mapping[str, Any], output_dir: Path) -> Logger | bool:
    """The logger named by `kind`: csv, tensorboard, wandb (works offline) or none. ValueError for another."""
    options = dict(values)
    kind = options.pop("kind")
    if kind == "csv":
        return CSVLogger(save_dir=str(output_dir), name="logs", **options)
    if kind == "tensorboard":
        return TensorBoardLogger(save_dir=str(output_dir), name="logs", **options)
    if kind == "wandb":
        return WandbLogger(save_dir=str(output_dir), **options)
    if kind == "none":
        return False
    raise ValueError(f"got logger kind {kind!r}, expected csv, tensorboard, wandb or none")


class FinalState(Callback):
    """Saves the training state at the end, before the averaged weights take the place of the live ones.

    Stands before the averaging among the callbacks: a finished run can then go on as if it had not ended.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write last.ckpt."""
        trainer.save_checkpoint(self.path)


def build_trainer(config: TrainingConfig, logger: Logger | bool, hardware: Hardware) -> Trainer:
    """Lightning's Trainer with EMA, checkpoints, clipping and progress."""
    output = Path(config.output_dir)
    callbacks: list[Any] = [
        FinalState(output / "state" / "last.ckpt"),
        EMAWeightAveraging(decay=config.optimization.ema_decay, update_starting_at_step=0),
        ModelCheckpoint(
            dirpath=output / "state",
            filename="{step}",
            every_n_train_steps=config.trainer.save_every,
            save_last=True,
            enable_version_counter=False,  # a resumed run goes on writing the same last.ckpt
        ),
    ]
    if logger:
        callbacks += [LearningRateMonitor(logging_interval="step"), CalibrationFigure()]
    if config.trainer.progress_bar:
        callbacks.append(TQDMProgressBar(refresh_rate=config.trainer.log_every))
    return Trainer(
        accelerator=hardware.accelerator,
        devices=hardware.processes,
        num_nodes=config.trainer.num_nodes,
        strategy="ddp" if hardware.processes * config.trainer.num_nodes > 1 else "auto",
        precision=hardware.precision,  # type: ignore[arg-type]
        max_steps=config.trainer.max_steps,
        max_epochs=-1,
        accumulate_grad_batches=config.trainer.accumulate,
        gradient_clip_val=config.optimization.gradient_clip,
        val_check_interval=config.trainer.val_every * config.trainer.accumulate,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        log_every_n_steps=config.trainer.log_every,
        enable_progress_bar=config.trainer.progress_bar,
        enable_model_summary=False,
        use_distributed_sampler=False,
        logger=logger,
        callbacks=callbacks,
        plugins=[AtomicCheckpointIO()],
        default_root_dir=str(output),
    )


def _same_weights(parent: NetworkConfig, child: NetworkConfig) -> bool:
    """Whether the weights of one fit the other: marking ties adds none, its inputs are 0 without, nor does pooling."""
    features = dataclasses.replace(parent.features, ties=child.features.ties)
    return dataclasses.replace(parent, features=features, pool_power=child.pool_power) == child


def _start_from(network: MISTNetwork, init_from: str, wake_candidates: bool = True) -> None:
    """Take the weights of a checkpoint, the trust in its members among them, without its calibration, which belongs to
    its law. Candidates without weight are given some where `wake_candidates`."""
    parent = load_checkpoint(find_checkpoint(init_from)).network
    if not _same_weights(parent.config, network.config):
        raise ValueError(
            f"got init_from={init_from} with network {parent.config}, expected {network.config}; "
            "choose the model= of the parent and its model.num_members (mist.training.ensemble split parts a pool)"
        )
    parent.novelty = None
    network.load_state_dict(parent.state_dict())
    if not wake_candidates:
        return
    with torch.no_grad():  # candidates newer than the weights start where training can find them
        for member in network.members:
            assert isinstance(member, Member)
            new = member.head.unread()
            member.head.weights.bias[new] = _NEW_CANDIDATES - math.log(max(1, int(new.sum())))


def train(config: TrainingConfig, logger: Mapping[str, Any]) -> Path | None:
    """Run the whole of it; returns the exported checkpoint folder on the first process, None on the others."""
    hardware = detect(config.trainer.accelerator, config.trainer.processes, config.trainer.precision)
    torch.set_num_threads(hardware.threads)
    os.environ.setdefault("OMP_NUM_THREADS", str(hardware.threads))
    rank_zero_info(f"hardware: {hardware}")
    output = Path(config.output_dir)
    check_writable(output)
    shards = None
    if config.shards is not None:
        shards = ShardedBatches(config.shards)
        config = config.with_law(shards.meta)
    data = StreamDataModule(
        config.meta_distribution,
        config.seed,
        validation_seed=config.validation.seed,
        validation_batches=config.validation.num_batches,
        validation_datasets=config.validation.datasets_per_batch,
        num_workers=config.trainer.num_workers,
        shards=shards,
        ranks_per_batch=config.trainer.ranks_per_batch,
    )
    with torch.random.fork_rng(devices=[]):  # construction draws from the global state
        module = EstimatorModule(config.model, config.optimization, config.trainer.max_steps)
    module.network.initialise(torch.Generator().manual_seed(config.seed))
    if config.init_from is not None:
        _start_from(module.network, config.init_from, config.wake_candidates)
    trainer = build_trainer(config, build_logger(logger, output), hardware)
    trainer.fit(module, data, ckpt_path=config.ckpt_path, weights_only=True)
    if not trainer.is_global_zero:
        return None
    rate = module.num_datasets / max(module.seconds, 1e-9)
    print(f"trained on {module.num_datasets:,} data sets in {module.seconds:.0f} s: {rate:.0f} data sets/s")
    module.network.cpu().eval()
    folder = Path(config.export_dir or output / "checkpoint")
    counts: dict[str, Any] = {
        "steps": trainer.global_step,
        "seconds": module.seconds,
        "num_datasets": module.num_datasets,
        "source": data.source,
    }
    # at once and after each step, so that no failure in the next loses the weights
    export(module.network, config, folder, **counts)
    print(f"exported {folder}")
    counts["calibration"] = calibrate(module.network, config, hardware.processes)
    export(module.network, config, folder, **counts)
    table = evaluation_table(module.network, config)
    print(table)
    return export(module.network, config, folder, **counts, evaluation=table)
