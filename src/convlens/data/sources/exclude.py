"""Images to leave out of every split, read from a text file; such as duplicates of another data set's images."""

import errno
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from convlens.data.sources.base import join_names
from convlens.data.splits.image_index import ImageIndex
from convlens.data.splits.split import Split
from convlens.errors import InputError
from convlens.io.names import read_names


@dataclass(frozen=True)
class Exclusions:
    """Names of images that no split holds.

    Attributes:
        names: as ``ImageData.image_id`` gives them.
        path: the file they were read from; None without a file.
    """

    names: frozenset[str] = frozenset()
    path: Path | None = None

    def check_names(self, image_indexes: Iterable[ImageIndex]) -> None:
        """Check that each excluded name is that of an image.

        Raises:
            InputError: no index holds the name.
        """
        unknown = self.names.difference(*(index.names for index in image_indexes)) if self.names else ()
        if unknown:
            raise InputError(
                f"data.exclude: {self.path} has names of no image of these data: {join_names(sorted(unknown))}; "
                "a line begins with the path of an image below the root of the data set"
            )

    def positions_in(self, names: Iterable[str]) -> Int64[np.ndarray, " k"]:
        """Return the positions of excluded images in a sequence of names."""
        return np.array([position for position, name in enumerate(names) if name in self.names], np.int64)

    def remove_from(self, split: Split) -> Split:
        """Return a split without the excluded images."""
        if not self.names:
            return split
        excluded = self.positions_in(split.image_index.names)
        return Split(split.image_index, split.rows[~np.isin(split.rows, excluded)])


def read_exclusions(path: str | Path | None) -> Exclusions:
    """Read the names in the first column (up to a tab) of a text file, ignoring empty lines.

    Raises:
        InputError: the file cannot be read.
    """
    if path is None:
        return Exclusions()
    path = Path(path).expanduser()
    try:
        if not path.is_file() and not path.is_dir() and path.exists():
            raise OSError(errno.EINVAL, "it is no regular file")  # a pipe would be waited for
        lines = read_names(path).splitlines()
    except OSError as error:
        raise InputError(
            f"data.exclude: {path} cannot be read ({error.strerror}): give a text file with one name a line"
        ) from error
    return Exclusions(frozenset(line.split("\t")[0] for line in lines if line.strip()), path)
