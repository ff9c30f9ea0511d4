"""Tensors a network draws random numbers for: images, which processes share, or weights, which all of them have."""

import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from convlens.systems.batch_share import BatchShare
from convlens.systems.whole_batch import Place, WholeBatch

log = logging.getLogger(__name__)


class _Draws(WholeBatch):
    """Mode that also finds the functions that draw random numbers for images in another way.

    Attributes:
        found: their names.
        shapes: of the tensors that random numbers are drawn for, in order.
    """

    def __init__(self, share: BatchShare) -> None:
        super().__init__(share)
        self.found: set[str] = set()
        self.shapes: list[tuple[int, ...]] = []
        self._divided_now = False

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call a function and look whether it drew random numbers for images."""
        self._divided_now, before = False, _random_states()
        results = super().__torch_function__(func, types, args, kwargs)
        if not self._divided_now and before != _random_states():
            values = (*args, *(results if isinstance(results, tuple) else [results]))
            tensors = [value for value in values if isinstance(value, Tensor)]
            if not isinstance(args[0], nn.Parameter) and any(WholeBatch.place(self, value.shape) for value in tensors):
                self.found.add(func.__name__)
        return results

    def place(self, shape: Sequence[int]) -> Place | None:
        """Keep the shape and return where the images are in a tensor of it."""
        self.shapes.append(tuple(shape))
        return super().place(shape)

    def _draw(self, func: Callable[..., Any], *args: Any, **options: Any) -> Tensor:
        self._divided_now = True
        return super()._draw(func, *args, **options)

    def run(self, net: nn.Module, images: Tensor) -> None:
        """Run a network; its buffers and the random state are afterwards as before."""
        buffers = [(buffer, buffer.clone()) for buffer in net.buffers()]
        devices = [images.device] if images.device.type == "cuda" else []
        with torch.random.fork_rng(devices), torch.no_grad(), torch.compiler.set_stance("force_eager"), self:
            try:
                net(images)
            finally:
                for buffer, before in buffers:
                    buffer.copy_(before)


def whole_batch(share: BatchShare, net: nn.Module, images: Tensor) -> WholeBatch:
    """Return the mode for a network, which is run to find what its random numbers are drawn for.

    Tensors whose shape stays where there is one image more are without images, such as weights. What depends on the
    number of processes is logged.

    Args:
        share: the process's share of the batch; the first process logs.
        net: the network; its buffers and the random state are afterwards as before.
        images: the process's images.
    """
    drawn, longer = _Draws(share), _Draws(replace(share, total=share.total + share.world_size))
    drawn.run(net, images)
    with contextlib.suppress(Exception):  # a network may be made for one number of images
        longer.run(net, torch.cat([images, images[:1]]))
    pairs = [pair for pair in zip(drawn.shapes, longer.shapes, strict=False) if len(pair[0]) == len(pair[1])]
    moving = {pair for pair in pairs if pair[0] != pair[1]}
    fixed = {one: {_rows(one, *pair, share.rows) for pair in moving} for one, other in pairs if one == other}
    unclear = {f"tensors of shape {list(shape)}" for shape, rows in fixed.items() if share.rows in rows}
    if (found := drawn.found | unclear) and share.rank == 0:
        names = ", ".join(sorted(found))
        log.warning("the random numbers of %s depend on the number of devices: another one gives other results", names)
    return WholeBatch(share, fixed)


def _rows(shape: Sequence[int], of_images: Sequence[int], of_more: Sequence[int], rows: int) -> int:
    """Return the number of images at which a tensor with images has a shape; 0 if at none.

    Args:
        shape: of a tensor without images.
        of_images: that of a tensor with images.
        of_more: that of the same tensor with one image more.
        rows: number of images.
    """
    if len(shape) != len(of_images):
        return 0
    axes = [(a, few, more - few) for a, few, more in zip(shape, of_images, of_more, strict=True)]
    if any(a != few for a, few, step in axes if not step):
        return 0
    found = {rows + (a - few) // step for a, few, step in axes if step}
    return found.pop() if len(found) == 1 and not any((a - few) % step for a, few, step in axes if step) else 0


def _random_states() -> list[bytes]:
    """Return the states of the random number generators of the CPU and, if there is one, the GPU."""
    states = [torch.get_rng_state(), *([torch.cuda.get_rng_state()] if torch.cuda.is_available() else [])]
    return [state.numpy().tobytes() for state in states]
