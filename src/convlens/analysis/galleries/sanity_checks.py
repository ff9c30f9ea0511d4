"""Controls beside every gallery: deconvnets can draw recognisable images of anything (Nie, Zhang and Patel 2018)."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from convlens.analysis.galleries.gallery import OWN, Gallery, ProjectionVariant
from convlens.analysis.galleries.selected_units import SelectedUnits
from convlens.analysis.galleries.sharpness import edge_coherence, gini
from convlens.analysis.galleries.similarity import auc_table, pairs_across, pairs_within, similarity, spectra
from convlens.ops.layer_access import evaluating, like_parameters
from convlens.stats.claims import Claim, Estimate, bootstrap, mean_of, verdict

RANDOM, OTHER = "random_weights", "other_map"
RULES = ("deconvnet", "gradient", "guided")


def control_variants(
    net: nn.Module, rules: dict[str, Any], images: Tensor, maps: int | None
) -> list[ProjectionVariant]:
    """The same units by the other rules, under random weights, and other maps' units at their places.

    Args:
        net: the network.
        rules: options of ``project`` of the gallery itself.
        images: some of the data set, which set the statistics of a random network's normalisations.
        maps: how many of a layer's maps are controlled; None is all.
    """
    own = rules.get("rule", "deconvnet")
    views = [
        ProjectionVariant(rule, net, {**rules, "rule": rule, "lrn": None}, maps=maps) for rule in RULES if rule != own
    ]
    # Units of other maps, and of other weights, need not be above zero here: they are seeded with one.
    views.append(ProjectionVariant(OTHER, net, {**rules, "seed": "one"}, other=True, maps=maps))
    views.append(ProjectionVariant(RANDOM, randomize_weights(net, images), {**rules, "seed": "one"}, maps=maps))
    return views


def randomize_weights(net: nn.Module, images: Tensor, seed: int = 0) -> nn.Module:
    """A copy of the network whose weights are its own in random order, so that nothing learned is left but their size.

    Batch norms get the statistics of ``images``.
    """
    other = copy.deepcopy(net)
    generator = torch.Generator().manual_seed(seed)
    norms = [module for module in other.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    with torch.no_grad():
        for parameter in other.parameters():
            if parameter.dim() > 1:
                order = torch.randperm(parameter.numel(), generator=generator).to(parameter.device)
                parameter.copy_(parameter.flatten()[order].view_as(parameter))
        if norms:
            with evaluating(other):
                for norm in norms:
                    norm.reset_running_stats()
                    norm.momentum = None  # the mean over all that is seen
                    norm.train()
                # Of one image the last layers may have a single value, of which there is no spread.
                images = images if len(images) > 1 else torch.cat([images, images])
                other(like_parameters(other, images).clone())
    return other.eval()


@dataclass(frozen=True)
class Controls:
    """What the controls say of one layer.

    Attributes:
        layer: its name.
        maps: how many maps were compared: those with at least two activations above zero.
        grouping: area under the ROC curve of telling two projections of one map from two of different maps (claim 5).
        grouping_random: the same under random weights.
        grouping_gain: the first less the second, over the same maps.
        patches: the same of the image patches.
        same_place: mean likeness of a projection to that of another map's unit at the same place.
        within: mean likeness of two projections of one map.
        sparsity: mean Gini coefficient by rule.
        coherence: mean edge coherence by rule.
        sparsity_gain: deconvnet less gradient, over the same units (claim 3).
        coherence_gain: the same of the edge coherence.
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

    @property
    def claim_5(self) -> str:
        """A map's projections are of one kind: more alike than those of different maps."""
        return verdict(self.grouping.against(0.5))

    @property
    def claim_5_learned(self) -> str:
        """And more so than under random weights."""
        return verdict(self.grouping.against(0.5), self.grouping_gain.against(0))

    @property
    def claim_3(self) -> str:
        """The deconvnet's pictures are clearer than the gradient's: sparser, with more coherent edges."""
        return verdict(self.sparsity_gain.against(0), self.coherence_gain.against(0))

    def claims(self) -> list[Claim]:
        """Both claims for the board of all."""
        random = {"random weights": str(self.grouping_random), "patches": str(self.patches)}
        guided = {f"{rule}, edge coherence": str(value) for rule, value in self.coherence.items()}
        return [
            Claim(5, self.layer, "AUC of pairs within and across maps, against 0.5", self.grouping, self.claim_5,
                  controls=random),
            Claim(3, self.layer, "edge coherence (and sparsity), deconvnet less gradient, against 0",
                  self.coherence_gain, self.claim_3, controls=guided),
        ]  # fmt: skip


def evaluate_controls(gallery: Gallery, chosen: SelectedUnits) -> Controls | None:
    """The statistics of one layer; None where fewer than two maps have two activations above zero."""
    views = {view.name: view for view in gallery.views}
    rows = views[RANDOM].rows(chosen)
    alive = chosen.alive[rows]
    kept = [i for i in range(len(rows)) if int(alive[i].sum()) >= 2]
    if len(kept) < 2:
        return None
    tables, within = {}, np.zeros(0)
    own = _spectra(gallery.pictures(chosen, views[OWN]), [rows[i] for i in kept], alive[kept])
    for name, found in (
        (OWN, own),
        (RANDOM, _spectra(gallery.pictures(chosen, views[RANDOM]), kept, alive[kept])),
        ("patches", _spectra(_Centred(gallery.patches(chosen)), [rows[i] for i in kept], alive[kept])),
    ):
        inside = [pairs_within(spectrum).numpy() for spectrum in found]
        across = [pairs_across(s, found[(i + 1) % len(found)]).numpy() for i, s in enumerate(found)]
        tables[name] = auc_table(inside, across)
        if name == OWN:
            within = np.array([pairs.mean() for pairs in inside])
    others = _spectra(gallery.pictures(chosen, views[OTHER]), kept, alive[kept])
    same_place = np.array([similarity(a, b).mean().item() for a, b in zip(own, others, strict=True)])
    sparsity, coherence = _clarity(gallery, chosen, views, rows, kept, alive)
    count = len(kept)
    return Controls(
        chosen.layer,
        count,
        _auc(tables[OWN]),
        _auc(tables[RANDOM]),
        bootstrap(count, lambda r: float((tables[OWN] - tables[RANDOM])[np.ix_(r, r)].mean())),
        _auc(tables["patches"]),
        mean_of(same_place),
        mean_of(within),
        {rule: _mean(values) for rule, values in sparsity.items()},
        {rule: _mean(values) for rule, values in coherence.items()},
        _mean(sparsity["deconvnet"] - sparsity["gradient"]),
        _mean(coherence["deconvnet"] - coherence["gradient"]),
    )


class _Centred:
    """Patches about their own mean, as projections are about zero."""

    def __init__(self, patches: Any) -> None:
        self.patches = patches

    def __getitem__(self, row: int) -> np.ndarray:
        pixels = self.patches[row].astype(np.float32)
        return pixels - pixels.mean((1, 2, 3), keepdims=True)


def _spectra(pictures: Any, rows: Sequence[int], alive: Tensor) -> list[Tensor]:
    return [spectra(torch.from_numpy(np.array(pictures[row]))[shown]) for row, shown in zip(rows, alive, strict=True)]


def _mean(values: np.ndarray) -> Estimate:
    """Over the maps that have a picture: where nothing comes down by a rule, there is nothing to compare."""
    known = values[np.isfinite(values)]
    return mean_of(known) if len(known) else Estimate(np.nan, np.nan, np.nan, 0)


def _auc(table: np.ndarray) -> Estimate:
    return bootstrap(len(table), lambda rows: float(table[np.ix_(rows, rows)].mean()))


def _clarity(
    gallery: Gallery,
    chosen: SelectedUnits,
    views: dict[str, ProjectionVariant],
    rows: list[int],
    kept: list[int],
    alive: Tensor,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Mean Gini coefficient and edge coherence of each map's projections, by rule."""
    sparsity, coherence = {}, {}
    for rule in RULES:
        own = rule not in views
        pictures = gallery.pictures(chosen, views[OWN if own else rule])
        both = []
        for i in kept:
            shown = torch.from_numpy(pictures[rows[i] if own else i])[alive[i]]
            both.append([gini(shown).nanmean().item(), edge_coherence(shown).nanmean().item()])
        sparsity[rule], coherence[rule] = np.array(both).T
    return sparsity, coherence
