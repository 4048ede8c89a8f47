"""The loop of fine-tuning: from a checkpoint's weights on a mixture of look-alikes and the law it was trained on."""

from __future__ import annotations

import copy
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from lightning import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging, TQDMProgressBar
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from data_gen.lookalikes import LOOKALIKE, Mixture
from mist.features import Features, extract_features
from mist.network import MISTNetwork, NetworkConfig
from mist.quantiles import expand, quantile_distance, quantile_loss
from mist.training.config import OptimizationConfig
from mist.training.data import Item, item_of
from mist.training.module import EstimatorModule
from mist.training.validation import Scores

__all__ = ["Choice", "TuningConfig", "TuningModule", "tune"]

_VALIDATION_SEED = 5 << 40  # no data set of training, evaluation or calibration
_MOST_FORGOTTEN = 0.1  # of the CRPS on the original law, by validation


@dataclass(frozen=True)
class TuningConfig:
    """How long and how fast; a step is a batch of 8 to 128 data sets."""

    max_steps: int = 600
    learning_rate: float = 5e-4
    warmup_steps: int = 50
    ema_decay: float = 0.99
    val_every: int = 250
    validation_batches: int = 16  # of 32 data sets, of look-alikes and as many of the original law
    head_only: bool = False
    # On the original law the distance to what the parent predicts counts so much beside the loss; from 1 on that wins:
    # the parent's prediction is the target there.
    anchor: float = 1.0
    seed: int = 0
    root_weight: float = 0.5
    precision_exponent: float = 0.5

    def optimization(self) -> OptimizationConfig:
        """As the training of an estimator has it."""
        return OptimizationConfig(
            learning_rate=self.learning_rate,
            warmup_steps=self.warmup_steps,
            ema_decay=self.ema_decay,
            root_weight=self.root_weight,
            precision_exponent=self.precision_exponent,
        )


@dataclass(frozen=True)
class Choice:
    """Validation CRPS in nats, of look-alikes and of the original law, at a step of fine-tuning; 0 is its start."""

    step: int
    lookalikes: float
    original: float


class _Stream(IterableDataset[Item]):
    def __init__(self, mixture: Mixture, seed: int) -> None:
        self.mixture, self.seed = mixture, seed

    def __iter__(self) -> Iterator[Item]:
        index = 0
        while True:
            yield item_of(self.mixture.batch(self.seed, index))
            index += 1


class MixtureDataModule(LightningDataModule):
    """An endless mixture, and fixed validation batches of each of its two laws."""

    def __init__(self, mixture: Mixture, seed: int, validation_batches: int) -> None:
        super().__init__()
        self.mixture, self.seed = mixture, seed
        # A second process draws while this one learns. (Elsewhere processes are not forked, and would need a guarded
        # main module.) What is drawn does not depend on it.
        self.num_workers = int(sys.platform == "linux" and len(os.sched_getaffinity(0)) > 1)
        fixed = mixture.of_size(32)
        self.lookalikes, self.original = (
            [item_of(law.batch(_VALIDATION_SEED + seed, index)) for index in range(validation_batches)]
            for law in (Mixture(fixed.lookalikes, fixed.original, share) for share in (0.0, 1.0))
        )

    def begin(self, batch: Item) -> int:
        """The number of data sets learned from in a batch."""
        return len(batch["mi"])

    def train_dataloader(self) -> DataLoader[Item]:
        """Endless; batches are whole as they come."""
        return DataLoader(
            _Stream(self.mixture, self.seed),
            batch_size=None,
            num_workers=self.num_workers,
            multiprocessing_context="fork" if self.num_workers else None,
            generator=torch.Generator(),
        )

    def val_dataloader(self) -> DataLoader[Item]:
        """The fixed batches."""
        return DataLoader([*self.lookalikes, *self.original], batch_size=None, generator=torch.Generator())  # type: ignore[arg-type]


class TuningModule(EstimatorModule):
    """Learns look-alikes from the truth, and the original law from what the parent predicts, so that it is not
    forgotten (Li & Hoiem 2016, "Learning without Forgetting"; here on data of that law, of which there is no end)."""

    def __init__(
        self,
        network: NetworkConfig,
        optimization: OptimizationConfig,
        max_steps: int,
        parent: MISTNetwork,
        anchor: float,
    ) -> None:
        super().__init__(network, optimization, max_steps)
        self.anchor = anchor
        self._parent = (parent,)  # no module of this one: it is not trained

    def loss(self, batch: dict[str, Any], features: Features) -> Tensor:
        """Of a batch that is of one of the two laws. Members learn together, as the pool that the parent is and that is
        compared with it."""
        compressed, weight = self._pooled(self.network, batch, features)
        root_weight = self.optimization.root_weight
        loss = quantile_loss(compressed, batch["mi"].float(), self.network.levels, weight, root_weight)
        if self.anchor > 0 and not batch["family"][0].startswith(LOOKALIKE):
            with torch.no_grad():
                known, parents_weight = self._pooled(self._parent[0], batch, features)
            loss = loss + self.anchor * quantile_distance(compressed, known, parents_weight, root_weight)
        return loss

    def _pooled(self, network: MISTNetwork, batch: dict[str, Any], features: Features) -> tuple[Tensor, Tensor]:
        """A network's quantiles on the compressed scale, float32, and what each data set counts for; (B, Q), (B,)."""
        parts = network.head_parts(features)
        return network.pool(parts).float(), self.weight(batch, parts)


class KeepBest(Callback):
    """Keeps the weights whose validation CRPS on look-alikes is the smallest of those that forgot at most 10 % of the
    original law's. Stands before the averaging among the callbacks, so that it sees averaged weights."""

    def __init__(self, original: float) -> None:
        self.original = original  # CRPS of the parent, nats
        self.num_datasets = 0  # learned from
        self.tried: list[Choice] = []
        self.best: Choice | None = None
        self.state: dict[str, Any] = {}

    @property
    def chosen(self) -> Choice:
        """The best of those tried."""
        if self.best is None:
            raise RuntimeError("got no validation so far, expected one at the start")
        return self.best

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare."""
        assert isinstance(pl_module, EstimatorModule)
        found = Choice(trainer.global_step, *lookalike_and_original(pl_module.scores))
        self.tried.append(found)
        if self.best is None or (
            found.lookalikes < self.best.lookalikes and found.original <= (1 + _MOST_FORGOTTEN) * self.original
        ):
            self.best, self.state = found, copy.deepcopy(pl_module.network.state_dict())


def lookalike_and_original(scores: Scores) -> tuple[float, float]:
    """CRPS in nats of look-alikes and of all other data sets."""
    rows = scores.by_kind.double()
    lookalike = rows[scores.row(LOOKALIKE)]
    other = rows.sum(0) - lookalike
    return float(lookalike[1] / lookalike[0]), float(other[1] / other[0])  # NaN where there was none


def original_crps(network: MISTNetwork, items: list[Item]) -> float:
    """CRPS in nats of a network as it is, calibration left aside as in training, on labelled items."""
    scores = Scores(network.levels.cpu())
    device = network.levels.device
    with torch.no_grad():
        for item in items:
            sides = (item[name].to(device) for name in ("x", "y", "groups_x", "groups_y"))
            x, y, *groups = sides
            features = extract_features(x, y, network.config.features, *groups)
            quantiles = expand(network.forward_features(features).float()).cpu()
            keep = item["weight"] > 0
            family = tuple(name for name, kept in zip(item["family"], keep.tolist(), strict=True) if kept)
            scores.add(quantiles[keep], item["mi"].float()[keep], family)
    return lookalike_and_original(scores)[1]


def tune(
    network: MISTNetwork,
    mixture: Mixture,
    config: TuningConfig,
    *,
    parent: MISTNetwork,
    device: torch.device,
    progress: bool = False,
) -> KeepBest:
    """Fine-tune a network on the CPU in place, on a device, to the best step by validation; what was tried.

    With `head_only`, attention and embeddings stay as they are and the head alone moves. The novelty, which belongs to
    the old weights, is taken away. `parent`, on that device, says what was known of the original law.
    """
    network.novelty = None
    with torch.random.fork_rng(devices=[]):  # construction draws from the global state
        module = TuningModule(network.config, config.optimization(), config.max_steps, parent, config.anchor)
    module.network.load_state_dict(network.state_dict())
    if config.head_only:
        for name, parameter in module.network.named_parameters():
            parameter.requires_grad_(".head." in name)
    data = MixtureDataModule(mixture, config.seed, config.validation_batches)
    best = KeepBest(original_crps(parent, data.original))
    callbacks: list[Any] = [best, EMAWeightAveraging(decay=config.ema_decay, update_starting_at_step=0)]
    if progress:
        callbacks.append(_Bar(refresh_rate=10))
    threads = torch.get_num_threads()
    with warnings.catch_warnings(), _quiet(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")  # of Lightning, about loggers and workers that are not wanted here
        try:
            torch.set_num_threads(max(1, threads - data.num_workers))
            trainer = Trainer(
                accelerator="cpu" if device.type == "cpu" else "gpu",
                devices=1 if device.index is None else [device.index],
                max_steps=config.max_steps,
                max_epochs=-1,
                gradient_clip_val=module.optimization.gradient_clip,
                val_check_interval=config.val_every,
                check_val_every_n_epoch=None,
                num_sanity_val_steps=0,
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=progress,
                enable_model_summary=False,
                callbacks=callbacks,
            )
            trainer.validate(module, data, verbose=False)
            trainer.fit(module, data)
        finally:
            torch.set_num_threads(threads)
    best.num_datasets = module.num_datasets
    frozen = {name for name, parameter in module.network.named_parameters() if not parameter.requires_grad}
    own = network.state_dict()  # averaging equal weights rounds them
    network.load_state_dict({name: own[name] if name in frozen else value for name, value in best.state.items()})
    network.eval().requires_grad_(False)
    return best


class _Bar(TQDMProgressBar):
    """One bar for the steps; validation takes seconds and shows none."""

    def init_validation_tqdm(self) -> Any:
        bar = super().init_validation_tqdm()
        bar.disable = True
        return bar


class _quiet:
    """Lightning's messages about devices, for a while."""

    def __enter__(self) -> None:
        self.logger = logging.getLogger("lightning.pytorch.utilities.rank_zero")
        self.level = self.logger.level
        self.logger.setLevel(logging.ERROR)

    def __exit__(self, *error: object) -> None:
        self.logger.setLevel(self.level)
