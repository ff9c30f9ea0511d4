"""What a network gives for an image with many different boxes of it replaced, one at a time, at little cost.

Only what a box changes is computed, layer by layer (`change_pass`); the numbers are those of whole images.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from convlens.analysis.incremental.boxes import TooManyError
from convlens.analysis.incremental.channels import taken
from convlens.analysis.incremental.forward import IncrementalForward
from convlens.ops.layer_access import evaluating, forward_to, like_parameters
from convlens.ops.log_once import log_once
from convlens.ops.window_span import NotLocalError

log = logging.getLogger(__name__)

VALUES_AT_ONCE = 2**25
IMAGES_IN_FULL = 32
FIRST = 24
"""Boxes of the first pass, which tells how many the next ones may have."""
MARGIN = 1.1
"""How much more a box may need than those of the first pass: a pass that needs too much is begun again."""
USUAL = {"flatten", "adaptive_avg_pool2d", "adaptive_max_pool2d", "mean", "amax", "view", "reshape", "max_pool2d"}
"""Operations that end the part of a network that has places, in which case nothing need be said."""


@dataclass(frozen=True)
class Reading:
    """What is taken from a layer: ``reduce`` of some of its channels [n, c, h, w] (or [n, c]); its result is kept."""

    reduce: Callable[[Tensor], Tensor] = torch.Tensor.clone
    channels: list[int] | None = None


OUTPUT: str = ""
"""In place of a layer's name: the network's own output."""


def evaluate_incremental(
    net: nn.Module,
    image: Float[Tensor, "c h w"],
    bounds: Int[Tensor, "n 4"],
    instead: Float[Tensor, "any c h w"],
    readings: Mapping[str, Reading],
    *,
    values_at_once: int = VALUES_AT_ONCE,
    step: Callable[[int], Any] = lambda count: None,
) -> dict[str, Tensor]:
    """Readings of the network's layers for the image with each of the boxes replaced.

    Args:
        net: the network.
        image: as the network reads it.
        bounds: top, left, bottom and right (half-open) of each box, inside of the image.
        instead: what is in the boxes instead: one image for all, or one for each.
        readings: what to take of which layers; ``OUTPUT`` is the network's output.
        values_at_once: how many numbers the largest operation may hold, which bounds the memory.
        step: told, after each of its parts, how many boxes it was.

    Returns:
        For each layer the readings of all boxes.
    """
    image, instead = like_parameters(net, image), like_parameters(net, instead)
    found: list[dict[str, Tensor]] = []
    order, common = _order(len(bounds)), list[Tensor]()
    done, at_once, only = 0, min(FIRST, len(bounds)), None
    with evaluating(net), torch.no_grad():
        while done < len(bounds):
            some = order[done : done + at_once]
            pixels = instead if len(instead) == 1 else instead[some.to(instead.device)]
            most = values_at_once if at_once > 1 else 2**62
            try:
                part, made = _changed(net, image, bounds[some], pixels, readings, most, only, common)
            except TooManyError:
                at_once = max(1, len(some) // 2)
                continue
            except NotLocalError as error:
                _say(net, str(error))
                return _in_full(net, image, bounds, instead, readings, step)
            if not done:
                at_once = max(1, int(values_at_once * len(some) / (MARGIN * max(1, made.values))))
                only = _only(made, readings)
            if unusual := [name for name in made.in_full if name not in USUAL]:
                _say(net, f"{unusual[0]} mixes places")
            found.append(part)
            step(len(some))
            done += len(some)
    back = order.argsort()
    return {layer: (values := torch.cat([part[layer] for part in found]))[back.to(values.device)] for layer in readings}


def _order(count: int) -> Int[Tensor, " count"]:
    """All numbers, first some from the middle third, where boxes are whole and lie differently on the strides."""
    first = torch.linspace(count / 3, 2 * count / 3, min(FIRST, count)).long().clamp_max(count - 1).unique()
    rest = torch.ones(count, dtype=torch.bool)
    rest[first] = False
    return torch.cat([first, rest.nonzero().flatten()])


def _only(probe: IncrementalForward, readings: Mapping[str, Reading]) -> tuple[int, list[int]] | None:
    """The last convolution with its channels that are wanted, where only some are and nothing mixes them after it."""
    (first, *others) = readings.values()
    if others or OUTPUT in readings or first.channels is None or not probe.channels_apart:
        return None
    return probe.convolutions, first.channels


def _changed(
    net: nn.Module,
    image: Tensor,
    bounds: Tensor,
    instead: Tensor,
    readings: Mapping[str, Reading],
    most: int,
    only: tuple[int, list[int]] | None,
    common: list[Tensor],
) -> tuple[dict[str, Tensor], IncrementalForward]:
    """Readings by one pass over the boxes alone."""
    rows = []
    for number, (top, left, bottom, right) in enumerate(bounds.tolist()):
        pixels = instead[number % len(instead), :, top:bottom, left:right]
        rows.append(pixels.permute(1, 2, 0).reshape(-1, image.shape[0]))
    made = IncrementalForward(most, only, common)
    cells = made.start(image[None], bounds, torch.cat(rows))
    found: dict[str, Tensor] = {}

    def read(layer: str, output: Tensor) -> None:
        maps = made.maps(output, readings[layer].channels)
        found[layer] = readings[layer].reduce(maps)

    with made:
        _run(net, cells, readings, read)
    return found, made


def _in_full(
    net: nn.Module,
    image: Tensor,
    bounds: Tensor,
    instead: Tensor,
    readings: Mapping[str, Reading],
    step: Callable[[int], Any],
) -> dict[str, Tensor]:
    """Readings by passes over whole images."""
    found: list[dict[str, Tensor]] = []
    for start in range(0, len(bounds), IMAGES_IN_FULL):
        some = bounds[start : start + IMAGES_IN_FULL]
        images = image.repeat(len(some), 1, 1, 1)
        for number, (top, left, bottom, right) in enumerate(some.tolist()):
            pixels = instead[(start + number) % len(instead)]
            images[number, :, top:bottom, left:right] = pixels[:, top:bottom, left:right]
        part: dict[str, Tensor] = {}

        def read(layer: str, output: Tensor, part: dict[str, Tensor] = part) -> None:
            part[layer] = readings[layer].reduce(taken(output, readings[layer].channels))

        _run(net, images, readings, read)
        found.append(part)
        step(len(some))
    return {layer: torch.cat([part[layer] for part in found]) for layer in readings}


def _run(net: nn.Module, images: Tensor, readings: Mapping[str, Reading], read: Callable[[str, Tensor], None]) -> None:
    """One pass, as far as it must go."""
    consumers = {layer: partial(read, layer) for layer in readings if layer != OUTPUT}
    if OUTPUT not in readings:
        forward_to(net, images, consumers)
        return
    handles = [
        net.get_submodule(layer).register_forward_hook(lambda module, args, output, read=read: read(output))
        for layer, read in consumers.items()
    ]
    try:
        read(OUTPUT, net(images))
    finally:
        for handle in handles:
            handle.remove()


def _say(net: nn.Module, reason: str) -> None:
    log_once(net, log, f"{type(net).__name__}: {reason}, so from there on whole images are computed")
