"""Layers of any network by name: finding them, reading their outputs, leaving the network as it was."""

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from convlens.errors import InputError


def find_layer(net: nn.Module, name: str) -> nn.Module:
    """The module of that path.

    Raises:
        InputError: there is none; the message names the nearest ones and, in a small network, all of them.
    """
    modules = dict(net.named_modules())
    if name and name in modules:
        return modules[name]
    names = [known for known in modules if known]
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    shown = ", ".join(names[:40]) + (f", ... ({len(names)} in all)" if len(names) > 40 else "")
    raise InputError(f"unknown layer {name!r} in {type(net).__name__}: {hint}its layers are {shown}")


@contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while; each module's own mode is put back, also after an exception."""
    modes = [(module, module.training) for module in net.modules()]
    net.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


class UnreadableError(InputError):
    """The network cannot read images of that shape."""


class _Reached(Exception):
    """Raised inside a forward pass when all wanted layers have been seen: the rest would be wasted."""


@contextmanager
def reading(net: nn.Module, layers: Sequence[str]) -> Iterator[dict[str, list[Tensor]]]:
    """Collect, per forward pass, what each layer gives; a layer called several times gives several entries."""
    seen: dict[str, list[Tensor]] = {name: [] for name in layers}

    def keep(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            seen[name].append(output)

        return hook

    handles = [find_layer(net, name).register_forward_hook(keep(name)) for name in seen]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def check_outputs(
    net: nn.Module, images: Tensor, layers: Sequence[str | None], *, tokens: bool = False
) -> dict[str | None, torch.Size]:
    """Shapes of the layers' outputs for one image, after making sure that each is usable.

    Usable are maps [n, c, h, w] and vectors [n, d], with ``tokens`` also [n, tokens, d].

    Raises:
        InputError: a layer is never reached, called more than once in a pass, or gives neither maps nor a vector.
    """
    named = [layer for layer in layers if layer is not None]
    with evaluating(net), torch.no_grad(), reading(net, named) as seen:
        try:
            # A copy, since a network may begin by changing its input in place.
            result = net(like_parameters(net, images[:1].clone()))
        except (RuntimeError, ValueError, AssertionError, IndexError, TypeError) as error:
            shape, said = list(images.shape), (str(error).splitlines() or [type(error).__name__])[0]
            raise UnreadableError(f"{type(net).__name__} cannot read images of shape {shape}: {said}") from error
    shapes: dict[str | None, torch.Size] = {}
    for layer in layers:
        outputs = [result] if layer is None else seen[layer]
        where = "the network's output" if layer is None else f"layer {layer!r}"
        if not outputs:
            raise InputError(f"{where} is never reached in a forward pass: name a layer that the network uses")
        if len(outputs) > 1:
            raise InputError(
                f"{where} is called {len(outputs)} times in one forward pass: name a module that is called once, "
                "such as the block around it"
            )
        if not isinstance(outputs[0], Tensor) or outputs[0].dim() not in ((2, 3, 4) if tokens else (2, 4)):
            found = f"a tensor of {outputs[0].dim()} dimensions" if isinstance(outputs[0], Tensor) else "no tensor"
            raise InputError(f"{where} gives {found}: name a layer that gives maps [n, c, h, w] or a vector [n, d]")
        shapes[layer] = outputs[0].shape[1:]
    return shapes


def forward_to(net: nn.Module, images: Tensor, consumers: Mapping[str, Callable[[Tensor], None]]) -> None:
    """Run the network until each layer's output has been handed to its consumer, and no further.

    Outputs are handed over at once and not kept: a later ReLU in place would change them, and memory stays small.
    """
    left = set(consumers)

    def hand_over(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, output: Tensor) -> None:
            consumers[name](output)
            left.discard(name)
            if not left:
                raise _Reached

        return hook

    handles = [find_layer(net, name).register_forward_hook(hand_over(name)) for name in consumers]
    try:
        net(images)
    except _Reached:
        pass
    finally:
        for handle in handles:
            handle.remove()


def like_parameters(net: nn.Module, images: Tensor) -> Tensor:
    """The images on the network's device and in its floating point type."""
    if not isinstance(images, Tensor):
        raise InputError("the images are no tensor: give them all in one [n, c, h, w], of one size")
    reference = next((p for p in net.parameters() if p.is_floating_point()), None)
    return images if reference is None else images.to(device=reference.device, dtype=reference.dtype)
