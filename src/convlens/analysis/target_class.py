"""Checks of the target classes whose probability an analysis records."""

from collections.abc import Sequence
from typing import SupportsIndex

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from convlens.errors import InputError
from convlens.ops.input_checks import LARGEST, check_count


def check_target(output_shape: Sequence[int], target: SupportsIndex) -> int:
    """Return the target class as an int.

    Args:
        output_shape: shape of the network's output for one image.
        target: index of a class.

    Raises:
        InputError: the output has no scores of two or more classes, or none for this class.
    """
    if len(output_shape) != 1:
        raise InputError(f"the network's output has the shape {list(output_shape)}: one score for each class is needed")
    if output_shape[0] == 1:
        raise InputError(
            "the network's output is a single score, whose softmax probability is 1 for every image: "
            "give a network with a score for each of two classes"
        )
    label = check_count("label", target, -LARGEST)
    if not 0 <= label < output_shape[0]:
        raise InputError(f"label {label} is out of range: the network has the classes 0 to {output_shape[0] - 1}")
    return label


def check_targets(
    output_shape: Sequence[int], targets: Sequence[SupportsIndex] | Tensor | np.ndarray
) -> Int[Tensor, " n"]:
    """Return the target classes of several images as a tensor.

    Raises:
        InputError: as `check_target`.
    """
    return torch.tensor([check_target(output_shape, target) for target in targets])
