"""Gram matrices by hand, and fits in the dual against fits to the features."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from convlens.errors import InputError
from convlens.transfer.probes import fit as fit_module
from convlens.transfer.probes import gram as gram_module
from convlens.transfer.probes.design import Dual
from convlens.transfer.probes.fit import class_targets, fit_probe
from convlens.transfer.probes.gram import centered, gram, row_norms
from convlens.transfer.probes.normalize import NormalizedFeatures


def test_three_vectors_by_hand():
    features = torch.tensor([[3.0, 4.0], [5.0, 0.0], [1.0, 2.0]])
    products = gram(features, torch.arange(3))
    torch.testing.assert_close(products, torch.tensor([[25.0, 15, 11], [15, 25, 5], [11, 5, 5]]).double())
    # Less their mean (3, 2) the vectors are (0, 2), (2, -2) and (-2, 0).
    torch.testing.assert_close(centered(products), torch.tensor([[4.0, -4, 0], [-4, 8, -4], [0, -4, 4]]).double())


@given(st.integers(0, 10**6), st.integers(1, 9), st.integers(1, 30))
def test_products_equal_those_of_the_vectors(seed, count, dimensions):
    features = torch.randn(count, dimensions, generator=torch.Generator().manual_seed(seed)).double() + 3
    products = gram(features, torch.arange(count))
    torch.testing.assert_close(products, features @ features.T)
    less = features - features.mean(0)
    torch.testing.assert_close(centered(products), less @ less.T, rtol=1e-6, atol=1e-9)


def test_blocks_of_dimensions_and_images_change_nothing(monkeypatch):
    features, rows = torch.randn(5, 23).double(), torch.tensor([4, 0, 2])
    whole = gram(features, rows)
    monkeypatch.setattr(gram_module, "DIMENSIONS_PER_BLOCK", 12)
    monkeypatch.setattr(gram_module, "IMAGES_PER_BLOCK", 2)
    torch.testing.assert_close(gram(features, rows), whole)


def test_rows_are_normalized_except_those_of_norm_0():
    features = torch.randn(60, 500).relu()
    features[3], features[11] = 0, features[11] * 1e-6
    every = torch.arange(60)
    unit = torch.nn.functional.normalize(features.double(), dim=1, eps=1e-30)
    found = gram(features, every, row_norms(features, every))
    torch.testing.assert_close(found, unit @ unit.T, rtol=1e-5, atol=1e-5)
    assert found[3].abs().max() < 1e-12


def test_features_that_are_not_finite_are_refused():
    every = torch.arange(4)
    with pytest.raises(InputError, match="features are not finite"):
        NormalizedFeatures(torch.full((4, 1), torch.nan), every, "none", every, 4)
    normalized = NormalizedFeatures(torch.full((4, 9), torch.nan), every, "none", every, 4)
    with pytest.raises(InputError, match="features are not finite"):
        normalized.design(every)


@pytest.mark.parametrize("probe", ["svm", "softmax", "sigmoid"])
def test_duplicate_and_empty_images(probe):
    torch.manual_seed(0)
    features = torch.cat([torch.randn(10, 40), torch.zeros(2, 40)])[torch.tensor([*range(12), 3, 3, 11])]
    targets = class_targets(probe, torch.arange(15) % 3, 3)
    design = NormalizedFeatures(features, torch.arange(15), "l2", torch.arange(15), 15).design(torch.arange(15))
    found = fit_probe(probe, design, targets, 10.0, tolerance=1e-9)
    unit = torch.nn.functional.normalize(features, dim=1)
    full = fit_probe(probe, torch.cat([unit, torch.zeros(15, 1)], 1).double(), targets, 10.0, tolerance=1e-9)
    assert found.objective == pytest.approx(full.objective, rel=1e-5)


@pytest.mark.parametrize("probe", ["svm", "softmax", "sigmoid"])
@pytest.mark.parametrize("normalize", ["l2", "standardize", "none"])
def test_dual_fit_predicts_as_the_primal_fit(probe, normalize, monkeypatch):
    torch.manual_seed(0)
    features, labels = (
        torch.randn(60, 500).relu() + 0.3 * torch.randn(3, 500)[torch.arange(60) % 3],
        torch.arange(60) % 3,
    )
    train, test = torch.arange(0, 30), torch.arange(30, 60)
    normalized = NormalizedFeatures(features, torch.arange(60), normalize, train, 30)
    design, inputs = normalized.design(train), normalized.inputs(test, train)
    assert isinstance(design, Dual)
    assert design.values.shape == inputs.shape == (30, 30)
    full = features.double()
    if normalize == "l2":
        full = full / full.norm(dim=1, keepdim=True)
    if normalize == "standardize":
        full = (full - full[train].mean(0)) / full[train].std(0, correction=0)
    targets = class_targets(probe, labels[train], 3)
    monkeypatch.setattr(fit_module, "_dual_is_faster", lambda probe, design: False)
    short = fit_probe(probe, design.in_double, targets, 10.0, tolerance=1e-10)
    long = fit_probe(probe, full[train], targets, 10.0, tolerance=1e-10)
    assert short.objective == pytest.approx(long.objective, rel=1e-5)
    torch.testing.assert_close(short.scores(inputs), long.scores(full[test]), rtol=1e-3, atol=1e-3)
    monkeypatch.undo()
    dual = fit_probe(probe, full[train], targets, 10.0, tolerance=1e-10)  # as it does of itself
    torch.testing.assert_close(dual.weights, long.weights, rtol=1e-3, atol=1e-3)


def test_features_of_few_dimensions_are_kept():
    features = torch.randn(18, 5)
    normalized = NormalizedFeatures(features, torch.arange(18), "none", torch.arange(11), 11)
    design = normalized.design(train := torch.tensor([3, 1]))
    torch.testing.assert_close(design.values, features[[3, 1]])
    torch.testing.assert_close(normalized.inputs(torch.tensor([7]), train), features[[7]])
