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
RESOLVED = 1e-7
"""The least gain, as a share of the value, of which the tolerance is taken: rounding hides a smaller one."""
ROUGH, FINE = 0.5, 0.1
"""What may be left of a step, as a share of the gradient: on the way, and of the step that says whether to end."""
ROUGHLY = 1e-3
"""With a tolerance from here on the end is not looked at so closely."""


class Point(NamedTuple):
    """Unknowns, or a change of them, with the scores that are linear in them.

    Attributes:
        weights: the unknowns, [d, columns].
        scores: what they give, [n, columns].
    """

    weights: Tensor
    scores: Tensor

    def moved(self, length: Tensor, change: "Point") -> "Point":
        """So many times a change away."""
        length = length.to(self.weights)
        return Point(self.weights + length * change.weights, self.scores + length * change.scores)


@runtime_checkable
class Convex(Protocol):
    """A convex function of unknowns by way of scores that are linear in them."""

    @property
    def exact(self) -> bool:
        """Whether steps are solved to the end, whatever share may be left."""
        ...

    def at(self, weights: Tensor) -> Point:
        """Unknowns with their scores."""
        ...

    def inner(self, first: Tensor, second: Point) -> Tensor:
        """The inner product of two changes, for each problem."""
        ...

    def value(self, point: Point) -> Tensor:
        """What is minimised, for each problem."""
        ...

    def gradient(self, point: Point) -> Tensor:
        """Its slope in the unknowns."""
        ...

    def step(self, point: Point, gradient: Tensor, left: float) -> Point:
        """The change with which the quadratic model is smallest, solved until a share is left."""
        ...


class Minimum(NamedTuple):
    """Where a search ended.

    Attributes:
        point: the unknowns.
        steps: how many steps that took.
        left: what the next step would have promised, as a share of the value, or of what is gained over doing nothing
            if that is less; the worst of the problems.
    """

    point: Point
    steps: int
    left: float


def minimise(problem: Convex, point: Point, tolerance: float) -> Minimum:
    """The unknowns at the minimum, from a point to start at.

    Ends with a step of which the quadratic model of each problem promises no more than ``tolerance`` of its value and
    of what is gained over unknowns of 0, finely solved unless that is large, or where rounding allows nothing better.
    """
    value, left = problem.value(point), float("inf")
    nothing = problem.value(Point(torch.zeros_like(point.weights), torch.zeros_like(point.scores)))
    for step in range(MOST_STEPS):
        gradient = problem.gradient(point)
        whole = torch.minimum(value, torch.maximum(nothing - value, RESOLVED * value))
        whole = whole.clamp_min(torch.finfo(value.dtype).tiny)
        for share in (ROUGH,) if problem.exact or tolerance >= ROUGHLY else (ROUGH, FINE):
            change = problem.step(point, gradient, share)
            slope = problem.inner(gradient, change)
            left = float((slope.abs() / 2 / whole).max().nan_to_num(torch.inf))  # a slope upwards is rounding
            if left == torch.inf:
                return Minimum(point, step, left)
            if left > tolerance:
                break
        else:
            last = problem.value(point.moved(torch.ones_like(value), change)) < value
            return Minimum(point.moved(last, change), step + 1, left)
        length = torch.ones_like(value)
        for _ in range(MOST_HALVINGS):
            new = problem.value(point.moved(length, change))
            good = new <= value + SUFFICIENT * length * slope
            if good.all():
                break
            length = torch.where(good, length, length / 2)
        # What rounding does not let get any better stays as it is.
        length = torch.where(new < value, length, 0)
        if not length.any():
            return Minimum(point, step, left)
        point, value = point.moved(length, change), torch.minimum(new, value)
    return Minimum(point, MOST_STEPS, left)


def conjugate_gradients(
    at: Callable[[Tensor], Point],
    inner: Callable[[Tensor, Point], Tensor],
    hessian: Callable[[Point], Tensor],
    diagonal: Tensor,
    gradient: Tensor,
    left: float,
) -> Point:
    """The change with which the quadratic model is smallest, until a share of the gradient is left.

    The scores of all changes are those of the residuals, summed as these are: one product of matrices for each round.

    Args:
        at: adds its scores to a change.
        inner: the inner product, for each problem.
        hessian: the curvature, as what it does to a change.
        diagonal: that of the curvature: lengths are measured in units in which it is 1.
        gradient: of the problems.
        left: the share of its length.
    """
    residual = -gradient
    direction = at(residual / diagonal)
    change = Point(torch.zeros_like(direction.weights), torch.zeros_like(direction.scores))
    squared = inner(residual, direction)
    enough = left**2 * squared
    for _ in range(MOST_INNER_STEPS):
        open_ = squared > enough
        if not open_.any():
            break
        curved = hessian(direction)
        length = torch.where(open_, squared / inner(curved, direction), 0)
        change = change.moved(length, direction)
        residual = residual - length * curved
        scaled = at(residual / diagonal)
        new = inner(residual, scaled)
        direction = scaled.moved(torch.where(open_, new / squared, 0), direction)
        squared = torch.where(open_, new, squared)
    return change
