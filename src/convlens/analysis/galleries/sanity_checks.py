"""Controls of a gallery: other rules, other maps, randomized weights, and the claims that they decide.

A deconvnet can draw recognisable images of anything (Nie, Zhang and Patel 2018), so each gallery is compared with them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from convlens.analysis.galleries.array_store import Patches
from convlens.analysis.galleries.gallery import Gallery
from convlens.analysis.galleries.selected_units import SelectedUnits
from convlens.analysis.galleries.sharpness import edge_coherence, gini
from convlens.analysis.galleries.similarity import auc_table, pairs_across, pairs_within, similarity, spectra
from convlens.analysis.galleries.variants import OWN, ProjectionVariant
from convlens.deconv.project import ProjectOptions
from convlens.deconv.rules import Rule
from convlens.ops.randomize import randomize_weights
from convlens.ops.tensor_repr import summary
from convlens.stats.claims import Claim, claim
from convlens.stats.estimates import Estimate, mean_of, statistic_of
from convlens.stats.verdicts import Control

RANDOM, OTHER = "random_weights", "other_map"
RULES: tuple[Rule, ...] = ("deconvnet", "gradient", "guided")


@runtime_checkable
class _PicturesByMap(Protocol):
    def __getitem__(self, row: int, /) -> Float[np.ndarray, "k c h w"]: ...


def control_variants(
    net: nn.Module, rules: ProjectOptions, images: Float[Tensor, "n c h w"], maps: int | None
) -> list[ProjectionVariant]:
    """Return the controls: the same units by the other rules, other maps' units, and units of a randomized network.

    Args:
        net: the network.
        rules: options of `convlens.project` of the gallery itself.
        images: images that set the batch norm statistics of the randomized network.
        maps: how many of a layer's maps have controls; None is all.
    """
    own = rules.get("rule", "deconvnet")
    variants = [
        ProjectionVariant(rule, net, ProjectOptions(**{**rules, "rule": rule, "lrn": None}), maps=maps)
        for rule in RULES
        if rule != own
    ]
    # Units of other maps and of other weights may be zero here, so their signal is one.
    from_one = ProjectOptions(**{**rules, "signal": "one"})
    variants.append(ProjectionVariant(OTHER, net, from_one, other=True, maps=maps))
    variants.append(ProjectionVariant(RANDOM, randomize_weights(net, images), from_one, maps=maps))
    return variants


@dataclass(frozen=True)
class Controls:
    """Statistics of one layer's projections and of their controls.

    Attributes:
        layer: name of the layer.
        maps: number of maps that are compared: those with at least two activations above zero.
        grouping: area under the ROC curve of pairs of projections of one map against pairs of different maps, by
            their similarity (claim 5).
        grouping_random: the same with randomized weights.
        grouping_gain: ``grouping`` less ``grouping_random``, over the same maps.
        patches: the same area for the image patches.
        same_place: mean similarity of a projection to that of another map's unit at the same position.
        within: mean similarity of two projections of one map.
        sparsity: mean Gini coefficient by rule.
        coherence: mean edge coherence by rule.
        sparsity_gain: Gini coefficient of the deconvnet less that of the gradient, over the same units (claim 3).
        coherence_gain: edge coherence of the deconvnet less that of the gradient, over the same units (claim 3).
    """

    layer: str
    maps: int
    grouping: Estimate
    grouping_random: Estimate
    grouping_gain: Estimate
    patches: Estimate
    same_place: Estimate
    within: Estimate
    sparsity: dict[str, Estimate]
    coherence: dict[str, Estimate]
    sparsity_gain: Estimate
    coherence_gain: Estimate

    __repr__ = summary

    def claims(self) -> list[Claim]:
        """Return claim 5 of the paper."""
        return [
            claim(
                5,
                self.grouping,
                about=self.layer,
                control=Control(self.grouping_random, self.grouping_gain),
                details={"patches": str(self.patches)},
            )
        ]


@dataclass(frozen=True)
class _ComparedMaps:
    """The maps of a layer that have controls and at least two activations above zero.

    Attributes:
        in_controls: their rows in the controls' files.
        in_gallery: their rows in the gallery's own files.
        active: which of their activations are above zero.
    """

    in_controls: list[int]
    in_gallery: list[int]
    active: Bool[Tensor, "maps k"]


def evaluate_controls(gallery: Gallery, selected: SelectedUnits) -> Controls | None:
    """Compare a layer's projections with their controls.

    Args:
        gallery: a finished gallery with the variants of `control_variants`.
        selected: one of its layers.

    Returns:
        The statistics; None if fewer than two maps have two activations above zero.
    """
    variants = {variant.name: variant for variant in gallery.variants}
    maps = _compared_maps(variants[RANDOM], selected)
    if len(maps.in_controls) < 2:
        return None
    own = _map_spectra(gallery.projections(selected, variants[OWN]), maps.in_gallery, maps.active)
    random = _map_spectra(gallery.projections(selected, variants[RANDOM]), maps.in_controls, maps.active)
    patches = _map_spectra(_CentredPatches(gallery.patches(selected)), maps.in_gallery, maps.active)
    others = _map_spectra(gallery.projections(selected, variants[OTHER]), maps.in_controls, maps.active)
    table, random_table = _grouping_table(own), _grouping_table(random)
    sparsity, coherence = _sharpness(gallery, selected, variants, maps)
    return Controls(
        selected.layer,
        len(own),
        grouping=_auc(table),
        grouping_random=_auc(random_table),
        grouping_gain=_auc(table - random_table),
        patches=_auc(_grouping_table(patches)),
        same_place=mean_of(np.array([similarity(a, b).mean().item() for a, b in zip(own, others, strict=True)])),
        within=mean_of(np.array([pairs_within(spectrum).numpy().mean() for spectrum in own])),
        sparsity={rule: _mean(values) for rule, values in sparsity.items()},
        coherence={rule: _mean(values) for rule, values in coherence.items()},
        sparsity_gain=_mean(sparsity["deconvnet"] - sparsity["gradient"]),
        coherence_gain=_mean(coherence["deconvnet"] - coherence["gradient"]),
    )


def _compared_maps(control: ProjectionVariant, selected: SelectedUnits) -> _ComparedMaps:
    rows = control.rows(selected)
    active = selected.active[rows]
    kept = [index for index in range(len(rows)) if int(active[index].sum()) >= 2]
    return _ComparedMaps(kept, [rows[index] for index in kept], active[kept])


class _CentredPatches:
    """Patches less their own mean, since projections have a mean near zero."""

    def __init__(self, patches: Patches) -> None:
        self.patches = patches

    def __getitem__(self, row: int) -> Float[np.ndarray, "k 3 h w"]:
        pixels = self.patches[row].astype(np.float32)
        return pixels - pixels.mean((1, 2, 3), keepdims=True)


def _map_spectra(pictures: _PicturesByMap, rows: Sequence[int], active: Bool[Tensor, "maps k"]) -> list[Tensor]:
    """Return the spectra of each map's pictures, of activations above zero only."""
    return [spectra(torch.from_numpy(np.array(pictures[row]))[shown]) for row, shown in zip(rows, active, strict=True)]


def _grouping_table(maps: list[Tensor]) -> Float[np.ndarray, "maps maps"]:
    """Return `auc_table` of pairs within each map against pairs with the next map."""
    within = [pairs_within(spectrum).numpy() for spectrum in maps]
    across = [pairs_across(spectrum, maps[(i + 1) % len(maps)]).numpy() for i, spectrum in enumerate(maps)]
    return auc_table(within, across)


def _auc(table: Float[np.ndarray, "maps maps"]) -> Estimate:
    """Return the mean of a table with its interval over maps."""
    return statistic_of(len(table), lambda rows: float(table[np.ix_(rows, rows)].mean()))


def _mean(values: Float[np.ndarray, " maps"]) -> Estimate:
    """Return the mean over the maps that have a value: a projection of zeros has none."""
    finite = values[np.isfinite(values)]
    return mean_of(finite)


def _sharpness(
    gallery: Gallery, selected: SelectedUnits, variants: Mapping[str, ProjectionVariant], maps: _ComparedMaps
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return each map's mean Gini coefficient and mean edge coherence by rule."""
    sparsity: dict[str, np.ndarray] = {}
    coherence: dict[str, np.ndarray] = {}
    for rule in RULES:
        # The rule without a control of its own is the gallery's.
        variant, rows = (variants[rule], maps.in_controls) if rule in variants else (variants[OWN], maps.in_gallery)
        pictures = gallery.projections(selected, variant)
        values = []
        for row, active in zip(rows, maps.active, strict=True):
            shown = torch.from_numpy(pictures[row])[active]
            values.append([gini(shown).nanmean().item(), edge_coherence(shown).nanmean().item()])
        sparsity[rule], coherence[rule] = np.array(values).T
    return sparsity, coherence
