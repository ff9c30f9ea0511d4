"""Find the layers of any network by name, check them and read their outputs."""

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from convlens.errors import InputError
from convlens.ops.input_checks import check_images, check_network, shown

OUTPUT = ""
"""The name of the network's output, among names of layers."""

Hook = Callable[[nn.Module, tuple[object, ...], Any], None]


def find_layer(net: nn.Module, name: str) -> nn.Module:
    """Return the module with that path.

    Raises:
        InputError: there is none; the message names similar paths and the first 40 modules.
    """
    modules = dict(net.named_modules())
    if not isinstance(name, str):
        raise InputError(f"layer={shown(name)}: give the name of a layer")
    if name and name in modules:
        return modules[name]
    paths = [path for path in modules if path]
    similar = difflib.get_close_matches(name, paths, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(similar)}? " if similar else ""
    listed = ", ".join(paths[:40]) + (f", ... ({len(paths)} in all)" if len(paths) > 40 else "")
    raise InputError(f"unknown layer {name!r} in {type(net).__name__}: {hint}its layers are {listed or 'none'}")


@contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    """Set evaluation mode; each module's own mode is restored on exit."""
    modes = [(module, module.training) for module in net.modules()]
    net.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


class UnreadableError(InputError):
    """The network fails on images of that shape."""


class _AllReachedError(Exception):
    """Ends a forward pass when all requested layers have been reached."""


@contextmanager
def reading(net: nn.Module, layers: Sequence[str]) -> Iterator[dict[str, list[Tensor]]]:
    """Collect the layers' outputs of forward passes by name, one for each call of a layer."""
    outputs: dict[str, list[Tensor]] = {name: [] for name in layers}

    def collect(name: str) -> Hook:
        def hook(module: nn.Module, args: tuple[object, ...], output: Any) -> None:
            outputs[name].append(output)  # which `check_outputs` checks to be a tensor

        return hook

    handles = [find_layer(net, name).register_forward_hook(collect(name)) for name in outputs]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def check_outputs(
    net: nn.Module, images: Tensor, layers: Sequence[str | None], *, tokens: bool = False
) -> dict[str | None, torch.Size]:
    """Check that layers return feature maps [n, c, h, w] or vectors [n, d], once in a forward pass.

    Args:
        net: any network.
        images: preprocessed images, [n, c, h, w], of which the first is used.
        layers: module paths; None is the network's output.
        tokens: whether tokens [n, tokens, d] are accepted as well.

    Returns:
        The shape of each layer's output for one image, without the batch axis.

    Raises:
        UnreadableError: the network fails on the image.
        InputError: a layer is unknown, never reached, called more than once, or returns something else.
    """
    named = [layer for layer in layers if layer is not None]
    for name in named:
        find_layer(net, name)
    with evaluating(net), torch.no_grad(), reading(net, named) as found:
        try:
            # A copy, since a network may change its input in place.
            result = net(like_parameters(net, images[:1].clone()))
        except Exception as error:  # the network's own code may fail in any way
            shape, reason = list(images.shape), (str(error).splitlines() or [type(error).__name__])[0]
            raise UnreadableError(f"{type(net).__name__} cannot read images of shape {shape}: {reason}") from error
    shapes: dict[str | None, torch.Size] = {}
    for layer in layers:
        outputs = [result] if layer is None else found[layer]
        where = "the network's output" if layer is None else f"layer {layer!r}"
        if not outputs:
            raise InputError(f"{where} is never reached in a forward pass: name a layer that the network uses")
        if len(outputs) > 1:
            raise InputError(
                f"{where} is called {len(outputs)} times in one forward pass: name a module that is called once, "
                "such as the block around it"
            )
        if not isinstance(outputs[0], Tensor) or outputs[0].dim() not in ((2, 3, 4) if tokens else (2, 4)):
            kind = f"a tensor of {outputs[0].dim()} dimensions" if isinstance(outputs[0], Tensor) else "no tensor"
            raise InputError(f"{where} gives {kind}: name a layer that gives maps [n, c, h, w] or a vector [n, d]")
        shapes[layer] = outputs[0].shape[1:]
    return shapes


def forward_to(net: nn.Module, images: Tensor, consumers: Mapping[str, Callable[[Tensor], None]]) -> None:
    """Run the network until each layer's output has been passed to its consumer.

    A consumer is called as soon as the layer is reached, before a later operation in place can change the output.

    Args:
        net: any network.
        images: preprocessed images, [n, c, h, w].
        consumers: functions of a layer's output by module path.
    """
    pending = set(consumers)

    def consume(name: str) -> Hook:
        def hook(module: nn.Module, args: tuple[object, ...], output: Tensor) -> None:
            consumers[name](output)
            pending.discard(name)
            if not pending:
                raise _AllReachedError

        return hook

    handles = [find_layer(net, name).register_forward_hook(consume(name)) for name in consumers]
    try:
        net(images)
    except _AllReachedError:
        pass
    finally:
        for handle in handles:
            handle.remove()


def network_input(net: nn.Module, images: Tensor) -> Tensor:
    """Return what a user gives as images, checked, on the device and in the type of the network's parameters.

    Raises:
        InputError: the network or the images cannot be used, see `check_network` and `check_images`.
    """
    check_network(net)
    return like_parameters(net, check_images(images))


def preprocessed(net: nn.Module, preprocess: Callable[[Tensor], Tensor], pixels: Tensor) -> Tensor:
    """Return the network input that a user's function makes of pixels [n, c, h, w].

    Raises:
        InputError: it makes something else of them, or another number of images.
    """
    images = check_images(preprocess(pixels), "preprocess(images)")
    if len(images) != len(pixels):
        raise InputError(f"preprocess makes {len(images)} images of {len(pixels)}: give a function that keeps them")
    return like_parameters(net, images)


def like_parameters(net: nn.Module, images: Tensor) -> Tensor:
    """Return images on the device and in the floating-point type of the network's parameters."""
    reference = next((p for p in net.parameters() if p.is_floating_point()), None)
    return images if reference is None else images.to(device=reference.device, dtype=reference.dtype)
