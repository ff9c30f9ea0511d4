"""Features on disk: one memory-mapped array for each layer, and a record of network, weights and images."""

import json
import logging
import math
import shutil
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from convlens.errors import DamagedError, InputError, ResourceError
from convlens.io.hashing import digest_named_arrays
from convlens.io.inside import check_inside
from convlens.io.json_files import load_json, write_json
from convlens.io.locks import directory_lock
from convlens.io.memory_maps import create_memory_map
from convlens.io.resources import is_disk_full

log = logging.getLogger(__name__)
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
        self._crcs: dict[str, int] = {}
        self._checked: dict[str, int] = {}
        self._record_damaged = False
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
            InputError: the record is that of another source, or of another program.
        """
        folder, path = self.folder, self.folder / META
        if not path.exists():
            return
        try:
            meta = load_json(path)
            recorded, done = meta["about"], {name: int(done) for name, done in meta["done"].items()}
        except DamagedError as error:
            if not _may_be_record(path):
                raise InputError(f"{path} is no record of features: choose another folder") from None
            log.warning("%s: the features are extracted again", error)
            self._record_damaged = True
            return
        except (ValueError, KeyError, TypeError, AttributeError):
            raise InputError(f"{path} is no record of features: choose another folder") from None
        self._done, self._crcs = done, dict(meta.get("crc32", {}))
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
        """Return the number of images whose features of a layer are done; none if they are not as they were written."""
        done = self._done.get(layer, 0)
        if done and self._checked.get(layer) != done:
            try:
                self._check(layer, done)
            except FileNotFoundError:
                done = 0
            except DamagedError as error:
                log.warning("%s: the layer is extracted again", error)
                done = 0
            self._done[layer] = self._checked[layer] = done
        return done

    def _check(self, layer: str, done: int) -> None:
        """Check the rows that are done; records of version 0.1 have no checksums.

        Raises:
            DamagedError: the array is cut short, of another size, or its rows are not as they were written.
        """
        array = self._mapped(layer, "c")
        if array.dtype != np.float32 or array.ndim != 2 or len(array) != self.count:
            raise DamagedError(f"{self.path(layer)} is damaged ({array.dtype} values of shape {array.shape})")
        if layer in self._crcs and _crc_of_rows(array[:done], 0) != self._crcs[layer]:
            raise DamagedError(f"{self.path(layer)} is damaged (it is not as it was written)")

    def missing(self, layers: Sequence[str]) -> list[str]:
        """Return the layers that are not complete."""
        return [layer for layer in layers if self.done(layer) < self.count]

    def put(self, start: int, features: Mapping[str, Float[Tensor, "n d"]]) -> None:
        """Write the features of images ``start`` and following; an interruption loses at most these."""
        for layer, rows in features.items():
            array = self._array(layer, rows.shape[1])
            values = rows.numpy()
            array[start : start + len(rows)] = values
            array.flush()
            known = start == 0 or layer in self._crcs  # else rows of version 0.1 go before
            if known:
                self._crcs[layer] = _crc_of_rows(values, self._crcs[layer] if start else 0)
            self._done[layer] = self._checked[layer] = start + len(rows)
        self._write_record()

    def _write_record(self) -> None:
        record = {"about": self.about, "images": self.count, "done": self._done, "crc32": self._crcs}
        write_json(self.folder / META, record)

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
            check_inside(path, self.folder)
            if self.done(layer) == 0:
                self._claim(path)
                self._open[layer] = self._create(path, (self.count, width))
            else:
                self._open[layer] = self._mapped(layer, "r+")
        return self._open[layer]

    def _claim(self, path: Path) -> None:
        """Record a layer before its file is made, so that a file without a record is known to be somebody else's.

        Raises:
            InputError: there is such a file.
        """
        if path.exists() and not (path.stem in self._done or (self._record_damaged and self._has_shape(path))):
            raise InputError(f"{path} is no file of features that convlens has written: choose another folder")
        self._done.setdefault(path.stem, 0)
        self._write_record()

    def _has_shape(self, path: Path) -> bool:
        """Return whether a file is an array of features of all images, whatever its values."""
        try:
            array = self._mapped(path.stem, "c")
        except (OSError, DamagedError):
            return False
        return array.dtype == np.float32 and array.ndim == 2 and len(array) == self.count

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
        check_inside(path, self.folder)
        try:
            return np.lib.format.open_memmap(path, mode=mode)
        except (ValueError, EOFError, SyntaxError) as error:
            raise DamagedError(f"{path} is damaged ({' '.join(str(error).split())})") from None


def _may_be_record(path: Path) -> bool:
    """Return whether a file that is damaged may have been a record of features: empty, or with one of its keys."""
    content = path.read_bytes()
    return not content or any(key in content for key in (b'"about"', b'"images"', b'"done"', b'"crc32"'))


def _crc_of_rows(rows: np.ndarray, crc: int) -> int:
    """Return the CRC-32 that goes on from ``crc`` with rows."""
    for start in range(0, len(rows), 1024):
        crc = zlib.crc32(np.ascontiguousarray(rows[start : start + 1024]).data, crc)
    return crc
