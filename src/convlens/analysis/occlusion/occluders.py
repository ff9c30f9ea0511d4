"""Values of the occluder: grey (124 of 255, before the mean is subtracted), the mean color, a blurred copy or noise."""

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from convlens.errors import InputError

GREY = 124
"""The paper's occluder (Fig 7): a neutral grey, as a pixel value from 0 to 255."""
OccluderKind = Literal["grey", "mean", "blur", "noise"]
BLUR = 1 / 16
"""Standard deviation of the blur as a share of the image's shorter side."""


def occluder_value(
    kind: str | float,
    image: Float[Tensor, "c h w"],
    *,
    mean: Float[Tensor, "c h w"] | float = 0.0,
    std: Float[Tensor, " c"] | float = 1.0,
    seed: int = 0,
) -> Float[Tensor, "c h w"]:
    """Return an image, as network input, whose pixels replace those of the given image inside the occluder.

    Args:
        kind: one of `OccluderKind` or a number. ``grey`` is the paper's value and a number another grey from 0 to 255;
            ``mean`` is the image's mean color, ``blur`` the image after a Gaussian of a sixteenth of its side, and
            ``noise`` is Gaussian with the image's mean and standard deviation in each channel.
        image: the image as network input, (pixels - ``mean``) / ``std``.
        mean: subtracted from pixels in [0, 255].
        std: divides them.
        seed: random seed of the noise.

    Raises:
        InputError: the kind is unknown.
    """
    if kind == "grey" or isinstance(kind, int | float):
        grey = torch.full_like(image, float(GREY if kind == "grey" else kind))
        divisor = std[:, None, None].to(image) if isinstance(std, Tensor) else std
        return (grey - (mean.to(image) if isinstance(mean, Tensor) else mean)) / divisor
    if kind == "mean":
        return image.mean((1, 2), keepdim=True).expand_as(image)
    if kind == "blur":
        return _blur(image, min(image.shape[1:]) * BLUR)
    if kind == "noise":
        noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(seed)).to(image)
        return image.mean((1, 2), keepdim=True) + noise * image.std((1, 2), keepdim=True)
    raise InputError(f"occluder {kind!r} is unknown: give grey, mean, blur, noise, or a grey from 0 to 255")


def _blur(image: Float[Tensor, "c h w"], sigma: float) -> Float[Tensor, "c h w"]:
    """Convolve with a Gaussian of ``sigma`` pixels along each axis; border pixels are repeated."""
    radius = max(1, math.ceil(3 * sigma))
    offsets = torch.arange(-radius, radius + 1).to(image)
    kernel = (-(offsets**2) / (2 * sigma**2)).exp()
    kernel = (kernel / kernel.sum()).view(1, 1, 1, -1)
    planes = image[:, None]
    for _ in range(2):
        planes = F.conv2d(F.pad(planes, (radius, radius, 0, 0), mode="replicate"), kernel).transpose(2, 3)
    return planes[:, 0]
