"""Truncated Newton method for several convex problems at once, with conjugate gradients and a line search.

The columns of the weights are either independent problems or belong to one problem; the problem's inner product returns
one number for each column or one for all. As in LIBLINEAR (Lin, Weng & Keerthi 2008) each Newton step is solved only to
a share of the gradient; the step length is found by backtracking (Armijo).
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

MAX_STEPS = 100
MAX_CG_STEPS = 300
ARMIJO = 1e-4
MAX_HALVINGS = 30
RESOLUTION = 1e-7
"""Smallest decrease, as a share of the objective, that the tolerance refers to: rounding hides a smaller one."""
COARSE, FINE = 0.5, 0.1
"""Residual of a Newton step as a share of the gradient: of steps on the way, and of the step that decides whether to
stop."""
LOOSE_TOLERANCE = 1e-3
"""From this tolerance on the stopping decision uses coarse steps, too."""


class Point(NamedTuple):
    """Weights, or a change of weights, with the scores that are linear in them.

    Attributes:
        weights: [d, columns].
        scores: [n, columns].
    """

    weights: Tensor
    scores: Tensor

    def moved(self, length: Tensor, change: "Point") -> "Point":
        """Return ``self + length * change``."""
        length = length.to(self.weights)
        return Point(self.weights + length * change.weights, self.scores + length * change.scores)


@runtime_checkable
class Convex(Protocol):
    """A convex function of weights through scores that are linear in them."""

    @property
    def exact(self) -> bool:
        """Whether `step` solves the quadratic model exactly, whatever the tolerance."""
        ...

    def at(self, weights: Tensor) -> Point:
        """Return weights with their scores."""
        ...

    def dot(self, first: Tensor, second: Point) -> Tensor:
        """Return the inner product of two changes of the weights, for each problem."""
        ...

    def value(self, point: Point) -> Tensor:
        """Return the objective of each problem."""
        ...

    def gradient(self, point: Point) -> Tensor:
        """Return the gradient of the objective with respect to the weights."""
        ...

    def step(self, point: Point, gradient: Tensor, tolerance: float) -> Point:
        """Return the minimizer of the quadratic model, solved until a share of the gradient is left."""
        ...


class Minimum(NamedTuple):
    """The end of a minimization.

    Attributes:
        point: weights and scores.
        steps: number of Newton steps.
        newton_decrement: decrease that the quadratic model of the next step promised, as a share of the objective or,
            if that is less, of its decrease from weights of 0; the largest of all problems.
    """

    point: Point
    steps: int
    newton_decrement: float


def minimize(problem: Convex, point: Point, tolerance: float, max_steps: int | None = None) -> Minimum:
    """Minimize all problems from a starting point.

    Stops when the Newton decrement of every problem is at most ``tolerance``, with a finely solved step unless the
    tolerance is loose, or when rounding allows no further decrease.

    Args:
        problem: the objective.
        point: starting weights.
        tolerance: largest Newton decrement, see `Minimum`.
        max_steps: largest number of steps; ``MAX_STEPS`` if not given.
    """
    value, decrement = problem.value(point), float("inf")
    zero = problem.value(Point(torch.zeros_like(point.weights), torch.zeros_like(point.scores)))
    max_steps = MAX_STEPS if max_steps is None else max_steps
    for step in range(max_steps):
        gradient = problem.gradient(point)
        scale = torch.minimum(value, torch.maximum(zero - value, RESOLUTION * value))
        scale = scale.clamp_min(torch.finfo(value.dtype).tiny)
        for share in (COARSE,) if problem.exact or tolerance >= LOOSE_TOLERANCE else (COARSE, FINE):
            change = problem.step(point, gradient, share)
            slope = problem.dot(gradient, change)
            decrement = float((slope.abs() / 2 / scale).max().nan_to_num(torch.inf))  # a positive slope is rounding
            if decrement == torch.inf:
                return Minimum(point, step, decrement)
            if decrement > tolerance:
                break
        else:
            last = problem.value(point.moved(torch.ones_like(value), change)) < value
            return Minimum(point.moved(last, change), step + 1, decrement)
        length, new = _line_search(problem, point, change, value, slope)
        if not length.any():
            return Minimum(point, step, decrement)
        point, value = point.moved(length, change), torch.minimum(new, value)
    return Minimum(point, max_steps, decrement)


def _line_search(problem: Convex, point: Point, change: Point, value: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
    """Halve the step length of each problem until the objective decreases enough.

    Args:
        problem: the objective.
        point: current weights.
        change: the Newton step.
        value: objective at ``point``.
        slope: directional derivative of the objective along ``change``.

    Returns:
        The length for each problem, 0 where rounding allows no decrease, and the objective there.
    """
    length = torch.ones_like(value)
    for _ in range(MAX_HALVINGS):
        new = problem.value(point.moved(length, change))
        accepted = new <= value + ARMIJO * length * slope
        if accepted.all():
            break
        length = torch.where(accepted, length, length / 2)
    return torch.where(new < value, length, 0), new


def conjugate_gradients(
    at: Callable[[Tensor], Point],
    dot: Callable[[Tensor, Point], Tensor],
    hessian: Callable[[Point], Tensor],
    diagonal: Tensor,
    gradient: Tensor,
    tolerance: float,
) -> Point:
    """Minimize the quadratic model by preconditioned conjugate gradients.

    The scores of changes are combined from those of the residuals, so that each iteration needs one matrix product.

    Args:
        at: returns a change of the weights with its scores.
        dot: inner product for each problem.
        hessian: multiplies a change by the Hessian.
        diagonal: diagonal of the Hessian, the preconditioner.
        gradient: gradient of the problems.
        tolerance: stop when the residual's norm is this share of the gradient's.
    """
    residual = -gradient
    direction = at(residual / diagonal)
    change = Point(torch.zeros_like(direction.weights), torch.zeros_like(direction.scores))
    squared = dot(residual, direction)
    threshold = tolerance**2 * squared
    for _ in range(MAX_CG_STEPS):
        unsolved = squared > threshold
        if not unsolved.any():
            break
        curved = hessian(direction)
        length = torch.where(unsolved, squared / dot(curved, direction), 0)
        change = change.moved(length, direction)
        residual = residual - length * curved
        scaled = at(residual / diagonal)
        new = dot(residual, scaled)
        direction = scaled.moved(torch.where(unsolved, new / squared, 0), direction)
        squared = torch.where(unsolved, new, squared)
    return change
