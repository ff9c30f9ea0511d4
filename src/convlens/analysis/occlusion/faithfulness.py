"""Faithfulness of projections: agreement of a map's projection with its occlusion sensitivity (claims 1, 2, 3, 18)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torchmetrics.functional import pearson_corrcoef, spearman_corrcoef

from convlens.analysis.galleries.sharpness import edge_coherence, gini
from convlens.analysis.occlusion.localization import box_sums
from convlens.analysis.occlusion.occlude import OcclusionMaps
from convlens.deconv import project
from convlens.deconv.rules import Rule
from convlens.ops.layer_access import evaluating, like_parameters
from convlens.ops.tensor_repr import summary
from convlens.stats.claims import Claim, claim
from convlens.stats.estimates import Estimate, mean_of
from convlens.stats.verdicts import paired_control

RULES: tuple[Rule, ...] = ("deconvnet", "gradient", "guided")
OTHER, EDGES = "another map", "edges of the image"
"""Names of the controls: the projection of another map, and the gradient of the image's brightness."""
FAITHFULNESS_MARGIN = 0.05
"""How much lower the correlation of the deconvnet may be than the gradient's where claim 3 is supported."""


@dataclass(frozen=True)
class Faithfulness:
    """Energies of projections as predictors of the occluder positions that decrease a map's activation, in one image.

    Attributes:
        correlation: Spearman's rank correlation, over the occluder's positions, of the energy inside the occluder and
            the relative drop of the map's activation; by the name of the energy: a rule of the backward pass,
            ``another map`` or ``edges of the image``.
        drop_contrast: relative drop of the activation, mean over the tenth of positions with the most energy minus mean
            over the half with the least; by the same names.
        agreement: Pearson's correlation of activation and target probability over the positions (Fig 7 b and d; the
            paper's examples have +0.66, -0.39 and -0.19); NaN without a target.
        sparsity: Gini coefficient of the projection by each rule; empty if projections were not given.
        coherence: edge coherence of the projection by each rule.
    """

    correlation: dict[str, float]
    drop_contrast: dict[str, float]
    agreement: float
    sparsity: dict[str, float] = field(default_factory=dict)
    coherence: dict[str, float] = field(default_factory=dict)

    __repr__ = summary


def peak_unit(net: nn.Module, image: Float[Tensor, "c h w"], layer: str, map: int) -> tuple[int, ...]:
    """Return the map's unit with the greatest activation, (0, map, row, column), or (0, map) of a vector."""
    outputs: list[Tensor] = []
    handle = net.get_submodule(layer).register_forward_hook(lambda *call: outputs.append(call[2].detach().clone()))
    try:
        with torch.no_grad(), evaluating(net):
            net(like_parameters(net, image[None].clone()))
    finally:
        handle.remove()
    if outputs[0].dim() == 2:
        return 0, map
    return 0, map, *divmod(int(outputs[0][0, map].argmax()), outputs[0].shape[-1])


def map_projections(
    net: nn.Module, image: Float[Tensor, "c h w"], layer: str, map: int, other_map: int
) -> dict[str, Float[Tensor, "c h w"]]:
    """Return a map's projection by each rule, and that of another map.

    Args:
        net: the network.
        image: the image as network input.
        layer: name of the layer.
        map: index of the map, which is projected from its unit with the greatest activation.
        other_map: index of the control's map, projected from the same position.
    """
    image = like_parameters(net, image)
    unit = peak_unit(net, image, layer, map)
    projections: dict[str, Tensor] = {rule: project(net, image[None], layer, [unit], rule=rule)[0] for rule in RULES}
    projections[OTHER] = project(net, image[None], layer, [(0, other_map, *unit[2:])], seed="one")[0]
    return projections


def projection_energies(
    projections: Mapping[str, Float[Tensor, "c h w"]], image: Float[Tensor, "c h w"]
) -> dict[str, Float[Tensor, "h w"]]:
    """Return energies (absolute values summed over channels) of projections, and of the image's edges."""
    energies = {name: projection.abs().sum(0) for name, projection in projections.items()}
    brightness = image.mean(0)
    vertical, horizontal = brightness.diff(dim=0).abs(), brightness.diff(dim=1).abs()
    energies[EDGES] = nn.functional.pad(vertical, (0, 0, 0, 1)) + nn.functional.pad(horizontal, (0, 1))
    return energies


def faithfulness(
    maps: OcclusionMaps,
    energies: Mapping[str, Float[Tensor, "h w"]],
    projections: Mapping[str, Float[Tensor, "c h w"]] | None = None,
) -> Faithfulness | None:
    """Compare the map of activations with energies; None if the activation is zero or the same at all positions.

    Args:
        maps: occlusion maps with a layer's activation.
        energies: by name, what is summed inside the occluder.
        projections: by rule, whose sharpness is measured; None for none.
    """
    if maps.activation is None or not maps.clean_activation:
        return None
    drop = (1 - maps.activation.double().cpu() / maps.clean_activation).flatten()
    if drop.std() == 0:
        return None
    inside = {name: box_sums(energy, maps.tops, maps.lefts, maps.size).flatten() for name, energy in energies.items()}
    agreement = float("nan")
    if maps.probability is not None:
        agreement = float(pearson_corrcoef(maps.activation.double().flatten(), maps.probability.double().flatten()))
    return Faithfulness(
        {name: float(spearman_corrcoef(energy, drop)) for name, energy in inside.items()},
        {name: _drop_contrast(energy, drop) for name, energy in inside.items()},
        agreement,
        {rule: float(gini(own[None])) for rule, own in (projections or {}).items() if rule in RULES},
        {rule: float(edge_coherence(own[None])) for rule, own in (projections or {}).items() if rule in RULES},
    )


def _drop_contrast(energy: Float[Tensor, " n"], drop: Float[Tensor, " n"]) -> float:
    """Return the mean drop at the tenth of positions with the most energy minus that at the half with the least."""
    order = energy.argsort(descending=True)
    return float(drop[order[: max(1, len(order) // 10)]].mean() - drop[order[len(order) // 2 :]].mean())


Measured = Sequence[Faithfulness | None]
"""Of each image; None where its map's activation is zero or never changes."""


def faithfulness_claims(images: Measured, about: str, control: Measured | None = None) -> list[Claim]:
    """Decide claims 1, 2, 3 and 18; the units are the images.

    Args:
        images: of each image.
        about: name of the layer.
        control: of the same images, by a network with randomized weights; None for none.
    """
    found = [image for image in images if image]
    if not found:
        return []
    claims = [_projection_claim(images, about, control), _drop_claim(images, about, control)]
    if found[0].coherence:
        claims.append(_sharpness_claim(images, about))
    agreements = _values(images, lambda image: image.agreement)
    return [*claims, _agreement_claim(agreements, about)] if np.isfinite(agreements).any() else claims


def _values(images: Measured, value: Callable[[Faithfulness], float]) -> Float[np.ndarray, " n"]:
    """Return a value of each image; NaN where nothing was measured."""
    return np.array([np.nan if image is None else value(image) for image in images])


def _projection_claim(images: Measured, about: str, control: Measured | None) -> Claim:
    """Decide claim 1: the projection's energy predicts the drop better than another map's and the image's edges."""

    def gain(image: Faithfulness, other: str = OTHER) -> float:
        return image.correlation["deconvnet"] - image.correlation[other]

    own = _values(images, gain)
    edges = mean_of(_values(images, lambda image: gain(image, EDGES)))
    return claim(
        1,
        mean_of(own),
        about=about,
        required=[(edges, 0.0)],
        control=paired_control(own, None if control is None else _values(control, gain)),
        details={"minus the image's edges": str(edges)} | _means(images, "correlation", lambda one: one.correlation),
    )


def _drop_claim(images: Measured, about: str, control: Measured | None) -> Claim:
    """Decide claim 2: the activation drops where the projection is strong."""

    def gain(image: Faithfulness) -> float:
        return image.drop_contrast["deconvnet"] - image.drop_contrast[OTHER]

    own = _values(images, gain)
    drop = mean_of(_values(images, lambda image: image.drop_contrast["deconvnet"]))
    return claim(
        2,
        mean_of(own),
        about=about,
        required=[(drop, 0.0)],
        control=paired_control(own, None if control is None else _values(control, gain)),
        details=_means(images, "drop", lambda one: one.drop_contrast),
    )


def _sharpness_claim(images: Measured, about: str) -> Claim:
    """Decide claim 3: the deconvnet is clearer than the gradient, and no less faithful."""

    def gain(values: Callable[[Faithfulness], Mapping[str, float]]) -> Estimate:
        return mean_of(_values(images, lambda one: values(one)["deconvnet"] - values(one)["gradient"]))

    coherence, sparsity = gain(lambda one: one.coherence), gain(lambda one: one.sparsity)
    faithful = gain(lambda one: one.correlation)
    return claim(
        3,
        coherence,
        about=about,
        required=[(sparsity, 0.0), (faithful, -FAITHFULNESS_MARGIN)],
        details={"sparsity, difference": str(sparsity), "faithfulness, difference": str(faithful)}
        | _means(images, "edge coherence", lambda one: one.coherence)
        | _means(images, "sparsity", lambda one: one.sparsity)
        | _means(images, "faithfulness", lambda one: {rule: one.correlation[rule] for rule in RULES}),
    )


def _agreement_claim(agreements: Float[np.ndarray, " n"], about: str) -> Claim:
    """Decide claim 18: the strongest map and the class are sensitive to different positions."""
    below = 100 * (agreements[np.isfinite(agreements)] < 0).mean()
    return claim(
        18,
        mean_of(1 - agreements),
        about=about,
        paper="0.34, 1.39 and 1.19 (three images)",
        details={"images where the correlation is below 0": f"{below:.0f} %"},
    )


def _means(images: Measured, what: str, values: Callable[[Faithfulness], Mapping[str, float]]) -> dict[str, str]:
    """Return the means over images of values by name, as text."""
    names = next(values(image) for image in images if image)

    def mean(name: str) -> Estimate:
        return mean_of(_values(images, lambda image: values(image)[name]))

    return {f"{what}, {name}": str(mean(name)) for name in names}
