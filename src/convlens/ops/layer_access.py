"""Find the layers of any network by name, check them and read their outputs."""

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from convlens.errors import InputError
from convlens.ops.callers_code import StoppedError, one_line
from convlens.ops.input_checks import FLOATS, check_images, check_network, shown

OUTPUT = ""
"""The name of the network's output, among names of layers."""

Hook = Callable[[nn.Module, tuple[object, ...], Any], None]


def find_layer(net: nn.Module, name: str) -> nn.Module:
    """Return the module with that path.

    Raises:
        InputError: there is none, and the message names similar paths and the first 40 modules; or it is TorchScript.
    """
    modules = dict(net.named_modules())
    if not isinstance(name, str):
        raise InputError(f"layer={shown(name)}: give the name of a layer")
    if name and name in modules:
        if isinstance(modules[name], torch.jit.ScriptModule):
            raise InputError(f"layer {name!r} is TorchScript, which cannot be read: give the module it was made of")
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


class _ConsumerError(StoppedError):
    """Ends a forward pass because a consumer of a layer's output has failed, not the network."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class _AllReachedError(StoppedError):
    """Ends a forward pass when all requested layers have been reached."""


def run(net: nn.Module, images: Tensor, shape: Sequence[int] | None = None) -> Any:
    """Return the network's output.

    Args:
        net: any network.
        images: its input.
        shape: that of the images they are of, for the message.

    Raises:
        UnreadableError: its own code fails on the images.
    """
    where = f"{type(net).__name__} cannot read images of shape {list(images.shape if shape is None else shape)}"
    with one_line(where, UnreadableError, (Exception,)):  # its code may fail in any way
        return net(images)


@contextmanager
def reading(net: nn.Module, layers: Sequence[str]) -> Iterator[dict[str, list[Tensor]]]:
    """Collect the layers' outputs of forward passes by name, one for each call of a layer."""
    modules = [find_layer(net, name) for name in layers]
    outputs: dict[str, list[Tensor]] = {name: [] for name in layers}

    def collect(name: str) -> Hook:
        def hook(module: nn.Module, args: tuple[object, ...], output: Any) -> None:
            outputs[name].append(output)  # which `check_outputs` checks to be a tensor

        return hook

    unique = dict(zip(layers, modules, strict=True))
    handles = [module.register_forward_hook(collect(name)) for name, module in unique.items()]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def check_outputs(
    net: nn.Module, images: Tensor, layers: Sequence[str | None], *, tokens: bool = False
) -> dict[str | None, torch.Size]:
    """Check that layers return feature maps [n, c, h, w] or vectors [n, d] of real numbers, once in a forward pass.

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
    with evaluating(net), torch.no_grad(), reading(net, named) as found:
        # A copy, since a network may change its input in place.
        result = run(net, like_parameters(net, images[:1].clone()), images.shape)
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
        if outputs[0].dtype not in FLOATS:
            raise InputError(f"{where} gives {shown(outputs[0])}: name a layer that gives floating-point values")
        _check_rows(outputs[0], 1, where)
        shapes[layer] = outputs[0].shape[1:]
    return shapes


def _check_rows(output: object, count: int, where: str) -> None:
    """Check that there is an output for each image.

    Raises:
        InputError: there are more or fewer.
    """
    if isinstance(output, Tensor) and output.dim() and output.shape[0] != count:
        raise InputError(f"{where} gives {output.shape[0]} rows for {count} images: give a layer of one for each")


def forward_to(net: nn.Module, images: Tensor, consumers: Mapping[str, Callable[[Tensor], object]]) -> None:
    """Run the network until each layer's output has been passed to its consumer.

    A consumer is called as soon as the layer is reached, before a later operation in place can change the output.

    Args:
        net: any network.
        images: preprocessed images, [n, c, h, w].
        consumers: functions of a layer's output by module path; ``OUTPUT`` is the network's output.
    """
    pending, count = set(consumers), images.shape[0]

    def consume(name: str) -> Hook:
        def hook(module: nn.Module, args: tuple[object, ...], output: Tensor) -> None:
            _check_rows(output, count, f"layer {name!r}")
            try:
                consumers[name](output)
            except Exception as error:
                raise _ConsumerError(error) from error
            pending.discard(name)
            if not pending:
                raise _AllReachedError

        return hook

    modules = {name: find_layer(net, name) for name in consumers if name != OUTPUT}
    handles = [module.register_forward_hook(consume(name)) for name, module in modules.items()]
    try:
        output = run(net, images)
        _check_rows(output, count, "the network's output")
        if OUTPUT in consumers:
            consumers[OUTPUT](output)
    except _AllReachedError:
        pass
    except _ConsumerError as stopped:
        raise stopped.error from None
    finally:
        for handle in handles:
            handle.remove()


def joined(parts: Iterable[Tensor]) -> Tensor:
    """Return the outputs of several passes as one tensor.

    Raises:
        InputError: they have several shapes.
    """
    with one_line("the network's outputs cannot be joined, give one whose outputs have one shape"):
        return torch.cat(list(parts))


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
