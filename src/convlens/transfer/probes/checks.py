"""Checks of what the functions about probes are given: matrices, labels and the weight ``C``."""

from collections.abc import Mapping

import torch
from torch import Tensor

from convlens.errors import InputError
from convlens.ops.input_checks import check_choice, check_count, check_number, is_plain, shown
from convlens.transfer.probes.design import DesignMatrix, Primal
from convlens.transfer.probes.losses import LOSSES

INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


def check_matrix(name: str, value: object, columns: int | None = None) -> Tensor:
    """Return a matrix of numbers with a row for each image, which need not be finite.

    Raises:
        InputError: it is something else, empty, or has another number of columns.
    """
    numbers = isinstance(value, Tensor) and is_plain(value) and not value.is_complex()
    if not isinstance(value, Tensor) or not numbers or value.dim() != 2 or not value.numel():
        raise InputError(f"{name}={shown(value)}: give a tensor of numbers with a row for each image")
    if columns not in (None, value.shape[1]):
        raise InputError(f"{name}={shown(value)}: give {columns} columns")
    return value


def check_whole(name: str, values: object, axes: int) -> Tensor:
    """Return a tensor of integers with that many axes.

    Raises:
        InputError: it is something else.
    """
    if not isinstance(values, Tensor) or values.dtype not in INTEGERS or values.is_meta or values.dim() != axes:
        raise InputError(f"{name}={shown(values)}: give a tensor of integers of {axes} axes")
    return values


def check_labels(labels: object, num_classes: object) -> int:
    """Check the class of each image; return the number of classes.

    Raises:
        InputError: the labels are no integers, or one is of no class.
    """
    count = check_count("num_classes", num_classes)
    for label in check_whole("labels", labels, 1).unique().tolist():
        if not 0 <= label < count:
            raise InputError(f"label {label} is out of range: the classes are 0 to {count - 1}")
    return count


def check_C(value: object, name: str = "C") -> float:
    """Return a weight of the losses.

    Raises:
        InputError: it is no finite number above 0.
    """
    number = check_number(name, value)
    if number <= 0:
        raise InputError(f"{name} is {shown(value)}: give a finite number above 0")
    return number


def check_regularization(C: object) -> None:
    """Check ``C`` of all probes, or of some by their names; None is allowed.

    Raises:
        InputError: one is no finite number above 0.
    """
    for probe, own in C.items() if isinstance(C, Mapping) else [("", C)] if C is not None else []:
        check_C(own, f"C[{probe!r}]" if probe else "C")


def checked_design(probe: str, features: object, targets: object) -> DesignMatrix:
    """Check the arguments of a fit and return the training images as a design matrix.

    Raises:
        InputError: as `convlens.transfer.fit_probe`.
    """
    check_choice("probe", probe, LOSSES)
    found = check_matrix("targets", targets)
    if not found.isfinite().all():
        raise InputError("targets are not finite: give finite ones")
    if found.shape[1] < 2 and probe == "softmax":
        raise InputError("softmax needs at least two classes, the targets have one: add a class")
    if not isinstance(features, DesignMatrix):
        features = Primal.from_features(check_matrix("features", features))
    if len(features) != len(found):
        raise InputError(f"features of {len(features)} images and targets of {len(found)}: give as many of each")
    return features
