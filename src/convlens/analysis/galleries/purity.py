"""Purity of the classes among each map's strongest images, and its trend with the depth of the layer (Fig 2)."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped

from convlens.analysis.galleries.top_k_metric import TopActivations
from convlens.ops.depth import Depth
from convlens.ops.tensor_repr import summary
from convlens.stats.estimates import NOTHING, Estimate, jackknife

PAPERS_K = 9
"""Number of strongest images of a map whose classes are compared."""


@dataclass(frozen=True)
class StrongestImages:
    """The strongest images of all maps of some layers.

    Attributes:
        images: index of each image; -1 where the map is not active.
        layer: name of each map's layer.
        depth: depth of each map's layer, from 0 (the lowest of these layers) to 1 (the highest).
        labels: class of each image that was searched; negative if it is not known.
    """

    images: Int[np.ndarray, "maps k"]
    layer: Shaped[np.ndarray, " maps"]
    depth: Float[np.ndarray, " maps"]
    labels: Int[np.ndarray, " images"]

    __repr__ = summary

    @staticmethod
    def from_tops(
        tops: Mapping[str, TopActivations], depths: Mapping[str, Depth], labels: Int[np.ndarray, " images"]
    ) -> "StrongestImages":
        """Collect the active images of searched layers; depth is counted in convolutions."""
        convolutions = [depths[layer].convolutions for layer in tops]
        span = max(1, max(convolutions) - min(convolutions))
        relative = [(count - min(convolutions)) / span for count in convolutions]
        sizes = [len(top.values) for top in tops.values()]
        images = [torch.where(top.values > 0, top.images, -1).cpu().numpy() for top in tops.values()]
        return StrongestImages(np.concatenate(images), np.repeat(list(tops), sizes), np.repeat(relative, sizes), labels)

    def classes(self, k: int = PAPERS_K) -> Int[np.ndarray, "maps k"]:
        """Return the class of each map's first ``k`` images; -1 where there is none or it is not known."""
        images = self.images[:, :k]
        return np.where(images >= 0, np.maximum(self.labels[images], -1), -1)

    @property
    def chance(self) -> float:
        """Purity of images that are drawn at random from all that have a class."""
        counts = np.bincount(self.labels[self.labels >= 0])
        return float((counts * (counts - 1)).sum() / (counts.sum() * (counts.sum() - 1)))

    @property
    def is_labelled(self) -> bool:
        """Whether at least two classes are known, each map has several images, and layers differ in depth."""
        several = len(np.unique(self.labels[self.labels >= 0])) > 1
        return several and self.images.shape[1] > 1 and len(np.unique(self.depth)) > 1


def purity(classes: Int[np.ndarray, "maps k"]) -> Float[np.ndarray, " maps"]:
    """Return the share of pairs of a map's images that show the same class; NaN with fewer than two images.

    Unlike the share of the most frequent class, it does not grow where a map has fewer active images.
    """
    same, pairs = _pairs(classes)
    with np.errstate(invalid="ignore"):
        return same / pairs


def _pairs(classes: Int[np.ndarray, "maps k"]) -> tuple[Float[np.ndarray, " maps"], Float[np.ndarray, " maps"]]:
    """Return the number of pairs of one class, and that of all pairs."""
    known = classes >= 0
    both = known[:, :, None] & known[:, None, :]
    same = both & (classes[:, :, None] == classes[:, None, :])
    counts = known.sum(1)
    return (same.sum((1, 2)) - counts) / 2, counts * (counts - 1) / 2


def slope_weights(values: Float[np.ndarray, " maps"], depth: Float[np.ndarray, " maps"]) -> Float[np.ndarray, " maps"]:
    """Return the weights by which values add up to their least-squares slope over depth; 0 for values that are NaN."""
    known = np.isfinite(values)
    centred = np.where(known, depth - depth[known].mean(), 0.0) if known.any() else np.zeros(len(values))
    return np.asarray(centred / max((centred**2).sum(), 1e-300))


def slope_and_changes(strongest: StrongestImages) -> tuple[float, Float[np.ndarray, " images"]]:
    """Return the slope of purity over depth, and its change without each of the searched images.

    Maps with two images keep their purity when one of them is left out.
    """
    classes = strongest.classes()
    same, pairs = _pairs(classes)
    values = purity(classes)
    weights = slope_weights(values, strongest.depth)
    rows, ranks = (classes >= 0).nonzero()
    partners = (classes[rows] == classes[rows, ranks][:, None]).sum(1) - 1  # others of the image's class
    left = pairs[rows] - (classes[rows] >= 0).sum(1) + 1
    without = np.where(left > 0, (same[rows] - partners) / np.maximum(left, 1), values[rows])
    change = np.where(weights[rows] != 0, weights[rows] * (without - values[rows]), 0.0)
    total = np.bincount(strongest.images[rows, ranks], change, len(strongest.labels))
    return float(weights @ np.nan_to_num(values)), total.astype(float)  # of nothing it counts whole numbers


def slope(strongest: StrongestImages, minus: StrongestImages | None = None) -> Estimate:
    """Return the slope of purity over depth, or its difference to another network's, with an interval over images.

    The units are the images that are among a map's strongest, since maps share them: maps as units would decide 15 % of
    cases where classes have been shuffled.

    Args:
        strongest: of the network.
        minus: of another network and the same images.
    """
    value, change = slope_and_changes(strongest)
    images = [strongest.images[:, :PAPERS_K]]
    if minus is not None:
        other, other_change = slope_and_changes(minus)
        value, change = value - other, change - other_change
        images.append(minus.images[:, :PAPERS_K])
    shown = np.unique(np.concatenate([numbers.ravel() for numbers in images]))
    shown = shown[(shown >= 0) & (strongest.labels[shown] >= 0)]
    return jackknife(value, value + change[shown]) if len(shown) else NOTHING
