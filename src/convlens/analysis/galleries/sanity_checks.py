"""Controls of a gallery: other rules, no switches, other maps, randomized weights, and how much they change.

A deconvnet can draw recognisable images of anything (Nie, Zhang and Patel 2018), so each gallery is compared with them.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from convlens.analysis.galleries.gallery import Gallery
from convlens.analysis.galleries.selected_units import SelectedUnits, select_units
from convlens.analysis.galleries.sharpness import edge_coherence, gini
from convlens.analysis.galleries.similarity import similarity, spectra
from convlens.analysis.galleries.variants import OWN, ProjectionVariant
from convlens.deconv.project import ProjectOptions
from convlens.deconv.rules import Rule
from convlens.ops.randomize import randomize_weights
from convlens.ops.tensor_repr import summary
from convlens.stats.estimates import Estimate, mean_of

RANDOM, OTHER, CENTRE = "random_weights", "other_map", "centre"
RULES: tuple[Rule, ...] = ("deconvnet", "gradient", "guided")


def control_variants(
    net: nn.Module,
    rules: ProjectOptions,
    images: Float[Tensor, "n c h w"],
    maps: int | None,
    *,
    randomized: bool = True,
    pools: bool = False,
) -> list[ProjectionVariant]:
    """Return the controls: the same units by the other rules, without switches, other maps' units, random weights.

    Args:
        net: the network.
        rules: options of `convlens.project` of the gallery itself.
        images: images that set the batch norm statistics of the randomized network.
        maps: how many of a layer's maps have controls; None is all.
        randomized: whether units of a network with randomized weights are among them.
        pools: whether there is a max pooling. Without one there are no switches, nor if values go to the centres of its
            windows; and they are not all that a deconvnet uses of the image if its contrast normalization is followed
            back.
    """
    own = rules.get("rule", "deconvnet")
    variants = [
        ProjectionVariant(rule, net, ProjectOptions(**{**rules, "rule": rule, "lrn": None}), maps=maps)
        for rule in RULES
        if rule != own
    ]
    if pools and rules.get("unpool") != "centre" and (own != "deconvnet" or rules.get("lrn") != "adjoint"):
        options = ProjectOptions(**{**rules, "rule": "deconvnet", "lrn": None, "unpool": "centre"})
        variants.append(ProjectionVariant(CENTRE, net, options, maps=maps))
    # Units of other maps and of other weights may be zero here, so their signal is one.
    from_one = ProjectOptions(**{**rules, "signal": "one"})
    variants.append(ProjectionVariant(OTHER, net, from_one, other=True, maps=maps))
    if randomized:
        variants.append(ProjectionVariant(RANDOM, randomize_weights(net, images), from_one, maps=maps))
    return variants


@dataclass(frozen=True)
class Controls:
    """Statistics of one layer's projections and of their controls.

    Attributes:
        layer: name of the layer.
        maps: number of maps that are compared: those with at least two activations above zero.
        same_place: mean similarity of a projection to that of another map's unit at the same position.
        sparsity: mean Gini coefficient by rule.
        coherence: mean edge coherence by rule.
        sparsity_gain: Gini coefficient of the deconvnet less that of the gradient, over the same units.
        coherence_gain: edge coherence of the deconvnet less that of the gradient, over the same units.
    """

    layer: str
    maps: int
    same_place: Estimate
    sparsity: dict[str, Estimate]
    coherence: dict[str, Estimate]
    sparsity_gain: Estimate
    coherence_gain: Estimate

    __repr__ = summary


@dataclass(frozen=True)
class ComparedMaps:
    """The maps of a layer that have controls and at least two activations above zero.

    Attributes:
        in_controls: their rows in the controls' files.
        in_gallery: their rows in the gallery's own files.
        active: which of their activations are above zero.
    """

    in_controls: list[int]
    in_gallery: list[int]
    active: Bool[Tensor, "maps k"]


def compared_maps(selected: SelectedUnits, maps: int | None) -> ComparedMaps:
    """Return the maps of a layer that are compared; ``maps`` of those selected have controls, None is all."""
    rows = select_units(len(selected.maps), maps).tolist()
    active = selected.active[rows]
    kept = [index for index in range(len(rows)) if int(active[index].sum()) >= 2]
    return ComparedMaps(kept, [rows[index] for index in kept], active[kept])


def rows_by_rule(
    rule: Rule, variants: Mapping[str, ProjectionVariant], maps: ComparedMaps
) -> tuple[ProjectionVariant, list[int]]:
    """Return the variant of a rule and the rows of the compared maps in its files.

    The rule without a control of its own is the gallery's.
    """
    return (variants[rule], maps.in_controls) if rule in variants else (variants[OWN], maps.in_gallery)


def evaluate_controls(gallery: Gallery, selected: SelectedUnits) -> Controls | None:
    """Compare a layer's projections with their controls.

    Args:
        gallery: a finished gallery with the variants of `control_variants`.
        selected: one of its layers.

    Returns:
        The statistics; None if fewer than two maps have two activations above zero.
    """
    variants = {variant.name: variant for variant in gallery.variants}
    maps = compared_maps(selected, variants[OTHER].maps)
    if len(maps.in_controls) < 2:
        return None
    own, others = gallery.projections(selected, variants[OWN]), gallery.projections(selected, variants[OTHER])
    same_place = [
        similarity(*(spectra(torch.from_numpy(pictures)[active]) for pictures in (own[row], others[index])))
        for row, index, active in zip(maps.in_gallery, maps.in_controls, maps.active, strict=True)
    ]
    sparsity, coherence = _sharpness(gallery, selected, variants, maps)
    return Controls(
        selected.layer,
        len(maps.in_controls),
        same_place=mean_of(np.array([values.mean().item() for values in same_place])),
        sparsity={rule: mean_of(values) for rule, values in sparsity.items()},
        coherence={rule: mean_of(values) for rule, values in coherence.items()},
        sparsity_gain=mean_of(sparsity["deconvnet"] - sparsity["gradient"]),
        coherence_gain=mean_of(coherence["deconvnet"] - coherence["gradient"]),
    )


def _sharpness(
    gallery: Gallery, selected: SelectedUnits, variants: Mapping[str, ProjectionVariant], maps: ComparedMaps
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return each map's mean Gini coefficient and mean edge coherence by rule."""
    sparsity: dict[str, np.ndarray] = {}
    coherence: dict[str, np.ndarray] = {}
    for rule in RULES:
        variant, rows = rows_by_rule(rule, variants, maps)
        pictures = gallery.projections(selected, variant)
        values = []
        for row, active in zip(rows, maps.active, strict=True):
            shown = torch.from_numpy(pictures[row])[active]
            values.append([gini(shown).nanmean().item(), edge_coherence(shown).nanmean().item()])
        sparsity[rule], coherence[rule] = np.array(values).T
    return sparsity, coherence
