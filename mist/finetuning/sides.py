"""The law of both sides, learned by flows of each half of the samples, and what the sides are read through."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from multiprocessing import get_context
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data_gen.lookalikes import Push
from mist.finetuning.flow import SideFlow, dequantised_scores, fit_flow, fit_triangular
from mist.finetuning.samples import Samples
from mist.finetuning.similarity import Similarity, similarity
from mist.triangular import TriangularMap
from mist.unwarping import Margins, SideMap

__all__ = ["Side", "SideReport", "fit_sides"]

Progress = Callable[[str], None]

# What is fitted to each side: whether a triangular map, to which half, and another seed; flows first.
_FLOWS = (False, 0, 0), (False, 1, 1)
_TRIANGULAR = (True, 0, 0), (True, 1, 1), (True, 0, 2)
_LEAST_SHARE = 0.5  # of what the flow gains over a Gaussian
_LEAST_GAIN = 0.02  # nats for each column: less is not worth that columns are mixed


@dataclass(frozen=True)
class SideReport:
    """What came of one side: columns as given and those read, and how well the flows learned its law.

    `likelihood` is the mean log-likelihood, nats, of the second half of the samples under a Gaussian of the first
    half's covariance, under its flow and under its triangular map (where one was fitted). `pushed` is what most
    look-alikes are pushed through: the triangular map if the side is read through it (`unwarped`), else the flow, or
    the Gaussian if this is as likely. `gaussian` and `synthetic` compare samples of the Gaussian, and of what is
    `pushed`, with the second half.
    """

    num_samples: int
    num_columns: int
    dropped: tuple[int, ...]  # numbers of constant columns
    dim: int  # columns, or components of them, that are read
    variance: float  # share of the scores' variance that is read: 1 where columns are read as they are
    tied: int  # discrete columns, which are dequantised
    likelihood: tuple[float, float, float | None]
    pushed: Literal["triangular map", "flow", "Gaussian"]
    gaussian: Similarity
    synthetic: Similarity

    @property
    def unwarped(self) -> bool:
        """Whether the side is read through its triangular map."""
        return self.pushed == "triangular map"

    def __str__(self) -> str:
        about = [f"{self.num_samples:,} samples of {self.num_columns} columns"]
        if self.dropped:
            about.append(f"{len(self.dropped)} constant ones dropped")
        if self.variance < 1:
            about.append(f"read through {self.dim} components with {self.variance:.0%} of the variance of the scores")
        if self.tied:
            about.append(f"{self.tied} with ties dequantised")
        gaussian, flow, triangular = self.likelihood
        others = f"{gaussian:.2f} under a Gaussian"
        if triangular is not None:
            others += f", {triangular:.2f} under the triangular map"
        read = "through its triangular map" if self.unwarped else "as it is"
        return (
            f"{', '.join(about)}; samples that were not seen have a log-likelihood of {flow:.2f} nats under the flow "
            f"({others}; it is read {read}, and look-alikes are pushed through the {self.pushed}); beside synthetic "
            f"samples their correlations differ by {self.synthetic.correlation:.3f} "
            f"(p = {self.synthetic.correlation_p:.3f}), and a classifier is right on {self.synthetic.accuracy:.0%} "
            f"(p = {self.synthetic.accuracy_p:.2g}; Gaussian: {self.gaussian.accuracy:.0%})"
        )


@dataclass(frozen=True)
class Side:
    """Samples of one side, and what was fitted to its halves."""

    samples: Samples
    flows: tuple[SideFlow, SideFlow]
    gaussians: tuple[SideFlow, SideFlow]
    triangular: tuple[TriangularMap, ...]  # of each half, and once more of the first: between two are a fit's errors
    report: SideReport

    @cached_property
    def map(self) -> SideMap:
        """What the side is read through, with margins where nothing is tied; or only what it looks like."""
        columns, width = self.samples.read
        tied = self.samples.tied > 0
        if not self.report.unwarped:
            plain = TriangularMap(self.samples.dim, hidden=0)
            plain.standardise_by(dequantised_scores(self.samples.halves[0], torch.Generator().manual_seed(0)))
            return SideMap(columns, width, plain, as_is=True, tied=tied)
        margins = None if tied else Margins.of(self.samples.halves[0].numpy())
        return SideMap(columns, width, self.triangular[0], margins, tied=tied)

    def pushes(self, half: int) -> tuple[Push, Push]:
        """Maps of N(0, I) to the law that one half has taught: the one to take first, and another."""
        gaussian, flow, _ = self.report.likelihood
        other = (self.flows if flow > gaussian else self.gaussians)[half]
        return (self.triangular[(2, 1)[half]] if self.report.unwarped else other), other


def fit_sides(
    samples: Sequence[Samples], seed: int, unwarp: bool = True, progress: Progress | None = None
) -> list[Side]:
    """Fit a flow and a triangular map to each half of each side, and hold what those of the first half have learned
    against the second.

    A side is read through its map, if `unwarp`, where this tells clearly more of the second half than a Gaussian does,
    and at least half of what the flow tells. (Without `unwarp` no such map is fitted.)
    """
    fits = (*_FLOWS, *_TRIANGULAR) if unwarp else _FLOWS
    jobs = [
        (triangular, side.halves[half].numpy(), 3 * seed + number, progress)
        for side in samples
        for triangular, half, number in fits
    ]
    # Small steps gain nothing from a second thread, but from a second process. (Elsewhere processes are not forked, and
    # would need a guarded main module.)
    # Neither may gradients be taken in a forked process where there is a GPU.
    forked = sys.platform == "linux" and not torch.cuda.is_available()
    workers = min(len(jobs), len(os.sched_getaffinity(0))) if forked else 1
    if workers > 1:
        with ProcessPoolExecutor(workers, mp_context=get_context("fork")) as pool:
            states = list(pool.map(_fitted_apart, *zip(*jobs, strict=True)))
    else:
        states = [_fitted(*job) for job in jobs]
    found = []
    for number, side in enumerate(samples):
        own = states[len(fits) * number : len(fits) * (number + 1)]
        flows = [_flow(side.dim, state) for state in own[: len(_FLOWS)]]
        maps = tuple(TriangularMap.from_state(_tensors(state)) for state in own[len(_FLOWS) :])
        found.append(_side(side, (flows[0], flows[1]), maps, seed))
    return found


def _fitted(
    triangular: bool, columns: NDArray[np.float64], seed: int, progress: Progress | None
) -> dict[str, NDArray[np.float32]]:
    fit = fit_triangular if triangular else fit_flow
    state = fit(torch.from_numpy(columns), seed=seed, progress=progress)[0].state_dict()
    return {key: value.numpy() for key, value in state.items()}


def _fitted_apart(
    triangular: bool, columns: NDArray[np.float64], seed: int, progress: Progress | None
) -> dict[str, NDArray[np.float32]]:
    torch.set_num_threads(1)
    return _fitted(triangular, columns, seed, progress)


def _tensors(state: dict[str, NDArray[np.float32]]) -> dict[str, Tensor]:
    return {key: torch.from_numpy(np.array(value)) for key, value in state.items()}


def _flow(dim: int, state: dict[str, NDArray[np.float32]]) -> SideFlow:
    flow = SideFlow(dim)
    flow.load_state_dict(_tensors(state))
    return flow.eval().requires_grad_(False)


def _side(
    samples: Samples,
    flows: tuple[SideFlow, SideFlow],
    triangular: tuple[TriangularMap, ...],
    seed: int,
) -> Side:
    generator = torch.Generator().manual_seed(seed)
    unseen = dequantised_scores(samples.halves[1], generator)
    gaussians = (SideFlow(samples.dim, num_layers=0), SideFlow(samples.dim, num_layers=0))
    for one, half in zip(gaussians, samples.halves, strict=True):
        one.standardise_by(dequantised_scores(half, generator))
    tried: list[SideFlow | TriangularMap] = [gaussians[0], flows[0], *triangular[:1]]
    gaussian, flow, *mapped = [float(one.log_likelihood(unseen).mean()) for one in tried]
    pushed: Literal["triangular map", "flow", "Gaussian"] = "flow" if flow > gaussian else "Gaussian"
    if mapped and mapped[0] - gaussian > max(_LEAST_GAIN * samples.dim, _LEAST_SHARE * (flow - gaussian)):
        pushed = "triangular map"
    pushes: dict[str, Push] = {"flow": flows[0], "Gaussian": gaussians[0]}
    if pushed == "triangular map":
        pushes[pushed] = triangular[-1]
    base = torch.randn(unseen.shape, generator=generator)
    plain, learned = (
        similarity(unseen, dequantised_scores(one(base).double(), generator), seed)
        for one in (gaussians[0], pushes[pushed])
    )
    report = SideReport(
        num_samples=samples.num_samples,
        num_columns=samples.num_columns,
        dropped=samples.dropped,
        dim=samples.dim,
        variance=samples.variance,
        tied=samples.tied,
        likelihood=(gaussian, flow, mapped[0] if mapped else None),
        pushed=pushed,
        gaussian=plain,
        synthetic=learned,
    )
    return Side(samples, flows, gaussians, triangular, report)
