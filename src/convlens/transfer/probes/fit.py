"""Fit linear probes of all classes at once: softmax, linear SVM (squared hinge) and one sigmoid per class.

Each minimizes ``|W|^2 / 2 + C * sum of the losses of all images``, as scikit-learn and LIBLINEAR define it. Only the
SVM's biases are penalized, as in LIBLINEAR, where the bias is the weight of a constant feature.

The solver is convlens' own because it is 12.3 times as fast as scikit-learn: 778 s instead of 9,559 s of one thread for
SqueezeNet's layers (all but fire8 and fire9) on Caltech-101, five folds, 15 and 30 images per class, SVM and softmax;
accuracies are within 0.06 points (``tests/bench/README.md``).
"""

import logging
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional as F

from convlens.errors import InputError
from convlens.ops.input_checks import check_choice, check_number, shown
from convlens.ops.tensor_repr import summary
from convlens.transfer.probes.active_set import duality_gap, lawson_hanson
from convlens.transfer.probes.checks import check_C, check_labels, check_matrix, checked_design
from convlens.transfer.probes.design import DesignMatrix, Dual, Primal
from convlens.transfer.probes.gram import column_blocks
from convlens.transfer.probes.losses import LOSSES
from convlens.transfer.probes.newton import Minimum, minimize
from convlens.transfer.probes.objective import Objective

log = logging.getLogger(__name__)

TOLERANCE = 1e-4
"""Default of the largest Newton decrement, as a share of the objective or of its decrease from weights of 0."""

HINGE_STEPS = 30
"""Newton steps of an SVM in the dual, before Lawson and Hanson's method."""
PATH = (4096, 1024, 256, 64, 16, 4)
"""A fit that ends too early is reached through fits whose ``C`` is smaller by these factors."""
UNSOLVED = 1e-3
"""A fit that rounding or the number of steps ended with a larger Newton decrement is repeated in double precision, then
logged."""

MAX_CONDITION = {"svm": 0.01, "softmax": 0.2, "sigmoid": 0.2}
"""Largest product of C, the squared norm of all features (with that of the bias if it is penalized) and the rounding
error of single precision: about the condition, to which the exact steps of an SVM are most sensitive. Beyond it the fit
is done in double precision."""

COARSE_TOLERANCE = 1e-2
"""Tolerance of the fit to half of the images, whose weights start the fit to all of them."""
FEW_IMAGES = 400
"""With fewer images a probe is fitted to all of them directly; so are sigmoids, since a half may lack a class."""
MAX_GRAM_IMAGES = 6_000
"""Largest number of images for which an SVM of few dimensions is fitted in the dual: 144 MB in single precision."""

CONSTANT_SCORE = 30.0
"""Absolute score of a sigmoid whose class all training images have, or none: a probability of 1 in float32."""


@dataclass(frozen=True)
class LinearProbe:
    """A fitted probe.

    Attributes:
        weights: a column for each class; the last row holds the biases. The other rows belong to features or, if the
            probe was fitted to a `Dual` design matrix, to the training images.
        objective: minimum of the objective.
        steps: number of Newton steps.
        newton_decrement: decrease that another step would have promised, as a share of the objective or, if that is
            less, of its decrease from weights of 0; of an SVM in the dual its duality gap, the most that is to be
            gained.
    """

    weights: Float[Tensor, "d_and_1 classes"]
    objective: float
    steps: int
    newton_decrement: float

    __repr__ = summary

    def scores(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n classes"]:
        """Return the class scores of features, or of inner products with the training images."""
        check_matrix("features", features, len(self.weights) - 1)
        weights = self.weights.to(torch.promote_types(self.weights.dtype, features.dtype))
        return torch.addmm(weights[-1], features.to(weights), weights[:-1])


def class_targets(probe: str, labels: Int64[Tensor, " n"], num_classes: int) -> Float[Tensor, "n classes"]:
    """Return the targets of a probe for images of one class each: 0 and 1 for softmax, else -1 and 1.

    Raises:
        InputError: the probe is unknown, or the labels are not those of ``num_classes`` classes.
    """
    check_choice("probe", probe, LOSSES)
    num_classes = check_labels(labels, num_classes)
    one_hot = F.one_hot(labels.long(), num_classes).float()
    return one_hot if probe == "softmax" else 2 * one_hot - 1


def fit_probe(
    probe: str,
    features: Float[Tensor, "n d"] | DesignMatrix,
    targets: Float[Tensor, "n classes"],
    C: float,
    *,
    start: LinearProbe | None = None,
    tolerance: float = TOLERANCE,
) -> LinearProbe:
    """Fit a probe by Newton's method.

    The fit is done in the dual where that is faster, and in double precision where single is not enough; both give the
    same classifier.

    Args:
        probe: ``softmax``, ``svm`` or ``sigmoid``.
        features: features of the training images, or a `DesignMatrix`, which keeps what several fits to the same images
            share.
        targets: class probabilities for softmax; else 1, -1, and 0 where an image is ignored.
        C: weight of the losses relative to the penalty on the weights.
        start: a fit to start from, such as that with another ``C``; ignored if the fit is done in the dual of features.
        tolerance: largest Newton decrement (of an SVM in the dual, duality gap), as a share of the objective or, if
            that is less, of its decrease from weights of 0. A fit that ends far from it is continued in double
            precision; a warning is logged if that does not help.

    Raises:
        InputError: the probe is unknown, ``C`` is not above 0 or the tolerance below 0, softmax has only one class, or
            the features do not match the targets or the start, or are not finite, as neither may be.
    """
    C, tolerance = check_C(C), check_number("tolerance", tolerance, least=0)
    design = checked_design(probe, features, targets)
    _check_start(start, (design.values.shape[1] + 1, targets.shape[1]))
    if probe == "sigmoid" and not (both := (targets > 0).any(0) & (targets < 0).any(0)).all():
        return _fit_sigmoids(both, design, targets, C, start, tolerance)
    squared_norm = design.squared_norm + len(design) if LOSSES[probe].bias_penalty else design.centered_squared_norm
    if C * squared_norm * torch.finfo(design.precision).eps > MAX_CONDITION[probe]:
        design = design.in_double  # before the inner products are taken, which have its precision
    if isinstance(design, Primal) and _dual_is_faster(probe, design):
        return _fit_dual(probe, design, targets, C, tolerance)
    weights = None if start is None else start.weights
    if weights is None and len(design) > FEW_IMAGES and probe != "sigmoid":
        # Half of the images give a good start at an eighth of the cost.
        half = _half(targets)
        coarse = fit_probe(probe, design.subset(half), targets[half], C, tolerance=COARSE_TOLERANCE)
        weights = design.expand(coarse.weights, half)
    objective, found = _minimize(probe, design, targets, C, weights, tolerance)
    if found.newton_decrement > max(UNSOLVED, tolerance):
        log.warning(
            "%s with C = %g is not converged after %d steps: it may be %.2g of the objective above its minimum",
            probe,
            C,
            found.steps,
            found.newton_decrement,
        )
    return _finish(objective, found)


def _minimize(
    probe: str, design: DesignMatrix, targets: Tensor, C: float, weights: Tensor | None, tolerance: float
) -> tuple[Objective, Minimum]:
    """Minimize from starting weights; where that ends early, in double precision, then from a smaller ``C``."""
    if probe == "svm" and isinstance(design, Dual):
        return _minimize_hinge(design, targets, C, weights, tolerance)
    objective = Objective(LOSSES[probe], design, targets, C)
    found = minimize(objective, objective.start(weights), tolerance)
    if found.newton_decrement > max(UNSOLVED, tolerance) and design.precision != torch.float64:
        # Rounding hides a small decrease.
        objective = Objective(LOSSES[probe], design.in_double, targets, C)
        found = minimize(objective, objective.at(found.point.weights.double()), tolerance)
    if found.newton_decrement > max(UNSOLVED, tolerance):
        # Classes that a plane divides: the minimum at a smaller C is near, and steps from there are long.
        point = objective.start(weights)
        for divisor in PATH:
            smaller = Objective(LOSSES[probe], objective.design, targets, C / divisor)
            point = minimize(smaller, smaller.at(point.weights), COARSE_TOLERANCE).point
        again = minimize(objective, point, tolerance)
        found = again if again.newton_decrement < found.newton_decrement else found
    return objective, found


def _minimize_hinge(
    design: DesignMatrix, targets: Tensor, C: float, weights: Tensor | None, tolerance: float
) -> tuple[Objective, Minimum]:
    """Minimize an SVM in the dual; classes whose duality gap stays large by Lawson and Hanson's method."""
    objective = Objective(LOSSES["svm"], design, targets, C)
    point, steps, _ = minimize(objective, objective.start(weights), tolerance, HINGE_STEPS)
    gaps = duality_gap(objective.matrix, point.weights[:-1], point.scores, objective.targets, C)
    if (unsolved := (~(gaps <= max(UNSOLVED, tolerance))).nonzero()[:, 0]).numel():
        objective = Objective(LOSSES["svm"], design.in_double, targets, C)
        signs, coefficients = objective.targets, point.weights.double()
        active = (signs * point.scores < 1) & (signs != 0)
        longest = 0
        for column in unsolved.split(1):
            found = lawson_hanson(objective.matrix, signs[:, column], active[:, column], C, tolerance)
            coefficients[:-1, column], gaps[column] = found.coefficients, found.gap
            longest = max(longest, found.steps)
        point, steps = objective.at(coefficients), steps + longest
    return objective, Minimum(point, steps, float(gaps.max()))


def _check_start(start: LinearProbe | None, shape: tuple[int, int]) -> None:
    """Check that a fit to start from has finite weights of some shape."""
    if start is None:
        return
    if not isinstance(start, LinearProbe) or start.weights.shape != shape or not start.weights.isfinite().all():
        raise InputError(f"start={shown(start)}: give a LinearProbe with finite weights of shape {list(shape)}")


def _finish(objective: Objective, found: Minimum) -> LinearProbe:
    """Return the probe at a minimum; scores are computed anew, free of the rounding of their updates."""
    point = objective.at(found.point.weights)
    weights = objective.finish(point).to(objective.design.precision)
    return LinearProbe(weights, float(objective.value(point).sum()), found.steps, found.newton_decrement)


def _fit_dual(
    probe: str, design: Primal, targets: Float[Tensor, "n classes"], C: float, tolerance: float
) -> LinearProbe:
    """Fit in the dual and return weights of the features."""
    found = fit_probe(probe, design.dual, targets, C, tolerance=tolerance)
    coefficients = found.weights.double()
    blocks = column_blocks(design.values, torch.arange(len(design)))
    weights = torch.cat([*(block.double().T @ coefficients[:-1] for block in blocks), coefficients[-1:]])
    return replace(found, weights=weights.to(found.weights))


def _half(targets: Float[Tensor, "n classes"]) -> Int64[Tensor, " k"]:
    """Return half of the images, stratified by class, so that the biases are not skewed."""
    mixed = torch.randperm(len(targets), generator=torch.Generator().manual_seed(0))
    return mixed[targets[mixed].argmax(1).argsort(stable=True)][::2]


def _dual_is_faster(probe: str, design: Primal) -> bool:
    """Return whether the fit takes less time in the dual, whose steps need one matrix product instead of two."""
    count, dimensions = design.values.shape
    return count <= 2 * dimensions or (probe == "svm" and count <= MAX_GRAM_IMAGES)


def _fit_sigmoids(
    both: Bool[Tensor, " classes"],
    design: DesignMatrix,
    targets: Tensor,
    C: float,
    start: LinearProbe | None,
    tolerance: float,
) -> LinearProbe:
    """Fit sigmoids for classes with positive and negative images; the bias of the others would be infinite."""
    found = LinearProbe(design.mean.new_zeros(len(design.mean) + 1, 0, dtype=design.precision), 0.0, 0, 0.0)
    if both.any():
        begun = None if start is None else replace(start, weights=start.weights[:, both])
        found = fit_probe("sigmoid", design, targets[:, both], C, start=begun, tolerance=tolerance)
    weights = found.weights.new_zeros(len(design.mean) + 1, len(both))
    weights[-1] = torch.where((targets > 0).any(0), CONSTANT_SCORE, -CONSTANT_SCORE)
    weights[:, both] = found.weights
    return replace(found, weights=weights)
