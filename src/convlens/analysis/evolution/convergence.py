"""Convergence of features during training: similarity of a layer's states to its last one (section 4, Fig 4)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

CONVERGED = 0.95
"""Similarity to the final state at which a map has converged."""


@dataclass(frozen=True)
class Convergence:
    """Similarity of a layer's recorded states to the last one.

    Attributes:
        epochs: epochs of the records; 0 is the state before training.
        correlation: for each map and record the correlation of the map's activations on fixed images with those of the
            last record; NaN for maps that are dead or constant in the end, 0 where a map is constant meanwhile.
        cka: for each record the linear CKA of the layer's activations with those of the last record.
        overlap: for each map and record the share of the last record's nine strongest images that are among the
            record's; NaN for maps that are dead in the end and for the state before training, which has no such list.
    """

    epochs: Int[np.ndarray, " records"]
    correlation: Float[np.ndarray, "maps records"]
    cka: Float[np.ndarray, " records"]
    overlap: Float[np.ndarray, "maps records"]

    @property
    def reached(self) -> Float[np.ndarray, " maps"]:
        """Epoch from which each map stays at a correlation of 0.95 with its last state; NaN for maps without one."""
        return np.array([epoch_reached(self.epochs, curve) for curve in self.correlation])

    @property
    def moved(self) -> Bool[np.ndarray, " maps"]:
        """Whether training has changed each map: its first state has not converged yet."""
        return np.asarray(self.correlation[:, 0] < CONVERGED)


def convergence(
    epochs: Sequence[int],
    activations: Sequence[Float[np.ndarray, "maps samples"]],
    tops: Sequence[Int[np.ndarray, "maps k"] | None],
) -> Convergence:
    """Compare the records of a layer with the last one.

    Args:
        epochs: epochs of the records, in order.
        activations: of each record, up to a factor.
        tops: of each record the strongest images of each map, -1 for none; None if they are not known.
    """
    last, final = activations[-1].astype(np.float64), tops[-1]
    alive = np.ones((len(last), 1), bool) if final is None else (final >= 0).any(1, keepdims=True)
    states = [state.astype(np.float64) for state in activations]
    correlation = np.stack([correlations(state, last) for state in states], 1)
    unknown = np.full(len(last), np.nan)
    shared = [unknown if top is None or final is None else overlaps(top, final) for top in tops]
    return Convergence(
        np.asarray(epochs),
        np.where(alive, correlation, np.nan),
        np.array([linear_cka(state.T, last.T) for state in states]),
        np.stack(shared, 1),
    )


def correlations(first: Float[np.ndarray, "maps n"], last: Float[np.ndarray, "maps n"]) -> Float[np.ndarray, " maps"]:
    """Return each map's correlation of two states: 0 where the first is constant, NaN where the last one is."""
    first, last = (values - values.mean(1, keepdims=True) for values in (first, last))
    norms = np.sqrt((first**2).sum(1)), np.sqrt((last**2).sum(1))
    products = norms[0] * norms[1]
    found = np.divide((first * last).sum(1), products, out=np.zeros(len(first)), where=products > 0)
    return np.where(norms[1] > 0, found, np.nan)


def linear_cka(first: Float[np.ndarray, "n p"], second: Float[np.ndarray, "n q"]) -> float:
    """Return the linear centred kernel alignment of two sets of features of the same n samples (Kornblith et al. 2019).

    1 for features that are equal but for a rotation and a factor; 0 where one of them is constant.
    """
    first, second = first - first.mean(0), second - second.mean(0)
    norm = np.linalg.norm(first.T @ first) * np.linalg.norm(second.T @ second)
    return float(np.linalg.norm(second.T @ first) ** 2 / norm) if norm > 0 else 0.0


def overlaps(tops: Int[np.ndarray, "maps k"], last: Int[np.ndarray, "maps k"]) -> Float[np.ndarray, " maps"]:
    """Return for each map the share of the last strongest images that are among the others; NaN for dead maps."""
    shared = (last[:, :, None] == tops[:, None, :]).any(2) & (last >= 0)
    counts = (last >= 0).sum(1)
    return np.divide(shared.sum(1), counts, out=np.full(len(last), np.nan), where=counts > 0)


def epoch_reached(
    epochs: Float[np.ndarray, " records"] | Int[np.ndarray, " records"], similarity: Float[np.ndarray, " records"]
) -> float:
    """Return the epoch from which a curve stays at 0.95 or above, by linear interpolation between records.

    The first epoch if it is never below; NaN for a curve without values.

    Args:
        epochs: epochs of the records, in order.
        similarity: similarity to the last state, which ends at 1.
    """
    if not np.isfinite(similarity).all():
        return float("nan")
    below = np.flatnonzero(similarity < CONVERGED)
    if not len(below):
        return float(epochs[0])
    start = below[-1]
    step = (CONVERGED - similarity[start]) / (similarity[start + 1] - similarity[start])
    return float(epochs[start] + step * (epochs[start + 1] - epochs[start]))
