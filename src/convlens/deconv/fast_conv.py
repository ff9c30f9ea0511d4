"""Convolutions without padding whose transposed ones, on the way down, are computed the faster way."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from convlens.ops.op_table import Pair, pair

FEW_CHANNELS = 4
"""Into so few channels (those of images) a strided convolution is transposed phase by phase."""
LANES = 16


def convolve(x: Float[Tensor, "n c h w"], given: dict[str, Any], known: Tensor | None = None) -> Tensor:
    """Convolution of ``x``, padding ignored; ``known`` is its result where that need not be computed."""
    options = (pair(given.get("stride", 1)), pair(given.get("dilation", 1)), given.get("groups", 1))
    if known is None:
        with torch.no_grad():
            known = F.conv2d(x, given["weight"], given.get("bias"), options[0], 0, *options[1:])
    # In a list, or it would count as a view of an input, which what follows may not change in place.
    return _Convolution.apply(x, given["weight"], [known], options)


class _Convolution(torch.autograd.Function):
    """A known result on the way up, the transposed filtering on the way down."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, known: list[Tensor], options: tuple[Pair, Pair, int]) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.save_for_backward(x, weight)
        ctx.options = options
        return known[0]

    @staticmethod
    def backward(ctx, signal: Tensor):  # type: ignore[no-untyped-def]
        x, weight = ctx.saved_tensors
        stride, dilation, groups = ctx.options
        if weight.shape[1] <= FEW_CHANNELS and groups == 1 and dilation == (1, 1) and max(stride) > 1:
            down = transposed_by_phases(signal, weight, stride, (x.shape[-2], x.shape[-1]))
        else:
            down = torch.ops.aten.convolution_backward(
                signal, x, weight, None, stride, (0, 0), dilation, False, (0, 0), groups, (True, False, False)
            )[0]
        return down, None, None, None


def transposed_by_phases(
    signal: Float[Tensor, "n maps h w"], weight: Float[Tensor, "maps c kh kw"], stride: Pair, size: Pair
) -> Float[Tensor, "n c h2 w2"]:
    """Transposed convolution as one at stride 1 that gives the pixels of all phases of the stride as channels.

    About twice as fast as torch's own into three channels, for which its kernels are not made.
    """
    maps, channels = weight.shape[:2]
    taps = [-(-weight.shape[2 + axis] // stride[axis]) for axis in (0, 1)]
    reach = [taps[axis] * stride[axis] for axis in (0, 1)]
    filled = F.pad(weight, (0, reach[1] - weight.shape[3], 0, reach[0] - weight.shape[2]))
    # Pixel stride * i + phase is made of tap m of the signal at i - m.
    split = filled.reshape(maps, channels, taps[0], stride[0], taps[1], stride[1])
    phases = split.permute(1, 3, 5, 0, 2, 4).flip(4, 5).reshape(-1, maps, *taps)
    count = len(phases)
    phases = F.pad(phases, (0, 0, 0, 0, 0, 0, 0, -count % LANES))
    found = F.conv2d(signal, phases, padding=(taps[0] - 1, taps[1] - 1))[:, :count]
    rows, columns = found.shape[-2:]
    found = found.reshape(-1, channels, *stride, rows, columns).permute(0, 1, 4, 2, 5, 3)
    found = found.reshape(-1, channels, rows * stride[0], columns * stride[1])
    short = (max(size[0] - found.shape[2], 0), max(size[1] - found.shape[3], 0))
    return F.pad(found, (0, short[1], 0, short[0]))[:, :, : size[0], : size[1]]
