"""Change of a layer's maps when the image shifts by 1 to 3 pixels, beyond what the stride explains (section 4.1)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from convlens.errors import InputError
from convlens.ops.input_checks import check_images
from convlens.ops.layer_access import check_outputs, evaluating, forward_to, preprocessed
from convlens.ops.receptive_field import ReceptiveField
from convlens.ops.tensor_repr import summary

SHIFTS = (1, 2, 3)
"""Shifts in pixels."""


@dataclass(frozen=True)
class ShiftError:
    """Change of a layer's maps under small shifts of the image.

    Attributes:
        stride: stride of the layer's maps, in pixels.
        error: for each image and shift, the norm of the difference between the maps of the shifted image and the maps
            of the original, shifted by the same fraction of a position with linear interpolation; divided by the norm
            of the maps minus their means. Positions near the border are left out.
    """

    stride: int
    error: Float[np.ndarray, "n shifts"]

    __repr__ = summary

    @property
    def mean(self) -> float:
        """Mean over all images and shifts, in percent."""
        return 100 * float(np.nanmean(self.error))


def shift_errors(
    net: nn.Module,
    images: Sequence[Float[Tensor, "c h w"]] | Float[Tensor, "n c h w"],
    size: int,
    fields: Mapping[str, ReceptiveField],
    preprocess: Callable[[Tensor], Tensor] = lambda pixels: pixels,
    shifts: Sequence[int] = SHIFTS,
) -> dict[str, ShiftError]:
    """Shift each image down and compare the layers' maps with those of the original image.

    Args:
        net: the network.
        images: larger than ``size`` by at least the greatest shift on each side, so that real pixels move in.
        size: side of the centre crop that the network reads, in pixels.
        fields: receptive field of each layer.
        preprocess: converts pixels to network input.
        shifts: in pixels.

    Raises:
        InputError: the images are too small for the shifts, or the network cannot read them.
    """
    errors: dict[str, list[list[float]]] = {layer: [] for layer in fields}
    with evaluating(net), torch.no_grad():
        for image in images:
            check_images(image, "larger", axes=(3,))
            top, left = ((n - size) // 2 for n in image.shape[1:])
            if top < max(shifts) or left < 0:
                raise InputError(
                    f"images of {image.shape[1]} px leave no room to shift a crop of {size} px: "
                    "raise data.stored_size, or set task.shift_images=0"
                )
            crops = [image[:, top - shift : top - shift + size, left : left + size] for shift in (0, *shifts)]
            maps: dict[str, Tensor] = {}
            readers = {layer: partial(_store, maps, layer) for layer in fields}
            inputs = preprocessed(net, preprocess, torch.stack(crops))
            check_outputs(net, inputs, list(fields))
            forward_to(net, inputs, readers)
            for layer, field in fields.items():
                errors[layer].append([_error(maps[layer], n + 1, shift, field) for n, shift in enumerate(shifts)])
    return {layer: ShiftError(fields[layer].stride[0], np.array(rows)) for layer, rows in errors.items()}


def _store(maps: dict[str, Tensor], layer: str, output: Tensor) -> None:
    maps[layer] = output.clamp(min=0).double().cpu()


def _error(maps: Float[Tensor, "k c h w"], row: int, shift: int, field: ReceptiveField) -> float:
    """Return the error of one shift: ``shift`` pixels down are ``shift / stride`` positions down."""
    original, shifted = maps[0], maps[row]
    whole, part = divmod(shift, field.stride[0])
    share = part / field.stride[0]
    down = original.roll(whole, 1)
    expected = (1 - share) * down + share * down.roll(1, 1)
    # Rows that wrap around or see padding are left out.
    margin = min(whole + 1 + -(-max(0, -field.start[0]) // field.stride[0]), (original.shape[1] - 1) // 2)
    inner = slice(margin, original.shape[1] - margin)
    residual = (shifted - expected)[:, inner].norm()
    scale = (original - original.mean((1, 2), keepdim=True))[:, inner].norm()
    return float(residual / scale) if scale > 0 else float("nan")
