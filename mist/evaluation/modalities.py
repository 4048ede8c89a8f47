"""Fine-tuning for a modality, measured: `python -m mist.evaluation.modalities scenes`, `digits` or `diabetes`

scenes: images rendered injectively from latents (`data_gen.scenes`), so that their MI is known: errors and coverage
of the estimator before and after, and of KSG. digits: the halves of scikit-learn's 8x8 images of digits, with the
self-consistency of Song & Ermon (2020): more rows, more information; functions add none; two images, twice as much.
diabetes: blood serum against age, sex, body mass index and blood pressure of scikit-learn's 442 patients.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import KDTree

from data_gen.lookalikes import LookAlikes
from data_gen.scenes import Scenes
from data_gen.stream import EVALUATION_SEED
from mist.errors import MISTWarning
from mist.evaluation.baselines import BASELINES
from mist.evaluation.command import command_parser, run_command
from mist.evaluation.metrics import mean_and_standard_error
from mist.evaluation.prediction import evaluate_network
from mist.evaluation.report import format_table
from mist.evaluation.summary import summarise
from mist.finetuning import FinetunedEstimator, finetune
from mist.finetuning.report import as_read, lookalike_suite
from mist.inference import Estimator

__all__ = ["MODALITIES", "main", "self_consistency"]

Array = NDArray[np.float64]

_SCENE_SAMPLES = 60_000


def scene_samples(size: int, seed: int) -> tuple[Array, Array]:
    """Unlabelled, unpaired images of both sides, (60000, size²) each."""
    generator = torch.Generator().manual_seed(seed)
    render = Scenes(size)
    first, second = (
        render(torch.randn(_SCENE_SAMPLES, size**2, dtype=torch.float64, generator=generator)).numpy() for _ in range(2)
    )
    return first, second


def digit_halves() -> tuple[Array, Array]:
    """Left and right halves of 1,797 images, (1797, 8, 4) each."""
    from sklearn.datasets import load_digits

    images = load_digits().images
    return images[:, :, :4], images[:, :, 4:]


def diabetes_sides() -> tuple[Array, Array]:
    """Six serum measurements, (442, 6), and age, sex, body mass index and blood pressure, (442, 4)."""
    from sklearn.datasets import load_diabetes

    data = load_diabetes(scaled=False).data
    return data[:, 4:], data[:, :4]


def _mi(estimator: Estimator, x: Array, y: Array) -> float:
    flat = (side.reshape(len(side), -1) for side in (x, y))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MISTWarning)
        return estimator.estimate(*flat).mi


def completed(images: Array, num_rows: int, donors: Array) -> Array:
    """Images (n, rows, columns) that keep their first rows; the others are those of the donor whose first rows are
    nearest. A function of the first rows: it tells no more of anything than these do, and looks like an image."""
    first, known = (side[:, :num_rows].reshape(len(side), -1) for side in (images, donors))
    nearest = KDTree(known).query(first)[1]
    return np.concatenate([images[:, :num_rows], donors[nearest, num_rows:]], axis=1)


def self_consistency(estimator: Estimator, x: Array, y: Array, seed: int = 0) -> dict[str, float]:
    """Estimates in nats on half of the images x, y (n, rows, columns), and what their ratios should be near to.

    "rows t": x of which only the first t rows are known, `completed` by the other half of the images so that it looks
    like an image; this should rise to x itself. "processing": sums of x's rows beside x, over x alone, which should be
    1. "additivity": pairs of images over single ones of the same number of points, which should be 2. These two have
    more columns than an image, so that all images there are read as they are.
    """
    order = np.random.default_rng(seed).permutation(len(x))
    judged, other = order[: len(x) // 2], order[len(x) // 2 : 2 * (len(x) // 2)]
    num_rows = x.shape[1]
    found = {
        f"rows {t}": _mi(estimator, completed(x[judged], t, x[other]), y[judged]) for t in range(2, num_rows + 1, 2)
    }
    plain = Estimator(replace(estimator.checkpoint, unwarping=None), device=estimator.device)
    alone = [_mi(plain, x[part], y[part]) for part in (judged, other)]
    flat = x[judged].reshape(len(judged), -1)
    beside = np.concatenate([flat, x[judged].sum(-1)], axis=1)
    found["processing"] = _mi(plain, beside, y[judged]) / alone[0]
    pairs = (np.concatenate([side[judged], side[other]], axis=1) for side in (x, y))
    found["additivity"] = _mi(plain, *pairs) / float(np.mean(alone))
    return found


def _finetune(estimator: Estimator, x: Array, y: Array, name: str, arguments: argparse.Namespace) -> FinetunedEstimator:
    options: dict[str, Any] = {} if arguments.steps is None else {"max_steps": arguments.steps}
    flat = (side.reshape(len(side), -1) for side in (x, y))
    found = finetune(
        estimator,
        *flat,
        name=name,
        head_only=arguments.head_only,
        random_state=arguments.seed,
        progress=sys.stderr.isatty(),
        **options,
    )
    print(found.report)
    if arguments.out is not None:
        found.save(arguments.out / name)
        found.report.plot().savefig(arguments.out / f"{name}.png", dpi=100)
    return found


def _scenes(estimator: Estimator, arguments: argparse.Namespace) -> None:
    size = arguments.size
    made = _finetune(estimator, *scene_samples(size, arguments.seed), "scenes", arguments)
    render = Scenes(size)
    law = LookAlikes(render, render, size**2, size**2, made.report.num_points, turned_share=0.0)
    suite = lookalike_suite(law, arguments.datasets, EVALUATION_SEED + 1_000 + arguments.seed)
    read = {
        name: as_read(suite, one.checkpoint.unwarping, one.checkpoint.reduction)
        for name, one in (("before", estimator), ("after", made))
    }
    rows = [
        summarise(evaluate_network(one.network, read[name][0]), "images of known MI", name)
        for name, one in (("before", estimator), ("after", made))
    ]
    print(f"\n{format_table(rows)}")
    if made.report.x.unwarped and made.report.y.unwarped:
        print(f"after: of {read['after'][1]} data sets a side was not recognised, and read as it is")
    errors = [abs(BASELINES["ksg"](data.x, data.y) - data.mi) for data in suite]
    error, spread, _ = mean_and_standard_error(errors)
    print(f"KSG (k = 5): MAE {error:.3f} ± {spread:.3f}")


def _digits(estimator: Estimator, arguments: argparse.Namespace) -> None:
    x, y = digit_halves()
    made = _finetune(estimator, x, y, "digits", arguments)
    before, after = (self_consistency(one, x, y, arguments.seed) for one in (estimator, made))
    print(f"\n{'self-consistency':<18}{'before':>8}{'after':>8}")
    for name in before:
        print(f"{name:<18}{before[name]:>8.3f}{after[name]:>8.3f}")


def _diabetes(estimator: Estimator, arguments: argparse.Namespace) -> None:
    x, y = diabetes_sides()
    made = _finetune(estimator, x, y, "diabetes", arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MISTWarning)
        for name, one in (("before", estimator), ("after", made)):
            print(f"{name:<7} {one.estimate(x, y)}")


MODALITIES = {"scenes": _scenes, "digits": _digits, "diabetes": _diabetes}


def main(argv: Sequence[str] | None = None) -> int:
    """Fine-tune and print; exit code 2 for what cannot be used."""
    parser = command_parser("mist.evaluation.modalities", __doc__)
    parser.add_argument("modality", choices=list(MODALITIES))
    parser.add_argument("--steps", type=int, help="of fine-tuning (default: that of mist.finetune)")
    parser.add_argument("--size", type=int, default=3, help="pixels of a side of a scene, odd (default: 3)")
    parser.add_argument("--datasets", type=int, default=512, help="labelled ones of scenes (default: 512)")
    parser.add_argument("--head-only", action="store_true", help="let the network's head alone learn")
    parser.add_argument("--out", type=Path, help="folder for the checkpoint and the figure")
    return run_command(parser, argv, {"datasets": 1}, lambda e, a: MODALITIES[a.modality](e, a))


if __name__ == "__main__":
    sys.exit(main())
