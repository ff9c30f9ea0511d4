"""How much a layer's maps change when the image moves a little, beyond what the stride explains (section 4.1)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from convlens.deconv import ReceptiveField
from convlens.errors import InputError
from convlens.ops.layer_access import evaluating, forward_to, like_parameters

SHIFTS = (1, 2, 3)


@dataclass(frozen=True)
class ShiftError:
    """What shifts of 1 to 3 pixels do to a layer.

    Attributes:
        stride: of the layer's maps, in pixels.
        error: for each image and shift, the norm of what is left between the maps of the moved image and the maps of
            the original moved by the same fraction of a place (interpolated linearly), over the norm of the maps about
            their means. Places near the border are left out.
    """

    stride: int
    error: Float[np.ndarray, "n shifts"]

    @property
    def mean(self) -> float:
        """Over all images and shifts, in percent."""
        return 100 * float(np.nanmean(self.error))


def shift_errors(
    net: nn.Module,
    images: Sequence[Float[Tensor, "c h w"]] | Float[Tensor, "n c h w"],
    size: int,
    fields: Mapping[str, ReceptiveField],
    preprocess: Callable[[Tensor], Tensor] = lambda pixels: pixels,
    shifts: Sequence[int] = SHIFTS,
) -> dict[str, ShiftError]:
    """Shift each image down, and compare.

    Args:
        net: the network.
        images: larger than ``size`` by at least the greatest shift on either side, so that real pixels come in.
        size: side of the middle that the network reads.
        fields: the layers, with their strides.
        preprocess: what is done to pixels before the network reads them.
        shifts: in pixels.

    Raises:
        InputError: the images are not large enough for the shifts.
    """
    found: dict[str, list[list[float]]] = {layer: [] for layer in fields}
    with evaluating(net), torch.no_grad():
        for image in images:
            top, left = ((n - size) // 2 for n in image.shape[1:])
            if top < max(shifts):
                raise InputError(
                    f"images of {image.shape[1]} px leave no room to move a part of {size} px: store larger"
                )
            parts = [image[:, top - shift : top - shift + size, left : left + size] for shift in (0, *shifts)]
            maps: dict[str, Tensor] = {}
            take = {layer: partial(_keep, maps, layer) for layer in fields}
            forward_to(net, like_parameters(net, preprocess(torch.stack(parts))), take)
            for layer, field in fields.items():
                found[layer].append([_error(maps[layer], n + 1, shift, field) for n, shift in enumerate(shifts)])
    return {layer: ShiftError(fields[layer].stride[0], np.array(rows)) for layer, rows in found.items()}


def _keep(maps: dict[str, Tensor], layer: str, output: Tensor) -> None:
    maps[layer] = output.clamp(min=0).double().cpu()


def _error(maps: Float[Tensor, "k c h w"], row: int, shift: int, field: ReceptiveField) -> float:
    """Of one shift: down by ``shift`` pixels is down by ``shift / stride`` places."""
    original, moved = maps[0], maps[row]
    whole, part = divmod(shift, field.stride[0])
    share = part / field.stride[0]
    down = original.roll(whole, 1)
    expected = (1 - share) * down + share * down.roll(1, 1)
    # What wraps around, and what sees padding, says nothing of the stride.
    rim = min(whole + 1 + -(-max(0, -field.start[0]) // field.stride[0]), (original.shape[1] - 1) // 2)
    inner = slice(rim, original.shape[1] - rim)
    left = (moved - expected)[:, inner].norm()
    about = (original - original.mean((1, 2), keepdim=True))[:, inner].norm()
    return float(left / about) if about > 0 else float("nan")
