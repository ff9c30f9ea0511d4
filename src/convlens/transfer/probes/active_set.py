"""Squared-hinge problems by the set of images inside the margin: Newton steps, and Lawson and Hanson's method.

With the inner products Q of the images, targets y of 1 and -1, and weights that combine the images with coefficients b,
the minimum has ``(Q + I / 2C) b = y`` on the images inside the margin, with ``b * y > 0``, and ``b = 0`` on the others.
A Newton step solves this for the images that are inside the margin now (Chapelle 2007, section 3). Where a plane
divides the classes and C is large, such steps have to be short and end above the minimum. Lawson and Hanson's method
(1974, chapter 23) then finds the set: the dual objective decreases with each set, until it is the right one.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from convlens.transfer.probes.newton import RESOLUTION

ROUNDING = 1e-12
"""Margin violation, as a share of the largest score that the coefficients allow, that rounding explains."""


class Solution(NamedTuple):
    """Coefficients of the squared-hinge problem of one class.

    Attributes:
        coefficients: [n, 1].
        gap: duality gap, see `duality_gap`.
        steps: number of linear systems solved.
    """

    coefficients: Tensor
    gap: float
    steps: int


def lawson_hanson(
    products: Float[Tensor, "n n"],
    targets: Float[Tensor, "n 1"],
    active: Bool[Tensor, "n 1"],
    C: float,
    tolerance: float,
) -> Solution:
    """Solve one class by Lawson and Hanson's method, with blocks of images while these decrease the dual objective.

    Ends where the tolerance is reached or where rounding allows no decrease.

    Args:
        products: inner products of the images.
        targets: 1, -1, or 0 for an image that is ignored.
        active: images to begin with, inside the margin.
        C: weight of the losses.
        tolerance: largest duality gap.
    """
    ridge, steps, best, block = 1 / (2 * C), 0, 0.0, True
    coefficients, reach = torch.zeros_like(targets), products.abs()
    while True:
        # The coefficients are feasible (no wrong sign), and active those of the images that may move.
        while True:
            steps += 1
            trial = solve_active(products, active, targets, ridge)
            wrong = active & (trial * targets <= 0)
            if not wrong.any():
                break
            lengths = torch.where(wrong, (coefficients / (coefficients - trial)).nan_to_num(0), torch.inf)
            active = active & (lengths > lengths.min())
            coefficients = torch.where(active, coefficients + lengths.min() * (trial - coefficients), 0)
        coefficients, scores = trial, products @ trial
        found = Solution(coefficients, float(duality_gap(products, coefficients, scores, targets, C)), steps)
        dual = float((coefficients * targets).sum())  # twice the dual objective, where the system is solved
        decreases = dual > best * (1 + ROUNDING)
        if found.gap <= tolerance or not (decreases or block):
            return found
        block, best = decreases, max(best, dual)
        violation = torch.where(active | (targets == 0), 0, 1 - targets * scores)
        violated = violation > ROUNDING * (1 + reach @ coefficients.abs())
        if not violated.any():
            return found
        active = active | (violated if block else violation == violation.max())


def duality_gap(
    products: Float[Tensor, "n n"],
    coefficients: Float[Tensor, "n classes"],
    scores: Float[Tensor, "n classes"],
    targets: Float[Tensor, "n classes"],
    C: float,
) -> Float[Tensor, " classes"]:
    """Return the objective less the dual objective, as a share of the objective or, if less, of its decrease from 0.

    It bounds how far the objective is above its minimum. Coefficients of the wrong sign count as 0 in the dual. The gap
    is summed from terms none of which is negative: a difference of the two would be lost to rounding.
    """
    wrong = torch.where(coefficients * targets < 0, coefficients, 0)
    size = (coefficients * targets).clamp_min(0)
    excess = targets * scores - 1
    hinge = (-excess).clamp_min(0) * targets.abs()
    terms = C * (hinge - size / (2 * C)).square() + size * excess.clamp_min(0)
    apart = (wrong * (products @ wrong)).sum(0, dtype=torch.float64) if wrong.any() else 0.0
    value = (coefficients * scores / 2 + C * hinge.square()).sum(0, dtype=torch.float64)
    decrease = C * targets.abs().sum(0, dtype=torch.float64) - value
    scale = torch.minimum(value, torch.maximum(decrease, RESOLUTION * value))
    return (terms.sum(0, dtype=torch.float64) + apart / 2) / scale.clamp_min(torch.finfo(torch.float64).tiny)


def solve_active(
    products: Float[Tensor, "n n"], active: Bool[Tensor, "n classes"], rhs: Float[Tensor, "n classes"], ridge: float
) -> Float[Tensor, "n classes"]:
    """Solve ``(products + ridge * I) x = rhs`` for each class over its active images; x is 0 for the others.

    Args:
        products: inner products of the images.
        active: the images inside the margin of each class.
        rhs: right-hand sides.
        ridge: added to the diagonal; above 0.
    """
    if active.all():
        return _solve(products, rhs, ridge)
    solution = torch.zeros_like(rhs)
    for column in range(rhs.shape[1]):
        rows = active[:, column].nonzero()[:, 0]
        if len(rows):
            system = products[rows[:, None], rows]
            solution[rows, column] = _solve(system, rhs[rows, column, None], ridge)[:, 0]
    return solution


def _solve(products: Tensor, rhs: Tensor, ridge: float) -> Tensor:
    """Solve by Cholesky factorization; increase the ridge until the matrix is numerically positive definite."""
    while True:
        system = products.clone()
        system.diagonal().add_(ridge)
        factor, failed = torch.linalg.cholesky_ex(system)
        if not failed:
            return torch.cholesky_solve(rhs, factor)
        ridge *= 10  # the dual objective's minimum with a larger ridge is still a feasible point of it
