"""Crops, flips and the mean, for a batch at once: bytes in, values of about -128 to 128 out (paper, Sec. 3).

A stored image is a little larger than a crop, in the paper's proportion 256 : 224. The mean is that of the same pixels:
the mean image is cropped and flipped together with the image.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, UInt8, UInt64
from torch import Tensor

TEN = 10


def proportional(image_size: int) -> int:
    """Side of the stored square for crops of `image_size` pixels: 256 for 224, 64 for 56, 32 for 28."""
    return round(image_size * 256 / 224)


def crop_batch(
    images: UInt8[Tensor, "n 3 s s"],
    mean: Float[Tensor, "3 s s"],
    tops: Int64[Tensor, " n"],
    lefts: Int64[Tensor, " n"],
    flips: Bool[Tensor, " n"],
    size: int,
) -> Float[Tensor, "n 3 size size"]:
    """One crop of each image, minus the mean of the same pixels; where `flips` says so, mirrored after that."""
    crops = torch.empty(len(images), 3, size, size)
    places = zip(tops.tolist(), lefts.tolist(), flips.tolist(), strict=True)
    for image, (top, left, flip), crop in zip(images.numpy(), places, crops.numpy(), strict=True):
        _cut(image, mean.numpy(), top, left, flip, crop)
    return crops


def _cut(image: np.ndarray, mean: np.ndarray, top: int, left: int, flip: bool, out: np.ndarray) -> None:
    """Into `out` [... 3 c c], the window of `image` [... 3 s s] minus that of the mean.

    NumPy, because there a mirror image is a view; measured, this is 3 to 5 times faster than gathering by indices.
    """
    rows, columns = slice(top, top + out.shape[-2]), slice(left, left + out.shape[-1])
    np.subtract(image[..., rows, columns], mean[:, rows, columns], out=out[..., ::-1] if flip else out)


def centre_start(stored: int, size: int) -> int:
    """First row and column of the centre crop."""
    return (stored - size) // 2


def centre_crop(
    images: UInt8[Tensor, "n 3 s s"], mean: Float[Tensor, "3 s s"], size: int
) -> Float[Tensor, "n 3 size size"]:
    """The centre of each image, minus the mean."""
    crops = torch.empty(len(images), 3, size, size)
    start = centre_start(images.shape[-1], size)
    _cut(images.numpy(), mean.numpy(), start, start, False, crops.numpy())
    return crops


def ten_positions(stored: int, size: int) -> tuple[Int64[Tensor, "10"], Int64[Tensor, "10"], Bool[Tensor, "10"]]:
    """Tops, lefts and flips of the ten fixed crops.

    The order: top left, top right, bottom left, bottom right, centre; then the same five places mirrored.
    """
    far, centre = stored - size, centre_start(stored, size)
    tops = torch.tensor([0, 0, far, far, centre] * 2)
    lefts = torch.tensor([0, far, 0, far, centre] * 2)
    return tops, lefts, torch.arange(TEN) >= TEN // 2


def ten_crops(
    images: UInt8[Tensor, "n 3 s s"], mean: Float[Tensor, "3 s s"], size: int
) -> Float[Tensor, "n 10 3 size size"]:
    """The ten fixed crops of each image in the order of `ten_positions`, minus the mean of the same pixels."""
    crops = torch.empty(len(images), TEN, 3, size, size)
    tops, lefts, flips = ten_positions(images.shape[-1], size)
    places = zip(tops.tolist(), lefts.tolist(), flips.tolist(), strict=True)
    for view, (top, left, flip) in enumerate(places):
        _cut(images.numpy(), mean.numpy(), top, left, flip, crops[:, view].numpy())
    return crops


def random_positions(
    draws: UInt64[np.ndarray, " n"], stored: int, size: int
) -> tuple[Int64[Tensor, " n"], Int64[Tensor, " n"], Bool[Tensor, " n"]]:
    """A random place and mirroring for each draw, any of the (stored - size + 1)^2 places being as likely."""
    places = stored - size + 1
    tops, lefts = _scaled(draws >> np.uint64(44), places), _scaled(draws >> np.uint64(24), places)
    return tops, lefts, torch.from_numpy((draws >> np.uint64(23)) % np.uint64(2) == 1)


def fixed_positions(
    draws: UInt64[np.ndarray, " n"], stored: int, size: int
) -> tuple[Int64[Tensor, " n"], Int64[Tensor, " n"], Bool[Tensor, " n"]]:
    """One of the ten fixed crops for each draw."""
    choice = _scaled(draws >> np.uint64(44), TEN)
    tops, lefts, flips = ten_positions(stored, size)
    return tops[choice], lefts[choice], flips[choice]


def _scaled(draws: UInt64[np.ndarray, " n"], choices: int) -> Int64[Tensor, " n"]:
    """The low 20 bits as a number in 0 .. choices - 1."""
    twenty_bits = (draws & np.uint64(0xFFFFF)).astype(np.int64)
    return torch.from_numpy(twenty_bits * choices >> 20)
