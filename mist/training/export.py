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

from data_gen.meta_distribution import MetaDistribution
from mist.checkpoint import find_checkpoint, load_checkpoint, save_checkpoint
from mist.evaluation import evaluate_network, format_table, summarise_cells
from mist.evaluation.suites import core
from mist.network import MISTNetwork
from mist.older_formats import widen
from mist.training.calibration import recalibrate
from mist.training.config import TrainingConfig
from mist.training.data import StreamDataModule
from mist.training.sample import draw_sample

__all__ = ["calibrate", "evaluation_table", "export", "export_state", "main"]


def evaluation_table(network: MISTNetwork, config: TrainingConfig) -> str:
    """The report on `evaluation_datasets` fresh data sets of the run's own meta-distribution."""
    datasets = core(config.evaluation_datasets, meta=config.meta_distribution)
    return format_table(summarise_cells(evaluate_network(network, datasets)))


def calibrate(network: MISTNetwork, config: TrainingConfig, num_processes: int = 1) -> str:
    """Recalibrate, where the configuration says on how many data sets, which so many processes draw; what came of it,
    "" for none."""
    optimization = config.optimization
    if not optimization.calibration_datasets:
        return ""
    law, num_datasets = config.meta_distribution, optimization.calibration_datasets
    found = recalibrate(
        network,
        draw_sample(network, law, num_datasets, config.seed, num_processes),
        root_weight=optimization.root_weight,
        precision_exponent=optimization.precision_exponent,
    )
    print(f"recalibrated on {num_datasets:,} dependent data sets: {found}")
    return str(found)


def export(
    network: MISTNetwork,
    config: TrainingConfig,
    folder: Path,
    *,
    steps: int,
    seconds: float,
    num_datasets: int,
    source: str = "stream",
    evaluation: str = "",
    calibration: str = "",
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
        "source": source,
        "calibration_datasets": config.optimization.calibration_datasets,
    }
    meta = config.meta_distribution
    return save_checkpoint(
        folder,
        network,
        trained_ranges=meta.ranges,
        meta_distribution=meta.to_dict(),
        lineage=lineage,
        card=_card(config, network, lineage, evaluation, calibration),
        extra={
            "preliminary": config.preliminary,
            "trained_on_categories": config.meta_distribution.category_probability > 0,
        },
        name=config.name,
    )


def _card(
    config: TrainingConfig, network: MISTNetwork, lineage: dict[str, Any], evaluation: str, calibration: str
) -> str:
    parameters = sum(p.numel() for p in network.parameters())
    status = "**Preliminary**: a short run." if config.preliminary else "Trained to the end of its schedule."
    meta = json.dumps(config.meta_distribution.to_dict(), indent=2)
    if lineage["source"] == "stream":
        fresh, drawn = "fresh data sets", "Data sets drawn afresh at every step from this meta-distribution:"
    else:
        fresh, drawn = (
            "data sets, repeats counted,",
            f"The data sets of {lineage['source']}, over and over, of this law:",
        )
    if calibration:
        status += (
            f" Its predictions were recalibrated on {config.optimization.calibration_datasets:,} fresh dependent data "
            f"sets of the same law, drawn evenly over n and dims, and the independent ones among them, which count "
            f"half: {calibration}."
        )
    return f"""# {config.name}

{status}
{parameters:,} parameters; {lineage["num_datasets"]:,} {fresh} in {lineage["hours"]:.2f} hours of
training (whole lineage), seed {config.seed}, {lineage["steps"]:,} steps.

## Evaluation on its own families

```
{evaluation or "None was made."}
```

## Trained on

{drawn}

```json
{meta}
```
"""


def export_state(
    run: Path,
    folder: Path,
    *,
    preliminary: bool = True,
    calibration_datasets: int | None = None,
    num_processes: int = 1,
) -> Path:
    """Export the averaged weights of a run's last training state, finished or not.

    They are calibrated as the run's settings say, or on as many data sets as are given, drawn by so many processes.
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
    saved = torch.load(state, map_location="cpu", weights_only=True)
    data = saved[StreamDataModule.__qualname__]
    law = MetaDistribution.from_dict(data["meta_distribution"])
    config = TrainingConfig.from_dict({str(key): value for key, value in values.items()}, law)
    config = replace(config, preliminary=preliminary)
    if calibration_datasets is not None:
        optimization = replace(config.optimization, calibration_datasets=calibration_datasets)
        config = replace(config, optimization=optimization)
    if config.shards is not None:
        config = config.with_law(law)
    network = MISTNetwork(config.model)
    prefix = "network."
    weights = {key.removeprefix(prefix): v for key, v in saved["state_dict"].items() if key.startswith(prefix)}
    network.load_state_dict(widen(weights))
    network.eval()
    calibration = calibrate(network, config, num_processes)
    counts = saved["lineage"]
    return export(
        network,
        config,
        folder,
        steps=saved["global_step"],
        seconds=counts["seconds"],
        num_datasets=counts["num_datasets"],
        source=data.get("source", "stream"),
        evaluation=evaluation_table(network, config),
        calibration=calibration,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0 on success, 2 where the folder holds no run or what is asked cannot be."""
    parser = argparse.ArgumentParser(
        prog="python -m mist.training.export", description="Export a run's last training state as a checkpoint folder."
    )
    parser.add_argument("run", type=Path, help="output folder of the run, for example outputs/mist")
    parser.add_argument("folder", type=Path, nargs="?", help="where to write (default: RUN/checkpoint)")
    parser.add_argument("--final", action="store_true", help="do not call it preliminary")
    parser.add_argument(
        "--calibrate", type=int, help="dependent data sets to recalibrate on (default: the run's setting)"
    )
    parser.add_argument("--processes", type=int, default=1, help="that draw these")
    arguments = parser.parse_args(argv)
    try:
        folder = arguments.folder or arguments.run / "checkpoint"
        path = export_state(
            arguments.run,
            folder,
            preliminary=not arguments.final,
            calibration_datasets=arguments.calibrate,
            num_processes=arguments.processes,
        )
        print(f"exported {path}")
    except (FileNotFoundError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
