"""Synthetic joint distributions whose mutual information is known."""

from data_gen.joint import Joint
from data_gen.meta_distribution import MetaDistribution
from data_gen.stream import Batch, generate_batch, stream
from data_gen.streams import Streams

__all__ = ["Batch", "Joint", "MetaDistribution", "Streams", "generate_batch", "stream"]
