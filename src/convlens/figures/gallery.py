"""A layer's gallery as files: the sheet of pictures and the numbers behind it."""

from pathlib import Path
from typing import Any

import numpy as np

from convlens.figures.files import save_png
from convlens.figures.projections import top9_sheet
from convlens.files import replacing


def write_gallery(folder: Path, name: str, arrays: dict[str, np.ndarray], title: str) -> tuple[Path, Path]:
    """Write ``<name>.png`` in the layout of Fig 2 and ``<name>.npz``.

    Args:
        folder: where to.
        name: of the files, such as the layer's.
        arrays: maps [maps], values [maps, k], projections [maps, k, c, h, w], patches [maps, k, 3, h, w] and whatever
            else is to be kept in the npz.
        title: of the sheet.

    Returns:
        The paths of the sheet and of the arrays.
    """
    sheet = top9_sheet(
        arrays["projections"], arrays["patches"], values=arrays["values"], maps=arrays["maps"].tolist(), title=title
    )
    picture = save_png(sheet, folder / f"{name}.png")
    return picture, write_arrays(folder / f"{name}.npz", arrays)


def write_arrays(path: Path, arrays: dict[str, Any]) -> Path:
    """Write named arrays as a compressed npz, whole or not at all."""
    with replacing(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **arrays)
    return path
