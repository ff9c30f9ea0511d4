"""Newton steps of one-against-the-rest problems of which few images count (Chapelle 2007, section 3).

Of a squared hinge only the images short of the margin bend the objective. Where a step leads to, the weights are a sum
of these images alone: a linear system with an unknown for each of them, and for a class near its minimum they are few.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def solve_active(
    products: Float[Tensor, "n n"], active: Bool[Tensor, "n classes"], wanted: Float[Tensor, "n classes"], ridge: float
) -> Float[Tensor, "n classes"]:
    """For each class the x of ``(products + ridge) x = wanted`` among the active images alone; 0 for the others.

    Args:
        products: inner products of the images.
        active: which images count for a class.
        wanted: the right-hand sides.
        ridge: what is added to the diagonal, above 0.
    """
    if active.all():
        return _solve(products, wanted, ridge)
    found = torch.zeros_like(wanted)
    for column in range(wanted.shape[1]):
        rows = active[:, column].nonzero()[:, 0]
        if len(rows):
            system = products[rows[:, None], rows]
            found[rows, column] = _solve(system, wanted[rows, column, None], ridge)[:, 0]
    return found


def _solve(products: Tensor, wanted: Tensor, ridge: float) -> Tensor:
    while True:
        system = products.clone()
        system.diagonal().add_(ridge)
        factor, failed = torch.linalg.cholesky_ex(system)
        if not failed:
            return torch.cholesky_solve(wanted, factor)
        ridge *= 10  # a step towards weights that are shrunk more is one still
