"""Features on disk, one memory-mapped array for each layer, with what they are features of."""

import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from convlens.errors import InputError
from convlens.io.atomic import directory_lock, write_json

META = "features.json"


def weights_hash(net: nn.Module) -> str:
    """What tells two networks with other weights, or other names of them, apart."""
    digest = blake2b(digest_size=16)
    for name, value in sorted(net.state_dict().items()):
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def names_hash(names: Sequence[str]) -> str:
    """What tells two lists of images apart."""
    return blake2b("\n".join(names).encode(), digest_size=16).hexdigest()


def reserve(path: Path) -> None:
    """Have the disk keep the room that a file will take: writing to a map of one that it lacks ends the process.

    Raises:
        InputError: there is not that much; the file is removed.
    """
    if not hasattr(os, "posix_fallocate"):
        return
    size = path.stat().st_size
    try:
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, size)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            return  # a file system that cannot reserve
        path.unlink()
        free = shutil.disk_usage(path.parent).free / 1e9
        raise InputError(
            f"{path} will take {size / 1e9:.1f} GB and {free:.1f} GB are free: make room, or pool the maps, such as "
            "task.cells=4"
        ) from None


class FeatureStore:
    """A folder of features: rows are images in the order of ``about``, and each layer says how many are done.

    Args:
        folder: where it lies; made with the first rows.
        about: what the features are of (weights, data, transform): names and plain values.
        count: images in all.

    Raises:
        InputError: the folder holds features of something else.
    """

    def __init__(self, folder: Path, about: Mapping[str, Any], count: int) -> None:
        self.folder, self.about, self.count = folder, json.loads(json.dumps(about)), count
        self._done: dict[str, int] = {}
        self._open: dict[str, np.memmap] = {}
        self.refresh()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """The only one to extract to the folder; waits for another that does."""
        with directory_lock(self.folder, wait=True):
            self.refresh()
            yield

    def refresh(self) -> None:
        """Read again how far the layers are."""
        folder, path = self.folder, self.folder / META
        if path.exists():
            try:
                meta = json.loads(path.read_text())
                there, self._done = meta["about"], {name: int(done) for name, done in meta["done"].items()}
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(
                    f"{path} is damaged ({error!r}): remove {folder}, the features are made anew"
                ) from None
            for key in {**self.about, **there}:
                if self.about.get(key) != there.get(key):
                    raise InputError(
                        f"{folder} holds features with {key}={there.get(key)}, not {self.about.get(key)}: "
                        "choose another folder, or remove this one"
                    )

    def path(self, layer: str) -> Path:
        """The array of a layer."""
        return self.folder / f"{layer}.npy"

    def done(self, layer: str) -> int:
        """How many images of a layer are done."""
        return self._done.get(layer, 0) if self.path(layer).exists() else 0

    def missing(self, layers: Sequence[str]) -> list[str]:
        """Those of some layers that are not whole."""
        return [layer for layer in layers if self.done(layer) < self.count]

    def put(self, start: int, features: Mapping[str, Float[Tensor, "n d"]]) -> None:
        """Keep the features of images ``start`` and following; an interruption loses at most these."""
        for layer, rows in features.items():
            array = self._array(layer, rows.shape[1])
            array[start : start + len(rows)] = rows.numpy()
            array.flush()
            self._done[layer] = start + len(rows)
        write_json(self.folder / META, {"about": self.about, "images": self.count, "done": self._done})

    def read(self, layer: str) -> Float[Tensor, "n d"]:
        """All features of a layer; they stay on the disk until they are used.

        Raises:
            InputError: they are not all there.
        """
        if self.done(layer) < self.count:
            raise InputError(
                f"{self.path(layer)} has {self.done(layer)} of {self.count} images: extract the rest first"
            )
        return torch.from_numpy(self._mapped(layer, "c"))

    def _array(self, layer: str, width: int) -> np.memmap:
        if layer not in self._open:
            path = self.path(layer)
            self.folder.mkdir(parents=True, exist_ok=True)
            if self.done(layer) == 0:
                shape = (self.count, width)
                self._open[layer] = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
                reserve(path)
            else:
                self._open[layer] = self._mapped(layer, "r+")
        return self._open[layer]

    def _mapped(self, layer: str, mode: str) -> np.memmap:
        path = self.path(layer)
        try:
            found = np.lib.format.open_memmap(path, mode=mode)
        except (OSError, ValueError) as error:
            raise InputError(f"{path} is damaged ({error}): remove it, the layer is extracted anew") from None
        return found
