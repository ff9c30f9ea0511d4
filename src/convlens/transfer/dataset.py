"""The images that probes are fitted to and tested on: classes, targets, splits and pixels."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jaxtyping import Int64, UInt8
from numpy import ndarray
from torch import Tensor

from convlens.transfer.targets import Targets

SplitRows = Callable[[int | None, int], tuple[Int64[Tensor, " n"], Int64[Tensor, " m"]]]
"""Returns the rows of the training and test images for a number of training images per class and a fold."""


@dataclass(frozen=True)
class Submission:
    """What an evaluation server asks for: scores of all classes for all images of a list.

    Attributes:
        part: name of the list, such as ``test``.
        train: rows of the images to fit to.
        rows: rows of the images of the list.
        images: their identifiers.
    """

    part: str
    train: Int64[Tensor, " n"]
    rows: Int64[Tensor, " m"]
    images: Sequence[str]


@dataclass(frozen=True)
class TransferDataset:
    """A data set for probes.

    Attributes:
        title: name of the data set.
        class_names: names of the classes in the order of the labels.
        targets: classes of all images.
        split: rows of the training and test images; the number of images per class is None for all training images.
        pixels: returns images by their rows, for display.
        submission: what an evaluation server asks for; None if there is none.
    """

    title: str
    class_names: Sequence[str]
    targets: Targets
    split: SplitRows
    pixels: Callable[[Sequence[int]], UInt8[ndarray, "n h w 3"]]
    submission: Submission | None = None
