"""Pictures of a gallery on disk, written as they come: what is there after an interruption is not made again."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from convlens.io.atomic import write_json


class Projections:
    """Projections [maps, k, c, h, w] on disk as halves of their own greatest magnitude, read map by map.

    A half keeps three digits, which is more than a picture shows, in half of the space.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.values = np.load(folder / f"{name}.npy", mmap_mode="r+")
        self.scales = np.load(folder / f"{name}.scale.npy", mmap_mode="r+")

    @staticmethod
    def create(folder: Path, name: str, shape: Sequence[int]) -> None:
        """Empty files: zeros, which take no space before they are written."""
        folder.mkdir(parents=True, exist_ok=True)
        _empty(folder / f"{name}.npy", tuple(shape), np.float16)
        _empty(folder / f"{name}.scale.npy", tuple(shape[:2]), np.float32)

    @property
    def shape(self) -> tuple[int, ...]:
        """Maps, activations of each, channels, height, width."""
        return self.values.shape

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, row: int) -> Float[np.ndarray, "k c h w"]:
        """The projections of one map."""
        return self.values[row].astype(np.float32) * self.scales[row][:, None, None, None]

    def put(self, row: int, rank: int, projection: Float[Tensor, "c h w"]) -> None:
        """Write one."""
        greatest = float(projection.abs().max())
        self.scales[row, rank] = greatest
        if greatest > 0:
            self.values[row, rank] = (projection / greatest).half().cpu().numpy()

    def flush(self) -> None:
        """Hand what was written to the operating system's care."""
        self.values.flush()
        self.scales.flush()


class Patches:
    """Image patches [maps, k, 3, h, w] on disk, as bytes."""

    def __init__(self, folder: Path, name: str) -> None:
        self.values = np.load(folder / f"{name}.npy", mmap_mode="r+")

    @staticmethod
    def create(folder: Path, name: str, shape: Sequence[int]) -> None:
        """Empty files."""
        folder.mkdir(parents=True, exist_ok=True)
        _empty(folder / f"{name}.npy", tuple(shape), np.uint8)

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, row: int) -> UInt8[np.ndarray, "k 3 h w"]:
        """The patches of one map."""
        return self.values[row]

    def put(self, row: int, rank: int, patch: UInt8[Tensor, "3 h w"]) -> None:
        """Write one."""
        self.values[row, rank] = patch.numpy()

    def flush(self) -> None:
        """Hand what was written to the operating system's care."""
        self.values.flush()


def read_gallery(folder: Path, layer: str) -> dict[str, np.ndarray]:
    """A finished gallery's arrays by name: those of its npz, and ``projections`` and ``patches`` if they were kept."""
    with np.load(folder / f"{layer}.npz") as file:
        arrays = {name: file[name] for name in file.files}
    if "scales" in arrays:
        halves = np.load(folder / f"{layer}.projections.npy", mmap_mode="r")
        arrays["projections"] = halves.astype(np.float32) * arrays["scales"][:, :, None, None, None]
        arrays["patches"] = np.load(folder / f"{layer}.patches.npy", mmap_mode="r")
    return arrays


class Progress:
    """Which blocks of the work are done; every process notes its own, and all are read."""

    def __init__(self, folder: Path, process: int = 0) -> None:
        self.folder, self.process = folder, process

    def done(self) -> set[int]:
        """Numbers of the finished blocks."""
        lines = [line for path in self.folder.glob("done.*") for line in path.read_text().splitlines()]
        return {int(line) for line in lines if line.isdigit()}

    def note(self, block: int) -> None:
        """Mark a block as finished; call it after its pictures are written."""
        with (self.folder / f"done.{self.process}").open("a") as file:
            file.write(f"{block}\n")


def prepare(folder: Path, plan: dict[str, Any]) -> bool:
    """Make a folder for the work of a plan; True if an earlier attempt at the very same one is to be continued."""
    path = folder / "plan.json"
    plan = json.loads(json.dumps(plan))
    if path.exists() and json.loads(path.read_text()) == plan:
        return True
    for old in folder.glob("*"):
        old.unlink()
    write_json(path, plan)
    return False


def digest(plan: dict[str, Any]) -> str:
    """A plan in short."""
    return hashlib.blake2b(json.dumps(plan).encode(), digest_size=16).hexdigest()


def _empty(path: Path, shape: tuple[int, ...], kind: type) -> None:
    np.lib.format.open_memmap(path, mode="w+", dtype=kind, shape=shape).flush()


def fingerprint(net: torch.nn.Module) -> str:
    """A digest of a network's weights and buffers."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in net.state_dict().items():
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy()).data)
    return digest.hexdigest()
