import inspect

import numpy as np
import pytest
import torch
from torch import nn

from convlens.deconv import project, project_fields
from convlens.deconv.units import as_unit_tensor
from convlens.errors import InputError

UNITS = [(0, 2, 3, 1), (1, 0, 0, 4)]
SHAPE = (3, 5, 6)
unchecked = inspect.unwrap(as_unit_tensor)


@pytest.mark.parametrize(
    "units",
    [
        UNITS,
        tuple(list(unit) for unit in UNITS),
        np.array(UNITS, dtype=np.int16),
        np.array(UNITS, dtype=np.uint8),
        torch.tensor(UNITS),
        torch.tensor(UNITS, dtype=torch.int32),
        [tuple(np.int64(v) for v in unit) for unit in UNITS],
        [tuple(torch.tensor(v) for v in unit) for unit in UNITS],
        [torch.tensor(UNITS[0]), np.array(UNITS[1])],
    ],
    ids=["tuples", "lists", "int16", "uint8", "tensor", "int32", "numpy integers", "0-d tensors", "rows"],
)
def test_integers_of_any_kind_are_units(units):
    found = as_unit_tensor(units, 2, SHAPE, "conv")
    assert found.dtype == torch.int64
    assert found.tolist() == [list(unit) for unit in UNITS]


def test_units_of_vectors_have_two_values():
    assert as_unit_tensor(np.array([[1, 7], [0, 0]]), 2, (8,), None).tolist() == [[1, 7], [0, 0]]
    assert as_unit_tensor([], 2, (8,), None).shape == (0, 2)
    assert as_unit_tensor(torch.zeros(0, 4, dtype=torch.int64), 2, SHAPE, None).shape == (0, 4)


@pytest.mark.parametrize(
    ("units", "message"),
    [
        ([(0, 2, 3)], r"unit \(0, 2, 3\) of layer 'conv': give \(image, map, y, x\)"),
        (np.array([0, 2, 3, 1]), r"unit 0 of layer 'conv': give \(image, map, y, x\)"),
        (torch.tensor(UNITS) * 1.0, r"unit \(0\.0, 2\.0, 3\.0, 1\.0\) of layer 'conv': give \(image"),
        (np.array(UNITS) > 0, r"unit \(False, True, True, True\) of layer 'conv': give \(image"),
        ([(0, 2, 3, "1")], r"unit \(0, 2, 3, '1'\) of layer 'conv': give \(image"),
        (7, r"units=7 of layer 'conv': give \(image, map, y, x\) for each unit"),
        ("0123", r"units='0123' of layer 'conv': give"),
        (torch.tensor([[0, 3, 0, 0]]), r"unit \(0, 3, 0, 0\) of layer 'conv': map 3 is outside 0\.\.2"),
        (np.array([[2, 0, 0, 0]]), r"image 2 is outside 0\.\.1"),
        ([(0, 0, -1, 0)], r"y -1 is outside 0\.\.4"),
    ],
    ids=lambda value: value[:25] if isinstance(value, str) else None,
)
def test_other_units_are_refused_in_one_line(units, message):
    with pytest.raises(InputError, match=message) as error:
        unchecked(units, 2, SHAPE, "conv")
    assert "\n" not in str(error.value)


def active_net() -> nn.Module:
    """A network all of whose units are active."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    nn.init.constant_(net[0].bias, 9)
    return net


def test_projections_of_an_array_and_of_tuples_are_the_same():
    net, images = active_net(), torch.randn(2, 3, 8, 8)
    expected = project(net, images, "1", UNITS)
    assert expected.abs().amax((1, 2, 3)).min() > 0
    for units in (torch.tensor(UNITS), np.array(UNITS)):
        assert torch.equal(project(net, images, "1", units), expected)
        fields = project_fields(net, images, "1", units)
        assert torch.equal(fields[0], expected[0, :, 3:6, 1:4])
        assert torch.equal(fields[1], expected[1, :, 0:3, 4:7])


def test_the_old_keyword_seed_warns_and_works():
    net, images = active_net(), torch.randn(2, 3, 8, 8)
    with pytest.warns(DeprecationWarning, match=r"project\(seed=\.\.\.\) is deprecated: use signal="):
        old = project(net, images, "1", UNITS, seed="one")
    assert torch.equal(old, project(net, images, "1", UNITS, signal="one"))
    assert not torch.equal(old, project(net, images, "1", UNITS))
