"""Correlations of projections whose switches differ (claim 4)."""

from math import isnan, nan

import numpy as np
import pytest
import torch
from torch import nn

from convlens.analysis.galleries.switches import (
    change_between_images,
    change_without_switches,
    correlations,
    pixels_inside,
)
from convlens.deconv import project_fields
from convlens.stats.estimates import mean_of
from convlens.stats.rules import RULES
from convlens.stats.verdicts import decide


def literal_correlation(first, second, first_inside, second_inside) -> float:
    """Value by value, at the pixels inside of both."""
    a, b = [], []
    for c, y, x in np.ndindex(*first.shape):
        if first_inside[y, x] and second_inside[y, x]:
            a.append(float(first[c, y, x]))
            b.append(float(second[c, y, x]))
    return float(np.corrcoef(a, b)[0, 1]) if len(a) > 1 and np.std(a) > 0 and np.std(b) > 0 else nan


def test_correlations_are_the_literal_ones():
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(3, 2, 4, 5, generator=generator), torch.randn(2, 2, 4, 5, generator=generator)
    first[2] = 0.25  # constant
    masks = [torch.rand(n, 4, 5, generator=generator) < 0.7 for n in (3, 2)]
    first, second = first * masks[0][:, None], second * masks[1][:, None]
    found = correlations(first, second, *masks)
    for i, j in np.ndindex(3, 2):
        expected = literal_correlation(first[i], second[j], masks[0][i], masks[1][j])
        assert found[i, j].item() == pytest.approx(expected, nan_ok=True, abs=1e-9)
    assert found[2].isnan().all()
    assert not found[:2].isnan().any()


def test_changes_by_hand():
    inside = torch.ones(3, 1, 3, dtype=torch.bool)
    pictures = torch.tensor([[1.0, 2, 3], [2, 4, 6], [3, 2, 1]])[:, None, None]
    # Pairs have correlations of 1, -1 and -1.
    assert change_between_images(pictures, inside) == pytest.approx(1 + 1 / 3)
    assert change_without_switches(pictures, pictures.flip(0), inside) == pytest.approx(1 - (-1 + 1 - 1) / 3)
    assert change_without_switches(pictures, 5 * pictures, inside) == pytest.approx(0)
    assert isnan(change_between_images(torch.zeros(3, 1, 1, 3), inside))


def test_windows_over_the_border_by_hand():
    boxes = torch.tensor([[-1, 0, 1, 3], [1, 2, 3, 5]])
    assert pixels_inside(boxes, 2, 4).int().tolist() == [[[0, 0, 0], [1, 1, 1]], [[1, 1, 0], [0, 0, 0]]]


def detector(pool: nn.Module) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), pool, nn.Conv2d(6, 8, 3, padding=1), nn.ReLU()
    ).eval()  # fmt: skip


@pytest.mark.parametrize(("size", "expected"), [(1, "no effect"), (2, "supports")])
def test_claim_4_holds_where_pools_choose_and_not_where_windows_have_one_value(size, expected):
    net = detector(nn.MaxPool2d(size))
    images = torch.randn(5, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    changes = []
    for feature_map in range(8):
        units = [(image, feature_map, 3 + image % 2, 3) for image in range(5)]
        pictures = project_fields(net, images, "4", units, signal="one")
        inside = torch.ones(5, *pictures.shape[-2:], dtype=torch.bool)
        changes.append(change_between_images(pictures, inside))
    assert decide(RULES[4], mean_of(np.array(changes))) == expected
