"""Random discs inside an object, as controls for its parts (Table 1, row "random")."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from convlens.errors import InputError

TRIES = 64
"""Random centres that are tried for a disc that lies inside the object."""


def random_regions(inside: Bool[Tensor, "h w"], areas: Sequence[int], seed: int) -> list[Bool[Tensor, "h w"]]:
    """Return discs of given areas at random positions of an object.

    Of 64 random centres the first is taken whose disc lies inside the object, else the one with the largest overlap.

    Args:
        inside: mask of the object.
        areas: of the discs, in pixels.
        seed: random seed of the centres.

    Raises:
        InputError: the mask is empty.
    """
    pixels = inside.nonzero()
    if not len(pixels):
        raise InputError("the object's mask is empty: random regions need an object")
    rng = np.random.default_rng(seed)
    height, width = inside.shape
    y, x = torch.arange(height)[:, None], torch.arange(width)[None]
    masks = []
    for area in areas:
        best, most = torch.zeros(height, width, dtype=torch.bool), -1
        for number in rng.integers(len(pixels), size=TRIES):
            squared = (y - pixels[number][0]) ** 2 + (x - pixels[number][1]) ** 2
            # The nearest pixels: a disc of exactly that area, also if the image's border cuts it.
            mask = torch.zeros(height * width, dtype=torch.bool)
            mask[squared.flatten().argsort(stable=True)[: max(1, area)]] = True
            covered = int((mask.view(height, width) & inside).sum())
            if covered > most:
                best, most = mask.view(height, width), covered
            if covered == int(mask.sum()):
                break
        masks.append(best)
    return masks
