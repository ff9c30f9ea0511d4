"""What a network makes of an image with a square of it covered, wherever that is (paper, section 4.2 and Fig 7)."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from convlens.analysis.incremental.evaluate import OUTPUT, VALUES_AT_ONCE, Reading, evaluate_incremental
from convlens.errors import InputError
from convlens.ops.layer_access import check_outputs, like_parameters
from convlens.ops.op_table import Pair

PAPER_SIDE, PAPER_SQUARE, PAPER_STRIDE = 224, 50, 6


@dataclass(frozen=True)
class OcclusionMaps:
    """What the network gave for each place of the square; its rows and columns are those of ``tops`` and ``lefts``.

    Attributes:
        tops: uppermost row of the square, in pixels, for each row of the maps.
        lefts: leftmost column of the square, in pixels, for each column of the maps.
        size: side of the square in pixels.
        target: the class of ``probability``.
        probability: of the target (Fig 7 d); None where no target was given.
        label: the class with the greatest output (Fig 7 e).
        activation: what is above zero of the chosen map of the layer, summed over all places (Fig 7 b); of a vector,
            the unit.
        map: which map of the layer that is.
        clean_probability: of the image without a square; likewise the others.
    """

    tops: Int[Tensor, " rows"]
    lefts: Int[Tensor, " columns"]
    size: int
    target: int | None = None
    probability: Float[Tensor, "rows columns"] | None = None
    label: Int[Tensor, "rows columns"] | None = None
    activation: Float[Tensor, "rows columns"] | None = None
    map: int | None = None
    clean_probability: float | None = None
    clean_label: int | None = None
    clean_activation: float | None = None

    @property
    def drop(self) -> Float[Tensor, "rows columns"]:
        """How much of the target's probability the square takes away."""
        assert self.probability is not None
        assert self.clean_probability is not None
        return self.clean_probability - self.probability


def places(side: int, square: int, stride: int) -> list[int]:
    """First rows (or columns) of the squares inside an image: each stride, and always the last that fits.

    Raises:
        InputError: the square does not fit, or the stride is not at least 1.
    """
    if not 1 <= square <= side:
        raise InputError(f"a square of {square} px does not fit in an image of {side} px: give 1 to {side}")
    if stride < 1:
        raise InputError(f"stride {stride}: the square must move by at least 1 px")
    found = list(range(0, side - square + 1, stride))
    return found if found[-1] == side - square else [*found, side - square]


def usual_square(side: int) -> Pair:
    """Side and stride of the paper's square (50 and 6 of 224 px) for images of another size, in pixels."""
    return max(1, round(PAPER_SQUARE * side / PAPER_SIDE)), max(1, round(PAPER_STRIDE * side / PAPER_SIDE))


def occlude(
    net: nn.Module,
    image: Float[Tensor, "c h w"],
    target: int | None,
    *,
    size: int | None = None,
    stride: int | None = None,
    value: float | Float[Tensor, "c h w"] | Float[Tensor, " c"] = 0.0,
    layer: str | None = None,
    map: int | None = None,
    values_at_once: int = VALUES_AT_ONCE,
    step: Callable[[int], Any] = lambda count: None,
) -> OcclusionMaps:
    """Slide a square over an image and run the network at each place; only what the square changes is computed.

    Args:
        net: any network that takes [n, c, h, w]; its output, where a target is given, is taken for logits [n, classes].
        image: as the network reads it.
        target: the class whose probability is asked for; None leaves probability and label out, and computes no
            further than the layer.
        size: side of the square in pixels; None is the paper's 50 of 224.
        stride: how far it moves, in pixels; None is the paper's 6 of 224. The last row and column are always there.
        value: what is in the square, as the network reads it: a number, one for each channel, or an image.
        layer: a layer whose activity is asked for.
        map: which of its maps; None is the one with the greatest activation in the image without a square.
        values_at_once: how many numbers the largest operation may hold, which bounds the memory.
        step: told, as the work goes on, how many squares are done.

    Raises:
        InputError: the square does not fit, a wrong stride, target, layer or map, or nothing is asked for.
    """
    if target is None and layer is None:
        raise InputError("nothing to look at: give a target, a layer, or both")
    height, width = image.shape[-2:]
    usual = usual_square(min(height, width))
    size, stride = usual[0] if size is None else size, usual[1] if stride is None else stride
    tops, lefts = places(height, size, stride), places(width, size, stride)
    image = like_parameters(net, image)
    shapes = check_outputs(net, image[None], [None] if layer is None else [None, layer])
    if target is not None:
        _check_target(shapes[None], target)
    instead = like_parameters(net, torch.as_tensor(value, dtype=image.dtype))
    instead = (instead.reshape(-1, 1, 1) if instead.dim() < 3 else instead).expand(image.shape)[None]
    corners = torch.cartesian_prod(torch.tensor(tops), torch.tensor(lefts)).reshape(-1, 2)
    bounds = torch.cat([corners, corners + size], 1)
    nothing = torch.zeros(1, 4, dtype=torch.int64)
    found: dict[str, Any] = {}
    readings: dict[str, Reading] = {}
    if layer is not None:
        chosen = _chosen_map(net, image, layer, map, nothing, instead)
        readings[layer] = Reading(_activity, [chosen])
        found["map"] = chosen
    if target is not None:
        readings[OUTPUT] = Reading()
        found["target"] = target
    clean = evaluate_incremental(net, image, nothing, instead, readings)
    given = evaluate_incremental(net, image, bounds, instead, readings, values_at_once=values_at_once, step=step)
    shape = (len(tops), len(lefts))
    if layer is not None:
        found |= {"activation": given[layer].reshape(shape), "clean_activation": clean[layer].item()}
    if target is not None:
        found |= {
            "probability": given[OUTPUT].softmax(1)[:, target].reshape(shape),
            "label": given[OUTPUT].argmax(1).reshape(shape),
            "clean_probability": clean[OUTPUT].softmax(1)[0, target].item(),
            "clean_label": int(clean[OUTPUT].argmax()),
        }
    return OcclusionMaps(torch.tensor(tops), torch.tensor(lefts), size, **found)


def occlude_each(
    net: nn.Module,
    images: Sequence[Float[Tensor, "c h w"]] | Float[Tensor, "n c h w"],
    targets: Sequence[int | None],
    sizes: Sequence[int | None] = (None,),
    **options: Any,
) -> Iterator[list[OcclusionMaps]]:
    """``occlude`` for many images, one after the other: of each the maps for all sizes of the square.

    Args:
        net: as for ``occlude``.
        images: as the network reads them.
        targets: of each image.
        sizes: of the squares, in pixels; None is the paper's 50 of 224.
        options: of ``occlude``.

    Raises:
        InputError: as ``occlude``, or not a target for each image.
    """
    if len(images) != len(targets):
        raise InputError(f"{len(images)} images with {len(targets)} targets: give a target for each")
    for image, target in zip(images, targets, strict=True):
        yield [occlude(net, image, target, size=size, **options) for size in sizes]


def _check_target(shape: torch.Size, target: int) -> None:
    if len(shape) != 1:
        raise InputError(f"the network's output has the shape {list(shape)}, not one number for each class")
    if not 0 <= target < shape[0]:
        raise InputError(f"label {target} is out of range: the network has the classes 0 to {shape[0] - 1}")


def _activity(maps: Tensor) -> Tensor:
    """The sum over all places of what a ReLU lets through of one map, or of the unit of a vector."""
    return maps.clamp(min=0).flatten(1).sum(1)


def _chosen_map(net: nn.Module, image: Tensor, layer: str, map: int | None, nothing: Tensor, instead: Tensor) -> int:
    """The map that is asked for, or the one with the greatest activation."""
    reading = {layer: Reading(lambda maps: maps.flatten(2).amax(2) if maps.dim() == 4 else maps.clone())}
    peaks = evaluate_incremental(net, image, nothing, instead, reading)[layer][0]
    if map is not None and not 0 <= map < len(peaks):
        raise InputError(f"map {map} of {layer} is out of range: there are the maps 0 to {len(peaks) - 1}")
    return int(peaks.argmax()) if map is None else map
