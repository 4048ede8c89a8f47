"""What a meta-distribution looks like: a gallery of joints with their MI, and the laws of MI, n and dims."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from data_gen.drawing import draw_joint
from data_gen.families import FAMILIES, ParameterLaw, draw_family
from data_gen.meta_distribution import MetaDistribution
from data_gen.streams import Streams, structure_generator

__all__ = ["write_preview"]

_COLUMNS, _POINTS = 8, 500


def _gallery(meta: MetaDistribution, seed: int) -> list[tuple[str, float, np.ndarray, np.ndarray]]:
    """One pair of coordinates of every family that the law can draw: name, MI, x (N,), y (N,)."""
    law = ParameterLaw(weak_probability=0.0, df=meta.df)
    drawn = {name.partition("-")[0]: set[str]() for name in meta.families if meta.families[name] > 0}
    for name in meta.families:
        if meta.families[name] > 0:
            drawn[name.partition("-")[0]].add(name)
    names = [f for f in FAMILIES if drawn.get(f.partition("-")[0], set()) & {f, f.partition("-")[0]}]
    panels = []
    for i, name in enumerate(names):
        random = Streams.for_batch(seed, i, 0, 1)
        joint = draw_family(name, 1, 1, law, random)
        x, y = joint.sample(_POINTS, random)
        panels.append((name, float(joint.mutual_information), x[0, :, 0].numpy(), y[0, :, 0].numpy()))
    return panels


def _draw_labels(meta: MetaDistribution, seed: int, num_batches: int) -> dict[str, np.ndarray]:
    """MI, n and dims of `num_batches` batches, every batch counted by its data sets; no points are drawn."""
    columns: dict[str, list[float]] = {"mi": [], "n": [], "dim x": [], "dim y": []}
    for index in range(num_batches):
        start = 0
        for group in meta.draw_shapes(structure_generator(seed, index)):
            random = Streams.for_batch(seed, index, start, start + group.num_datasets)
            start += group.num_datasets
            columns["mi"] += draw_joint(meta, group, random).mutual_information.tolist()
            for name, value in (("n", group.num_points), ("dim x", group.dim_x), ("dim y", group.dim_y)):
                columns[name] += [value] * group.num_datasets
    return {name: np.array(values) for name, values in columns.items()}


def write_preview(meta: MetaDistribution, path: Path, *, seed: int = 0, num_batches: int = 100) -> Path:
    """Write the picture as PNG; ImportError without matplotlib (the extra "plot")."""
    from matplotlib.figure import Figure

    panels = _gallery(meta, seed)
    labels = _draw_labels(meta, seed, num_batches)
    rows = -(-len(panels) // _COLUMNS)
    figure = Figure(figsize=(2.0 * _COLUMNS, 2.1 * rows + 3.2), layout="constrained")
    halves = np.asarray(figure.subfigures(2, 1, height_ratios=[2.1 * rows, 3.2]))
    top, bottom = halves.tolist()
    top.suptitle(f"meta-distribution {meta.name!r}: a pair of coordinates of every family, MI in nats")
    axes = np.atleast_2d(top.subplots(rows, _COLUMNS)).ravel()
    for axis in axes:
        axis.set_axis_off()
    for axis, (name, mi, x, y) in zip(axes[: len(panels)], panels, strict=True):
        for values, limits in ((x, axis.set_xlim), (y, axis.set_ylim)):  # heavy tails would hide the middle
            low, middle, high = np.quantile(values, [0.02, 0.5, 0.98])
            limits(low - 0.3 * (high - low) - 1e-9, high + 0.3 * (high - low) + 1e-9)
        axis.set_axis_on()
        axis.scatter(x, y, s=2, alpha=0.5, linewidths=0)
        axis.set_title(f"{name}\n{mi:.2f}", fontsize=7)
        axis.set_xticks([])
        axis.set_yticks([])
    histograms = bottom.subplots(1, 3)
    truth = labels["mi"]
    share = float((truth < 1e-3).mean())
    histograms[0].hist(np.log10(truth.clip(1e-3)), bins=50)
    histograms[0].set_xlabel("log₁₀ MI (nats)")
    histograms[0].set_title(f"{len(truth):,} data sets, {share:.0%} below 0.001", fontsize=9)
    histograms[1].hist(np.log10(labels["n"]), bins=50)
    histograms[1].set_xlabel("log₁₀ n")
    histograms[2].hist([labels["dim x"], labels["dim y"]], bins=np.arange(0.5, meta.max_dim + 1.5), label=["x", "y"])
    histograms[2].set_xlabel("dims")
    histograms[2].legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    return path
