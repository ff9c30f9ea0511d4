"""Images by their inner products: the same classifiers as with their features."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from convlens.errors import InputError
from convlens.transfer.probes import fit as probes_module
from convlens.transfer.probes import gram as span
from convlens.transfer.probes.design import Dual
from convlens.transfer.probes.fit import class_targets, fit
from convlens.transfer.probes.gram import centred, gram, lengths_of
from convlens.transfer.probes.normalize import Space


def test_three_vectors_by_hand():
    features = torch.tensor([[3.0, 4.0], [5.0, 0.0], [1.0, 2.0]])
    products = gram(features, torch.arange(3))
    torch.testing.assert_close(products, torch.tensor([[25.0, 15, 11], [15, 25, 5], [11, 5, 5]]).double())
    # Less their mean (3, 2) the vectors are (0, 2), (2, -2) and (-2, 0).
    torch.testing.assert_close(centred(products), torch.tensor([[4.0, -4, 0], [-4, 8, -4], [0, -4, 4]]).double())


@given(st.integers(0, 10**6), st.integers(1, 9), st.integers(1, 30))
def test_products_are_those_of_the_vectors(seed, count, dimensions):
    features = torch.randn(count, dimensions, generator=torch.Generator().manual_seed(seed)).double() + 3
    products = gram(features, torch.arange(count))
    torch.testing.assert_close(products, features @ features.T)
    less = features - features.mean(0)
    torch.testing.assert_close(centred(products), less @ less.T, rtol=1e-6, atol=1e-9)


def test_dimensions_in_parts_are_the_same(monkeypatch):
    features, rows = torch.randn(5, 23).double(), torch.tensor([4, 0, 2])
    whole = gram(features, rows)
    monkeypatch.setattr(span, "DIMENSIONS_AT_ONCE", 12)
    monkeypatch.setattr(span, "IMAGES_AT_ONCE", 2)
    torch.testing.assert_close(gram(features, rows), whole)


def test_short_images_get_length_1_and_those_of_length_0_stay_that():
    features = torch.randn(60, 500).relu()
    features[3], features[11] = 0, features[11] * 1e-6
    every = torch.arange(60)
    unit = torch.nn.functional.normalize(features.double(), dim=1, eps=1e-30)
    found = gram(features, every, lengths_of(features, every))
    torch.testing.assert_close(found, unit @ unit.T, rtol=1e-5, atol=1e-5)
    assert found[3].abs().max() < 1e-12


def test_damaged_features_are_said():
    every = torch.arange(4)
    with pytest.raises(InputError, match="features are not finite"):
        Space(torch.full((4, 1), torch.nan), every, "none", every, 4)
    space = Space(torch.full((4, 9), torch.nan), every, "none", every, 4)
    with pytest.raises(InputError, match="features are not finite"):
        space.known(every)


@pytest.mark.parametrize("probe", ["svm", "softmax", "sigmoid"])
def test_images_that_occur_twice_or_are_empty_do_no_harm(probe):
    torch.manual_seed(0)
    features = torch.cat([torch.randn(10, 40), torch.zeros(2, 40)])[torch.tensor([*range(12), 3, 3, 11])]
    targets = class_targets(probe, torch.arange(15) % 3, 3)
    known = Space(features, torch.arange(15), "l2", torch.arange(15), 15).known(torch.arange(15))
    found = fit(probe, known, targets, 10.0, tolerance=1e-9)
    unit = torch.nn.functional.normalize(features, dim=1)
    full = fit(probe, torch.cat([unit, torch.zeros(15, 1)], 1).double(), targets, 10.0, tolerance=1e-9)
    assert found.objective == pytest.approx(full.objective, rel=1e-5)


@pytest.mark.parametrize("probe", ["svm", "softmax", "sigmoid"])
@pytest.mark.parametrize("normalise", ["l2", "standardise", "none"])
def test_a_fit_in_the_span_predicts_as_one_in_full_dimension(probe, normalise, monkeypatch):
    torch.manual_seed(0)
    features, labels = (
        torch.randn(60, 500).relu() + 0.3 * torch.randn(3, 500)[torch.arange(60) % 3],
        torch.arange(60) % 3,
    )
    train, test = torch.arange(0, 30), torch.arange(30, 60)
    space = Space(features, torch.arange(60), normalise, train, 30)
    known, asked = space.known(train), space.asked(test, train)
    assert isinstance(known, Dual)
    assert known.given.shape == asked.shape == (30, 30)
    full = features.double()
    if normalise == "l2":
        full = full / full.norm(dim=1, keepdim=True)
    if normalise == "standardise":
        full = (full - full[train].mean(0)) / full[train].std(0, correction=0)
    wanted = class_targets(probe, labels[train], 3)
    monkeypatch.setattr(probes_module, "_better_spanned", lambda probe, known: False)
    short = fit(probe, known.doubled, wanted, 10.0, tolerance=1e-10)
    long = fit(probe, full[train], wanted, 10.0, tolerance=1e-10)
    assert short.objective == pytest.approx(long.objective, rel=1e-5)
    torch.testing.assert_close(short.scores(asked), long.scores(full[test]), rtol=1e-3, atol=1e-3)
    monkeypatch.undo()
    spanned = fit(probe, full[train], wanted, 10.0, tolerance=1e-10)  # as it does of itself
    torch.testing.assert_close(spanned.weights, long.weights, rtol=1e-3, atol=1e-3)


def test_few_dimensions_are_left_as_they_are():
    features = torch.randn(18, 5)
    space = Space(features, torch.arange(18), "none", torch.arange(11), 11)
    known = space.known(train := torch.tensor([3, 1]))
    torch.testing.assert_close(known.given, features[[3, 1]])
    torch.testing.assert_close(space.asked(torch.tensor([7]), train), features[[7]])
    with pytest.raises(InputError, match="normalise='max': choose one of l2, standardise, none"):
        Space(features, torch.arange(8), "max", torch.arange(6), 6)
