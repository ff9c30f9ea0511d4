"""Features of several layers from one pass over the images (paper, section 5.2)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from convlens.errors import InputError
from convlens.ops.callers_code import stacked
from convlens.ops.input_checks import (
    batch_images,
    check_activations,
    check_choice,
    check_count,
    check_images,
    check_layers,
    check_loader,
    check_network,
)
from convlens.ops.layer_access import check_outputs, evaluating, forward_to, like_parameters
from convlens.transfer.channel_axis import tracing_channel_axes

Pooling = Literal["average", "max"]
POOLINGS: tuple[str, ...] = get_args(Pooling)


def check_pooling(pool_size: int | None, pooling: str) -> None:
    """Check the arguments of a pooling.

    Raises:
        InputError: ``pool_size`` is below 1, or ``pooling`` is unknown.
    """
    if pool_size is not None:
        check_count("pool_size", pool_size)
    check_choice("pooling", pooling, POOLINGS)


def channels_first(output: Tensor, axis: int) -> Tensor:
    """Return maps as [n, c, h, w], given their channel axis; other tensors unchanged."""
    return output.movedim(axis, 1) if output.dim() == 4 else output


def to_vectors(output: Tensor, axis: int, pool_size: int | None, pooling: str) -> Float[Tensor, "n d"]:
    """Return a layer's output as one vector for each image.

    Args:
        output: maps, tokens [n, tokens, d] or vectors.
        axis: channel axis of maps.
        pool_size: larger maps are pooled to ``pool_size`` x ``pool_size``, tokens to their mean or maximum; None keeps
            all values.
        pooling: ``average`` or ``max``.
    """
    output = channels_first(output, axis)
    if output.dim() == 3 and pool_size is not None:
        output = output.mean(1) if pooling == "average" else output.amax(1)
    if output.dim() == 4 and pool_size is not None:
        size = (min(pool_size, output.shape[2]), min(pool_size, output.shape[3]))
        if size != output.shape[2:]:
            output = (F.adaptive_avg_pool2d if pooling == "average" else F.adaptive_max_pool2d)(output, size)
    return output.flatten(1).float()


def feature_batches(
    net: nn.Module, batches: Iterable[Tensor], layers: Sequence[str], *, pool_size: int | None, pooling: str
) -> Iterator[dict[str, Float[Tensor, "n d"]]]:
    """Yield the features of all layers for each batch, on the CPU.

    Args:
        net: any network.
        batches: images [n, c, h, w], or several crops of each [n, views, c, h, w], whose features are averaged.
        layers: names of layers.
        pool_size: see `extract_features`.
        pooling: see `extract_features`.

    Raises:
        InputError: a layer is unknown, never reached, or gives neither maps nor tokens nor a vector.
    """
    check_pooling(pool_size, pooling)
    check_network(net)
    axes: Mapping[str, int] | None = None
    size: torch.Size | None = None
    for images in batches:
        views = images.shape[1] if images.dim() == 5 else 1
        flat = like_parameters(net, images.flatten(0, 1) if images.dim() == 5 else images)
        if axes is None or flat.shape[1:] != size:
            size = flat.shape[1:]
            with tracing_channel_axes(net, layers) as axes:
                check_outputs(net, flat, layers, tokens=True)
        found: dict[str, Tensor] = {}

        def keep(name: str, axis: int, views: int, found: dict[str, Tensor], output: Tensor) -> None:
            rows = to_vectors(output, axis, pool_size, pooling)
            found[name] = rows.view(-1, views, rows.shape[1]).mean(1).cpu()

        with evaluating(net), torch.no_grad():
            forward_to(net, flat, {name: partial(keep, name, axes[name], views, found) for name in layers})
        yield {name: check_activations(found[name], name) for name in layers}


def extract_features(
    net: nn.Module,
    loader: Iterable[Tensor | Sequence[Tensor]],
    layers: Sequence[str],
    *,
    pool_size: int | None = None,
    pooling: str = "average",
) -> dict[str, Float[Tensor, "n d"]]:
    """Return the features of all images by layer, from one pass over the images.

    Args:
        net: any network.
        loader: batches of images [n, c, h, w] or of several crops [n, views, c, h, w], alone or followed by labels.
        layers: names of layers whose output is maps, tokens or a vector. Maps are flattened in the order c, h, w,
            also of layers that return [n, h, w, c]; tokens in the order tokens, d.
        pool_size: maps larger than ``pool_size`` x ``pool_size`` are pooled to that size, tokens to one; None keeps
            them as they are.
        pooling: ``average`` or ``max``.

    Raises:
        InputError: there is no image or no layer, or a layer cannot be read.
    """
    names = check_layers(layers)
    check_loader(loader)
    images = (check_images(batch_images(batch, (4, 5)), "batch", (4, 5)) for batch in stacked(loader))
    found = list(feature_batches(net, images, names, pool_size=pool_size, pooling=pooling))
    if not found:
        raise InputError("the loader gave no images: give at least one")
    for name, features in found[0].items():
        if differing := {batch[name].shape[1] for batch in found} - {features.shape[1]}:
            raise InputError(
                f"layer {name!r} gives {features.shape[1]} and {differing.pop()} values for images of different sizes: "
                "give images of one size, or a pool_size"
            )
    return {name: torch.cat([batch[name] for batch in found]) for name in found[0]}
