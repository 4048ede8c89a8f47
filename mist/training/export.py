"""From a run to a checkpoint folder: at its end, or at any time from its last training state.

python -m mist.training.export outputs/mist                # reads state/last.ckpt and hydra/config.yaml of the run
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import torch

from mist.checkpoint import find_checkpoint, load_checkpoint, save_checkpoint
from mist.evaluation import evaluate_network, format_table, summarise_cells
from mist.evaluation.suites import core
from mist.network import MISTNetwork
from mist.training.config import TrainingConfig

__all__ = ["evaluation_table", "export", "export_state", "main"]


def evaluation_table(network: MISTNetwork, config: TrainingConfig) -> str:
    """The report on `evaluation_datasets` fresh data sets of the run's own meta-distribution."""
    datasets = core(config.evaluation_datasets, meta=config.meta_distribution)
    return format_table(summarise_cells(evaluate_network(network, datasets)))


def export(
    network: MISTNetwork,
    config: TrainingConfig,
    folder: Path,
    *,
    steps: int,
    seconds: float,
    num_datasets: int,
    evaluation: str = "",
) -> Path:
    """Write averaged weights as a checkpoint folder with lineage and card."""
    parents: list[str] = []
    hours = seconds / 3600
    if config.init_from is not None:
        parent = load_checkpoint(find_checkpoint(config.init_from)).config
        parents = [*parent["lineage"]["parents"], parent["weights_sha256"]]
        hours += parent["lineage"]["hours"]
        num_datasets += parent["lineage"]["num_datasets"]
    lineage = {
        "parents": parents,
        "hours": round(hours, 3),
        "num_datasets": num_datasets,
        "seed": config.seed,
        "steps": steps,
        "date": date.today().isoformat(),
    }
    meta = config.meta_distribution
    return save_checkpoint(
        folder,
        network,
        trained_ranges=meta.ranges,
        meta_distribution=meta.to_dict(),
        lineage=lineage,
        card=_card(config, network, lineage, evaluation),
        extra={"preliminary": config.preliminary, "trained_on_categories": False},
        name=config.name,
    )


def _card(config: TrainingConfig, network: MISTNetwork, lineage: dict[str, Any], evaluation: str) -> str:
    parameters = sum(p.numel() for p in network.parameters())
    status = "**Preliminary**: a short run." if config.preliminary else "Trained to the end of its schedule."
    meta = json.dumps(config.meta_distribution.to_dict(), indent=2)
    return f"""# {config.name}

{status} {parameters:,} parameters; {lineage["num_datasets"]:,} fresh data sets in {lineage["hours"]:.2f} hours of
training (whole lineage), seed {config.seed}, {lineage["steps"]:,} steps.

## Evaluation on its own families

```
{evaluation or "None was made."}
```

## Trained on

Data sets drawn afresh at every step from this meta-distribution:

```json
{meta}
```
"""


def export_state(run: Path, folder: Path, *, preliminary: bool = True) -> Path:
    """Export the averaged weights of a run's last training state, finished or not.

    Raises FileNotFoundError where the folder holds no run.
    """
    state, settings = run / "state" / "last.ckpt", run / "hydra" / "config.yaml"
    for path in (state, settings):
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing: expected the output folder of a run, such as outputs/mist")
    from omegaconf import OmegaConf

    values = OmegaConf.to_container(OmegaConf.load(settings), resolve=True)
    assert isinstance(values, dict)
    values.pop("logger", None)
    config = TrainingConfig.from_dict({str(key): value for key, value in values.items()})
    config = replace(config, preliminary=preliminary)
    saved = torch.load(state, map_location="cpu", weights_only=True)
    network = MISTNetwork(config.model)
    prefix = "network."
    weights = {key.removeprefix(prefix): v for key, v in saved["state_dict"].items() if key.startswith(prefix)}
    network.load_state_dict(weights)
    network.eval()
    counts = saved["lineage"]
    return export(
        network,
        config,
        folder,
        steps=saved["global_step"],
        seconds=counts["seconds"],
        num_datasets=counts["num_datasets"],
        evaluation=evaluation_table(network, config),
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0 on success, 2 where the folder holds no run."""
    parser = argparse.ArgumentParser(
        prog="python -m mist.training.export", description="Export a run's last training state as a checkpoint folder."
    )
    parser.add_argument("run", type=Path, help="output folder of the run, for example outputs/mist")
    parser.add_argument("folder", type=Path, nargs="?", help="where to write (default: RUN/checkpoint)")
    parser.add_argument("--final", action="store_true", help="do not call it preliminary")
    arguments = parser.parse_args(argv)
    try:
        folder = arguments.folder or arguments.run / "checkpoint"
        print(f"exported {export_state(arguments.run, folder, preliminary=not arguments.final)}")
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
