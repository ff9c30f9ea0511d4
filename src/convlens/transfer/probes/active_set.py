"""Exact Newton steps of squared-hinge problems, restricted to the images inside the margin (Chapelle 2007, section 3).

Only images inside the margin contribute to the Hessian of the squared hinge loss. The weights after a Newton step are a
combination of these images alone, so that each class needs one linear system with an unknown for each of them; near the
minimum they are few.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


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
        ridge *= 10  # a step of a more strongly regularized problem is still a descent step
