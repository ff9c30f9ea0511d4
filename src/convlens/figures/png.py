"""Writing of pictures and plots as PNG files, completely or not at all."""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from matplotlib.figure import Figure
from PIL import Image

from convlens.errors import InputError
from convlens.io.atomic import replacing

DOTS_PER_INCH = 160
RUN_LENGTHS = 3  # zlib strategy Z_RLE


def save_png(image: Image.Image | Figure | UInt8[np.ndarray, "height width 3"], path: Path | str) -> Path:
    """Write a picture or plot as PNG under a temporary name, then rename it; missing folders are made.

    Args:
        image: picture, plot or array of RGB values.
        path: the file to write.

    Returns:
        The path written to.

    Raises:
        InputError: the name of the file does not end in .png.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise InputError(f"{path}: pictures are written as PNG: give a name that ends in .png")
    with replacing(path) as partial:
        if isinstance(image, Figure):
            image.savefig(partial, format="png", dpi=DOTS_PER_INCH)
        else:
            picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
            # twice as fast as the default level on sheets of projections, and no larger files
            picture.save(partial, format="png", compress_level=1, compress_type=RUN_LENGTHS)
    return path
