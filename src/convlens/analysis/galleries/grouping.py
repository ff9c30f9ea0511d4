"""Likeness of the strongest activations of single maps: their projections and their image patches (Fig 2)."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from convlens.analysis.galleries.similarity import auc, pairs_across, pairs_within, phase_randomized, spectra
from convlens.ops.tensor_repr import summary


@dataclass(frozen=True)
class Grouping:
    """How alike the pictures of one map are, a value for each map of a layer.

    Attributes:
        auc: area under the ROC curve of pairs of projections of the map against pairs with other maps, by similarity.
        null_auc: the same for projections of random phases; the power spectrum alone gives ``auc`` this value.
        projections: mean similarity of two projections of the map.
        patches: mean similarity of two of its image patches.
    """

    auc: Float[np.ndarray, " maps"]
    null_auc: Float[np.ndarray, " maps"]
    projections: Float[np.ndarray, " maps"]
    patches: Float[np.ndarray, " maps"]

    __repr__ = summary


GROUPING_FIELDS = tuple(field.name for field in fields(Grouping))


def measure_grouping(
    projections: Sequence[Float[Tensor, "n c h w"]], patches: Sequence[Float[Tensor, "n c h w"]], seed: int = 0
) -> Grouping:
    """Compare the pictures of each map with each other and with those of other maps.

    Args:
        projections: projections of each map; at least two maps of at least two projections.
        patches: image patches of each map as pixel values; their own mean is subtracted, since that of projections is
            near zero.
        seed: seed of the random phases.
    """
    own = [spectra(pictures) for pictures in projections]
    within = [pairs_within(spectrum).numpy() for spectrum in own]
    generator = torch.Generator().manual_seed(seed)
    null = [phase_randomized(spectrum, generator) for spectrum in own]
    null_within = [pairs_within(spectrum).numpy() for spectrum in null]
    centred = (pictures - pictures.mean((1, 2, 3), keepdim=True) for pictures in patches)
    return Grouping(
        np.array([auc(pairs, pairs_across(own, number).numpy()) for number, pairs in enumerate(within)]),
        np.array([auc(pairs, pairs_across(null, number).numpy()) for number, pairs in enumerate(null_within)]),
        np.array([pairs.mean() for pairs in within], float),
        np.array([pairs_within(spectra(pictures)).mean().item() for pictures in centred]),
    )
