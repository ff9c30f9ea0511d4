"""The built-in images: drawn creatures made of parts, with the place of each part known to the pixel.

Twelve classes differ in the shape of the body, its texture, and the kinds of ears, eyes, nose and mouth; pose, colours,
light and the clutter behind are drawn at random, independently of the class. Image `index` of a `seed` never changes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Int64, UInt8
from torch import Tensor

from convlens.data.synthetic.creatures import CREATURES, PART_NAMES
from convlens.data.synthetic.render import render
from convlens.data.synthetic.scene import CLUTTER, Layout, sample_layout

CLASS_NAMES = tuple(CREATURES)

__all__ = ["CLASS_NAMES", "PART_NAMES", "Scene", "label_of", "render_images", "render_scene"]


@dataclass(frozen=True)
class Scene:
    """One image and the truth about it.

    A mask holds the pixels at which its part is on top; a box (top, left, bottom, right) is the mask's bounds, bottom
    and right exclusive, and all zeros where the creature has no such part (a frog has no ears). A creature's own left
    is on the viewer's right.
    """

    image: UInt8[Tensor, "3 s s"]
    label: int
    masks: Bool[Tensor, "parts s s"]
    object_mask: Bool[Tensor, "s s"]
    boxes: Int64[Tensor, "parts 4"]
    object_box: Int64[Tensor, "4"]


def label_of(index: int, *, seed: int) -> int:
    """The class of an image; each twelve consecutive images hold each class once."""
    block, place = divmod(index, len(CLASS_NAMES))
    return int(np.random.default_rng((seed, block, 0)).permutation(len(CLASS_NAMES))[place])


def render_scene(index: int, *, seed: int, size: int) -> Scene:
    """One image of `size` x `size` pixels with the masks and boxes of its parts."""
    owner = np.full((size, size), CLUTTER, np.int8)
    image = render(_layout(index, seed), size, owner)
    masks = torch.from_numpy(owner[None] == np.arange(len(PART_NAMES))[:, None, None])
    whole = masks.any(0)
    return Scene(
        image=torch.from_numpy(image),
        label=label_of(index, seed=seed),
        masks=masks,
        object_mask=whole,
        boxes=torch.stack([_bounds(mask) for mask in masks]),
        object_box=_bounds(whole),
    )


def render_images(
    indices: Sequence[int], *, seed: int, size: int
) -> tuple[UInt8[Tensor, "n 3 size size"], Int64[Tensor, " n"]]:
    """Images and labels only, for the cache."""
    images = np.empty((len(indices), 3, size, size), np.uint8)
    for place, index in enumerate(indices):
        images[place] = render(_layout(index, seed), size)
    return torch.from_numpy(images), torch.tensor([label_of(index, seed=seed) for index in indices])


def _layout(index: int, seed: int) -> Layout:
    return sample_layout(label_of(index, seed=seed), np.random.default_rng((seed, index, 1)))


def _bounds(mask: Bool[Tensor, "s s"]) -> Int64[Tensor, "4"]:
    """Top, left, bottom, right of the marked pixels; zeros where there are none."""
    rows, columns = mask.any(1).nonzero().flatten(), mask.any(0).nonzero().flatten()
    if not len(rows):
        return torch.zeros(4, dtype=torch.int64)
    return torch.stack([rows[0], columns[0], rows[-1] + 1, columns[-1] + 1])
