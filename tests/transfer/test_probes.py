"""Probes against scikit-learn, against their formulas written out, and against values found by hand."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from convlens.errors import InputError
from convlens.transfer.probes import fit as probes_module
from convlens.transfer.probes.design import Dual, Primal
from convlens.transfer.probes.fit import LOSSES, class_targets, fit
from convlens.transfer.probes.normalize import Space
from convlens.transfer.probes.objective import Problem


def literal(probe, weights, features, targets, c):
    """The objective, image by image and class by class."""
    total = 0.5 * (weights[:-1] ** 2).sum() + (0.5 * (weights[-1] ** 2).sum() if probe == "svm" else 0.0)
    for x, wanted in zip(features, targets, strict=True):
        scores = x @ weights[:-1] + weights[-1]
        if probe == "softmax":
            total += c * sum(-t * (s - torch.logsumexp(scores, 0)) for t, s in zip(wanted, scores, strict=True))
        for t, s in zip(wanted, scores, strict=True) if probe != "softmax" else ():
            if t != 0:
                total += c * (max(0.0, 1 - t * s) ** 2 if probe == "svm" else torch.log1p(torch.exp(-t * s)))
    return total


def drawn(seed, n=12, d=4, classes=3):
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(n, d, generator=generator).double(),
        torch.randint(0, classes, (n,), generator=generator),
        torch.randn(d + 1, classes, generator=generator).double(),
    )


def bend(probe, features, targets, c, weights):
    """The curvature of the formula, in the flat weights."""
    bent = torch.autograd.functional.hessian(lambda w: literal(probe, w, features, targets, c), weights)
    bent = bent.reshape(weights.numel(), weights.numel())
    if probe == "softmax":  # which an equal change of all biases leaves as it is
        ones = (torch.arange(len(weights)).eq(len(weights) - 1)[:, None] * torch.ones(weights.shape[1])).flatten()
        bent = bent + torch.outer(ones.double(), ones.double())
    return bent


@settings(deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(["svm", "softmax", "sigmoid"]), st.floats(0.01, 100))
def test_value_gradient_and_step_are_those_of_the_formula(seed, probe, c):
    features, labels, weights = drawn(seed)
    targets = class_targets(probe, labels, 3).double()
    if probe != "softmax":
        targets[0, 1] = 0  # an image that does not count for a class
    problem = Problem(LOSSES[probe], Primal.from_features(features), targets, c)
    began = problem.start(weights)
    expected = weights - weights.mean(1, keepdim=True) if probe == "softmax" else weights
    torch.testing.assert_close(problem.end(began), expected)
    torch.testing.assert_close(problem.value(began).sum(), literal(probe, weights, features, targets, c))
    features = problem.features  # without their mean, where that changes nothing but the biases
    at = weights.clone().requires_grad_()
    value = literal(probe, at, features, targets, c)
    point = problem.at(weights)
    torch.testing.assert_close(problem.value(point).sum(), value.detach())
    (gradient,) = torch.autograd.grad(value, at)
    torch.testing.assert_close(problem.gradient(point), gradient)
    expected = torch.linalg.solve(bend(probe, features, targets, c, weights), -gradient.flatten())
    expected = expected.reshape(weights.shape)
    step = problem.step(point, gradient, 1e-9)
    torch.testing.assert_close(step.scores, features @ step.weights[:-1] + step.weights[-1])
    found = step.weights
    if probe == "softmax":
        found, expected = (torch.cat([w[:-1], w[-1:] - w[-1].mean()]) for w in (found, expected))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@settings(deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(["svm", "softmax", "sigmoid"]), st.floats(0.01, 100))
def test_amounts_of_images_are_the_weights_that_they_add_up_to(seed, probe, c):
    features, labels, _ = drawn(seed, d=20)
    targets = class_targets(probe, labels, 3).double()
    if probe != "softmax":
        targets[0, 1] = 0
    known = Dual(features @ features.T, torch.float64)
    problem, full = Problem(LOSSES[probe], known, targets, c), Problem(LOSSES[probe], Primal.from_features(features), targets, c)
    generator = torch.Generator().manual_seed(seed)
    amounts = torch.randn(13, 3, generator=generator).double()
    amounts = torch.cat([amounts[:-1] - amounts[:-1].mean(0), amounts[-1:]])
    if probe == "svm":  # whose bias is that of a feature that is always 1
        amounts[-1] = amounts[:-1].sum(0)

    def weighted(amounts):
        return torch.cat([features.T @ amounts[:-1], amounts[-1:]])

    point, there = problem.start(amounts), full.start(weighted(amounts))
    torch.testing.assert_close(point.scores, there.scores)
    torch.testing.assert_close(problem.value(point), full.value(there))
    torch.testing.assert_close(weighted(problem.end(point)), full.end(there))
    gradient, same = problem.gradient(point), full.gradient(there)
    torch.testing.assert_close(problem.inner(gradient, point), full.inner(same, there))
    step, along = problem.step(point, gradient, 1e-9), full.step(there, same, 1e-9)
    torch.testing.assert_close(step.scores, along.scores, rtol=1e-4, atol=1e-5)
    expected = torch.linalg.solve(
        bend(probe, full.features, targets, c, there.weights) + 1e-12 * torch.eye(63).double(), -same.flatten()
    ).reshape(21, 3)
    scores = full.at(expected).scores
    if probe == "softmax":
        scores, step = scores - scores.mean(1, keepdim=True), step._replace(scores=centre_rows(step.scores))
    torch.testing.assert_close(step.scores, scores, rtol=1e-4, atol=1e-5)
    moved = point.moved(torch.ones(1), step)
    torch.testing.assert_close(moved.weights - point.weights, step.weights)


def centre_rows(scores):
    """Scores of softmax, of which only the differences count."""
    return scores - scores.mean(1, keepdim=True)


@pytest.mark.parametrize("c", [0.1, 10.0, 1000.0])
@pytest.mark.parametrize("probe", ["svm", "softmax"])
def test_same_objective_and_predictions_as_scikit_learn(probe, c):
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 6
    features = rng.standard_normal((120, 40)) + 0.7 * rng.standard_normal((6, 40))[labels]
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    x, y = torch.from_numpy(features), torch.from_numpy(labels)
    found = fit(probe, x, class_targets(probe, y, 6), c)
    if probe == "svm":
        theirs = LinearSVC(C=c, tol=1e-8, max_iter=200_000, dual=False).fit(features, labels)
    else:
        theirs = LogisticRegression(C=c, tol=1e-8, max_iter=20_000).fit(features, labels)
    weights = torch.cat([torch.from_numpy(theirs.coef_).T, torch.from_numpy(theirs.intercept_)[None]])
    problem = Problem(LOSSES[probe], Primal.from_features(x), class_targets(probe, y, 6).double(), c)
    objective = float(problem.value(problem.start(weights)).sum())
    assert found.objective == pytest.approx(objective, rel=1e-3)
    others = torch.from_numpy(rng.standard_normal((500, 40)))
    theirs_predicted = theirs.predict(others.numpy())
    scores = found.scores(others)
    best = scores.topk(2).values
    clear = (best[:, 0] - best[:, 1] > 0.01 * scores.std()).numpy()  # the others are ties
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(scores.argmax(1).numpy()[clear], theirs_predicted[clear])


def test_two_points_by_hand():
    # x = 1 and -1 with C = 1/2: w minimises w^2/2 + (1 - w)^2, so w = 2/3; the bias is 0 by symmetry.
    found = fit("svm", torch.tensor([[1.0], [-1.0]]).double(), torch.tensor([[1.0], [-1.0]]), 0.5, tolerance=1e-12)
    torch.testing.assert_close(found.weights, torch.tensor([[2 / 3], [0.0]]).double())
    assert found.objective == pytest.approx(2 / 9 + 1 / 9)


def test_what_does_not_count_changes_nothing():
    features, labels, _ = drawn(3)
    for probe in LOSSES:
        wanted = class_targets(probe, labels, 3)
        more = torch.cat([features, 5 * torch.ones(2, 4).double()])
        padded = torch.cat([wanted, torch.zeros(2, 3)])
        alone, beside = (fit(probe, x, y, 1.0, tolerance=1e-12) for x, y in ((features, wanted), (more, padded)))
        torch.testing.assert_close(alone.scores(features), beside.scores(features), rtol=1e-4, atol=1e-5)


def test_a_start_elsewhere_ends_at_the_same_place():
    features, labels, _ = drawn(5)
    for probe in LOSSES:
        wanted = class_targets(probe, labels, 3)
        far = fit(probe, features, wanted, 100.0)
        direct, led = (fit(probe, features, wanted, 1.0, start=start, tolerance=1e-10) for start in (None, far))
        assert led.objective == pytest.approx(direct.objective, rel=1e-8)


def test_bad_input_is_said():
    features, targets = torch.randn(3, 2), torch.ones(3, 1)
    with pytest.raises(InputError, match="unknown probe 'knn': choose one of svm, softmax, sigmoid"):
        fit("knn", features, targets, 1.0)
    with pytest.raises(InputError, match="C is 0: give a finite number above 0"):
        fit("svm", features, targets, 0)
    with pytest.raises(InputError, match="one class only"):
        fit("softmax", features, targets, 1.0)
    with pytest.raises(InputError, match="features of 3 images and targets of 4: give as many"):
        fit("svm", Primal.from_features(features), torch.ones(4, 2), 1.0)
    with pytest.raises(InputError, match="features are not finite"):
        fit("svm", torch.full((3, 2), torch.nan), targets, 1.0)


def test_sigmoids_of_classes_that_all_images_have_or_none_are_sure_and_the_others_as_without_them():
    torch.manual_seed(0)
    features, targets = torch.randn(30, 5), torch.randn(30, 4).sign()
    targets[:, 1], targets[:, 3] = -1, 1
    targets[:5, 3] = 0  # not counted
    found = fit("sigmoid", features, targets, 10.0)
    assert found.weights.isfinite().all()
    assert found.scores(features)[:, 1].max() == -30 < 30 == found.scores(features)[:, 3].min()
    alone = fit("sigmoid", features, targets[:, [0, 2]], 10.0)
    assert torch.equal(found.weights[:, [0, 2]], alone.weights)
    again = fit("sigmoid", features, targets, 1.0, start=found)
    assert again.weights.isfinite().all()


@pytest.mark.parametrize("probe", ["svm", "softmax", "sigmoid"])
@pytest.mark.parametrize("c", [1e-4, 1.0, 1e3])
def test_features_with_a_large_mean_and_unequal_scales_are_fitted_to_the_minimum(probe, c):
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(90) % 3
    features = (torch.randn(90, 30, generator=generator) + torch.randn(3, 30, generator=generator)[labels]).double()
    features = (50 + features) * torch.logspace(-2, 1, 30).double()
    wanted = class_targets(probe, labels, 3)
    problem = Problem(LOSSES[probe], Primal.from_features(features), wanted, c)
    found = fit(probe, features, wanted, c)
    weights = problem.start(found.weights).weights.requires_grad_()
    reference = torch.optim.LBFGS([weights], max_iter=4000, tolerance_grad=1e-12, tolerance_change=1e-16,
                                  history_size=50, line_search_fn="strong_wolfe")  # fmt: skip

    def value():
        reference.zero_grad()
        total = problem.value(problem.at(weights)).sum()
        total.backward()
        return total

    # It goes on from there: nothing more is to be gained.
    best = min(float(reference.step(value).detach()), float(value().detach()))
    assert best <= found.objective * (1 + 1e-9)
    assert found.objective == pytest.approx(best, rel=1e-4)
    single = fit(probe, features.float(), wanted, c)
    assert single.objective == pytest.approx(best, rel=1e-3)
    if probe == "softmax":
        theirs = LogisticRegression(C=c, tol=1e-10, max_iter=100_000).fit(features.numpy(), labels.numpy())
        same = found.scores(features).argmax(1).numpy() == theirs.predict(features.numpy())
        assert same.mean() > 0.95


@pytest.mark.parametrize("probe", ["svm", "softmax", "sigmoid"])
@pytest.mark.parametrize("c", [1e-2, 1.0, 1e4])
def test_features_whose_mean_is_most_of_them_are_told_apart_as_in_double_precision(probe, c):
    generator, labels = torch.Generator().manual_seed(0), torch.arange(900) % 5
    own = torch.randn(900, 500, generator=generator) + 0.35 * torch.randn(5, 500, generator=generator)[labels]
    features, train, test = own + 250, torch.arange(450), torch.arange(450, 900)
    space = Space(features, torch.arange(900), "l2", train, 450)
    known, asked, wanted = space.known(train), space.asked(test, train), class_targets(probe, labels[train], 5)
    found, exact = (fit(probe, known, wanted, c), fit(probe, known.doubled, wanted, c, tolerance=1e-10))
    assert found.objective == pytest.approx(exact.objective, rel=1e-3)
    predicted, same = (model.scores(asked).argmax(1) for model in (found, exact))
    assert (predicted == same).double().mean() > 0.99
    assert (same == labels[test]).double().mean() > 0.95


@pytest.mark.parametrize("scale", [1.0, 1e-2])
@pytest.mark.parametrize("seed", range(3))
def test_an_svm_of_large_c_is_solved_in_enough_precision(seed, scale):
    generator, labels = torch.Generator().manual_seed(seed), torch.arange(300) % 2
    features = torch.randn(300, 100, generator=generator) + torch.randn(2, 100, generator=generator)[labels]
    features = (scale * torch.nn.functional.normalize(features.double(), dim=1)).float()
    wanted = class_targets("svm", labels, 2)
    found = fit("svm", features, wanted, 1000 / scale**2)
    exact = fit("svm", features.double(), wanted, 1000 / scale**2, tolerance=1e-8)
    assert found.objective == pytest.approx(exact.objective, rel=1e-3)


@pytest.mark.parametrize("c", [1e-2, 1.0, 100.0])
def test_softmax_with_most_images_of_one_class_is_fitted(c):
    features, labels = torch.randn(300, 10, generator=torch.Generator().manual_seed(0)), torch.arange(300).clamp_max(24)
    found = fit("softmax", features, class_targets("softmax", labels, 25), c)
    theirs = LogisticRegression(C=c, tol=1e-8, max_iter=10_000).fit(features.double().numpy(), labels.numpy())
    expected = (
        c * 300 * -torch.from_numpy(theirs.predict_log_proba(features.double().numpy()))[range(300), labels].mean()
    )
    assert found.objective == pytest.approx(float(expected) + (theirs.coef_**2).sum() / 2, rel=1e-3)


def test_softmax_of_large_c_with_most_classes_absent_is_fitted():
    features, labels = torch.randn(100, 300, generator=torch.Generator().manual_seed(0)), torch.arange(100) % 3
    wanted = class_targets("softmax", labels, 300)
    found = fit("softmax", features, wanted, 1000.0)
    exact = fit("softmax", features.double(), wanted, 1000.0, tolerance=1e-9)
    assert found.objective == pytest.approx(exact.objective, rel=1e-3)


@pytest.mark.parametrize("features", [torch.zeros(100, 60), torch.ones(100, 60), torch.zeros(100, 5)])
def test_features_that_say_nothing_leave_the_shares_of_the_classes(features):
    counts = torch.tensor([60, 30, 10])
    wanted = class_targets("softmax", torch.arange(3).repeat_interleave(counts), 3)
    found = fit("softmax", features, wanted, 1.0, tolerance=1e-8)
    assert found.objective == pytest.approx(-float((counts * (counts / 100).log()).sum()), rel=1e-4)
    torch.testing.assert_close(found.scores(features).softmax(1), (counts / 100).expand(100, 3), rtol=1e-2, atol=1e-3)


def test_sigmoids_of_which_one_is_sure_and_the_others_need_double_precision():
    torch.manual_seed(0)
    features, targets = torch.randn(100, 300), torch.randn(100, 3).sign()
    targets[:, 2] = -1
    found = fit("sigmoid", features, targets, 100.0)
    assert found.weights.dtype == torch.float64
    assert found.scores(features)[:, 2].max() == -30


def test_less_precise_features_are_fitted_in_single_precision():
    features, labels, _ = drawn(1)
    wanted = class_targets("svm", labels, 3)
    rough, single = (fit("svm", features.to(precision), wanted, 1.0) for precision in (torch.bfloat16, torch.float32))
    assert rough.weights.dtype == torch.float32
    assert rough.objective == pytest.approx(single.objective, rel=0.05)


@pytest.mark.parametrize("probe", ["svm", "softmax", "sigmoid"])
def test_a_fit_begins_from_one_in_another_precision(probe):
    features, labels, _ = drawn(4)
    single, wanted = features.float(), class_targets(probe, labels, 3)
    easy, hard = 1.0, 10 * probes_module.ILL[probe] / (torch.finfo(torch.float32).eps * float(single.square().sum()))
    first = fit(probe, single, wanted, easy)
    doubled = fit(probe, single, wanted, hard, start=first)
    back = fit(probe, single, wanted, easy, start=doubled)
    assert [found.weights.dtype for found in (first, doubled, back)] == [torch.float32, torch.float64, torch.float32]
    assert back.objective == pytest.approx(first.objective, rel=1e-4)


@pytest.mark.parametrize("probe", ["svm", "softmax", "sigmoid"])
def test_many_images_and_steps_in_the_span_of_the_active_ones_are_the_same(probe, monkeypatch):
    torch.manual_seed(0)
    labels = torch.arange(900) % 5
    features = (torch.randn(900, 20) + 0.8 * torch.randn(5, 20)[labels]).double()
    wanted = class_targets(probe, labels, 5)
    direct = fit(probe, features, wanted, 10.0, tolerance=1e-9)
    monkeypatch.setattr(probes_module, "MOST_PRODUCTS", 100)
    monkeypatch.setattr(probes_module, "FEW", 1000)
    gradual = fit(probe, features, wanted, 10.0, tolerance=1e-9)
    torch.testing.assert_close(direct.weights, gradual.weights, rtol=1e-3, atol=1e-3)
    assert direct.left < 1e-9 > gradual.left


def test_what_was_not_solved_is_told(monkeypatch, caplog):
    features, labels, _ = drawn(2)
    monkeypatch.setattr("convlens.transfer.probes.newton.MOST_STEPS", 1)
    found = fit("softmax", features, class_targets("softmax", labels, 3), 1000.0)
    assert found.left > 1e-3
    assert "softmax, C = 1000: ended after 1 steps" in caplog.text
