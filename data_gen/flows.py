"""Random normalizing flows as warps of one side, built from normflows' layers; nothing else imports normflows.

A flow is one module for a whole group of data sets, so flows are numbered: flow i of a kind and dim is a function of
(kind, dim, i) alone, and the pool of a dim is the first POOL_SIZE of them. normflows' layers draw their weights from
the global random state and some start as the identity; here every parameter is drawn anew from a generator.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import normflows as nf
import numpy as np
import torch
from torch import Tensor, nn

from data_gen.side_warps import MOST_AUTOREGRESSIVE_DIMS

__all__ = ["FLOW_KINDS", "POOL_SIZE", "RandomFlow", "density_layers", "random_flow"]

FLOW_KINDS = ("coupling_spline", "autoregressive_spline", "real_nvp")
POOL_SIZE = 1024  # of every kind and dim
_HIDDEN, _BINS, _TAIL_BOUND = 32, 6, 3.0
_LAYERS = {"coupling_spline": 2, "autoregressive_spline": 1, "real_nvp": 3}
_PROBE, _MOST_TRIES = 256, 20
_LARGEST_LOG_SCALE = 1.0  # of a fitted coupling, and its largest shift: held-out points blow up past it
_TOLERANCE, _SINGLE_TOLERANCE = 1e-3, 0.1  # of the distance to the nearest neighbour, in float64 and of float32 points


class RandomFlow:
    """A flow applied in its fast direction, (…, D) -> (…, D), in float64; D = 1 has an autoregressive spline only."""

    def __init__(self, layers: nn.ModuleList) -> None:
        self.layers: list[Any] = list(layers.double().eval().requires_grad_(False))

    def __call__(self, points: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        values = points.double().reshape(-1, points.shape[-1])
        for layer in self.layers:
            values, _ = layer.inverse(values)  # of an autoregressive layer the pass that takes one step
        return values.view(points.shape).to(points.dtype)

    def inverse(self, points: Tensor) -> Tensor:
        """(..., D) -> (..., D); D steps for an autoregressive layer."""
        values = points.double().reshape(-1, points.shape[-1])
        for layer in reversed(self.layers):
            values, _ = layer(values)
        return values.view(points.shape).to(points.dtype)

    def log_abs_det(self, points: Tensor) -> Tensor:
        """log |det Jacobian|, (..., D) -> (...)."""
        values = points.double().reshape(-1, points.shape[-1])
        total = torch.zeros(len(values), dtype=torch.float64)
        for layer in self.layers:
            values, log_det = layer.inverse(values)
            total = total + log_det
        return total.view(points.shape[:-1])


class _Permutation(nf.flows.Flow):
    """Coordinates in another order; the inverse of `forward` is `inverse`."""

    def __init__(self, order: Tensor) -> None:
        super().__init__()
        self.register_buffer("order", order)
        self.register_buffer("back", order.argsort())

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return z[:, self.back], torch.zeros(len(z), dtype=z.dtype)

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return z[:, self.order], torch.zeros(len(z), dtype=z.dtype)


def _layer(kind: str, dim: int) -> nf.flows.Flow:
    if kind == "autoregressive_spline" or dim == 1:  # a coupling of one coordinate has nothing to condition on
        return nf.flows.AutoregressiveRationalQuadraticSpline(
            dim, 1, _HIDDEN, num_bins=_BINS, tail_bound=_TAIL_BOUND, permute_mask=False
        )
    if kind == "coupling_spline":
        return nf.flows.CoupledRationalQuadraticSpline(dim, 1, _HIDDEN, num_bins=_BINS, tail_bound=_TAIL_BOUND)
    given = (dim + 1) // 2
    return nf.flows.AffineCouplingBlock(nf.nets.MLP([given, _HIDDEN, 2 * (dim - given)]), scale_map="sigmoid")


def _fill(layer: nf.flows.Flow, strength: float, generator: torch.Generator) -> None:
    """Every parameter from the generator; the spline's logits, or the coupling's shifts, get the given spread."""
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=strength, generator=generator)
    linear = [module for module in layer.modules() if isinstance(module, nn.Linear)]
    for module in linear:
        nn.init.normal_(module.weight, std=1.4 * module.in_features**-0.5, generator=generator)
        nn.init.normal_(module.bias, std=0.5, generator=generator)
    if isinstance(layer, nf.flows.CoupledRationalQuadraticSpline):
        net = layer.prqct.transform_net
    elif isinstance(layer, nf.flows.AutoregressiveRationalQuadraticSpline):
        net = layer.mprqat.autoregressive_net
    else:
        for parameter in linear[-1].parameters():
            parameter.data.mul_(strength)
        return
    with torch.no_grad():
        spread = float(net(torch.randn(64, net.initial_layer.in_features, generator=generator)).std())
    # per coordinate: logits of widths and of heights, which normflows divides by √hidden where the net says how wide
    # it is, and of the slopes between, which it does not
    logits = torch.full((3 * _BINS - 1,), strength / spread)
    logits[: 2 * _BINS] *= _HIDDEN**0.5 if hasattr(net, "hidden_features") else 1.0
    rows = logits.repeat(net.final_layer.out_features // len(logits))
    net.final_layer.weight.data.mul_(rows.unsqueeze(-1))
    net.final_layer.bias.data.mul_(rows)


def _build(kind: str, dim: int, generator: torch.Generator) -> RandomFlow:
    strength = float(0.3 + 0.7 * torch.rand((), generator=generator, dtype=torch.float64))
    if kind == "autoregressive_spline":
        strength *= min(1.0, (4 / dim) ** 0.5)  # every coordinate bends all that follow: it would not invert
    layers: list[nn.Module] = []
    with torch.random.fork_rng(devices=[]):  # constructors draw from the global state
        for index in range(_LAYERS[kind]):
            if index:
                layers.append(_Permutation(torch.randperm(dim, generator=generator)))
            layer = _layer(kind, dim)
            _fill(layer, strength, generator)
            layers.append(layer)
    return RandomFlow(nn.ModuleList(layers))


def _is_exact(flow: RandomFlow, probe: Tensor) -> bool:
    """Whether a probe comes back: data are float32, and a flow that is too flat would press points together."""
    moved = flow(probe)
    if not bool(moved.isfinite().all()) or torch.allclose(moved, probe, atol=1e-2):
        return False
    spacing = torch.cdist(probe, probe).fill_diagonal_(torch.inf).amin(-1)
    for values, tolerance in ((moved, _TOLERANCE), (moved.float().double(), _SINGLE_TOLERANCE)):
        error = torch.linalg.vector_norm(flow.inverse(values) - probe, dim=-1)
        if not bool((error <= tolerance * spacing).all()):
            return False
    return True


@lru_cache(maxsize=512)
def random_flow(kind: str, dim: int, index: int) -> RandomFlow:
    """Flow `index` of a kind and dim; a draw that does not invert exactly, or moves nothing, is drawn again.

    ValueError for an unknown kind, an index outside the pool, too many dims for an autoregressive flow, whose inverse
    takes as many steps, or when no draw is exact.
    """
    if kind == "autoregressive_spline" and dim > MOST_AUTOREGRESSIVE_DIMS:
        raise ValueError(f"got an autoregressive flow of {dim} dims, expected at most {MOST_AUTOREGRESSIVE_DIMS}")
    if kind not in FLOW_KINDS:
        raise ValueError(f"got flow kind {kind!r}, expected one of {FLOW_KINDS}")
    if not 0 <= index < POOL_SIZE:
        raise ValueError(f"got flow {index}, expected 0 to {POOL_SIZE - 1}")
    words = np.random.SeedSequence([FLOW_KINDS.index(kind), dim, index]).generate_state(_MOST_TRIES, np.uint32)
    for word in words.tolist():
        generator = torch.Generator().manual_seed(word)
        flow = _build(kind, dim, generator)
        if _is_exact(flow, torch.randn(_PROBE, dim, generator=generator, dtype=torch.float64)):
            return flow
    raise ValueError(f"got no exactly invertible {kind} flow in {dim} dims after {_MOST_TRIES} draws")


def density_layers(dim: int, num_layers: int, hidden: int, generator: torch.Generator) -> nn.ModuleList:
    """Affine couplings (Dinh et al. 2017) that begin as the identity, to be fitted to data of D >= 2 dims.

    `forward` takes the base density's points to data, `inverse` data to the base density, one pass either way.
    """
    given = (dim + 1) // 2
    layers = []
    with torch.random.fork_rng(devices=[]):  # constructors draw from the global state
        torch.default_generator.manual_seed(int(torch.randint(1 << 31, (), generator=generator)))
        for _ in range(num_layers):
            sizes = [given, hidden, hidden, 2 * (dim - given)]
            net = nf.nets.MLP(sizes, init_zeros=True, output_fn="tanh", output_scale=_LARGEST_LOG_SCALE)
            layers.append(nf.flows.AffineCouplingBlock(net, scale_map="exp"))
    return nn.ModuleList(layers)
