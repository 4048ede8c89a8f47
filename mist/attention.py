"""Attention over sets: layers whose answer does not depend on the order of what they read, linear in its number."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["CoordinateLayer", "SeedPooling", "TokenLayer", "full_precision", "mlp"]


def mlp(*widths: int) -> nn.Sequential:
    """Linear layers of these widths with GELU between them."""
    layers: list[nn.Module] = []
    for i, (before, after) in enumerate(zip(widths[:-1], widths[1:], strict=True)):
        layers += [nn.GELU()] if i else []
        layers += [nn.Linear(before, after)]
    return nn.Sequential(*layers)


def full_precision(like: Tensor) -> torch.autocast:
    """For what decides the last digits: autocast rounds only the attention of points and of coordinates."""
    return torch.autocast(device_type=like.device.type, enabled=False)


def heads(values: Tensor, num_heads: int) -> Tensor:
    """(B, L, E) -> (B, H, L, E/H)."""
    return values.unflatten(-1, (num_heads, -1)).transpose(1, 2)


class SeedPooling(nn.Module):
    """Pooling by multi-head attention of learned seeds (PMA, Lee et al. 2019): (B, L, E) -> (B, S, E).

    Seeds, their queries and the keys are learned together as one map from a token to its H·S attention logits.
    """

    def __init__(self, width: int, num_seeds: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.logits = nn.Linear(width, num_heads * num_seeds)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        self.seeds = nn.Parameter(torch.empty(num_seeds, width))
        self.norm = nn.LayerNorm(width)
        self.reset_parameters()

    def reset_parameters(self, generator: torch.Generator | None = None) -> None:
        nn.init.normal_(self.seeds, std=self.seeds.shape[-1] ** -0.5, generator=generator)

    def forward(self, tokens: Tensor) -> Tensor:
        value = heads(self.value(tokens), self.num_heads)  # (B, H, L, E/H)
        logits = self.logits(tokens).unflatten(-1, (self.num_heads, -1)).permute(0, 2, 3, 1)  # (B, H, S, L)
        pooled = (logits.float().softmax(-1).to(value.dtype) @ value).transpose(1, 2).flatten(-2)  # (B, S, E)
        return self.norm(self.seeds + self.out(pooled))


class CoordinateLayer(nn.Module):
    """Attention over coordinates, relations as bias and as values, then an MLP; pre-norm."""

    def __init__(self, width: int, edge_width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm_attention = nn.LayerNorm(width)
        self.norm_mlp = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.edge_value = nn.Linear(edge_width, width)
        self.out = nn.Linear(width, width)
        self.mlp = mlp(width, 2 * width, width)

    def forward(self, nodes: Tensor, edges: Tensor, bias: Tensor) -> Tensor:
        """nodes (B, D, E), edges (B, edge, D, D), bias (B, H, D, D) -> (B, D, E)."""
        parts = self.query_key_value(self.norm_attention(nodes)).chunk(3, -1)
        query, key, value = (heads(part, self.num_heads) for part in parts)  # (B, H, D, E/H)
        weights = (query @ key.mT * (query.shape[-1] ** -0.5) + bias).float().softmax(-1).to(value.dtype)
        mixed = (weights @ value).transpose(1, 2).flatten(-2)  # (B, D, E)
        by_head = edges.unflatten(1, (self.num_heads, -1))  # each head reads its own share of the edge channels
        relations = (weights.unsqueeze(2) * by_head).sum(-1).flatten(1, 2).mT  # (B, D, edge)
        nodes = nodes + self.out(mixed) + self.edge_value(relations)
        return nodes + self.mlp(self.norm_mlp(nodes))


class TokenLayer(nn.Module):
    """Self-attention over a few pooled tokens, then an MLP; pre-norm."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm_attention = nn.LayerNorm(width)
        self.norm_mlp = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.mlp = mlp(width, 2 * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        parts = self.query_key_value(self.norm_attention(tokens)).chunk(3, -1)
        query, key, value = (heads(part, self.num_heads) for part in parts)
        weights = (query @ key.mT * (query.shape[-1] ** -0.5)).float().softmax(-1).to(value.dtype)
        tokens = tokens + self.out((weights @ value).transpose(1, 2).flatten(-2))
        return tokens + self.mlp(self.norm_mlp(tokens))
