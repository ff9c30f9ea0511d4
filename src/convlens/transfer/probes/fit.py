"""Linear classifiers of fixed features, all classes fitted at once: softmax, linear SVM, and one sigmoid per class.

Each minimises ``|W|^2 / 2 + C * (sum of the losses of all images)``, as scikit-learn and LIBLINEAR write it. Of the
biases only the SVM's is shrunk, as in LIBLINEAR, where it is the weight of a feature that is always 1.
"""

import logging
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional as F

from convlens.errors import InputError
from convlens.transfer.probes.design import DesignMatrix, Primal
from convlens.transfer.probes.gram import columns
from convlens.transfer.probes.losses import Loss, Sigmoid, Softmax, SquaredHinge
from convlens.transfer.probes.newton import minimise
from convlens.transfer.probes.objective import Problem

log = logging.getLogger(__name__)

TOLERANCE = 1e-4
"""The fit ends with a Newton step that promises to lower the objective by no more than this share, of what is gained
over weights of 0 where that is less than the objective."""

UNSOLVED = 1e-3
"""A fit that rounding or the number of steps ended while a step still promised more than this share is told of."""

ILL = {"svm": 0.01, "softmax": 0.2, "sigmoid": 0.2}
"""How large C times the squared length of all features, with that of the bias where it is shrunk, times the rounding
error may be in single precision: about their condition, which the exact steps of an SVM meet at once. Beyond it the fit
is done in double precision."""

ROUGH = 1e-2
"""The tolerance of a fit to half of the images, from which that to all of them begins."""
FEW = 400
"""With fewer images a probe is fitted to all of them at once; so are sigmoids, as half the images may lack a class."""
MOST_PRODUCTS = 6_000
"""Images of which all inner products are taken for an SVM of few dimensions: 144 MB in single precision."""

CERTAIN = 30.0
"""The score of a class that all training images have or, less than 0, none: a probability of 1 in float32."""

LOSSES: dict[str, Loss] = {"svm": SquaredHinge(), "softmax": Softmax(), "sigmoid": Sigmoid()}


@dataclass(frozen=True)
class Linear:
    """A fitted probe.

    Attributes:
        weights: a column for each class; the last row are the biases. The others belong to features or, where it was
            fitted to images by their inner products, to these images.
        objective: the value of what is minimised.
        steps: how many steps the fit took.
        left: the share of the objective that another step would have promised.
    """

    weights: Float[Tensor, "d_and_1 classes"]
    objective: float
    steps: int
    left: float

    def scores(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n classes"]:
        """The higher, the more likely; of features or of inner products with the images that it was fitted to."""
        weights = self.weights.to(torch.promote_types(self.weights.dtype, features.dtype))
        return torch.addmm(weights[-1], features.to(weights), weights[:-1])


def class_targets(probe: str, labels: Int64[Tensor, " n"], classes: int) -> Float[Tensor, "n classes"]:
    """What a probe is to give for images of one class each."""
    chosen = F.one_hot(labels, classes).float()
    return chosen if probe == "softmax" else 2 * chosen - 1


def fit(
    probe: str,
    features: Float[Tensor, "n d"] | DesignMatrix,
    targets: Float[Tensor, "n classes"],
    c: float,
    *,
    start: Linear | None = None,
    tolerance: float = TOLERANCE,
) -> Linear:
    """Fit a probe by Newton's method, with products of whole matrices.

    Args:
        probe: ``softmax``, ``svm`` or ``sigmoid``.
        features: of the training images, as they are or as ``Known``, which keeps what several fits to the same images
            share; the fit is done in single precision, in double where they are that or where single is too little.
            Where that is faster it is done with the images' inner products, which gives the same.
        targets: for softmax shares of the classes, else 1, -1 and 0 where an image does not count.
        c: how much the losses weigh against the size of the weights.
        start: a fit to begin from, such as that with another ``c``; one to features is no help to a fit with products.
        tolerance: the fit ends where a step promises to lower the objective by no more than this share, of what is
            gained where that is less. Where rounding or the number of steps ends it much earlier it goes on in double
            precision, and what still is not solved is logged.

    Raises:
        InputError: no such probe, ``c`` is not above 0, softmax has only one class, or the features do not fit the
            targets or are not finite.
    """
    if probe not in LOSSES:
        raise InputError(f"unknown probe {probe!r}: choose one of {', '.join(LOSSES)}")
    if not 0 < c < float("inf"):
        raise InputError(f"C is {c}: give a finite number above 0")
    if targets.shape[1] < 2 and probe == "softmax":
        raise InputError("one class only: there is nothing to tell apart")
    known = features if isinstance(features, DesignMatrix) else Primal.from_features(features)
    if len(known) != len(targets):
        raise InputError(f"features of {len(known)} images and targets of {len(targets)}: give as many of each")
    if probe == "sigmoid" and not (both := (targets > 0).any(0) & (targets < 0).any(0)).all():
        return _fit_some(both, known, targets, c, start, tolerance)
    length = known.length + len(known) if LOSSES[probe].bias_shrunk else known.spread
    if c * length * torch.finfo(known.precision).eps > ILL[probe]:
        known = known.doubled  # before the products are taken: these are in its precision, too
    if isinstance(known, Primal) and _better_spanned(probe, known):
        found = fit(probe, known.spanned, targets, c, tolerance=tolerance)
        amounts = found.weights.double()
        parts = [part.double().T @ amounts[:-1] for part in columns(known.given, torch.arange(len(known)))]
        weights = torch.cat([*parts, amounts[-1:]])
        return Linear(weights.to(found.weights), found.objective, found.steps, found.left)
    begun = None if start is None else start.weights
    if begun is None and len(known) > FEW and probe != "sigmoid":
        # What matters is found with half of the images at an eighth of the cost.
        half = _half(targets)
        begun = known.widened(fit(probe, known.some(half), targets[half], c, tolerance=ROUGH).weights, half)
    problem = Problem(LOSSES[probe], known, targets, c)
    point, steps, left = minimise(problem, problem.start(begun), tolerance)
    if left > max(UNSOLVED, tolerance) and known.precision != torch.float64:
        # Where little is to be gained rounding hides it.
        known = known.doubled
        problem = Problem(LOSSES[probe], known, targets, c)
        point, steps, left = minimise(problem, problem.at(point.weights.double()), tolerance)
    if left > max(UNSOLVED, tolerance):
        log.warning("%s, C = %g: ended after %d steps with %.2g of the objective to gain", probe, c, steps, left)
    point = problem.at(point.weights)
    return Linear(problem.end(point).to(known.precision), float(problem.value(point).sum()), steps, left)


def _half(targets: Float[Tensor, "n classes"]) -> Int64[Tensor, " k"]:
    """Half of the images, of each class as many; with more of one the bias would lean to it."""
    mixed = torch.randperm(len(targets), generator=torch.Generator().manual_seed(0))
    return mixed[targets[mixed].argmax(1).argsort(stable=True)][::2]


def _better_spanned(probe: str, known: Primal) -> bool:
    """Whether a fit to inner products takes less time: a step needs one of them for two of features."""
    count, dimensions = known.given.shape
    return count <= 2 * dimensions or (probe == "svm" and count <= MOST_PRODUCTS)


def _fit_some(
    both: Bool[Tensor, " classes"],
    known: DesignMatrix,
    targets: Tensor,
    c: float,
    start: Linear | None,
    tolerance: float,
) -> Linear:
    """Sigmoids for the classes that some images have and some lack: the bias of the others would have no end."""
    found = Linear(known.mean.new_zeros(len(known.mean) + 1, 0, dtype=known.precision), 0.0, 0, 0.0)
    if both.any():
        begun = None if start is None else replace(start, weights=start.weights[:, both])
        found = fit("sigmoid", known, targets[:, both], c, start=begun, tolerance=tolerance)
    weights = found.weights.new_zeros(len(known.mean) + 1, len(both))
    weights[-1] = torch.where((targets > 0).any(0), CERTAIN, -CERTAIN)
    weights[:, both] = found.weights
    return replace(found, weights=weights)
