"""Check of the target class whose probability an analysis records."""

import operator
from collections.abc import Sequence
from typing import SupportsIndex

from convlens.errors import InputError


def check_target(output_shape: Sequence[int], target: SupportsIndex) -> int:
    """Return the target class as an int.

    Args:
        output_shape: shape of the network's output for one image.
        target: index of a class.

    Raises:
        InputError: the output has no class scores, or none for this class.
    """
    label = operator.index(target)
    if len(output_shape) != 1:
        raise InputError(f"the network's output has the shape {list(output_shape)}: one score for each class is needed")
    if not 0 <= label < output_shape[0]:
        raise InputError(f"label {label} is out of range: the network has the classes 0 to {output_shape[0] - 1}")
    return label
