"""The network: attention over points and over coordinates reads features, weighs the base panel, returns quantiles.

Shape legend: B data sets in a batch, N points, Dx Dy coordinates, D = Dx + Dy, E embedding, H heads, S seeds,
Q levels, K relation features, C candidates. All data sets of a batch share N, Dx and Dy, so there is no padding.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from mist.attention import CoordinateLayer, SeedPooling, TokenLayer, full_precision, mlp
from mist.calibration import AnyCalibration
from mist.features import FeatureConfig, Features, extract_features, global_width, point_width
from mist.novelty import Novelty
from mist.panel import CANDIDATES
from mist.pooling import POWER, pool_quantiles
from mist.quantiles import OFFSET, compress, expand, level_grid
from mist.relations import INFORMATION, NUM_RELATIONS, STRENGTH

__all__ = ["HeadParts", "MISTNetwork", "Member", "NetworkConfig", "QuantileHead", "joined_trunks", "pool_parts"]

_MAX_COMPRESSED = 6.0  # e⁶ ≈ 400 nats, in training
_UNREAD = -20.0  # logit of a candidate below which it has no weight
ADDITIVE_SCALE = 0.1  # keeps one optimiser step on the additive term below the precision of large data sets


@dataclass(frozen=True)
class NetworkConfig:
    """Sizes of the network; plain numbers, so that a checkpoint can carry them."""

    coordinate_width: int = 96
    coordinate_layers: int = 3
    edge_width: int = 12
    edge_hidden: int = 32
    point_width: int = 64
    point_seeds: int = 16
    num_heads: int = 4
    num_seeds: int = 4
    trunk_width: int = 256
    num_levels: int = 50
    num_members: int = 1  # networks of these sizes, side by side, whose quantiles are pooled
    pool_power: int = POWER  # of the width that their weights are divided by
    features: FeatureConfig = field(default_factory=FeatureConfig)

    def __post_init__(self) -> None:
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            if f.name != "features" and (not isinstance(value, int) or value < 1):
                raise ValueError(f"got {f.name}={value!r}, expected a positive integer")
        for name in ("coordinate_width", "point_width", "edge_width"):
            if getattr(self, name) % self.num_heads:
                raise ValueError(f"got {name}={getattr(self, name)}, expected a multiple of num_heads={self.num_heads}")
        if self.num_levels < 4:
            raise ValueError(f"got num_levels={self.num_levels}, expected at least 4")

    @property
    def levels(self) -> tuple[float, ...]:
        """The grid of quantile levels."""
        return level_grid(self.num_levels)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> NetworkConfig:
        """Build from plain numbers; unknown keys are refused with ValueError."""
        values = dict(values)
        features = dict(values.pop("features", {}))
        for kind, given in ((cls, values), (FeatureConfig, features)):
            known = {f.name for f in dataclasses.fields(kind)}
            if unknown := set(given) - known:
                raise ValueError(
                    f"got unknown {kind.__name__} keys {sorted(unknown)}, expected some of {sorted(known)}"
                )
        return cls(**values, features=FeatureConfig(**features))

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, fit for JSON."""
        return dataclasses.asdict(self)


class PointEncoder(nn.Module):
    """Set attention over points, linear in N: (B, N, P) -> (B, E)."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        width = config.point_width
        self.embed = nn.Sequential(
            nn.Linear(point_width(config.features), width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()
        )
        self.pool = SeedPooling(width, config.point_seeds, config.num_heads)
        self.layer = TokenLayer(width, config.num_heads)
        self.read = SeedPooling(width, config.num_seeds, config.num_heads)

    def forward(self, points: Tensor) -> Tensor:
        return self.read(self.layer(self.pool(self.embed(points)))).flatten(-2)


def _best_match(relations: Tensor, dim_x: int) -> Tensor:
    """Relations of every coordinate to its strongest partner on the other side, (B, K, D, D) -> (B, D, K)."""
    strength = relations[:, STRENGTH]
    mark = torch.arange(1, relations.shape[1] + 1, device=relations.device).to(relations.dtype).sin()
    other = (relations * mark.view(1, -1, 1, 1)).sum(1)  # decides between partners of equal strength (discrete columns)
    partners = []
    for rows, columns, start in (
        (slice(None, dim_x), slice(dim_x, None), dim_x),
        (slice(dim_x, None), slice(None, dim_x), 0),
    ):
        block = strength[:, rows, columns]
        strongest = block >= block.amax(-1, keepdim=True) - 1e-6
        partners.append(other[:, rows, columns].masked_fill(~strongest, -torch.inf).argmax(-1) + start)
    partner = torch.cat(partners, dim=-1)[:, None, :, None].expand(-1, relations.shape[1], -1, 1)
    return relations.gather(-1, partner).squeeze(-1).mT


class CoordinateEncoder(nn.Module):
    """Attention over coordinates: (B, K, D, D) -> pooled (B, E') and one additive term per data set, nats.

    The additive term is what pairs hold beyond a Gaussian's information: a learned share of every coordinate's
    information with its strongest partner, summed over each side and averaged over the two.
    """

    def __init__(self, config: NetworkConfig, summary_width: int) -> None:
        super().__init__()
        width, edge_width = config.coordinate_width, config.edge_width
        self.edge_width, self.num_heads = edge_width, config.num_heads
        self.embed_in = nn.Linear(NUM_RELATIONS, config.edge_hidden)
        self.embed_out = nn.Linear(config.edge_hidden, edge_width + config.coordinate_layers * config.num_heads)
        self.embed_nodes = mlp(2 * edge_width + NUM_RELATIONS, width, width)
        self.condition = nn.Linear(summary_width + NUM_RELATIONS, width)
        self.layers = nn.ModuleList(
            CoordinateLayer(width, edge_width, config.num_heads) for _ in range(config.coordinate_layers)
        )
        self.norm = nn.LayerNorm(width)
        self.pool = SeedPooling(width, config.num_seeds, config.num_heads)
        self.additive = nn.Linear(width, 1)
        self.reset_parameters()

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        nn.init.normal_(self.additive.weight, std=0.1, generator=generator)
        nn.init.zeros_(self.additive.bias)

    def _embed_edges(self, relations: Tensor) -> Tensor:
        """(B, K, D, D) -> (B, edge + layers·H, D, D), channels first throughout."""
        hidden = relations.flatten(-2)
        for linear in (self.embed_in, self.embed_out):
            if linear is self.embed_out:
                hidden = hidden.relu()
            weight = linear.weight.expand(len(hidden), -1, -1)
            hidden = torch.baddbmm(linear.bias.view(1, -1, 1), weight, hidden)
        return hidden.unflatten(-1, relations.shape[-2:])

    def forward(self, relations: Tensor, condition: Tensor, dim_x: int) -> tuple[Tensor, Tensor]:
        embedded = self._embed_edges(relations)
        edges, *biases = embedded.split([self.edge_width] + [self.num_heads] * len(self.layers), dim=1)
        dim = edges.shape[-1]
        in_x = (torch.arange(dim, device=edges.device) < dim_x).to(edges.dtype)
        sides = torch.stack([in_x / dim_x, (1 - in_x) / (dim - dim_x)], dim=-1)  # (D, 2)
        of_x, of_y = (edges @ sides).permute(3, 0, 2, 1)  # (B, D, edge): mean relation to the coordinates of a side
        is_x = in_x.bool().unsqueeze(-1)
        within, across = torch.where(is_x, of_x, of_y), torch.where(is_x, of_y, of_x)
        best = _best_match(relations, dim_x)
        weight = best[..., INFORMATION : INFORMATION + 1] + 1e-3
        typical = (weight * best).sum(1) / weight.sum(1)  # (B, K): what the informative pairs look like
        with full_precision(relations):
            nodes = self.embed_nodes(torch.cat([within.float(), across.float(), best], dim=-1))
            nodes = nodes + self.condition(torch.cat([condition, typical], dim=-1)).unsqueeze(1)
        for layer, bias in zip(self.layers, biases, strict=True):
            nodes = layer(nodes, edges, bias)
        nodes = self.norm(nodes)
        pooled = [self.pool(side).flatten(-2) for side in (nodes[:, :dim_x], nodes[:, dim_x:])]
        with full_precision(relations):
            excess = ADDITIVE_SCALE * self.additive(nodes.float()).squeeze(-1)  # (B, D)
        additive = excess * 0.5 * best[..., INFORMATION]  # the relation is 2 · ½ log 1/(1 - r²)
        total = 0.5 * (additive[:, :dim_x].sum(-1) + additive[:, dim_x:].sum(-1))
        return torch.cat([pooled[0] + pooled[1], (pooled[0] - pooled[1]).abs()], dim=-1), total


class HeadParts(NamedTuple):
    """What a head makes its quantiles of."""

    trunk: Tensor  # (B, W)
    centre: Tensor  # (B, 1) on the compressed scale
    relative: Tensor  # (B, 1) floor of the error over mi + OFFSET
    scale: Tensor  # (B, 1) logarithm of the spread
    steps: Tensor  # (B, Q) non-decreasing, 0 at the middle level

    def quantiles(self) -> Tensor:
        """On the compressed scale, (B, Q)."""
        spread = (5 * torch.tanh(self.scale / 5)).exp()
        return (self.centre + self.relative * spread * self.steps).clamp(max=_MAX_COMPRESSED)


class QuantileHead(nn.Module):
    """Non-crossing quantiles on the compressed scale around a weighted panel.

    compressed_q = log(base + OFFSET) + floor / (base + OFFSET) · (offset + spread · increments_q): the remainder
    vanishes with the known floor of the error as N grows. The offset does not share the learned spread, lest a narrow
    spread stops a wrong offset from being unlearned.
    """

    def __init__(self, config: NetworkConfig, width: int) -> None:
        super().__init__()
        num_levels = config.num_levels
        self.trunk = nn.Sequential(
            nn.Linear(width, config.trunk_width),
            nn.GELU(),
            nn.LayerNorm(config.trunk_width),
            nn.Linear(config.trunk_width, config.trunk_width),
            nn.GELU(),
        )
        self.weights = nn.Linear(config.trunk_width, len(CANDIDATES))
        self.remainder = nn.Linear(config.trunk_width, num_levels + 1)  # scale, offset, increments
        self.reset_parameters()

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        levels = torch.tensor(level_grid(self.remainder.out_features - 1), dtype=torch.float64)
        steps = torch.special.ndtri(levels).diff()
        for layer in (self.weights, self.remainder):
            nn.init.normal_(layer.weight, std=0.03, generator=generator)
            nn.init.zeros_(layer.bias)
        with torch.no_grad():
            self.remainder.bias[2:] = torch.special.expm1(steps).log().float()  # softplus⁻¹: a normal law to start

    def unread(self) -> Tensor:
        """Which candidates have no weight, whatever the data: such as came after the weights, (C,) bool."""
        return self.weights.bias < _UNREAD

    def forward(self, hidden: Tensor, additive: Tensor, features: Features) -> HeadParts:
        trunk = self.trunk(hidden)
        logits = self.weights(trunk).float().masked_fill(~features.candidate_mask, -torch.inf)
        base = (logits.softmax(-1) * features.candidates).sum(-1) + additive
        base = 0.5 * (base + (base.square() + 1e-4).sqrt())  # softly positive
        scale, offset, increments = self.remainder(trunk).float().split([1, 1, self.remainder.out_features - 2], -1)
        relative = (features.floor.clamp(min=1e-6) / (base + OFFSET)).clamp(max=3).unsqueeze(-1)
        steps = functional.softplus(increments).cumsum(-1)
        steps = functional.pad(steps, (1, 0))
        steps = steps - steps[..., steps.shape[-1] // 2].unsqueeze(-1)
        return HeadParts(trunk, compress(base).unsqueeze(-1) + relative * offset, relative, scale, steps)


class Member(nn.Module):
    """Features in, quantiles out: one network of those that are pooled."""

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.points = PointEncoder(config)
        self.embed_summary = mlp(global_width(config.features), config.trunk_width, 128)
        self.coordinates = CoordinateEncoder(config, 128)
        width = 128 + config.num_seeds * (config.point_width + 2 * config.coordinate_width)
        self.head = QuantileHead(config, width)

    def forward(self, features: Features) -> HeadParts:
        hidden, additive = self.hidden(features)
        with full_precision(hidden):
            return self.head(hidden, additive, features)

    def hidden(self, features: Features) -> tuple[Tensor, Tensor]:
        """What the head reads, (B, E), and the additive term, (B,) nats."""
        with full_precision(features.summary):
            summary = self.embed_summary(features.summary)
        points = self.points(features.points)
        coordinates, additive = self.coordinates(features.relations, summary, features.dim_x)
        return torch.cat([summary, points.float(), coordinates.float()], dim=-1), additive


class MISTNetwork(nn.Module):
    """Data sets in, quantiles of their mutual information out: one member's, or pooled where there are several.

    `calibration` and `novelty` are None in training; a checkpoint may carry them: the quantiles are recalibrated by the
    one, and the other says how unlike the training data a data set looks. `max_mi` (nats) is the largest label that a
    checkpoint was trained on: what it reads never goes past.
    """

    levels: Tensor  # (Q,)
    trust: Tensor  # (M,) logarithms of what the members count for where they are equally sure
    calibration: AnyCalibration | None
    novelty: Novelty | None
    max_mi: float | None

    def __init__(self, config: NetworkConfig | None = None) -> None:
        super().__init__()
        self.max_mi = None
        self.config = config or NetworkConfig()
        self.members = nn.ModuleList(Member(self.config) for _ in range(self.config.num_members))
        self.register_buffer("trust", torch.zeros(self.config.num_members))
        self.calibration = None
        self.novelty = None
        self.register_buffer("levels", torch.tensor(self.config.levels), persistent=False)

    def initialise(self, generator: torch.Generator) -> None:
        """Draw every weight anew from a generator (construction itself draws from torch's global state)."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                bound = module.in_features**-0.5
                for parameter in (module.weight, module.bias):
                    nn.init.uniform_(parameter, -bound, bound, generator=generator)
        for module in self.modules():
            if isinstance(module, SeedPooling | CoordinateEncoder | QuantileHead):
                module.reset_parameters(generator)

    def forward_features(self, features: Features) -> Tensor:
        """Quantiles on the compressed scale log(mi + OFFSET), uncut and before recalibration, (B, Q)."""
        return self.pool(self.head_parts(features))

    def head_parts(self, features: Features) -> list[HeadParts]:
        """What each member makes its quantiles of."""
        return [member(features) for member in self.members]

    def pool(self, parts: Sequence[HeadParts]) -> Tensor:
        """The members' quantiles as one, on the compressed scale, (B, Q)."""
        return pool_parts(parts, self.levels, self.trust, self.config.pool_power)

    def forward(self, x: Tensor, y: Tensor, groups_x: Tensor | None = None, groups_y: Tensor | None = None) -> Tensor:
        """Quantiles of MI in nats at `config.levels`, (B, N, Dx), (B, N, Dy) -> (B, Q), non-decreasing, >= 0.

        `groups_x` (Dx,) and `groups_y` (Dy,) mark indicator columns of one unordered variable by a common positive
        number, 0 elsewhere.
        """
        return self.read(x, y, groups_x, groups_y)[0]

    def read(
        self, x: Tensor, y: Tensor, groups_x: Tensor | None = None, groups_y: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Quantiles as `forward` gives them, (B, Q), and the novelty of every data set, (B,) in [0, 1], if known."""
        assert x.ndim == y.ndim == 3 and x.shape[:2] == y.shape[:2] and x.shape[1] >= 4
        compressed, novelty = self.read_features(extract_features(x, y, self.config.features, groups_x, groups_y))
        return expand(compressed), novelty

    def read_features(self, features: Features) -> tuple[Tensor, Tensor | None]:
        """Recalibrated quantiles on the compressed scale log(mi + OFFSET), (B, Q), and the novelty, if known.

        Not cut at 0 nats, but at the largest label of training and at what a discrete side can hold.
        """
        parts = self.head_parts(features)
        compressed = self.pool(parts)
        if self.calibration is not None:
            dim_y = features.relations.shape[-1] - features.dim_x
            compressed = self.calibration.apply(
                compressed, self.levels, features.points.shape[1], features.dim_x, dim_y
            )
        most = _MAX_COMPRESSED if self.max_mi is None else math.log(self.max_mi + OFFSET)
        compressed = torch.minimum(compressed.clamp(max=most), compress(features.bound).unsqueeze(-1))
        return compressed, None if self.novelty is None else self.novelty(joined_trunks(parts))


def pool_parts(parts: Sequence[HeadParts], levels: Tensor, trust: Tensor, power: int = POWER) -> Tensor:
    """The members' quantiles as one, on the compressed scale, (B, Q).

    The largest of their floors of the error is the least width of an interval: it bounds how much more one counts that
    lies wholly below 0 nats, or far above the others, where floors are small.
    """
    floors = torch.cat([part.relative for part in parts], dim=-1)
    return pool_quantiles([part.quantiles() for part in parts], levels, trust, floors.amax(-1), power)


def joined_trunks(parts: Sequence[HeadParts]) -> Tensor:
    """The trunks of all members side by side, (B, M·W): what novelty is told by."""
    return torch.cat([part.trunk for part in parts], dim=-1)
