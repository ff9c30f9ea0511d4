"""Newton's method with conjugate gradients, for many convex problems at once.

The columns of the unknowns are either problems of their own or all of one problem; which of the two is in the problem's
inner product, a number for each column or one for all. As in LIBLINEAR (Lin, Weng & Keerthi 2008) each Newton step is
solved only as well as it deserves; the length of the step is found by halving (Armijo).
"""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

MOST_STEPS = 100
MOST_INNER_STEPS = 200
SUFFICIENT = 1e-4
MOST_HALVINGS = 30


@runtime_checkable
class Convex(Protocol):
    """A convex function of unknowns [d, columns] by way of scores that are linear in them."""

    @property
    def forcing(self) -> float:
        """A step is solved until what is left of it is this share of the gradient."""
        ...

    def start(self) -> Tensor:
        """Where a search begins."""
        ...

    def inner(self, first: Tensor, second: Tensor) -> Tensor:
        """The inner product of two changes, for each problem."""
        ...

    def scores(self, weights: Tensor) -> Tensor:
        """The scores, linear in the weights but for a constant."""
        ...

    def value(self, weights: Tensor, scores: Tensor) -> Tensor:
        """What is minimised, for each problem."""
        ...

    def gradient(self, weights: Tensor, scores: Tensor) -> Tensor:
        """Its slope in the weights."""
        ...

    def hessian(self, scores: Tensor) -> Callable[[Tensor], Tensor]:
        """Its curvature, as what it does to a change of the weights."""
        ...


def minimise(problem: Convex, start: Tensor, tolerance: float) -> tuple[Tensor, int]:
    """The unknowns at the minimum, and the number of steps.

    Ends where the quadratic model of each problem promises no more than ``tolerance`` of its value.
    """
    weights, scores = start, problem.scores(start)
    value = problem.value(weights, scores)
    for step in range(MOST_STEPS):
        gradient = problem.gradient(weights, scores)
        enough = problem.forcing * problem.inner(gradient, gradient).sqrt()
        change = _conjugate_gradients(problem, problem.hessian(scores), gradient, enough)
        moved, slope = problem.scores(change), problem.inner(gradient, change)
        if (-slope / 2 <= tolerance * value).all():
            return weights, step
        length = torch.ones_like(value)
        for _ in range(MOST_HALVINGS):
            new = problem.value(weights + length * change, scores + length * moved)
            good = new <= value + SUFFICIENT * length * slope
            if good.all():
                break
            length = torch.where(good, length, length / 2)
        # What rounding does not let get any better stays as it is.
        length = torch.where(new < value, length, 0)
        if not length.any():
            return weights, step
        weights, scores, value = weights + length * change, scores + length * moved, torch.minimum(new, value)
    return weights, MOST_STEPS


def _conjugate_gradients(
    problem: Convex, hessian: Callable[[Tensor], Tensor], gradient: Tensor, enough: Tensor
) -> Tensor:
    """The change with which the quadratic model is smallest, until the residual's norm is ``enough``."""
    change, residual = torch.zeros_like(gradient), -gradient
    direction, squared = residual, problem.inner(residual, residual)
    for _ in range(MOST_INNER_STEPS):
        open_ = squared.sqrt() > enough
        if not open_.any():
            break
        curved = hessian(direction)
        length = torch.where(open_, squared / problem.inner(direction, curved), 0)
        change = change + length * direction
        residual = residual - length * curved
        new = problem.inner(residual, residual)
        direction = residual + torch.where(open_, new / squared, 0) * direction
        squared = torch.where(open_, new, squared)
    return change
