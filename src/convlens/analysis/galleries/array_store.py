"""A gallery's projections and image patches on disk, written one by one so that interrupted work can be continued."""

import contextlib
import json
import re
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor

from convlens.io.arrays import read_array, read_arrays
from convlens.io.claims import claim, remove_own
from convlens.io.inside import check_inside
from convlens.io.json_files import read_json, write_json
from convlens.io.memory_maps import create_memory_map

WORK = re.compile(r"plan\.json|prepared|done\.\d+|search\.\d+\.pt|.+\.npy|control\d+\.npz")
"""Names of the files of work in progress."""
CONTROL = re.compile(r"control\d+")
"""Names of the folders of control networks in it."""


class Projections:
    """Projections [maps, k, c, h, w] on disk, read one map at a time.

    Stored as float16 fractions of each projection's greatest magnitude, which keeps three significant digits.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.values, self.scales = _mapped(folder, f"{name}.npy"), _mapped(folder, f"{name}.scale.npy")

    @staticmethod
    def create(folder: Path, name: str, shape: Sequence[int]) -> None:
        """Create files of zeros."""
        create_memory_map(folder / f"{name}.npy", np.float16, tuple(shape))
        create_memory_map(folder / f"{name}.scale.npy", np.float32, tuple(shape[:2]))

    @property
    def shape(self) -> tuple[int, ...]:
        """Numbers of maps, activations per map and channels, height, width."""
        return self.values.shape

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, row: int) -> Float[np.ndarray, "k c h w"]:
        """Return the projections of one map."""
        return self.values[row].astype(np.float32) * self.scales[row][:, None, None, None]

    def put(self, row: int, rank: int, projection: Float[Tensor, "c h w"]) -> None:
        """Write one projection."""
        greatest = float(projection.abs().max())
        self.scales[row, rank] = greatest
        self.values[row, rank] = (projection / greatest).half().cpu().numpy() if greatest > 0 else 0

    def crc(self, row: int, rank: int, crc: int) -> int:
        """Return the CRC-32 that goes on from ``crc`` with one projection."""
        return zlib.crc32(self.values[row, rank].tobytes(), zlib.crc32(self.scales[row, rank].tobytes(), crc))

    def flush(self) -> None:
        """Write pending changes to the files."""
        self.values.flush()
        self.scales.flush()


class Patches:
    """Image patches [maps, k, 3, h, w] on disk as pixel values 0..255, read one map at a time."""

    def __init__(self, folder: Path, name: str) -> None:
        self.values = _mapped(folder, f"{name}.npy")

    @staticmethod
    def create(folder: Path, name: str, shape: Sequence[int]) -> None:
        """Create a file of zeros."""
        create_memory_map(folder / f"{name}.npy", np.uint8, tuple(shape))

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, row: int) -> UInt8[np.ndarray, "k 3 h w"]:
        """Return the patches of one map."""
        return self.values[row]

    def put(self, row: int, rank: int, patch: UInt8[Tensor, "3 h w"]) -> None:
        """Write one patch."""
        self.values[row, rank] = patch.numpy()

    def crc(self, row: int, rank: int, crc: int) -> int:
        """Return the CRC-32 that goes on from ``crc`` with one patch."""
        return zlib.crc32(self.values[row, rank].tobytes(), crc)

    def flush(self) -> None:
        """Write pending changes to the file."""
        self.values.flush()


def _mapped(folder: Path, name: str) -> np.memmap:
    """Return an array on disk for writing."""
    check_inside(folder / name, folder)
    return np.lib.format.open_memmap(folder / name, mode="r+")


class Progress:
    """The blocks of work that are finished: each process appends to a file of its own, and all files are read."""

    def __init__(self, folder: Path, rank: int = 0) -> None:
        self.folder, self.rank = folder, rank

    def done(self) -> dict[int, int]:
        """Return the numbers of the finished blocks with the CRC-32 of what was written for each."""
        lines = [line for path in self.folder.glob("done.*") for line in path.read_bytes().splitlines()]
        pairs = [line.split() for line in lines]
        return {int(pair[0]): int(pair[1]) for pair in pairs if len(pair) == 2 and all(word.isdigit() for word in pair)}

    def add(self, block: int, crc: int) -> None:
        """Mark a block as finished; to be called after its arrays are written."""
        path = self.folder / f"done.{self.rank}"
        claim(path)
        with path.open("a") as file:
            file.write(f"{block} {crc}\n")


def start_or_continue(folder: Path, plan: Mapping[str, object]) -> bool:
    """Prepare a folder for work in progress and return whether an interrupted attempt is to be continued.

    Work of another plan is removed.
    """
    path = folder / "plan.json"
    plain = json.loads(json.dumps(plan))
    if read_json(path) == plain:
        return True
    remove_work(folder)
    write_json(path, plain)
    return False


def remove_work(folder: Path) -> None:
    """Remove a folder of work; the plan goes first, so that what an interruption leaves is not continued.

    Files that are not ours stay, and so does the folder then.
    """
    for path in sorted(folder.glob("*"), key=lambda path: path.name != "plan.json"):
        if CONTROL.fullmatch(path.name) and path.is_dir() and not path.is_symlink():
            remove_work(path)
        elif WORK.fullmatch(path.name) and not path.is_dir():
            remove_own(path)
    with contextlib.suppress(OSError):  # not empty, or not there
        folder.rmdir()


def read_gallery(folder: Path, layer: str) -> dict[str, np.ndarray]:
    """Read a finished gallery's arrays by name.

    Returns:
        The arrays of the layer's npz file and, if they were kept, ``projections`` [maps, k, c, h, w] and ``patches``
        [maps, k, 3, h, w].

    Raises:
        InputError: a file is a link out of the folder.
        DamagedError: a file is not as it was written; the same command makes the gallery again.
    """
    for path in folder.glob(f"{layer}.*np?"):
        check_inside(path, folder)
    arrays = read_arrays(folder / f"{layer}.npz")
    if "scales" in arrays:
        fractions = read_array(folder / f"{layer}.projections.npy", "r")
        arrays["projections"] = fractions.astype(np.float32) * arrays["scales"][:, :, None, None, None]
        arrays["patches"] = read_array(folder / f"{layer}.patches.npy", "r")
    return arrays
