"""Newton's method for many convex problems at once, its steps found by conjugate gradients or by the problem itself.

The columns of the unknowns are either problems of their own or all of one problem; which of the two is in the problem's
inner product, a number for each column or one for all. As in LIBLINEAR (Lin, Weng & Keerthi 2008) each Newton step is
solved only as well as it deserves; the length of the step is found by halving (Armijo).
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

MOST_STEPS = 100
MOST_INNER_STEPS = 300
SUFFICIENT = 1e-4
MOST_HALVINGS = 30
ROUGH, FINE = 0.3, 0.03
"""What may be left of a step, as a share of the gradient: on the way, and of the step that says whether to end."""
ROUGHLY = 1e-3
"""With a tolerance from here on the end is not looked at so closely."""


@runtime_checkable
class Convex(Protocol):
    """A convex function of unknowns [d, columns] by way of scores that are linear in them."""

    def inner(self, first: Tensor, second: Tensor) -> Tensor:
        """The inner product of two changes, for each problem."""
        ...

    def scores(self, weights: Tensor) -> Tensor:
        """The scores, linear in the weights."""
        ...

    def value(self, weights: Tensor, scores: Tensor) -> Tensor:
        """What is minimised, for each problem."""
        ...

    def gradient(self, weights: Tensor, scores: Tensor) -> Tensor:
        """Its slope in the weights."""
        ...

    def step(self, scores: Tensor, gradient: Tensor, left: float) -> Tensor:
        """The change with which the quadratic model at these scores is smallest, solved until a share is left."""
        ...


class Minimum(NamedTuple):
    """Where a search ended.

    Attributes:
        weights: the unknowns.
        steps: how many steps that took.
        left: what the next step would have promised, as a share of the value; the worst of the problems.
    """

    weights: Tensor
    steps: int
    left: float


def minimise(problem: Convex, start: Tensor, tolerance: float) -> Minimum:
    """The unknowns at the minimum.

    Ends with a step of which the quadratic model of each problem promises no more than ``tolerance`` of its value,
    finely solved unless that is large, or where rounding allows nothing better.
    """
    weights, scores = start, problem.scores(start)
    value, left = problem.value(weights, scores), float("inf")
    for step in range(MOST_STEPS):
        gradient = problem.gradient(weights, scores)
        for share in (ROUGH, FINE) if tolerance < ROUGHLY else (ROUGH,):
            change = problem.step(scores, gradient, share)
            slope = problem.inner(gradient, change)
            left = float((-slope / 2 / value.clamp_min(torch.finfo(value.dtype).tiny)).max())
            if left > tolerance:
                break
        else:
            last = weights + change
            better = problem.value(last, problem.scores(last)) < value
            return Minimum(torch.where(better, last, weights), step + 1, left)
        moved, length = problem.scores(change), torch.ones_like(value)
        for _ in range(MOST_HALVINGS):
            new = problem.value(weights + length * change, scores + length * moved)
            good = new <= value + SUFFICIENT * length * slope
            if good.all():
                break
            length = torch.where(good, length, length / 2)
        # What rounding does not let get any better stays as it is.
        length = torch.where(new < value, length, 0)
        if not length.any():
            return Minimum(weights, step, left)
        weights, scores, value = weights + length * change, scores + length * moved, torch.minimum(new, value)
    return Minimum(weights, MOST_STEPS, left)


def conjugate_gradients(
    inner: Callable[[Tensor, Tensor], Tensor],
    hessian: Callable[[Tensor], Tensor],
    diagonal: Tensor,
    gradient: Tensor,
    left: float,
) -> Tensor:
    """The change with which the quadratic model is smallest, until a share of the gradient is left.

    Args:
        inner: the inner product, for each problem.
        hessian: the curvature, as what it does to a change.
        diagonal: that of the curvature: lengths are measured in units in which it is 1.
        gradient: of the problems.
        left: the share of its length.
    """
    change, residual = torch.zeros_like(gradient), -gradient
    direction = residual / diagonal
    squared = inner(residual, direction)
    enough = left**2 * squared
    for _ in range(MOST_INNER_STEPS):
        open_ = squared > enough
        if not open_.any():
            break
        curved = hessian(direction)
        length = torch.where(open_, squared / inner(direction, curved), 0)
        change = change + length * direction
        residual = residual - length * curved
        scaled = residual / diagonal
        new = inner(residual, scaled)
        direction = scaled + torch.where(open_, new / squared, 0) * direction
        squared = torch.where(open_, new, squared)
    return change
