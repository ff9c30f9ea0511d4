"""Features of many layers from one pass over the images (paper, section 5.2)."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from convlens.errors import InputError
from convlens.ops.layer_access import check_outputs, evaluating, forward_to, like_parameters

POOLINGS = ("average", "max")


def check_pooling(cells: int | None, pooling: str) -> None:
    """Sees to it that maps can be pooled like that.

    Raises:
        InputError: fewer than one cell, or no such pooling.
    """
    if cells is not None and cells < 1:
        raise InputError(f"cells={cells}: give at least 1, or null for the maps as they are")
    if pooling not in POOLINGS:
        raise InputError(f"pooling={pooling!r}: choose one of {', '.join(POOLINGS)}")


def channels_first(output: Tensor) -> Tensor:
    """Maps [n, c, h, w], also where a network hands on [n, h, w, c] of square images, as Swin does."""
    if output.dim() == 4 and output.shape[1] == output.shape[2] != output.shape[3]:
        return output.permute(0, 3, 1, 2)
    return output


def vectors(output: Tensor, cells: int | None, pooling: str) -> Float[Tensor, "n d"]:
    """A layer's output as one vector for each image.

    Maps larger than ``cells`` x ``cells`` are pooled to that, tokens [n, tokens, d] to their mean or maximum unless
    ``cells`` is None.
    """
    output = channels_first(output)
    if output.dim() == 3 and cells is not None:
        output = output.mean(1) if pooling == "average" else output.amax(1)
    if output.dim() == 4 and cells is not None:
        size = (min(cells, output.shape[2]), min(cells, output.shape[3]))
        if size != output.shape[2:]:
            output = (F.adaptive_avg_pool2d if pooling == "average" else F.adaptive_max_pool2d)(output, size)
    return output.flatten(1).float()


def feature_batches(
    net: nn.Module, batches: Iterable[Tensor], layers: Sequence[str], *, cells: int | None, pooling: str
) -> Iterator[dict[str, Float[Tensor, "n d"]]]:
    """For each batch the features of all layers, on the CPU.

    Batches are [n, c, h, w], or [n, views, c, h, w], of which the mean over the views is taken.

    Raises:
        InputError: a layer is unknown, never reached, or gives neither maps nor tokens nor a vector.
    """
    check_pooling(cells, pooling)
    checked = False
    for images in batches:
        views = images.shape[1] if images.dim() == 5 else 1
        flat = like_parameters(net, images.flatten(0, 1) if images.dim() == 5 else images)
        if not checked:
            check_outputs(net, flat, layers, tokens=True)
            checked = True
        found: dict[str, Tensor] = {}

        def keep(name: str, views: int, found: dict[str, Tensor], output: Tensor) -> None:
            rows = vectors(output, cells, pooling)
            found[name] = rows.view(-1, views, rows.shape[1]).mean(1).cpu()

        with evaluating(net), torch.no_grad():
            forward_to(net, flat, {name: partial(keep, name, views, found) for name in layers})
        yield {name: found[name] for name in layers}


def extract_features(
    net: nn.Module,
    loader: Iterable[Tensor | Sequence[Tensor]],
    layers: Sequence[str],
    *,
    cells: int | None = None,
    pooling: str = "average",
) -> dict[str, Float[Tensor, "n d"]]:
    """Features of all layers for all images, from one pass.

    Args:
        net: any network.
        loader: batches of images [n, c, h, w] or of ten views [n, views, c, h, w], alone or followed by labels.
        layers: names of layers whose output is maps, tokens or a vector; maps and tokens are flattened.
        cells: maps larger than ``cells`` x ``cells`` are pooled to that size, tokens to one; None leaves them as they
            are.
        pooling: ``average`` or ``max``.

    Raises:
        InputError: there is no image or no layer, or a layer cannot be read.
    """
    if not layers:
        raise InputError("no layer: name at least one")
    images = (batch if isinstance(batch, Tensor) else batch[0] for batch in loader)
    found = list(feature_batches(net, images, list(dict.fromkeys(layers)), cells=cells, pooling=pooling))
    if not found:
        raise InputError("the loader gave no images: give at least one")
    return {name: torch.cat([batch[name] for batch in found]) for name in found[0]}
