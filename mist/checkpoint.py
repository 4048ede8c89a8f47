"""Checkpoint folders {model.safetensors, config.json, CARD.md}: written at once, loaded strictly, never unpickled."""

from __future__ import annotations

import glob
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from mist.calibration import AnyCalibration, calibration_from_dict
from mist.errors import CheckpointFormatError, CheckpointNotFoundError, CorruptCheckpointError
from mist.network import MISTNetwork, NetworkConfig
from mist.novelty import Novelty
from mist.older_formats import FORMAT_VERSION, migrate_config, widen
from mist.reduction import Reduction
from mist.unwarping import Unwarping
from mist.version import __version__

__all__ = [
    "CONFIG_FILE",
    "FORMAT_VERSION",
    "WEIGHTS_FILE",
    "Checkpoint",
    "available_checkpoints",
    "find_checkpoint",
    "load_checkpoint",
    "save_checkpoint",
]

WEIGHTS_FILE, CONFIG_FILE, CARD_FILE = "model.safetensors", "config.json", "CARD.md"
_ASIDE, _OLD = ".old.", "old"  # a folder steps aside to `.<name>.old.*/old` while another takes its place

# What config.json holds, and nothing else. In `extra`, free otherwise, "preliminary" and "trained_on_categories" count.
_CONFIG_TYPES: dict[str, type] = {
    "format_version": int,
    "package_version": str,
    "name": str,
    "network": dict,
    "levels": list,
    "calibration": dict,  # {}: none
    "trained_ranges": dict,
    "meta_distribution": dict,
    "lineage": dict,
    "extra": dict,
    "weights_sha256": str,
}
_RANGES = ("num_points", "dim_x", "dim_y", "mi")
_FEW_RANGES = ("few_dims", "num_points_few_dims")


@dataclass(frozen=True)
class Checkpoint:
    """A loaded checkpoint: the network in evaluation mode (float32, CPU) and its validated config.json."""

    network: MISTNetwork
    config: dict[str, Any]
    path: Path
    card: str = ""  # the text of CARD.md
    reduction: Reduction | None = None  # of wide sides
    unwarping: Unwarping | None = None  # of sides like those that it was fine-tuned on

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write it to another folder, under its own name; `save_checkpoint` says how."""
        return save_checkpoint(
            folder,
            self.network,
            trained_ranges=self.config["trained_ranges"],
            meta_distribution=self.config["meta_distribution"],
            lineage=self.config["lineage"],
            card=self.card,
            extra=self.config["extra"],
            name=self.name,
            reduction=self.reduction,
            unwarping=self.unwarping,
        )

    @property
    def name(self) -> str:
        return str(self.config["name"])

    @property
    def sha256(self) -> str:
        """sha256 of the weights."""
        return str(self.config["weights_sha256"])

    @property
    def label(self) -> str:
        """Name and first 8 characters of the sha256, as estimates quote it, and whether a calibration was left out."""
        left_out = bool(self.config["calibration"]) and self.network.calibration is None
        return f"{self.name}@{self.sha256[:8]}{'-uncalibrated' if left_out else ''}"

    @property
    def preliminary(self) -> bool:
        """True where the card says that the training was a short one."""
        return bool(self.config["extra"].get("preliminary", False))

    @property
    def trained_on_categories(self) -> bool:
        return bool(self.config["extra"].get("trained_on_categories", False))

    def trained_range(self, quantity: str) -> tuple[float, float]:
        """Trained (low, high) of "num_points", "dim_x", "dim_y", "mi" (nats) or another of the ranges."""
        low, high = self.config["trained_ranges"][quantity]
        return low, high

    def trained_points(self, dim_x: int, dim_y: int) -> tuple[float, float]:
        """Trained (low, high) of n at these dims: where both are few, training may have gone further."""
        few = max(dim_x, dim_y) <= self.few_dims
        return self.trained_range("num_points_few_dims" if few else "num_points")

    @property
    def few_dims(self) -> int:
        """Dims of a side up to which n went further in training; 0: none."""
        return int(self.config["trained_ranges"].get("few_dims", (0, 0))[1])


def save_checkpoint(
    folder: str | os.PathLike[str],
    network: MISTNetwork,
    *,
    trained_ranges: Mapping[str, Sequence[float]],
    meta_distribution: Mapping[str, Any],
    lineage: Mapping[str, Any],
    card: str,
    extra: Mapping[str, Any] | None = None,
    name: str | None = None,
    reduction: Reduction | None = None,
    unwarping: Unwarping | None = None,
) -> Path:
    """Write a checkpoint folder and return its path.

    trained_ranges: {"num_points": [low, high], "dim_x": ..., "dim_y": ..., "mi": ... (nats)}, and where n went further
    at few dims a side, {"few_dims": ..., "num_points_few_dims": ...}.
    meta_distribution, lineage, extra: JSON-able. card: the text of CARD.md. name: by default the folder's own.
    reduction: what is done to wide sides first; unwarping: what is done to sides of a modality then.
    The folder is written beside its place, flushed to disk and renamed: a reader never finds a torn one. (A crash
    between the two renames leaves the old one beside it, in `.<name>.old.*`.) Raises ValueError for weights that are
    not finite, for missing ranges, and for what JSON cannot hold.
    """
    folder = Path(folder)
    state = {key: value.detach().cpu().contiguous().clone() for key, value in network.state_dict().items()}
    for first in (reduction, unwarping):
        state |= {} if first is None else first.state()
    broken = [key for key, value in state.items() if value.is_floating_point() and not torch.isfinite(value).all()]
    if broken:
        raise ValueError(f"weights {broken[:3]} hold NaN or infinity: expected finite weights; the training diverged")
    weights = safetensors.torch.save(state)
    config = {
        "format_version": FORMAT_VERSION,
        "package_version": __version__,
        "name": folder.name if name is None else name,
        "network": network.config.to_dict(),
        "levels": [float(level) for level in network.config.levels],
        "calibration": {} if network.calibration is None else network.calibration.to_dict(),
        "trained_ranges": {key: list(value) for key, value in trained_ranges.items()},
        "meta_distribution": dict(meta_distribution),
        "lineage": dict(lineage),
        "extra": dict(extra or {}),
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
    }
    config = json.loads(json.dumps(config, allow_nan=False))  # as a reader will see it: tuples are lists from here on
    _check_config(config, folder / CONFIG_FILE)
    text = json.dumps(config, indent=2) + "\n"
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        part.chmod(0o755)
        for file, content in ((WEIGHTS_FILE, weights), (CONFIG_FILE, text.encode()), (CARD_FILE, card.encode())):
            _write(part / file, content)
        _replace(part, folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def load_checkpoint(folder: str | os.PathLike[str]) -> Checkpoint:
    """Load a checkpoint folder strictly: format version, keys, hash, network configuration, every tensor.

    Raises `CheckpointNotFoundError` (a file is missing), `CheckpointFormatError` (config.json of another version or
    with other keys) or `CorruptCheckpointError` (damaged files).
    """
    folder = Path(folder)
    for file in (CONFIG_FILE, WEIGHTS_FILE):
        if not (folder / file).is_file():
            raise CheckpointNotFoundError(
                f"{folder} has no {file}: expected a checkpoint folder with {CONFIG_FILE} and {WEIGHTS_FILE}; "
                f"available by name: {', '.join(available_checkpoints()) or 'none'}" + _aside_hint(folder)
            )
    config = _read_config(folder / CONFIG_FILE)
    weights = (folder / WEIGHTS_FILE).read_bytes()
    found = hashlib.sha256(weights).hexdigest()
    if found != config["weights_sha256"]:
        raise CorruptCheckpointError(
            f"{folder / WEIGHTS_FILE} ({len(weights)} bytes) has sha256 {found[:12]}…, expected "
            f"{config['weights_sha256'][:12]}… as {CONFIG_FILE} says: the weights are corrupt, truncated or of another "
            "checkpoint; copy the folder again or reinstall the package"
        )
    network = _build_network(config, folder)
    try:
        state = widen(safetensors.torch.load(weights))
        reduction, unwarping = Reduction.from_state(state), Unwarping.from_state(state)
        known = [key for first in (reduction, unwarping) if first is not None for key in first.state()]
        state = {key: value for key, value in state.items() if key not in known}
        if "novelty.axes" in state and "novelty.table" in state:
            width = network.config.num_members * network.config.trunk_width
            network.novelty = Novelty(width, state["novelty.axes"].shape[-1], state["novelty.table"].numel())
        network.load_state_dict(state, strict=True)
    except (RuntimeError, LookupError, TypeError, ValueError, safetensors.SafetensorError) as error:
        raise CorruptCheckpointError(
            f"{folder / WEIGHTS_FILE} does not fit the network of {CONFIG_FILE} ({error}): expected exactly its "
            "tensors; use the folder as it was saved"
        ) from error
    network.calibration = _build_calibration(config, folder)
    network.max_mi = float(config["trained_ranges"]["mi"][1])
    card = folder / CARD_FILE
    return Checkpoint(
        network=network.eval().requires_grad_(False),
        config=config,
        path=folder.resolve(),
        card=card.read_text(encoding="utf-8") if card.is_file() else "",
        reduction=reduction,
        unwarping=unwarping,
    )


def find_checkpoint(name_or_path: str | os.PathLike[str]) -> Path:
    """Folder of a checkpoint given by name (inside the package, else the repository's checkpoints/) or by path."""
    for root in _roots():
        if (
            isinstance(name_or_path, str)
            and os.sep not in name_or_path
            and (root / name_or_path / CONFIG_FILE).is_file()
        ):
            return root / name_or_path
    if Path(name_or_path).is_dir():
        return Path(name_or_path)
    raise CheckpointNotFoundError(
        f"no checkpoint {os.fspath(name_or_path)!r}: expected the path of a checkpoint folder or one of the names: "
        f"{', '.join(available_checkpoints()) or 'none'} (looked in {', '.join(str(root) for root in _roots())})"
        + _aside_hint(Path(name_or_path))
    )


def available_checkpoints() -> list[str]:
    """Names that `mist.load` knows."""
    return sorted({path.parent.name for root in _roots() for path in root.glob(f"*/{CONFIG_FILE}")})


def _roots() -> list[Path]:
    """Where named checkpoints live: in the installed package and, for an editable install, in the repository."""
    package = Path(__file__).resolve().parent
    roots = [package / "_checkpoints"]
    if (package.parent / "pyproject.toml").is_file():
        roots.append(package.parent / "checkpoints")
    return roots


def _build_network(config: dict[str, Any], folder: Path) -> MISTNetwork:
    """The network of config.json, its initial weights drawn without moving the global random state."""
    try:
        network_config = NetworkConfig.from_dict(config["network"])
        with torch.random.fork_rng(devices=[]):
            network = MISTNetwork(network_config)
    except (TypeError, ValueError) as error:
        raise CheckpointFormatError(
            f"{folder / CONFIG_FILE} has an unusable network configuration ({error}): expected that of "
            f"mist-mi {__version__}, got one written by {config['package_version']}; use that version"
        ) from error
    if list(network_config.levels) != config["levels"]:
        raise CheckpointFormatError(
            f"{folder / CONFIG_FILE} lists {len(config['levels'])} levels that are not the "
            f"{len(network_config.levels)} of its own network configuration: expected them equal; "
            "use the file as it was saved"
        )
    return network


def _build_calibration(config: dict[str, Any], folder: Path) -> AnyCalibration | None:
    if not config["calibration"]:
        return None
    try:
        calibration = calibration_from_dict(config["calibration"])
        if calibration.num_levels != len(config["levels"]):
            raise ValueError(f"got a warp of {calibration.num_levels} scores, expected {len(config['levels'])}")
    except (TypeError, ValueError) as error:
        raise CheckpointFormatError(
            f"{folder / CONFIG_FILE} has an unusable calibration ({error}): use the file as it was saved"
        ) from error
    return calibration


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CorruptCheckpointError(
            f"{path} is not JSON ({error}): expected the file as it was saved; copy the folder again"
        ) from error
    config = migrate_config(config)
    _check_config(config, path)
    return config


def _check_config(config: Any, path: Path) -> None:
    """Raise `CheckpointFormatError` unless config.json has this format version and exactly the expected keys."""
    if not isinstance(config, dict):
        raise CheckpointFormatError(f"{path} holds a {type(config).__name__}: expected a JSON object")
    version = config.get("format_version")
    if version != FORMAT_VERSION:
        raise CheckpointFormatError(
            f"{path} has format_version {version!r}, expected {FORMAT_VERSION}: it was written by mist-mi "
            f"{config.get('package_version', 'of unknown version')}, this is {__version__}; install that version, "
            "or take a checkpoint made for this one"
        )
    unknown, missing = sorted(config.keys() - _CONFIG_TYPES), sorted(_CONFIG_TYPES.keys() - config.keys())
    if unknown or missing:
        raise CheckpointFormatError(
            f"{path} has unknown keys {unknown} and misses {missing}: expected exactly {list(_CONFIG_TYPES)}; "
            "use the file as it was saved"
        )
    for key, kind in _CONFIG_TYPES.items():
        if not isinstance(config[key], kind):
            raise CheckpointFormatError(
                f"{path} has {key} of type {type(config[key]).__name__}: expected {kind.__name__}"
            )
    ranges = config["trained_ranges"]
    if set(ranges) not in (set(_RANGES), {*_RANGES, *_FEW_RANGES}) or not all(map(_is_range, ranges.values())):
        raise CheckpointFormatError(
            f"{path} has trained_ranges {ranges}: expected [low, high] for each of {_RANGES}, and of {_FEW_RANGES} or "
            "of neither"
        )


def _is_range(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(type(v) in (int, float) for v in value)
        and value[0] <= value[1]
    )


def _aside_hint(folder: Path) -> str:
    """Where the one before is, if a write was killed between the two renames."""
    if folder.exists() or not folder.parent.is_dir():
        return ""
    left = sorted(path for path in folder.parent.glob(f".{glob.escape(folder.name)}{_ASIDE}*/{_OLD}") if path.is_dir())
    return f"; a write was cut off, and the checkpoint that was there before is whole in {left[-1]}" if left else ""


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _replace(part: Path, folder: Path) -> None:
    """Put `part` where `folder` is; an older folder there steps aside first and is removed last."""
    if not folder.exists():
        part.rename(folder)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}{_ASIDE}", dir=folder.parent))
    folder.rename(aside / _OLD)
    part.rename(folder)
    shutil.rmtree(aside)
