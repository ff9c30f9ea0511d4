"""Probes against scikit-learn, against their formulas in plain Python, and against values computed by hand."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from convlens.errors import InputError
from convlens.transfer.probes import fit as fit_module
from convlens.transfer.probes.design import Dual, Primal
from convlens.transfer.probes.fit import LOSSES, class_targets, fit_probe
from convlens.transfer.probes.normalize import NormalizedFeatures
from convlens.transfer.probes.objective import Objective


def literal_objective(probe, weights, features, targets, c):
    """The objective, image by image and class by class."""
    total = 0.5 * (weights[:-1] ** 2).sum() + (0.5 * (weights[-1] ** 2).sum() if probe == "svm" else 0.0)
    for x, target in zip(features, targets, strict=True):
        scores = x @ weights[:-1] + weights[-1]
        if probe == "softmax":
            total += c * sum(-t * (s - torch.logsumexp(scores, 0)) for t, s in zip(target, scores, strict=True))
        for t, s in zip(target, scores, strict=True) if probe != "softmax" else ():
            if t != 0:
                total += c * (max(0.0, 1 - t * s) ** 2 if probe == "svm" else torch.log1p(torch.exp(-t * s)))
    return total


def random_problem(seed, n=12, d=4, classes=3):
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn(n, d, generator=generator).double(),
        torch.randint(0, classes, (n,), generator=generator),
        torch.randn(d + 1, classes, generator=generator).double(),
    )


def hessian(probe, features, targets, c, weights):
    """The curvature of the formula, in the flat weights."""
    matrix = torch.func.hessian(lambda w: literal_objective(probe, w, features, targets, c))(weights)
    matrix = matrix.reshape(weights.numel(), weights.numel())
    if probe == "softmax":  # which an equal change of all biases leaves as it is
        ones = (torch.arange(len(weights)).eq(len(weights) - 1)[:, None] * torch.ones(weights.shape[1])).flatten()
        matrix = matrix + torch.outer(ones.double(), ones.double())
    return matrix


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(["svm", "softmax", "sigmoid"]), st.floats(0.01, 100))
def test_value_gradient_and_step_equal_those_of_the_formula(seed, probe, c):
    features, labels, weights = random_problem(seed)
    targets = class_targets(probe, labels, 3).double()
    if probe != "softmax":
        targets[0, 1] = 0  # an image that does not count for a class
    objective = Objective(LOSSES[probe], Primal.from_features(features), targets, c)
    began = objective.start(weights)
    expected = weights - weights.mean(1, keepdim=True) if probe == "softmax" else weights
    torch.testing.assert_close(objective.finish(began), expected)
    torch.testing.assert_close(objective.value(began).sum(), literal_objective(probe, weights, features, targets, c))
    features = objective.matrix  # without their mean, where that changes nothing but the biases
    at = weights.clone().requires_grad_()
    value = literal_objective(probe, at, features, targets, c)
    point = objective.at(weights)
    torch.testing.assert_close(objective.value(point).sum(), value.detach())
    (gradient,) = torch.autograd.grad(value, at)
    torch.testing.assert_close(objective.gradient(point), gradient)
    expected = torch.linalg.solve(hessian(probe, features, targets, c, weights), -gradient.flatten())
    expected = expected.reshape(weights.shape)
    step = objective.step(point, gradient, 1e-9)
    torch.testing.assert_close(step.scores, features @ step.weights[:-1] + step.weights[-1])
    found = step.weights
    if probe == "softmax":
        found, expected = (torch.cat([w[:-1], w[-1:] - w[-1].mean()]) for w in (found, expected))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(["svm", "softmax", "sigmoid"]), st.floats(0.01, 100))
def test_primal_and_dual_objectives_agree(seed, probe, c):
    features, labels, _ = random_problem(seed, d=20)
    targets = class_targets(probe, labels, 3).double()
    if probe != "softmax":
        targets[0, 1] = 0
    design = Dual(features @ features.T, torch.float64)
    objective, full = (
        Objective(LOSSES[probe], design, targets, c),
        Objective(LOSSES[probe], Primal.from_features(features), targets, c),
    )
    generator = torch.Generator().manual_seed(seed)
    coefficients = torch.randn(13, 3, generator=generator).double()
    coefficients = torch.cat([coefficients[:-1] - coefficients[:-1].mean(0), coefficients[-1:]])
    if probe == "svm":  # the bias is the weight of a constant feature
        coefficients[-1] = coefficients[:-1].sum(0)

    def weighted(coefficients):
        return torch.cat([features.T @ coefficients[:-1], coefficients[-1:]])

    point, there = objective.start(coefficients), full.start(weighted(coefficients))
    torch.testing.assert_close(point.scores, there.scores)
    torch.testing.assert_close(objective.value(point), full.value(there))
    torch.testing.assert_close(weighted(objective.finish(point)), full.finish(there))
    gradient, same = objective.gradient(point), full.gradient(there)
    torch.testing.assert_close(objective.dot(gradient, point), full.dot(same, there))
    curvature = hessian(probe, full.matrix, targets, c, there.weights)
    step, along = objective.step(point, gradient, 1e-9), full.step(there, same, 1e-9)
    expected = torch.linalg.solve(curvature + 1e-12 * torch.eye(63).double(), -same.flatten()).reshape(21, 3)
    scores = full.at(expected).scores
    assume(scores.abs().max() < 1e4)  # else all images are saturated, and rounding decides
    close = {"rtol": 0, "atol": 1e-5 * max(1, scores.abs().max().item())}  # conjugate gradients end by the residual
    torch.testing.assert_close(step.scores, along.scores, **close)
    if probe == "softmax":
        scores, step = scores - scores.mean(1, keepdim=True), step._replace(scores=center_rows(step.scores))
    torch.testing.assert_close(step.scores, scores, **close)
    moved = point.moved(torch.ones(1), step)
    torch.testing.assert_close(moved.weights - point.weights, step.weights)


def center_rows(scores):
    """Return softmax scores with mean 0 for each image, as only differences matter."""
    return scores - scores.mean(1, keepdim=True)


@pytest.mark.parametrize("c", [0.1, 10.0, 1000.0])
@pytest.mark.parametrize("probe", ["svm", "softmax"])
def test_same_objective_and_predictions_as_scikit_learn(probe, c):
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 6
    features = rng.standard_normal((120, 40)) + 0.7 * rng.standard_normal((6, 40))[labels]
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    x, y = torch.from_numpy(features), torch.from_numpy(labels)
    found = fit_probe(probe, x, class_targets(probe, y, 6), c)
    if probe == "svm":
        theirs = LinearSVC(C=c, tol=1e-8, max_iter=200_000, dual=False).fit(features, labels)
    else:
        theirs = LogisticRegression(C=c, tol=1e-8, max_iter=20_000).fit(features, labels)
    weights = torch.cat([torch.from_numpy(theirs.coef_).T, torch.from_numpy(theirs.intercept_)[None]])
    objective = Objective(LOSSES[probe], Primal.from_features(x), class_targets(probe, y, 6).double(), c)
    objective = float(objective.value(objective.start(weights)).sum())
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
    found = fit_probe(
        "svm", torch.tensor([[1.0], [-1.0]]).double(), torch.tensor([[1.0], [-1.0]]), 0.5, tolerance=1e-12
    )
    torch.testing.assert_close(found.weights, torch.tensor([[2 / 3], [0.0]]).double())
    assert found.objective == pytest.approx(2 / 9 + 1 / 9)


def test_ignored_images_change_nothing():
    features, labels, _ = random_problem(3)
    for probe in LOSSES:
        targets = class_targets(probe, labels, 3)
        more = torch.cat([features, 5 * torch.ones(2, 4).double()])
        padded = torch.cat([targets, torch.zeros(2, 3)])
        alone, beside = (fit_probe(probe, x, y, 1.0, tolerance=1e-12) for x, y in ((features, targets), (more, padded)))
        torch.testing.assert_close(alone.scores(features), beside.scores(features), rtol=1e-4, atol=1e-5)


def test_other_starting_weights_give_the_same_minimum():
    features, labels, _ = random_problem(5)
    for probe in LOSSES:
        targets = class_targets(probe, labels, 3)
        far = fit_probe(probe, features, targets, 100.0)
        direct, led = (fit_probe(probe, features, targets, 1.0, start=start, tolerance=1e-10) for start in (None, far))
        assert led.objective == pytest.approx(direct.objective, rel=1e-8)


def test_bad_input_is_refused():
    features, targets = torch.randn(3, 2), torch.ones(3, 1)
    with pytest.raises(InputError, match="probe='knn' is unknown: choose svm, softmax, sigmoid"):
        fit_probe("knn", features, targets, 1.0)
    with pytest.raises(InputError, match="C is 0: give a finite number above 0"):
        fit_probe("svm", features, targets, 0)
    with pytest.raises(InputError, match="softmax needs at least two classes"):
        fit_probe("softmax", features, targets, 1.0)
    with pytest.raises(InputError, match="features of 3 images and targets of 4: give as many"):
        fit_probe("svm", Primal.from_features(features), torch.ones(4, 2), 1.0)
    with pytest.raises(InputError, match="features are not finite"):
        fit_probe("svm", torch.full((3, 2), torch.nan), targets, 1.0)


def test_sigmoids_of_classes_without_positive_or_negative_images_are_constant():
    torch.manual_seed(0)
    features, targets = torch.randn(30, 5), torch.randn(30, 4).sign()
    targets[:, 1], targets[:, 3] = -1, 1
    targets[:5, 3] = 0  # not counted
    found = fit_probe("sigmoid", features, targets, 10.0)
    assert found.weights.isfinite().all()
    assert found.scores(features)[:, 1].max() == -30 < 30 == found.scores(features)[:, 3].min()
    alone = fit_probe("sigmoid", features, targets[:, [0, 2]], 10.0)
    assert torch.equal(found.weights[:, [0, 2]], alone.weights)
    again = fit_probe("sigmoid", features, targets, 1.0, start=found)
    assert again.weights.isfinite().all()


@pytest.mark.parametrize("probe", ["svm", "softmax", "sigmoid"])
@pytest.mark.parametrize("c", [1e-4, 1.0, 1e3])
def test_features_with_a_large_mean_and_unequal_scales_reach_the_minimum(probe, c):
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(90) % 3
    features = (torch.randn(90, 30, generator=generator) + torch.randn(3, 30, generator=generator)[labels]).double()
    features = (50 + features) * torch.logspace(-2, 1, 30).double()
    targets = class_targets(probe, labels, 3)
    objective = Objective(LOSSES[probe], Primal.from_features(features), targets, c)
    found = fit_probe(probe, features, targets, c)
    weights = objective.start(found.weights).weights.requires_grad_()
    reference = torch.optim.LBFGS([weights], max_iter=4000, tolerance_grad=1e-12, tolerance_change=1e-16,
                                  history_size=50, line_search_fn="strong_wolfe")  # fmt: skip

    def value():
        reference.zero_grad()
        total = objective.value(objective.at(weights)).sum()
        total.backward()
        return total

    # It goes on from there: nothing more is to be gained.
    best = min(float(reference.step(value).detach()), float(value().detach()))
    assert best <= found.objective * (1 + 1e-9)
    assert found.objective == pytest.approx(best, rel=1e-4)
    single = fit_probe(probe, features.float(), targets, c)
    assert single.objective == pytest.approx(best, rel=1e-3)
    if probe == "softmax":
        theirs = LogisticRegression(C=c, tol=1e-10, max_iter=100_000).fit(features.numpy(), labels.numpy())
        same = found.scores(features).argmax(1).numpy() == theirs.predict(features.numpy())
        assert same.mean() > 0.95


@pytest.mark.parametrize("probe", ["svm", "softmax", "sigmoid"])
@pytest.mark.parametrize("c", [1e-2, 1.0, 1e4])
def test_features_dominated_by_their_mean_are_classified_as_in_double_precision(probe, c):
    generator, labels = torch.Generator().manual_seed(0), torch.arange(900) % 5
    own = torch.randn(900, 500, generator=generator) + 0.35 * torch.randn(5, 500, generator=generator)[labels]
    features, train, test = own + 250, torch.arange(450), torch.arange(450, 900)
    normalized = NormalizedFeatures(features, torch.arange(900), "l2", train, 450)
    design, inputs, targets = (
        normalized.design(train),
        normalized.inputs(test, train),
        class_targets(probe, labels[train], 5),
    )
    found, exact = (
        fit_probe(probe, design, targets, c),
        fit_probe(probe, design.in_double, targets, c, tolerance=1e-10),
    )
    assert found.objective == pytest.approx(exact.objective, rel=1e-3)
    predicted, same = (model.scores(inputs).argmax(1) for model in (found, exact))
    assert (predicted == same).double().mean() > 0.99
    assert (same == labels[test]).double().mean() > 0.95


@pytest.mark.parametrize("scale", [1.0, 1e-2])
@pytest.mark.parametrize("seed", range(3))
def test_svm_with_large_C_is_solved_in_double_precision(seed, scale):
    generator, labels = torch.Generator().manual_seed(seed), torch.arange(300) % 2
    features = torch.randn(300, 100, generator=generator) + torch.randn(2, 100, generator=generator)[labels]
    features = (scale * torch.nn.functional.normalize(features.double(), dim=1)).float()
    targets = class_targets("svm", labels, 2)
    found = fit_probe("svm", features, targets, 1000 / scale**2)
    exact = fit_probe("svm", features.double(), targets, 1000 / scale**2, tolerance=1e-8)
    assert found.objective == pytest.approx(exact.objective, rel=1e-3)


@pytest.mark.parametrize("c", [1e-2, 1.0, 100.0])
def test_softmax_with_most_images_of_one_class(c):
    features, labels = torch.randn(300, 10, generator=torch.Generator().manual_seed(0)), torch.arange(300).clamp_max(24)
    found = fit_probe("softmax", features, class_targets("softmax", labels, 25), c)
    theirs = LogisticRegression(C=c, tol=1e-8, max_iter=10_000).fit(features.double().numpy(), labels.numpy())
    expected = (
        c * 300 * -torch.from_numpy(theirs.predict_log_proba(features.double().numpy()))[range(300), labels].mean()
    )
    assert found.objective == pytest.approx(float(expected) + (theirs.coef_**2).sum() / 2, rel=1e-3)


def test_softmax_with_large_C_and_most_classes_absent():
    features, labels = torch.randn(100, 300, generator=torch.Generator().manual_seed(0)), torch.arange(100) % 3
    targets = class_targets("softmax", labels, 300)
    found = fit_probe("softmax", features, targets, 1000.0)
    exact = fit_probe("softmax", features.double(), targets, 1000.0, tolerance=1e-9)
    assert found.objective == pytest.approx(exact.objective, rel=1e-3)


@pytest.mark.parametrize("features", [torch.zeros(100, 60), torch.ones(100, 60), torch.zeros(100, 5)])
def test_uninformative_features_give_the_class_frequencies(features):
    counts = torch.tensor([60, 30, 10])
    targets = class_targets("softmax", torch.arange(3).repeat_interleave(counts), 3)
    found = fit_probe("softmax", features, targets, 1.0, tolerance=1e-8)
    assert found.objective == pytest.approx(-float((counts * (counts / 100).log()).sum()), rel=1e-4)
    torch.testing.assert_close(found.scores(features).softmax(1), (counts / 100).expand(100, 3), rtol=1e-2, atol=1e-3)


def test_constant_sigmoid_beside_sigmoids_in_double_precision():
    torch.manual_seed(0)
    features, targets = torch.randn(100, 300), torch.randn(100, 3).sign()
    targets[:, 2] = -1
    found = fit_probe("sigmoid", features, targets, 100.0)
    assert found.weights.dtype == torch.float64
    assert found.scores(features)[:, 2].max() == -30


def test_bfloat16_features_are_fitted_in_single_precision():
    features, labels, _ = random_problem(1)
    targets = class_targets("svm", labels, 3)
    rough, single = (
        fit_probe("svm", features.to(precision), targets, 1.0) for precision in (torch.bfloat16, torch.float32)
    )
    assert rough.weights.dtype == torch.float32
    assert rough.objective == pytest.approx(single.objective, rel=0.05)


@pytest.mark.parametrize("probe", ["svm", "softmax", "sigmoid"])
def test_fit_starts_from_one_in_another_precision(probe):
    features, labels, _ = random_problem(4)
    single, targets = features.float(), class_targets(probe, labels, 3)
    easy, hard = (
        1.0,
        10 * fit_module.MAX_CONDITION[probe] / (torch.finfo(torch.float32).eps * float(single.square().sum())),
    )
    first = fit_probe(probe, single, targets, easy)
    in_double = fit_probe(probe, single, targets, hard, start=first)
    back = fit_probe(probe, single, targets, easy, start=in_double)
    assert [found.weights.dtype for found in (first, in_double, back)] == [torch.float32, torch.float64, torch.float32]
    assert back.objective == pytest.approx(first.objective, rel=1e-4)


@pytest.mark.parametrize("probe", ["svm", "softmax", "sigmoid"])
def test_primal_with_many_images_equals_dual_with_active_set(probe, monkeypatch):
    torch.manual_seed(0)
    labels = torch.arange(900) % 5
    features = (torch.randn(900, 20) + 0.8 * torch.randn(5, 20)[labels]).double()
    targets = class_targets(probe, labels, 5)
    direct = fit_probe(probe, features, targets, 10.0, tolerance=1e-9)
    monkeypatch.setattr(fit_module, "MAX_GRAM_IMAGES", 100)
    monkeypatch.setattr(fit_module, "FEW_IMAGES", 1000)
    gradual = fit_probe(probe, features, targets, 10.0, tolerance=1e-9)
    torch.testing.assert_close(direct.weights, gradual.weights, rtol=1e-3, atol=1e-3)
    assert direct.newton_decrement < 1e-9 > gradual.newton_decrement


def test_unconverged_fit_is_logged(monkeypatch, caplog):
    features, labels, _ = random_problem(2)
    monkeypatch.setattr("convlens.transfer.probes.newton.MAX_STEPS", 1)
    monkeypatch.setattr("convlens.transfer.probes.fit.PATH", ())
    found = fit_probe("softmax", features, class_targets("softmax", labels, 3), 1000.0)
    assert found.newton_decrement > 1e-3
    assert "softmax with C = 1000 is not converged after 1 steps" in caplog.text


@pytest.mark.parametrize("seed", [26, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (12, 13, 15, 16, 35))])
def test_classes_that_a_plane_divides_are_fitted_to_the_minimum_at_large_C(seed, caplog):
    """Newton's steps are short there: fits ended after 100 of them, up to 13 times above the minimum."""
    rng = np.random.default_rng(seed)
    classes, images, d = int(rng.integers(2, 8)), int(rng.choice([60, 200, 300, 600])), int(rng.choice([5, 20, 60]))
    features = rng.normal(size=(images, d))
    kind = seed % 4
    if kind == 1:
        features *= np.exp(rng.normal(size=d) * 2)
    elif kind == 2:
        features = np.maximum(features, 0) * np.exp(rng.normal(size=d)) + 5
    elif kind == 3:
        features = np.abs(features) @ rng.normal(size=(d, d))
    labels = (features @ rng.normal(size=(d, classes))).argmax(1)
    labels[:classes] = range(classes)
    c = float(10 ** rng.uniform(1, 5))
    found = fit_probe(
        "svm", torch.from_numpy(features).float(), class_targets("svm", torch.from_numpy(labels), classes), c
    )
    assert caplog.text == ""
    exact = torch.from_numpy(features).float().double().numpy()
    signs = np.where(labels[:, None] == np.arange(classes), 1, -1)

    def objective(weights: np.ndarray, bias: np.ndarray, sign: np.ndarray) -> np.ndarray:
        losses = np.maximum(1 - sign * (exact @ weights.T + bias), 0) ** 2
        return 0.5 * (weights**2).sum(1) + 0.5 * bias**2 + c * losses.sum(0)

    ours = objective(found.weights[:-1].T.double().numpy(), found.weights[-1].double().numpy(), signs)
    for number in range(classes):
        sign = signs[:, number : number + 1]
        reference = LinearSVC(C=c, dual=False, tol=1e-8, max_iter=10**5).fit(exact, sign[:, 0])
        assert ours[number] <= objective(reference.coef_, reference.intercept_, sign)[0] * (1 + 1e-3)
