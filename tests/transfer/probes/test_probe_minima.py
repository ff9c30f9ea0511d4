"""Probes end at the minimum: 360 drawn problems against scikit-learn, and SVMs against non-negative least squares."""

import itertools
import warnings

import numpy as np
import pytest
import torch
from scipy.optimize import nnls
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from convlens.transfer.probes.active_set import duality_gap, lawson_hanson
from convlens.transfer.probes.fit import class_targets, fit_probe

PROBLEMS = list(
    itertools.product(
        ("svm", "softmax", "sigmoid"),
        ("as they are", "standardized", "l2"),
        ("n > d", "n < d"),
        (1e-3, 1e-1, 1e1, 1e3, 1e5),
        (torch.float32, torch.float64),
        ("a plane divides the classes", "noisy labels"),
    )
)
HARDEST = [
    *(8, 9, 12, 13, 16, 17, 18, 19, 36, 56, 57, 96, 98, 99),  # SVMs
    *(136, 156, 277, 316),
]


def drawn(number):
    """Features, labels, number of classes: sizes, scales of the features and frequencies of the classes are drawn."""
    _, scaling, shape, _, dtype, kind = PROBLEMS[number]
    rng = np.random.default_rng([number, 2])
    few, many = sorted(rng.integers(20, 301, 2))
    many = max(many, few + 10)
    n, d = (many, few) if shape == "n > d" else (few, many)
    classes = int(rng.integers(2, 8))
    x = rng.normal(size=(n, d))
    match rng.integers(4):
        case 1:
            x = x * np.exp(2 * rng.normal(size=d))
        case 2:
            x = np.maximum(x, 0) * np.exp(rng.normal(size=d)) + 5
        case 3:
            x = np.abs(x) @ rng.normal(size=(d, d))
    if scaling == "standardized":
        x = (x - x.mean(0)) / x.std(0)
    elif scaling == "l2":
        x = x / np.linalg.norm(x, axis=1, keepdims=True)
    scores = (x - x.mean(0)) @ rng.normal(size=(d, classes))
    scores = scores / scores.std() + np.linspace(0, 2 * rng.integers(2), classes)  # every other problem is unbalanced
    if kind == "noisy labels":
        scores += rng.normal(size=scores.shape)
    labels = scores.argmax(1)
    labels[:classes] = range(classes)
    return torch.from_numpy(x).to(dtype), torch.from_numpy(labels), classes


def literal(probe, weights, x, labels, c):
    """The objective in double precision."""
    scores = x @ weights[:-1] + weights[-1]
    penalty = (weights[:-1] ** 2).sum() / 2
    if probe == "softmax":
        return penalty + c * (np.logaddexp.reduce(scores, 1) - scores[range(len(x)), labels]).sum()
    signs = np.where(labels[:, None] == np.arange(weights.shape[1]), 1, -1)
    if probe == "sigmoid":
        return penalty + c * np.logaddexp(0, -signs * scores).sum()
    return penalty + (weights[-1] ** 2).sum() / 2 + c * (np.maximum(1 - signs * scores, 0) ** 2).sum()


def svm_of_scikit_learn(x, y, c):
    found = LinearSVC(C=c, dual=False, tol=1e-8, max_iter=10_000).fit(x, y)
    return np.append(found.coef_[0], found.intercept_)


def svm_by_least_squares(x, y, c):
    """The dual is a non-negative least squares problem; LIBLINEAR takes minutes where C is large."""
    signs, with_bias = np.where(y, 1.0, -1.0), np.column_stack([x, np.ones(len(x))])
    system = np.vstack([(signs[:, None] * with_bias).T, np.eye(len(x)) / np.sqrt(2 * c)])
    rhs = np.concatenate([np.zeros(with_bias.shape[1]), np.full(len(x), np.sqrt(2 * c))])
    return with_bias.T @ (nnls(system, rhs, maxiter=100 * len(x))[0] * signs)


def logistic(solver):
    def fit(x, y, c):
        steps = 5_000 if solver == "lbfgs" else 500
        found = LogisticRegression(C=c, tol=1e-8, max_iter=steps, solver=solver).fit(x, y)
        if len(found.coef_) == 1:
            return np.append(found.coef_[0], found.intercept_)
        return np.vstack([found.coef_.T, found.intercept_])

    return fit


def reference(probe, x, labels, classes, c):
    """The lowest objective that the references reach."""
    if probe == "svm":
        fits = [svm_by_least_squares, *([svm_of_scikit_learn] if c < 1 else [])]
    else:
        fits = [logistic("newton-cholesky"), logistic("lbfgs")]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a solver that ends early is not the lowest
        if probe == "softmax" and classes > 2:
            found = [fit(x, labels, c) for fit in fits]
        elif probe == "softmax":  # scikit-learn fits the difference of the two classes, whose penalty is half as large
            found = [np.outer(fit(x, labels, 2 * c), [-0.5, 0.5]) for fit in fits]
        else:
            found = [np.column_stack([fit(x, labels == k, c) for k in range(classes)]) for fit in fits]
    return min(literal(probe, weights, x, labels, c) for weights in found)


@pytest.mark.parametrize(
    "number", [pytest.param(n, marks=() if n in HARDEST else pytest.mark.slow) for n in range(len(PROBLEMS))]
)
def test_the_objective_is_at_most_a_thousandth_above_the_references(number, caplog):
    probe, *_, c, _, _ = PROBLEMS[number]
    features, labels, classes = drawn(number)
    found = fit_probe(probe, features, class_targets(probe, labels, classes), c)
    x, y = features.double().numpy(), labels.numpy()
    ours = literal(probe, found.weights.double().numpy(), x, y, c)
    assert ours <= reference(probe, x, y, classes, c) * (1 + 1e-3)
    assert found.objective == pytest.approx(ours, rel=1e-3)
    assert caplog.text == ""


def test_duality_gap_is_the_objective_less_the_dual_objective():
    generator = torch.Generator().manual_seed(0)
    x, b = torch.randn(7, 3, generator=generator).double(), torch.randn(7, 2, generator=generator).double()
    y, c = torch.randn(7, 2, generator=generator).double().sign(), 0.7
    y[3, 1] = b[3, 1] = 0  # an image that is ignored
    found = duality_gap(x @ x.T, b, x @ x.T @ b, y, c)
    for column in range(2):
        weights = x.T @ b[:, column]
        losses = ((1 - y[:, column] * (x @ weights)).clamp_min(0) ** 2 * y[:, column].abs()).sum()
        value = weights @ weights / 2 + c * losses
        sizes = (y * b)[:, column].clamp_min(0)
        combined = x.T @ (sizes * y[:, column])
        dual = sizes.sum() - combined @ combined / 2 - (sizes**2).sum() / (4 * c)
        decrease = (c * y[:, column].abs().sum() - value).clamp_min(1e-7 * value)
        torch.testing.assert_close(found[column], (value - dual) / min(value, decrease))


def test_lawson_hanson_ends_at_the_minimum_from_any_images():
    features, labels, classes = drawn(98)
    products, c = features @ features.T + 1, PROBLEMS[98][3]
    targets = class_targets("svm", labels, classes).double()[:, :1]
    for active in (targets > 0, targets < 0, targets != 0):
        found = lawson_hanson(products, targets, active, c, 1e-9)
        gap = duality_gap(products, found.coefficients, products @ found.coefficients, targets, c)
        assert found.gap == float(gap) <= 1e-9
