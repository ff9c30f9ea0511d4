"""Rotation into the span of the training images: the same inner products, and so the same classifiers."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from convlens.errors import InputError
from convlens.transfer import span
from convlens.transfer.probes import class_targets, fit
from convlens.transfer.space import Space
from convlens.transfer.span import coordinates, gram, unit_length


def test_two_vectors_by_hand():
    features = torch.tensor([[3.0, 4.0], [5.0, 0.0], [1.0, 1.0]])
    products = gram(features, torch.arange(3))
    torch.testing.assert_close(products, torch.tensor([[25.0, 15, 7], [15, 25, 5], [7, 5, 2]]).double())
    # The first axis is (3, 4) / 5, the second (4, -3) / 5: (5, 0) is 3 and 4 along them, (1, 1) is 7/5 and 1/5.
    expected = torch.tensor([[5.0, 0], [3, 4], [1.4, 0.2]]).double()
    torch.testing.assert_close(coordinates(products, 2), expected)


@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(0, 4), st.integers(7, 30))
def test_inner_products_stay_and_beginnings_are_parts(seed, count, others, dimensions):
    features = torch.randn(count + others, dimensions, generator=torch.Generator().manual_seed(seed)).double()
    products = gram(features, torch.arange(count + others))
    torch.testing.assert_close(products, features @ features.T)
    found = coordinates(products, count)
    torch.testing.assert_close(found[:count] @ found.T, products[:count], rtol=1e-6, atol=1e-9)
    for fewer in range(1, count):
        torch.testing.assert_close(found[:, :fewer], coordinates(products, fewer), rtol=1e-6, atol=1e-9)


def test_dimensions_in_parts_are_the_same(monkeypatch):
    features, rows = torch.randn(5, 23).double(), torch.tensor([4, 0, 2])
    whole = gram(features, rows)
    monkeypatch.setattr(span, "DIMENSIONS_AT_ONCE", 12)
    monkeypatch.setattr(span, "IMAGES_AT_ONCE", 2)
    torch.testing.assert_close(gram(features, rows), whole)


def test_images_that_occur_twice_or_are_empty_do_no_harm():
    features = torch.randn(4, 9)[[0, 1, 1, 2, 3]]
    products = gram(features, torch.arange(5))
    found = coordinates(products, 4)
    torch.testing.assert_close(found[:4] @ found.T, products[:4], rtol=1e-5, atol=1e-6)
    empty = unit_length(gram(torch.tensor([[0.0, 0.0], [0.0, 2.0]]), torch.arange(2)))
    assert empty.tolist() == [[0, 0], [0, 1]]


def test_damaged_features_are_said():
    with pytest.raises(InputError, match="features are not finite"):
        coordinates(gram(torch.tensor([[1.0, torch.nan]]), torch.arange(1)), 1)


def test_features_that_are_all_zero_have_coordinates_of_zero():
    assert coordinates(torch.zeros(3, 3).double(), 2).abs().max() < 1e-100


@pytest.mark.parametrize("probe", ["svm", "softmax", "sigmoid"])
@pytest.mark.parametrize("normalise", ["l2", "standardise", "none"])
def test_a_fit_in_the_span_predicts_as_one_in_full_dimension(probe, normalise):
    torch.manual_seed(0)
    features, labels = (
        torch.randn(60, 500).relu() + 0.3 * torch.randn(3, 500)[torch.arange(60) % 3],
        torch.arange(60) % 3,
    )
    train, test = torch.arange(0, 30), torch.arange(30, 60)
    space = Space(features, torch.arange(60), normalise, train, 30)
    known, asked = space.coordinates(train, test)
    assert known.shape == (30, 30)
    full = features.double()
    if normalise == "l2":
        full = full / full.norm(dim=1, keepdim=True)
    if normalise == "standardise":
        full = (full - full[train].mean(0)) / full[train].std(0, correction=0)
    wanted = class_targets(probe, labels[train], 3)
    short = fit(probe, known.double(), wanted, 10.0, tolerance=1e-10)
    long = fit(probe, full[train], wanted, 10.0, tolerance=1e-10)
    assert short.objective == pytest.approx(long.objective, rel=1e-5)
    torch.testing.assert_close(short.scores(asked.double()), long.scores(full[test]), rtol=1e-3, atol=1e-3)


def test_few_dimensions_are_left_as_they_are():
    features = torch.randn(8, 5)
    space = Space(features, torch.arange(8), "none", torch.arange(6), 6)
    known, asked = space.coordinates(torch.tensor([3, 1]), torch.tensor([7]))
    torch.testing.assert_close(known, features[[3, 1]])
    torch.testing.assert_close(space.narrowed(asked, 1), features[[7]])
    with pytest.raises(InputError, match="normalise='max': choose one of l2, standardise, none"):
        Space(features, torch.arange(8), "max", torch.arange(6), 6)
