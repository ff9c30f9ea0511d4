"""Jumps of a map's projection between epochs, against what its former strongest image gives (section 4, Fig 4)."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from convlens.analysis.galleries.similarity import similarity, spectra


@dataclass(frozen=True)
class Jumps:
    """Changes of the projections of a layer's maps from each recorded epoch to the next.

    A change is 1 minus the greatest cosine similarity of two projections over small shifts (see
    `convlens.analysis.galleries.similarity.similarity`).

    Attributes:
        switched: whether the strongest image of the map is another one.
        change: from the projection of the strongest image to that of the next epoch's; NaN for maps that no image
            activates at one of the two epochs.
        kept: to the next epoch's projection of the former image; 1 where that image does not activate the map any
            more, NaN without a switch.
    """

    switched: Bool[np.ndarray, "maps steps"]
    change: Float[np.ndarray, "maps steps"]
    kept: Float[np.ndarray, "maps steps"]

    @property
    def effect(self) -> Float[np.ndarray, " maps"]:
        """What the change of the image adds to the change of each map's projection, mean of its switches; or NaN."""
        return row_means(self.change - self.kept)


def jumps(
    projections: Float[np.ndarray, "maps epochs c h w"],
    kept: Float[np.ndarray, "maps epochs c h w"],
    images: Int[np.ndarray, "maps epochs"],
) -> Jumps:
    """Return the changes of the projections of each map's strongest activation.

    Args:
        projections: of each map at each epoch; zeros where no image activates the map.
        kept: at each epoch that of the strongest image of the epoch before; zeros where it does not activate the map.
        images: the strongest image of each map at each epoch.
    """
    switched = np.asarray(images[:, :-1] != images[:, 1:])
    alive = np.asarray(projections.reshape(*images.shape, -1).any(2))
    both = alive[:, :-1] & alive[:, 1:]
    own, others = _spectra(projections), _spectra(kept)
    change, former = (
        1 - similarity(own[:, :-1].flatten(0, 1), later[:, 1:].flatten(0, 1)).double().numpy().reshape(switched.shape)
        for later in (own, others)
    )
    return Jumps(switched & both, np.where(both, change, np.nan), np.where(both & switched, former, np.nan))


def _spectra(pictures: Float[np.ndarray, "maps epochs c h w"]) -> Tensor:
    flat = torch.from_numpy(np.ascontiguousarray(pictures, np.float32)).flatten(0, 1)
    return spectra(flat).unflatten(0, pictures.shape[:2])


def row_means(values: Float[np.ndarray, "maps steps"]) -> Float[np.ndarray, " maps"]:
    """Return the mean of each row's numbers; NaN for rows without one."""
    known = np.isfinite(values)
    count = known.sum(1)
    return np.divide(np.where(known, values, 0).sum(1), count, out=np.full(len(values), np.nan), where=count > 0)


def switches_in_largest(layers: Sequence[Jumps], part: float = 0.1) -> tuple[float, float]:
    """Return the share of switches among the largest changes and among all changes, from 0 to 1; NaN without changes.

    Args:
        layers: changes of one or more layers.
        part: the share of all changes that counts as large.
    """
    change = np.concatenate([one.change.ravel() for one in layers])
    switched = np.concatenate([one.switched.ravel() for one in layers])[np.isfinite(change)]
    change = change[np.isfinite(change)]
    if not len(change):
        return float("nan"), float("nan")
    largest = np.argsort(-change, kind="stable")[: max(1, round(part * len(change)))]
    return float(switched[largest].mean()), float(switched.mean())
