"""Our joints beside samples of other people's generators: the law of the MI and of sample statistics.

Letters: M replicates of ours per reference data set, N points, D coordinates.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from data_gen.reference_files import REFERENCE_FILES, ReferenceSample, read_reference_file
from data_gen.reference_tasks import bmi_joint, draw_mist_joint
from data_gen.streams import Streams

__all__ = [
    "STATISTICS",
    "FamilyComparison",
    "TaskComparison",
    "compare_bmi",
    "compare_mist",
    "format_comparison",
    "rank_correlations",
    "sample_statistics",
]

STATISTICS = ("within", "paired", "unpaired", "tails", "scale", "skew x", "skew y")
_ALARM = 0.001


@dataclass(frozen=True)
class FamilyComparison:
    """p-values of one MIST configuration: two-sample KS of MI at equal dims, and KS of ranks among our replicates."""

    label: str
    num_datasets: int
    two_sample_mi: float
    ranks: dict[str, float]  # "MI" and each of STATISTICS


@dataclass(frozen=True)
class TaskComparison:
    """One BMI task: |our label - theirs| in nats, p-values of marginals and of rank correlations."""

    label: str
    deviation: float
    marginals: float  # smallest two-sample KS p-value of a coordinate, Bonferroni-corrected
    correlations: float


def rank_correlations(points: Tensor) -> Tensor:
    """Spearman correlations, (M, N, D) -> (M, D, D) float64."""
    ranks = points.argsort(1).argsort(1).double()
    ranks = (ranks - ranks.mean(1, keepdim=True)) / ranks.std(1, keepdim=True, correction=0)
    return ranks.mT @ ranks / points.shape[1]


def sample_statistics(x: Tensor, y: Tensor) -> dict[str, NDArray[np.float64]]:
    """What a sample looks like, (M, N, Dx), (M, N, Dy) -> STATISTICS, each (M,).

    within: 90 % quantile of |rank correlation| inside the sides; paired: its mean of x_i with y_i; unpaired: of the
    other cross pairs; tails: median log kurtosis; scale: median log interquartile range; skew: mean quartile skewness
    of a side.
    """
    dim_x, shared = x.shape[-1], min(x.shape[-1], y.shape[-1])
    points = torch.cat([x, y], dim=-1).double()
    correlation = rank_correlations(points).abs()
    cross = correlation[:, :dim_x, dim_x:]
    sides = (correlation[:, :dim_x, :dim_x], correlation[:, dim_x:, dim_x:])
    inner = [side[:, *np.triu_indices(side.shape[-1], 1)] for side in sides]
    paired = cross.diagonal(dim1=1, dim2=2)
    others = (cross.sum((1, 2)) - paired.sum(1)) / max(1, cross[0].numel() - shared)
    centred = points - points.mean(1, keepdim=True)
    kurtosis = centred.pow(4).mean(1) / centred.square().mean(1).square()
    low, middle, high = points.quantile(torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64), dim=1)
    skew = (high + low - 2 * middle) / (high - low)
    values = (
        torch.cat(inner, -1).quantile(0.9, dim=-1),
        paired.mean(1),
        others,
        kurtosis.log().median(-1).values,
        (high - low).log().median(-1).values,
        skew[:, :dim_x].mean(1),
        skew[:, dim_x:].mean(1),
    )
    return {name: value.numpy() for name, value in zip(STATISTICS, values, strict=True)}


def compare_mist(data: str | Path, num_replicates: int = 39, seed: int = 0) -> list[FamilyComparison]:
    """Each reference data set among `num_replicates` of ours with the same n and dims.

    If the laws agree, its rank is uniform, data set by data set: a one-sample KS test of the ranks per configuration
    needs no assumption on how n and dims were chosen.
    """
    ranks: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    theirs_mi, ours_mi = defaultdict(list), defaultdict(list)
    jitter = np.random.default_rng(seed)
    samples = [s for name in ("mist-imd", "mist-oomd") for s in read_reference_file(Path(data) / REFERENCE_FILES[name])]
    for index, theirs in enumerate(samples):
        random = Streams.for_batch(seed, index, 0, num_replicates)
        joint = draw_mist_joint(theirs.label, theirs.x.shape[1], random)
        x, y = joint.sample(len(theirs.x), random)
        mi = joint.mutual_information.numpy()
        ours = {"MI": mi} | sample_statistics(x, y)
        reference = {"MI": np.array([theirs.mi])} | _statistics_of(theirs)
        for name, values in ours.items():
            below = (values < reference[name]).sum() + jitter.random() * (1 + (values == reference[name]).sum())
            ranks[theirs.label][name].append(below / (num_replicates + 1))
        theirs_mi[theirs.label].append(theirs.mi)
        ours_mi[theirs.label].extend(mi.tolist())
    return [
        FamilyComparison(
            label,
            len(theirs_mi[label]),
            float(stats.ks_2samp(theirs_mi[label], ours_mi[label]).pvalue),
            {name: float(stats.kstest(values, "uniform").pvalue) for name, values in by_name.items()},
        )
        for label, by_name in ranks.items()
    ]


def _statistics_of(sample: ReferenceSample) -> dict[str, NDArray[np.float64]]:
    return sample_statistics(torch.from_numpy(sample.x)[None], torch.from_numpy(sample.y)[None])


def compare_bmi(
    data: str | Path, num_replicates: int = 99, num_points: int = 2000, seed: int = 0
) -> list[TaskComparison]:
    """Labels, marginals and rank correlations of the 40 tasks (many share one random draw in the reference file).

    The rank correlations are judged by the largest distance to the mean of ours, among `num_replicates` of ours.
    """
    out = []
    for index, theirs in enumerate(read_reference_file(Path(data) / REFERENCE_FILES["bmi-40"])):
        random = Streams.for_batch(seed, index, 0, num_replicates + 1)
        joint = bmi_joint(theirs.label, num_replicates + 1)
        deviation = abs(float(joint.mutual_information[0]) - theirs.mi)
        ours = torch.cat(joint.sample(num_points, random), -1)
        reference = torch.from_numpy(np.concatenate([theirs.x, theirs.y], 1)[:num_points])
        marginals = [
            stats.ks_2samp(reference[:, j].numpy(), ours[..., j].flatten().numpy()).pvalue
            for j in range(reference.shape[-1])
        ]
        correlations = rank_correlations(torch.cat([reference[None], ours]))
        others = (correlations[1:].sum(0) - correlations[1:]) / num_replicates  # each of ours against the rest of ours
        own = (correlations[1:] - others).abs().amax((1, 2))
        distance = (correlations[0] - correlations[1:].mean(0)).abs().max()
        out.append(
            TaskComparison(
                theirs.label.split(" | ")[0],
                deviation,
                min(1.0, min(marginals) * len(marginals)),
                float((1 + (own >= distance).sum()) / (len(own) + 1)),
            )
        )
    return out


def format_comparison(families: list[FamilyComparison], tasks: list[TaskComparison]) -> str:
    """Both tables; p-values below 0.001 carry a star."""

    def mark(p: float) -> str:
        return f"{p:.3f}{'*' if p < _ALARM else ' '}"

    names = ["MI", *STATISTICS]
    lines = ["MIST configurations, p-values: MI by two-sample KS at equal dims; ranks among our replicates by KS"]
    lines.append(f"{'configuration':<32}{'sets':>6}{'KS MI':>9}" + "".join(f"{name:>10}" for name in names))
    lines += [
        f"{f.label:<32}{f.num_datasets:>6}{mark(f.two_sample_mi):>9}"
        + "".join(f"{mark(f.ranks[name]):>10}" for name in names)
        for f in families
    ]
    values = [p for f in families for p in f.ranks.values()]
    if values:
        expected = _ALARM * len(values)
        smallest = min(values)
        lines.append(
            f"smallest of {len(values)} rank p-values {smallest:.4f} "
            f"(Bonferroni {min(1.0, smallest * len(values)):.2f}), "
            f"{sum(p < _ALARM for p in values)} below {_ALARM:g} where {expected:.1f} are expected"
        )
    lines += ["", "BMI tasks", f"{'task':<52}{'|label difference|':>20}{'marginals p':>14}{'correlations p':>16}"]
    lines += [f"{t.label:<52}{t.deviation:>20.2e}{mark(t.marginals):>14}{mark(t.correlations):>16}" for t in tasks]
    if tasks:
        lines.append(f"largest difference of a label {max(t.deviation for t in tasks):.2e} nats (1e-4 allowed)")
    return "\n".join(lines)
