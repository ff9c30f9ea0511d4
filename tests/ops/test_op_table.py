"""The classification of operations that receptive fields, windows and incremental evaluation share."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from convlens.ops.op_table import (
    arguments,
    border_divisor,
    classify,
    is_in_place,
    joins_other_axis,
    padding_value,
    spatial_operands,
    unpadded,
    window_of,
)

WEIGHT = torch.ones(4, 2, 3, 3)
OTHER = torch.zeros(4, 2, 6, 7)


class Calls(TorchFunctionMode):
    """Records the calls of functions, as modes get them."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple] = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.calls.append((func, func.__name__, args, kwargs or {}))
        return func(*args, **(kwargs or {}))


def call(operation) -> tuple:
    """The last call that an operation on maps [4, 2, 6, 7] makes."""
    x = torch.arange(336.0).reshape(4, 2, 6, 7)
    with Calls() as mode:
        operation(x)
    return mode.calls[-1]


@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        (lambda x: F.conv2d(x, WEIGHT), "window"),
        (lambda x: F.max_pool2d(x, 2), "window"),
        (lambda x: F.adaptive_avg_pool2d(x, 1), "window"),
        (lambda x: F.pad(x, (1, 1)), "window"),
        (lambda x: x + 1, "pointwise"),
        (lambda x: F.relu_(x), "pointwise"),
        (lambda x: torch.cat([x, x], 1), "pointwise"),
        (lambda x: F.batch_norm(x, torch.zeros(2), torch.ones(2)), "pointwise"),
        (lambda x: F.batch_norm(x, None, None, training=True), "mixing"),
        (lambda x: F.batch_norm(x, None, None, None, None, True), "mixing"),
        (lambda x: x[:, :1], "view"),
        (lambda x: x[..., :2], "other"),
        (lambda x: x[torch.tensor([0])], "other"),
        (lambda x: x.transpose(0, 1), "view"),
        (lambda x: x.transpose(1, 2), "other"),
        (lambda x: x.permute(1, 0, 2, 3), "view"),
        (lambda x: x.permute(0, 2, 3, 1), "other"),
        (lambda x: torch.unsqueeze(input=x, dim=0), "other"),  # the tensor is not the first argument
        (lambda x: x.flatten(1), "other"),
        (lambda x: x.flip(3), "other"),
    ],
)
def test_operations_are_classified(operation, kind):
    _, name, args, kwargs = call(operation)
    assert classify(name, args, kwargs) == kind


@pytest.mark.parametrize(
    ("name", "in_place"),
    [("relu_", True), ("__iadd__", True), ("__add__", False), ("add", False), ("__getitem__", False)],
)
def test_operations_in_place_are_known_by_name(name, in_place):
    assert is_in_place(name) == in_place


@pytest.mark.parametrize(("axis", "other"), [(1, False), (-3, False), (0, True), (2, True), (-1, True)])
def test_concatenations_along_the_channels_are_told_from_others(axis, other):
    for operation in (lambda x: torch.cat([x, x], axis), lambda x: torch.cat([x, x], dim=axis)):
        assert joins_other_axis(*call(operation)[1:]) == other
    assert joins_other_axis("cat", ([OTHER, OTHER],), {})  # the batch is the default
    assert not joins_other_axis("add", (OTHER, 2), {})


def test_parameters_by_channel_are_no_spatial_operands():
    assert [len(t) for t in spatial_operands("add", (OTHER, WEIGHT), {"alpha": 2})] == [4, 4]
    assert list(spatial_operands("prelu", (OTHER, torch.ones(2)), {})) == []


@pytest.mark.parametrize(
    ("options", "varies"),
    [
        ({"kernel_size": 3, "padding": 1}, False),
        ({"kernel_size": 3, "padding": 1, "count_include_pad": False}, True),
        ({"kernel_size": 3, "padding": 1, "count_include_pad": False, "divisor_override": 9}, False),
        ({"kernel_size": 3, "padding": 0, "count_include_pad": False}, False),
        ({"kernel_size": 2, "stride": 2, "ceil_mode": True}, True),  # 7 columns: the last window has one
        ({"kernel_size": 2, "stride": 1, "ceil_mode": True}, False),
    ],
)
def test_average_pools_that_divide_by_less_at_the_border_are_found(options, varies):
    window = window_of("avg_pool2d", options, (6, 7))
    assert window is not None
    assert border_divisor("avg_pool2d", options, window, (6, 7)) == varies
    assert not border_divisor("max_pool2d", options, window, (6, 7))
    # The definition: the pool of ones is not one (zero padding counts), or counts less than the kernel.
    whole = F.avg_pool2d(torch.ones(1, 1, 6, 7), **options | {"divisor_override": 1})
    pooled = F.avg_pool2d(torch.ones(1, 1, 6, 7), **options)
    area = options.get("divisor_override") or options["kernel_size"] ** 2
    assert (not torch.allclose(pooled, whole / area)) == varies


@pytest.mark.parametrize(
    "operation",
    [
        lambda x: F.conv2d(x, WEIGHT, None, 2, 1),
        lambda x: F.max_pool2d(x, 3, 2, 1),
        lambda x: F.avg_pool2d(x, 3, 2, 1),
        lambda x: F.adaptive_max_pool2d(x, (3, 7)),
        lambda x: F.adaptive_avg_pool2d(x, (2, 7)),
    ],
    ids=["conv2d", "max_pool2d", "avg_pool2d", "adaptive_max_pool2d", "adaptive_avg_pool2d"],
)
def test_an_operation_without_its_padding_reads_it_from_the_input(operation):
    x = torch.randn(2, 2, 6, 7)
    func, name, args, kwargs = call(operation)
    given = arguments(name, args, kwargs)
    given.pop("input")
    window = window_of(name, given, (6, 7))
    assert window is not None
    (top, left), (bottom, right) = window.before, window.after
    padded: Tensor = F.pad(x, (left, right, top, bottom), value=padding_value(name))
    torch.testing.assert_close(unpadded(func, name, given, window)(padded), operation(x))
