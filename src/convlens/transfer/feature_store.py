"""Features on disk: one memory-mapped array for each layer, and a record of network, weights and images."""

import json
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from convlens.errors import InputError, ResourceError
from convlens.io.hashing import digest_named_arrays
from convlens.io.json_files import write_json
from convlens.io.locks import directory_lock
from convlens.io.memory_maps import create_memory_map
from convlens.io.resources import is_disk_full

META = "features.json"
SETTING_NAMES = {"cells": "pool_size"}
"""Settings whose name in `META` is an older one."""


def weights_hash(net: nn.Module) -> str:
    """Return a digest of a network's weights with their names, shapes and types."""
    return digest_named_arrays(
        (
            f"{name} {tuple(value.shape)} {value.dtype}",
            value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy(),
        )
        for name, value in sorted(net.state_dict().items())
    )


class FeatureStore:
    """A folder of features: a row for each image, and for each layer the number of rows that are done.

    Args:
        folder: the folder, created with the first rows.
        about: source of the features (weights, data, transform) as plain values.
        count: number of images.

    Raises:
        InputError: the folder holds features of another source.
    """

    def __init__(self, folder: Path, about: Mapping[str, object], count: int) -> None:
        self.folder, self.count = folder, count
        self.about: dict[str, object] = json.loads(json.dumps(about))
        self._done: dict[str, int] = {}
        self._open: dict[str, np.memmap] = {}
        self.refresh()

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder's lock; wait for a process that holds it."""
        with directory_lock(self.folder, wait=True):
            self.refresh()
            yield

    def refresh(self) -> None:
        """Read again how many rows of each layer are done.

        Raises:
            InputError: the record is damaged, or that of another source.
        """
        folder, path = self.folder, self.folder / META
        if not path.exists():
            return
        try:
            meta = json.loads(path.read_text())
            recorded, self._done = meta["about"], {name: int(done) for name, done in meta["done"].items()}
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path} is damaged ({error!r}): remove {folder}, the features are extracted again"
            ) from None
        for key in {**self.about, **recorded}:
            if self.about.get(key) != recorded.get(key):
                raise InputError(
                    f"{folder} holds features with {SETTING_NAMES.get(key, key)}={recorded.get(key)}, not "
                    f"{self.about.get(key)}: choose another folder, or remove this one"
                )

    def path(self, layer: str) -> Path:
        """Return the file of a layer's array."""
        return self.folder / f"{layer}.npy"

    def done(self, layer: str) -> int:
        """Return the number of images whose features of a layer are done."""
        return self._done.get(layer, 0) if self.path(layer).exists() else 0

    def missing(self, layers: Sequence[str]) -> list[str]:
        """Return the layers that are not complete."""
        return [layer for layer in layers if self.done(layer) < self.count]

    def put(self, start: int, features: Mapping[str, Float[Tensor, "n d"]]) -> None:
        """Write the features of images ``start`` and following; an interruption loses at most these."""
        for layer, rows in features.items():
            array = self._array(layer, rows.shape[1])
            array[start : start + len(rows)] = rows.numpy()
            array.flush()
            self._done[layer] = start + len(rows)
        write_json(self.folder / META, {"about": self.about, "images": self.count, "done": self._done})

    def read(self, layer: str) -> Float[Tensor, "n d"]:
        """Return all features of a layer, memory-mapped.

        Raises:
            InputError: the layer is not complete.
        """
        if self.done(layer) < self.count:
            raise InputError(
                f"{self.path(layer)} has {self.done(layer)} of {self.count} images: extract the rest first"
            )
        return torch.from_numpy(self._mapped(layer, "c"))

    def _array(self, layer: str, width: int) -> np.memmap:
        """Return a layer's array for writing; create it if no row is done."""
        if layer not in self._open:
            path = self.path(layer)
            if self.done(layer) == 0:
                self._open[layer] = self._create(path, (self.count, width))
            else:
                self._open[layer] = self._mapped(layer, "r+")
        return self._open[layer]

    def _create(self, path: Path, shape: tuple[int, int]) -> np.memmap:
        """Create a layer's array.

        Raises:
            ResourceError: the disk has too little room.
        """
        try:
            return create_memory_map(path, np.float32, shape)
        except OSError as error:
            if not is_disk_full(error):
                raise
            free = shutil.disk_usage(self.folder).free / 1e9
            raise ResourceError(
                f"{path} needs {4 * math.prod(shape) / 1e9:.1f} GB and {free:.1f} GB are free: free some space, or pool"
                " the maps, such as task.pool_size=4"
            ) from error

    def _mapped(self, layer: str, mode: Literal["c", "r+"]) -> np.memmap:
        path = self.path(layer)
        try:
            return np.lib.format.open_memmap(path, mode=mode)
        except (OSError, ValueError) as error:
            raise InputError(f"{path} is damaged ({error}): remove it, the layer is extracted again") from None
