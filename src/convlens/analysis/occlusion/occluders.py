"""What a covered place shows instead of the image."""

import math

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from convlens.errors import InputError

GREY = 124
"""The paper's square (Fig 7): a neutral grey, in pixel values of 0 to 255."""
KINDS = ("grey", "mean", "blur", "noise")


def filling(
    kind: str | float,
    image: Float[Tensor, "c h w"],
    *,
    mean: Float[Tensor, "c h w"] | float = 0.0,
    std: Float[Tensor, " c"] | float = 1.0,
    seed: int = 0,
) -> Float[Tensor, "c h w"]:
    """An image, as the network reads it, of which squares are shown instead of those of the given one.

    Args:
        kind: ``grey`` is the paper's, a number another grey (0 to 255); ``mean`` the image's own mean colour; ``blur``
            the image without what is smaller than a sixteenth of its side; ``noise`` has the image's mean and spread.
        image: as the network reads it, (pixels - mean) / std.
        mean: what was subtracted from the pixels.
        std: what they were divided by.
        seed: of the noise.

    Raises:
        InputError: there is no such kind.
    """
    if kind == "grey" or isinstance(kind, int | float):
        grey = torch.full_like(image, float(GREY if kind == "grey" else kind))
        divisor = std[:, None, None].to(image) if isinstance(std, Tensor) else std
        return (grey - (mean.to(image) if isinstance(mean, Tensor) else mean)) / divisor
    if kind == "mean":
        return image.mean((1, 2), keepdim=True).expand_as(image)
    if kind == "blur":
        return _blurred(image, min(image.shape[1:]) / 16)
    if kind == "noise":
        noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(seed)).to(image)
        return image.mean((1, 2), keepdim=True) + noise * image.std((1, 2), keepdim=True)
    raise InputError(f"fill {kind!r} is unknown: choose one of {', '.join(KINDS)}, or a grey of 0 to 255")


def _blurred(image: Tensor, sigma: float) -> Tensor:
    """Convolution with a Gaussian, along one axis after the other; the border is repeated."""
    reach = max(1, math.ceil(3 * sigma))
    steps = torch.arange(-reach, reach + 1).to(image)
    kernel = (-(steps**2) / (2 * sigma**2)).exp()
    kernel = (kernel / kernel.sum()).view(1, 1, 1, -1)
    planes = image[:, None]
    for _ in range(2):
        planes = F.conv2d(F.pad(planes, (reach, reach, 0, 0), mode="replicate"), kernel).transpose(2, 3)
    return planes[:, 0]
