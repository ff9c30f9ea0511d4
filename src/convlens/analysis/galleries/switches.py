"""Change of a projection with the switches of another image, or without switches (paper, section 2.1).

A projection uses nothing of the image but its switches: weights are fixed, and the ReLU acts on the signal itself. The
projections of one map in two images, in the windows of their units, therefore differ by the switches alone, up to a
factor: the projection of a unit by another image's switches is the other image's projection.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from convlens.ops.tensor_repr import summary


@dataclass(frozen=True)
class SwitchChanges:
    """One minus the correlation of projections whose switches differ, a value for each map of a layer.

    Attributes:
        other_image: against the switches of another of the map's strongest images, mean of all pairs.
        centre: against values at the centres of the pooling windows.
    """

    other_image: Float[np.ndarray, " maps"]
    centre: Float[np.ndarray, " maps"]

    __repr__ = summary


def correlations(
    first: Float[Tensor, "n c h w"],
    second: Float[Tensor, "m c h w"],
    first_inside: Bool[Tensor, "n h w"],
    second_inside: Bool[Tensor, "m h w"],
) -> Float[Tensor, "n m"]:
    """Return Pearson's correlation of each picture with each of the second ones, over the pixels inside of both.

    Args:
        first: the first pictures, zero outside.
        second: the second pictures, zero outside.
        first_inside: which pixels of the first pictures are inside of the image.
        second_inside: of the second pictures.

    Returns:
        The correlations; NaN where one of the pictures is constant on the shared pixels.
    """
    a, b = first.double().flatten(1), second.double().flatten(1)
    in_a, in_b = (
        inside[:, None].expand(-1, first.shape[1], -1, -1).flatten(1).double()
        for inside in (first_inside, second_inside)
    )
    count = in_a @ in_b.T
    mean_a, mean_b = a @ in_b.T / count, in_a @ b.T / count
    variance_a = a.square() @ in_b.T / count - mean_a.square()
    variance_b = in_a @ b.T.square() / count - mean_b.square()
    scale = (variance_a * variance_b).clamp(min=0).sqrt()
    tiny = 1e-12 * (a.square().mean(1)[:, None] * b.square().mean(1)[None]).sqrt()
    return torch.where(scale > tiny, (a @ b.T / count - mean_a * mean_b) / scale, torch.nan).clamp(-1, 1)


def change_between_images(pictures: Float[Tensor, "n c h w"], inside: Bool[Tensor, "n h w"]) -> float:
    """Return one minus the mean correlation of two of a map's projections; NaN if no pair has one."""
    first, second = torch.triu_indices(len(pictures), len(pictures), 1)
    return 1 - correlations(pictures, pictures, inside, inside)[first, second].nanmean().item()


def change_without_switches(
    pictures: Float[Tensor, "n c h w"], centred: Float[Tensor, "n c h w"], inside: Bool[Tensor, "n h w"]
) -> float:
    """Return one minus the mean correlation of a projection with the one unpooled at centres; NaN if none has one."""
    return 1 - correlations(pictures, centred, inside, inside).diagonal().nanmean().item()


def pixels_inside(boxes: Int[Tensor, "n 4"], height: int, width: int) -> Bool[Tensor, "n h w"]:
    """Return which pixels of windows (top, left, bottom, right), all of one size, are inside of the image."""
    rows = boxes[:, :1] + torch.arange(int(boxes[0, 2] - boxes[0, 0]))
    columns = boxes[:, 1:2] + torch.arange(int(boxes[0, 3] - boxes[0, 1]))
    return ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None, :]
