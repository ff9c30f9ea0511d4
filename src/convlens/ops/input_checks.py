"""Checks of what the library's functions are given: networks, images, numbers, names and choices."""

import math
import operator
import reprlib
from collections.abc import Collection, Sequence
from numbers import Real

import numpy as np
import torch
from torch import Tensor, nn

from convlens.errors import InputError

FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
LARGEST = 2**31 - 1
"""The largest count and size: more pixels, images or activations fit into no memory."""

_brief = reprlib.Repr()
_brief.maxstring = _brief.maxother = 80
LONGEST = 160
"""Length of a value in a message."""


def shown(value: object) -> str:
    """Return a value for a message: short and in one line, a tensor or an array by its type and shape."""
    if not isinstance(value, Tensor | np.ndarray):
        text = " ".join(_brief.repr(value).split())
        return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
    if isinstance(value, Tensor) and value.is_nested:  # its images may have several sizes
        return f"nested {type(value).__name__}"
    apart = isinstance(value, Tensor) and (value.layout != torch.strided or value.is_meta)
    if value.ndim or apart:
        kind = ("meta " if value.is_meta else "sparse ") if apart else ""  # type: ignore[union-attr]
        return f"{kind}{type(value).__name__} {list(value.shape)} of {str(value.dtype).removeprefix('torch.')}"
    return str(value.item())


def check_network(net: object) -> None:
    """Check that a network can be evaluated, and that its outputs for an image depend on no other image.

    Raises:
        InputError: it is no module or TorchScript, its weights are not loaded, or it normalizes by the statistics of
            the batch.
    """
    if not isinstance(net, nn.Module):
        raise InputError(f"net={shown(net)}: give a network, an instance of torch.nn.Module")
    if isinstance(net, torch.jit.ScriptModule):
        raise InputError("net is TorchScript, whose layers cannot be read: give the module it was made of")
    if any(tensor.is_meta for tensor in (*net.parameters(), *net.buffers())):
        raise InputError(f"{type(net).__name__} has weights on the device meta, which holds no values: load them first")
    for name, module in net.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None:
            raise InputError(
                f"layer {name!r} normalizes by the statistics of the batch, so that an image's activations depend on "
                "the other images: give a network trained with track_running_stats=True"
            )


def check_images(images: object, name: str = "images", axes: Sequence[int] = (4,), first: int = 0) -> Tensor:
    """Return images that are a tensor of finite floating-point values, with one pass over them.

    Args:
        images: images [n, c, h, w], or a single one [c, h, w] if ``axes`` is (3,).
        name: what to call them in messages.
        axes: numbers of axes that are accepted.
        first: number of the first image for messages.

    Raises:
        InputError: they are something else, empty, or hold NaN or infinite values.
    """
    if not isinstance(images, Tensor) or not is_plain(images) or images.dim() not in axes or not images.numel():
        right = "one image [c, h, w]" if 3 in axes else "one tensor [n, c, h, w] of at least one image, all of one size"
        raise InputError(f"{name}={shown(images)}: give {right}")
    if images.dtype not in FLOATS:
        raise InputError(f"{name}={shown(images)}: give floating-point values, normalized as the network was trained")
    if not _is_finite(images):
        bad = first + int((~images.isfinite()).reshape(len(images), -1).any(1).nonzero()[0])
        where = name if 3 in axes else f"image {bad} of {name}"
        raise InputError(f"{where}: NaN or infinite values in {shown(images)}, give finite ones")
    return images


def is_plain(values: Tensor) -> bool:
    """Return whether a tensor has its values side by side in memory."""
    return values.layout == torch.strided and not values.is_meta and not values.is_nested and not values.is_quantized


def _is_finite(values: Tensor) -> bool:
    """Return whether all values are finite, many times faster than by ``isfinite``; NaN comes through both bounds."""
    return all(math.isfinite(bound) for bound in values.detach().aminmax())


def check_same_size(size: Sequence[int], first: Sequence[int], name: str = "images") -> None:
    """Check that an image has the size [c, h, w] of the first one.

    Raises:
        InputError: it has another.
    """
    if tuple(size) != tuple(first):
        raise InputError(f"{name} of shape {list(size)} after {list(first)}: give one size")


def check_activations(values: Tensor, layer: str | None) -> Tensor:
    """Return a layer's activations if all are finite; ``layer`` None or empty is the network's output.

    Raises:
        InputError: one is NaN or infinite.
    """
    if values.numel() and not _is_finite(values):
        where = f"layer {layer!r}" if layer else "the network's output"
        raise InputError(f"{where} has an activation that is NaN or infinite: has the network diverged?")
    return values


def check_loader(loader: object) -> None:
    """Check that a loader can be iterated over.

    Raises:
        InputError: it cannot.
    """
    iterable = hasattr(loader, "__iter__") or hasattr(loader, "__getitem__")
    if not iterable or isinstance(loader, str | bytes | type):
        raise InputError(f"loader={shown(loader)}: give batches of images [n, c, h, w], such as a DataLoader")


def batch_images(batch: object, axes: Sequence[int] = (4,)) -> Tensor:
    """Return the images of a loader's batch, not yet checked, which may be followed by labels.

    Raises:
        InputError: it holds no images.
    """
    images = batch[0] if isinstance(batch, list | tuple) and batch else batch
    if not isinstance(images, Tensor) or images.dim() not in axes:
        raise InputError(
            "the loader must give batches of images [n, c, h, w], alone or before their labels; "
            f"got {type(images).__name__}" + (f" {list(images.shape)}" if isinstance(images, Tensor) else "")
        )
    return images


def items(values: object) -> list[object] | None:
    """Return the items of a sequence, array or tensor as a list (of Python numbers, if they are numbers), else None."""
    if isinstance(values, Tensor | np.ndarray):
        return values.tolist() if values.ndim and (isinstance(values, np.ndarray) or is_plain(values)) else None
    return list(values) if isinstance(values, Sequence) and not isinstance(values, str) else None


def check_list(name: str, values: object) -> int:
    """Return the length of a sequence, an array or a tensor.

    Raises:
        InputError: it is something else.
    """
    if isinstance(values, Tensor | np.ndarray) and values.ndim and (not isinstance(values, Tensor) or is_plain(values)):
        return len(values)
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise InputError(f"{name}={shown(values)}: give a list")
    return len(values)


def check_layers(layers: object) -> list[str]:
    """Return the names of layers as a list, each once; that the network has them is for `find_layer` to check.

    Raises:
        InputError: they are no sequence of names, or none.
    """
    if not isinstance(layers, Sequence) or isinstance(layers, str) or not all(isinstance(name, str) for name in layers):
        raise InputError(f"layers={shown(layers)}: give a list of names of layers")
    if not layers:
        raise InputError("no layer is named: name at least one")
    return list(dict.fromkeys(layers))


def check_count(name: str, value: object, least: int = 1, most: int = LARGEST) -> int:
    """Return a whole number, an integer of any kind, as an int.

    Raises:
        InputError: it is something else, or out of range.
    """
    truth = isinstance(value, bool) or (isinstance(value, Tensor) and value.dtype == torch.bool)
    try:
        number = None if truth else operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = None
    if number is None or not least <= number <= most:
        bounds = f"of at least {least}" if most == LARGEST else f"from {least} to {most}"
        raise InputError(f"{name}={shown(value)}: give a whole number {bounds}")
    return number


def check_numbers(name: str, values: object, *, largest: float = math.inf) -> list[float]:
    """Return finite numbers as a list of at least one.

    Args:
        name: of the argument, for messages.
        values: a sequence, an array or a tensor of one axis.
        largest: bound on their absolute values.

    Raises:
        InputError: they are something else.
    """
    listed = items(values)
    if not listed:
        raise InputError(f"{name}={shown(values)}: give a list of finite numbers, at least one")
    return [check_number(f"{name}[{place}]", value, largest=largest) for place, value in enumerate(listed)]


def check_number(name: str, value: object, *, largest: float = math.inf, least: float = -math.inf) -> float:
    """Return a finite number as a float.

    Raises:
        InputError: it is something else, less than ``least``, or its absolute value exceeds ``largest``.
    """
    plain = value.item() if isinstance(value, Tensor | np.ndarray) and value.size in (1, torch.Size([])) else value
    try:
        number = float(plain) if isinstance(plain, Real) and not isinstance(plain, bool) else math.nan
    except OverflowError:
        number = math.inf
    if not math.isfinite(number) or abs(number) > largest or number < least:
        bound = f" from {max(least, -largest):g} to {largest:g}" if largest < math.inf else ""
        bound = bound if bound or least == -math.inf else f" of at least {least:g}"
        raise InputError(f"{name}={shown(value)}: give a finite number{bound}")
    return number


def check_choice(name: str, value: object, choices: Collection[str]) -> None:
    """Check that a value is one of some words.

    Raises:
        InputError: it is not.
    """
    if not isinstance(value, str) or value not in choices:
        raise InputError(f"{name}={shown(value)} is unknown: choose {', '.join(choices)}")
