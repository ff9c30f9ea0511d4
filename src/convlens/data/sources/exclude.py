"""Images that a file says to leave out of everything, such as the duplicates of another data set's."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from convlens.data.sources.base import listed
from convlens.data.splits.image_index import Listing
from convlens.data.splits.split import Split
from convlens.errors import InputError


@dataclass(frozen=True)
class Excluded:
    """Names of images that no split has.

    Attributes:
        names: As `ImageData.image_id` gives them.
        path: The file that says so; None where there is none.
    """

    names: frozenset[str] = frozenset()
    path: Path | None = None

    def check_known(self, listings: Iterable[Listing]) -> None:
        """Sees to it that each name is that of an image.

        Raises:
            InputError: No listing has it.
        """
        unknown = self.names.difference(*(listing.names for listing in listings)) if self.names else ()
        if unknown:
            raise InputError(
                f"data.exclude: {self.path} names what is no image of these data: {listed(sorted(unknown))}; "
                "a line begins with the path of an image below the root of the data set"
            )

    def among(self, names: Iterable[str]) -> Int64[np.ndarray, " k"]:
        """Places of the excluded ones among some names."""
        return np.array([place for place, name in enumerate(names) if name in self.names], np.int64)

    def removed(self, split: Split) -> Split:
        """A split without them."""
        if not self.names:
            return split
        return Split(split.listing, split.rows[~np.isin(split.rows, self.among(split.listing.names))])


def read_excluded(path: str | Path | None) -> Excluded:
    """The names in the first column (up to a tab) of a text file; an empty line says nothing.

    Raises:
        InputError: The file cannot be read.
    """
    if path is None:
        return Excluded()
    path = Path(path).expanduser()
    try:
        lines = path.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise InputError(f"data.exclude: {path} cannot be read ({reason}): give a text file, a name a line") from error
    return Excluded(frozenset(line.split("\t")[0] for line in lines if line.strip()), path)
