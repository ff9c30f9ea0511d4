"""The built-in images: drawn creatures made of parts, with exact masks of each part.

Twelve classes differ in the shape of the body, its texture, and the kinds of ears, eyes, nose and mouth; pose, colours,
light and background are random and independent of the class. Image ``index`` of a ``seed`` never changes.
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
DRAWING_VERSION = "8ef1f0e94385ea5d"
"""Version of the drawn pixels, part of each cache key: give it another value by hand when any pixel changes.

The first value is the digest that version 0.1 computed, so that its caches stay valid. A test compares some images with
recorded checksums.
"""

__all__ = ["CLASS_NAMES", "DRAWING_VERSION", "PART_NAMES", "Scene", "label_of", "render_images", "render_scene"]


@dataclass(frozen=True)
class Scene:
    """One image with its annotations.

    Attributes:
        image: pixels.
        label: class.
        masks: pixels at which each part is on top, in the order of ``PART_NAMES``.
        object_mask: pixels of the creature.
        boxes: bounds of each mask (top, left, bottom, right), bottom and right exclusive; zeros for a part that the
            creature does not have. Its own left is on the viewer's right.
        object_box: bounds of the creature.
    """

    image: UInt8[Tensor, "3 s s"]
    label: int
    masks: Bool[Tensor, "parts s s"]
    object_mask: Bool[Tensor, "s s"]
    boxes: Int64[Tensor, "parts 4"]
    object_box: Int64[Tensor, "4"]


def label_of(index: int, *, seed: int) -> int:
    """Return the class of an image; each twelve consecutive images hold each class once."""
    block, position = divmod(index, len(CLASS_NAMES))
    return int(np.random.default_rng((seed, block, 0)).permutation(len(CLASS_NAMES))[position])


def render_scene(index: int, *, seed: int, size: int) -> Scene:
    """Render one image of ``size`` x ``size`` pixels with the masks and boxes of its parts."""
    owner = np.full((size, size), CLUTTER, np.int8)
    image = render(_layout(index, seed), size, owner)
    masks = torch.from_numpy(owner[None] == np.arange(len(PART_NAMES))[:, None, None])
    object_mask = masks.any(0)
    return Scene(
        image=torch.from_numpy(image),
        label=label_of(index, seed=seed),
        masks=masks,
        object_mask=object_mask,
        boxes=torch.stack([_bounds(mask) for mask in masks]),
        object_box=_bounds(object_mask),
    )


def render_images(
    indices: Sequence[int], *, seed: int, size: int
) -> tuple[UInt8[Tensor, "n 3 size size"], Int64[Tensor, " n"]]:
    """Render images and labels without annotations."""
    images = np.empty((len(indices), 3, size, size), np.uint8)
    for row, index in enumerate(indices):
        images[row] = render(_layout(index, seed), size)
    return torch.from_numpy(images), torch.tensor([label_of(index, seed=seed) for index in indices])


def _layout(index: int, seed: int) -> Layout:
    return sample_layout(label_of(index, seed=seed), np.random.default_rng((seed, index, 1)))


def _bounds(mask: Bool[Tensor, "s s"]) -> Int64[Tensor, "4"]:
    """Return top, left, bottom and right of a mask; zeros for an empty one."""
    rows, columns = mask.any(1).nonzero().flatten(), mask.any(0).nonzero().flatten()
    if not len(rows):
        return torch.zeros(4, dtype=torch.int64)
    return torch.stack([rows[0], columns[0], rows[-1] + 1, columns[-1] + 1])
