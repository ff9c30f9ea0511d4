"""Occlusion sensitivity: slide a square over the image and record the network's response (section 4.2 and Fig 7)."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, SupportsIndex

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from convlens.analysis.incremental.evaluate import MAX_ELEMENTS, Reading, evaluate_incremental
from convlens.analysis.target_class import check_target
from convlens.errors import InputError
from convlens.ops.callers_code import check_function
from convlens.ops.input_checks import (
    LARGEST,
    check_activations,
    check_count,
    check_images,
    check_network,
    check_same_size,
    shown,
)
from convlens.ops.layer_access import OUTPUT, check_outputs, like_parameters
from convlens.ops.op_table import Pair
from convlens.ops.tensor_repr import summary

PAPER_SIDE, PAPER_SIZE, PAPER_STRIDE = 224, 50, 6
"""The paper's image, occluder and stride, in pixels."""
NO_BOX = torch.zeros(1, 4, dtype=torch.int64)


@dataclass(frozen=True)
class OcclusionMaps:
    """The network's responses for each position of the occluder.

    Row i and column j of a map belong to the occluder whose top left pixel is (``tops[i]``, ``lefts[j]``).

    Attributes:
        tops: uppermost rows of the occluder, in pixels.
        lefts: leftmost columns of the occluder, in pixels.
        size: side of the occluder in pixels.
        target: the class of ``probability``; None if no target was given, as for the other fields about classes.
        probability: softmax probability of the target (Fig 7 d).
        label: the class with the greatest output (Fig 7 e).
        activation: sum over space of the positive part of the selected map, or of the unit of a vector (Fig 7 b); None
            if no layer was given, as for ``map`` and ``clean_activation``.
        map: index of the selected map in the layer.
        clean_probability: ``probability`` of the image without an occluder.
        clean_label: ``label`` of the image without an occluder.
        clean_activation: ``activation`` of the image without an occluder.
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

    __repr__ = summary

    @property
    def drop(self) -> Float[Tensor, "rows columns"]:
        """Decrease of the target's probability at each position; negative where the probability rises."""
        if self.probability is None or self.clean_probability is None:
            raise InputError("these maps have no probability: call occlude with a target")
        return self.clean_probability - self.probability


def positions(side: int, size: int, stride: int) -> list[int]:
    """Return the first rows (or columns) of the occluders inside an image: each stride, and always the last that fits.

    Args:
        side: height (or width) of the image in pixels.
        size: side of the occluder in pixels.
        stride: distance between neighboring positions in pixels.

    Raises:
        InputError: the occluder does not fit, or the stride is less than 1.
    """
    size, stride = (check_count(name, value, -LARGEST) for name, value in (("size", size), ("stride", stride)))
    if not 1 <= size <= side:
        raise InputError(
            f"an occluder of {size} px does not fit in an image of {side} px: give a size from 1 to {side}"
        )
    if stride < 1:
        raise InputError(f"the occluder's stride is {stride} px: give at least 1")
    found = list(range(0, side - size + 1, stride))
    return found if found[-1] == side - size else [*found, side - size]


MapChoice = Literal["peak", "sum"]
"""How the strongest map of a layer is found: by its greatest activation, or by their sum over space."""


def default_occluder(side: int) -> Pair:
    """Return size and stride in pixels, in proportion to the paper's 50 and 6 px in an image of 224 px."""
    return max(1, round(PAPER_SIZE * side / PAPER_SIDE)), max(1, round(PAPER_STRIDE * side / PAPER_SIDE))


def occlude(
    net: nn.Module,
    image: Float[Tensor, "c h w"],
    target: SupportsIndex | None,
    *,
    size: int | None = None,
    stride: int | None = None,
    value: float | Float[Tensor, "c h w"] | Float[Tensor, " c"] = 0.0,
    layer: str | None = None,
    map: SupportsIndex | None = None,
    max_elements: int = MAX_ELEMENTS,
    on_progress: Callable[[int], object] = lambda count: None,
) -> OcclusionMaps:
    """Slide a square over an image and run the network at each position.

    Only what the square changes is computed (see ``convlens.analysis.incremental``); the responses equal those of
    whole images up to rounding.

    Args:
        net: any network that takes images [n, c, h, w]; with a target its output must be logits [n, classes].
        image: the image as network input.
        target: the class whose probability is recorded. None records no probability and no label, and computes no
            further than the layer.
        size: side of the occluder in pixels; None scales the paper's 50 of 224 px.
        stride: distance between positions in pixels, see `positions`; None scales the paper's 6 of 224 px.
        value: the occluder's values as network input: one number, one for each channel, or an image.
        layer: name of the layer whose activation is recorded.
        map: index of the layer's map; None selects the map with the greatest activation in the clean image.
        max_elements: bound on the number of elements of the largest intermediate tensor.
        on_progress: called with the number of positions done since the last call.

    Raises:
        InputError: the occluder does not fit, the stride, target, layer or map is wrong, or neither a target nor a
            layer is given.
    """
    if target is None and layer is None:
        raise InputError("occlude needs a target, a layer, or both")
    check_network(net)
    on_progress = check_function("on_progress", on_progress)
    max_elements = check_count("max_elements", max_elements, most=2**62)
    image = like_parameters(net, check_images(image, "image", axes=(3,)))
    tops, lefts, size = _positions(image, size, stride)
    shapes = check_outputs(net, image[None], [*([None] * (target is not None)), *([layer] * (layer is not None))])
    readings: dict[str, Reading] = {}
    target = None if target is None else check_target(shapes[None], target)
    if layer is not None:
        map = _select_map(net, image, layer, map)
        readings[layer] = Reading(_total_activation, [map])
    if target is not None:
        readings[OUTPUT] = Reading()
    corners = torch.cartesian_prod(tops, lefts).reshape(-1, 2)
    boxes, occluder = torch.cat([corners, corners + size], 1), _expand(net, value, image)
    clean = evaluate_incremental(net, image, NO_BOX, occluder, readings)
    occluded = evaluate_incremental(
        net, image, boxes, occluder, readings, max_elements=max_elements, on_progress=on_progress
    )
    maps = OcclusionMaps(tops, lefts, size)
    if layer is not None and map is not None:
        maps = _add_activation(maps, int(map), occluded[layer], clean[layer])
    return maps if target is None else _add_classes(maps, target, occluded[OUTPUT], clean[OUTPUT], shapes[None])


def _positions(
    image: Float[Tensor, "c h w"], size: int | None, stride: int | None
) -> tuple[Int[Tensor, " rows"], Int[Tensor, " columns"], int]:
    """Return the uppermost rows and leftmost columns of the occluders, and their side."""
    height, width = image.shape[1:]
    default_size, default_stride = default_occluder(min(height, width))
    size, stride = default_size if size is None else size, default_stride if stride is None else stride
    tops, lefts = (torch.tensor(positions(side, size, stride)) for side in (height, width))
    return tops, lefts, int(size)


def _add_activation(
    maps: OcclusionMaps, map: int, occluded: Float[Tensor, " n"], clean: Float[Tensor, " 1"]
) -> OcclusionMaps:
    """Add the summed activation of a map at each position."""
    activation = occluded.reshape(len(maps.tops), len(maps.lefts))
    return replace(maps, map=map, activation=activation, clean_activation=clean.item())


def _add_classes(
    maps: OcclusionMaps,
    target: int,
    occluded: Float[Tensor, "n classes"],
    clean: Float[Tensor, "1 classes"],
    whole: torch.Size,
) -> OcclusionMaps:
    """Add the target's probability and the label at each position, from logits."""
    for scores in (clean, occluded):
        check_same_size(scores.shape[1:], whole, "outputs")
    check_activations(clean, None)
    shape = (len(maps.tops), len(maps.lefts))
    return replace(
        maps,
        target=target,
        probability=occluded.softmax(1)[:, target].reshape(shape),
        label=occluded.argmax(1).reshape(shape),
        clean_probability=clean.softmax(1)[0, target].item(),
        clean_label=int(clean.argmax()),
    )


def _expand(
    net: nn.Module, value: float | Float[Tensor, "c h w"] | Float[Tensor, " c"], image: Float[Tensor, "c h w"]
) -> Float[Tensor, "1 c h w"]:
    """Return the occluder's values as a batch of one image."""
    try:
        values = like_parameters(net, torch.as_tensor(value, dtype=image.dtype))
        values = (values.reshape(-1, 1, 1) if values.dim() < 3 else values).expand(image.shape)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        shape = list(image.shape)
        raise InputError(f"value={shown(value)}: give a number, {shape[0]} numbers, or an image {shape}") from None
    return check_images(values, "value", axes=(3,))[None]


def _total_activation(maps: Float[Tensor, "n k *space"]) -> Float[Tensor, " n"]:
    """Sum the positive part of the maps over space."""
    return maps.clamp(min=0).flatten(1).sum(1)


def strongest_map(net: nn.Module, image: Float[Tensor, "c h w"], layer: str, by: MapChoice = "peak") -> int:
    """Return the index of the map with the greatest response; the paper does not say how it measures it.

    Args:
        net: the network.
        image: the image as network input.
        layer: name of the layer.
        by: ``peak``, the greatest activation; ``sum``, the sum of the positive activations over space.
    """
    image = like_parameters(net, image)
    return int(_responses(net, image, layer, by).argmax())


def _responses(net: nn.Module, image: Float[Tensor, "c h w"], layer: str, by: MapChoice) -> Float[Tensor, " maps"]:
    def measure(maps: Tensor) -> Tensor:
        if maps.dim() != 4:
            return maps.clone()
        return maps.flatten(2).amax(2) if by == "peak" else maps.clamp(min=0).flatten(2).sum(2)

    found = evaluate_incremental(net, image, NO_BOX, image[None], {layer: Reading(measure)})
    return check_activations(found[layer][0], layer)


def _select_map(net: nn.Module, image: Float[Tensor, "c h w"], layer: str, map: SupportsIndex | None) -> int:
    """Return the index of the given map, or of the one with the greatest activation in the clean image."""
    number = None if map is None else check_count("map", map, -LARGEST)
    peaks = _responses(net, image, layer, "peak")
    if number is None:
        return int(peaks.argmax())
    if not 0 <= number < len(peaks):
        raise InputError(f"map {number} of {layer} is out of range: give 0 to {len(peaks) - 1}")
    return number
