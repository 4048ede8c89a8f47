"""Frozen meta-datasets on disk: safetensors shards of a stream's batches and a manifest that says what they hold.

Shard s holds batches s·k … (s+1)·k - 1 of the stream (meta-distribution, seed), so any shard can be made alone, on any
machine, and a shard that is there need not be made again. A shard appears under its name only when it is whole.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from data_gen.families import POOLED_KINDS, every_pool
from data_gen.files import write_whole
from data_gen.meta_distribution import MetaDistribution
from data_gen.stream import STREAM_VERSION, Batch, generate_batch
from data_gen.streams import structure_generator

__all__ = ["MANIFEST", "Plan", "ShardedBatches", "make_shard", "make_shards", "missing_shards", "write_manifest"]

FORMAT_VERSION = 2
MANIFEST = "manifest.json"
_FACTS = "mist"
_TENSORS = ("x", "y", "mi", "weight", "standard_error", "groups_x", "groups_y")
_ORPHAN_SECONDS = 24 * 3600


@dataclass(frozen=True)
class Plan:
    """What a meta-dataset holds: the first batches of a stream, at least `num_datasets` data sets of them."""

    meta: MetaDistribution
    seed: int
    num_datasets: int
    batches_per_shard: int = 64

    def __post_init__(self) -> None:
        for name in ("num_datasets", "batches_per_shard"):
            if getattr(self, name) < 1:
                raise ValueError(f"got {name}={getattr(self, name)}, expected at least 1")

    @property
    def digest(self) -> str:
        """Names the plan; it stands in every shard, so that shards of two plans are never mixed."""
        default = MetaDistribution().to_dict()
        changed = {key: value for key, value in self.meta.to_dict().items() if value != default[key]}
        for key in ("families", "warps"):  # the stream draws them in their order
            changed[key] = [[name, float(weight)] for name, weight in getattr(self.meta, key).items()]
        plain = {
            "format_version": FORMAT_VERSION,
            "stream_version": STREAM_VERSION,
            "meta_distribution": changed,
            "seed": self.seed,
            "batches_per_shard": self.batches_per_shard,
        }
        kinds = {name.partition("-")[0] for name, weight in self.meta.families.items() if weight > 0}
        if not kinds.isdisjoint(POOLED_KINDS):  # labels made by other code would not be of the same set
            plain["pools"] = [pool.key for pool in every_pool()]
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()

    @cached_property
    def num_batches(self) -> int:
        """Batches needed; only their shapes are drawn."""
        total = index = 0
        while total < self.num_datasets:
            groups = self.meta.draw_shapes(structure_generator(self.seed, index))
            total += sum(group.num_datasets for group in groups)
            index += 1
        return index

    @property
    def num_shards(self) -> int:
        """Shards needed."""
        return -(-self.num_batches // self.batches_per_shard)

    def batches_of(self, shard: int) -> range:
        """Indices of a shard's batches."""
        return range(shard * self.batches_per_shard, min((shard + 1) * self.batches_per_shard, self.num_batches))


def _path(out: Path, shard: int) -> Path:
    return out / f"shard-{shard:06d}.safetensors"


def _is_whole(path: Path, digest: str, batches: range) -> bool:
    """Whether a shard of this plan with these batches lies there; ValueError if it is another plan's."""
    if not path.exists():
        return False
    try:
        with safe_open(path, "pt") as file:
            facts = _facts(file)
    except SafetensorError:
        return False  # torn by a power cut: it is made again
    if facts.get("plan") != digest:
        raise ValueError(
            f"got {path}, made for another meta-distribution, seed or shard size, expected one of this plan; "
            "choose another folder, or delete the shards there"
        )
    return facts["batches"] == [batches.start, batches.stop]


def make_shard(plan: Plan, shard: int, out: Path) -> Path:
    """Draw one shard and write it; nothing is done where it is already there. IndexError past the last one."""
    if not 0 <= shard < plan.num_shards:
        raise IndexError(f"got shard {shard}, expected 0 to {plan.num_shards - 1}")
    batches = plan.batches_of(shard)
    path = _path(out, shard)
    if _is_whole(path, plan.digest, batches):
        return path
    tensors: dict[str, torch.Tensor] = {}
    families: dict[str, list[str]] = {}
    for index in batches:
        batch = generate_batch(plan.meta, plan.seed, index)
        for name in _TENSORS:
            tensors[f"{index}.{name}"] = getattr(batch, name).contiguous()
        families[str(index)] = list(batch.family)
    facts = {"plan": plan.digest, "batches": [batches.start, batches.stop], "families": families}
    write_whole(path, save(tensors, {_FACTS: json.dumps(facts)}))  # one entry: safetensors does not order several
    return path


def _facts(file: Any) -> dict[str, Any]:
    """What an open shard says of itself."""
    facts: dict[str, Any] = json.loads((file.metadata() or {}).get(_FACTS, "{}"))
    return facts


def missing_shards(plan: Plan, out: Path, shards: Sequence[int] | None = None) -> list[int]:
    """Shards, of all or of those named, that are not there yet. IndexError for one that the plan does not have."""
    chosen = range(plan.num_shards) if shards is None else shards
    if unknown := [shard for shard in chosen if not 0 <= shard < plan.num_shards]:
        raise IndexError(f"got shards {unknown}, expected 0 to {plan.num_shards - 1}")
    return [shard for shard in chosen if not _is_whole(_path(out, shard), plan.digest, plan.batches_of(shard))]


def _make_in_process(plan: Plan, shard: int, out: Path) -> int:
    torch.set_num_threads(1)
    make_shard(plan, shard, out)
    return shard


def make_shards(plan: Plan, out: Path, *, shards: Sequence[int] | None = None, processes: int = 1) -> Iterator[int]:
    """Make the shards that are missing, of all or of those named, and yield each as it is done.

    Once none is missing the manifest is written. A run that was killed is resumed by running it again. ValueError
    where the folder holds a larger set of the same plan.
    """
    out.mkdir(parents=True, exist_ok=True)
    _refuse_to_shrink(plan, out)
    if shards is None:
        for orphan in out.glob(".*.tmp"):
            if time.time() - orphan.stat().st_mtime > _ORPHAN_SECONDS:  # nobody writes a shard for so long
                orphan.unlink(missing_ok=True)
    todo = missing_shards(plan, out, shards)
    if todo:
        (out / MANIFEST).unlink(missing_ok=True)  # of a smaller set: it would not name what is made now
    if processes == 1:
        for shard in todo:
            make_shard(plan, shard, out)
            yield shard
    elif todo:
        with ProcessPoolExecutor(min(processes, len(todo)), mp_context=get_context("spawn")) as pool:
            jobs = [pool.submit(_make_in_process, plan, shard, out) for shard in todo]
            try:
                for job in as_completed(jobs):
                    yield job.result()
            except BaseException:
                pool.shutdown(cancel_futures=True)  # a full disk is an error now, not after all the others
                raise
    if not (out / MANIFEST).exists() and not missing_shards(plan, out):
        write_manifest(plan, out)


def _refuse_to_shrink(plan: Plan, out: Path) -> None:
    path = out / MANIFEST
    if not path.is_file():
        return
    manifest = json.loads(path.read_text(encoding="utf-8"))
    if manifest.get("plan") == plan.digest and manifest["num_batches"] > plan.num_batches:
        raise ValueError(
            f"got num_datasets={plan.num_datasets} for {out}, which holds {manifest['num_datasets']} data sets of the "
            "same law and seed, expected at least as many; choose another folder, or read the first ones of these"
        )


def write_manifest(plan: Plan, out: Path) -> Path:
    """Full configuration, seed, versions, counts by family and a sha256 of every shard; all of them must be there."""
    if gone := missing_shards(plan, out):
        raise FileNotFoundError(f"got {len(gone)} shards missing in {out}, first {gone[0]}, expected all: make them")
    entries: list[dict[str, Any]] = []
    families: Counter[str] = Counter()
    kept = 0.0
    for shard in range(plan.num_shards):
        path = _path(out, shard)
        counts: Counter[str] = Counter()
        with safe_open(path, "pt") as file:
            for names in _facts(file)["families"].values():
                counts.update(names)
            batches = plan.batches_of(shard)
            kept += sum(float(file.get_tensor(f"{index}.weight").sum()) for index in batches)
        families.update(counts)
        entries.append(
            {
                "file": path.name,
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
                "num_datasets": sum(counts.values()),
                "batches": [batches.start, batches.stop],
            }
        )
    manifest = {
        "format_version": FORMAT_VERSION,
        "plan": plan.digest,
        "meta_distribution": plan.meta.to_dict(),
        "seed": plan.seed,
        "batches_per_shard": plan.batches_per_shard,
        "num_datasets": sum(families.values()),
        "num_batches": plan.num_batches,
        "num_of_weight_0": sum(families.values()) - round(kept),
        "families": dict(sorted(families.items())),
        "versions": {"mist-mi": _version("mist-mi"), "torch": torch.__version__, "numpy": np.__version__},
        "shards": entries,
    }
    path = out / MANIFEST
    write_whole(path, json.dumps(manifest, indent=2).encode())
    return path


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


class ShardedBatches(Sequence[Batch]):
    """The batches of a meta-dataset on disk, in the order of the stream; a shard is opened when a batch is read."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        path = self.folder / MANIFEST
        if not path.is_file():
            raise FileNotFoundError(
                f"got {self.folder} without {MANIFEST}, expected a finished meta-dataset; "
                "run the command that makes it again: it goes on with the shards that are missing"
            )
        self.manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if self.manifest.get("format_version") != FORMAT_VERSION:
            raise ValueError(
                f"got {path} of format version {self.manifest.get('format_version')}, expected {FORMAT_VERSION}; "
                "read it with the version of mist-mi that made it, or make it anew"
            )
        self.meta = MetaDistribution.from_dict(self.manifest["meta_distribution"])

    def __len__(self) -> int:
        return int(self.manifest["num_batches"])

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not 0 <= index < len(self):
            raise IndexError(f"got batch {index}, expected 0 to {len(self) - 1}")
        entry = self.manifest["shards"][index // self.manifest["batches_per_shard"]]
        path = self.folder / entry["file"]
        try:
            with safe_open(path, "pt") as file:
                facts = _facts(file)
                if facts["plan"] != self.manifest["plan"]:
                    raise ValueError(f"got {path} of another meta-dataset than {MANIFEST} says; make it anew")
                tensors = {name: file.get_tensor(f"{index}.{name}") for name in _TENSORS}
                family = tuple(facts["families"][str(index)])
        except SafetensorError as error:
            raise ValueError(
                f"got {path}, which is damaged ({error}); delete it and make the meta-dataset again"
            ) from error
        return Batch(**tensors, family=family, index=index)

    def verify(self) -> None:
        """Compare every shard with its sha256; ValueError names those that differ."""
        wrong = [
            entry["file"]
            for entry in self.manifest["shards"]
            if hashlib.sha256((self.folder / entry["file"]).read_bytes()).hexdigest() != entry["sha256"]
        ]
        if wrong:
            raise ValueError(f"got shards that differ from {MANIFEST}: {wrong}; delete them and make them again")
