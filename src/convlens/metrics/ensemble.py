"""Errors of several networks as one, by the mean of their probabilities (Table 2: "5 nets", "6 nets")."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Integer


@dataclass(frozen=True)
class EnsembleErrors:
    """Test errors of several networks together.

    Attributes:
        wrong: by k, for each image whether its class is missing from the k best classes.
    """

    wrong: dict[int, Bool[np.ndarray, " images"]]

    def __repr__(self) -> str:
        return f"EnsembleErrors(top1_error={self.top1_error:.2f} %, top5_error={self.top5_error:.2f} %)"

    @property
    def top1_error(self) -> float:
        """Top-1 error in percent."""
        return float(100 * self.wrong[1].mean())

    @property
    def top5_error(self) -> float:
        """Top-5 error in percent."""
        return float(100 * self.wrong[5].mean())


def ensemble_errors(
    probabilities: Iterable[Float[np.ndarray, "images classes"]], labels: Integer[np.ndarray, " images"]
) -> EnsembleErrors:
    """Return top-1 and top-5 errors of the mean of networks' probabilities.

    Args:
        probabilities: of each network, for the same images in the same order; at least one network.
        labels: the true class of each image.
    """
    order = np.argsort(-np.asarray(sum(probabilities)), axis=1, kind="stable")
    return EnsembleErrors({k: ~(order[:, :k] == labels[:, None]).any(1) for k in (1, 5)})
