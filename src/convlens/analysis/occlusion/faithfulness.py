"""Faithfulness of projections: agreement of a map's projection with its occlusion sensitivity (claims 1, 2 and 18)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torchmetrics.functional import pearson_corrcoef, spearman_corrcoef

from convlens.analysis.occlusion.localization import box_sums
from convlens.analysis.occlusion.occlude import OcclusionMaps
from convlens.deconv import project
from convlens.deconv.rules import Rule
from convlens.ops.layer_access import evaluating, like_parameters
from convlens.ops.tensor_repr import summary
from convlens.stats.claims import Claim, mean_of, verdict

RULES: tuple[Rule, ...] = ("deconvnet", "gradient", "guided")
OTHER, EDGES = "another map", "edges of the image"
"""Names of the controls: the projection of another map, and the gradient of the image's brightness."""
SAME_AGREEMENT = 0.1
"""Two occlusion maps whose correlation is at least 1 - 0.1 are sensitive to the same positions; the paper gives no
level."""


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
    """

    correlation: dict[str, float]
    drop_contrast: dict[str, float]
    agreement: float

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


def projection_energies(
    net: nn.Module, image: Float[Tensor, "c h w"], layer: str, map: int, other_map: int
) -> dict[str, Float[Tensor, "h w"]]:
    """Return energies (absolute values summed over channels) of a map's projection by each rule, and of the controls.

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
    energies = {name: projection.abs().sum(0) for name, projection in projections.items()}
    brightness = image.mean(0)
    vertical, horizontal = brightness.diff(dim=0).abs(), brightness.diff(dim=1).abs()
    energies[EDGES] = nn.functional.pad(vertical, (0, 0, 0, 1)) + nn.functional.pad(horizontal, (0, 1))
    return energies


def faithfulness(maps: OcclusionMaps, energies: Mapping[str, Float[Tensor, "h w"]]) -> Faithfulness | None:
    """Compare the map of activations with energies; None if the activation is zero or the same at all positions."""
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
    )


def _drop_contrast(energy: Float[Tensor, " n"], drop: Float[Tensor, " n"]) -> float:
    """Return the mean drop at the tenth of positions with the most energy minus that at the half with the least."""
    order = energy.argsort(descending=True)
    return float(drop[order[: max(1, len(order) // 10)]].mean() - drop[order[len(order) // 2 :]].mean())


def faithfulness_claims(images: Sequence[Faithfulness], about: str) -> list[Claim]:
    """Decide claims 1, 2 and 18 over several images."""
    claims = [_projection_claim(images, about), _drop_claim(images, about)]
    agreements = np.array([image.agreement for image in images if np.isfinite(image.agreement)])
    return [*claims, _agreement_claim(agreements, about)] if len(agreements) else claims


def _projection_claim(images: Sequence[Faithfulness], about: str) -> Claim:
    """Decide claim 1: the projection's energy predicts the drop better than the controls."""
    correlations = {name: np.array([image.correlation[name] for image in images]) for name in images[0].correlation}
    gains = {name: mean_of(correlations["deconvnet"] - correlations[name]) for name in (OTHER, EDGES)}
    statistic = (
        "rank correlation of the projection's energy under the occluder and the drop of the map's activation, minus "
        "that for another map's projection and for the image's edges, against 0"
    )
    controls = {f"correlation, {name}": str(mean_of(values)) for name, values in correlations.items()}
    outcome = verdict(*(gain.against(0) for gain in gains.values()))
    return Claim(1, about, statistic, gains[OTHER], outcome, controls=controls)


def _drop_claim(images: Sequence[Faithfulness], about: str) -> Claim:
    """Decide claim 2: the activation drops where the projection is strong."""
    contrasts = {name: np.array([image.drop_contrast[name] for image in images]) for name in images[0].drop_contrast}
    own = mean_of(contrasts["deconvnet"])
    gain = mean_of(contrasts["deconvnet"] - contrasts[OTHER])
    statistic = (
        "relative drop of the activation at the tenth of positions with the strongest projection, minus that at the "
        "weakest half, against 0 and against the same for another map's projection"
    )
    controls = {f"minus {OTHER}'s": str(gain)} | {name: str(mean_of(values)) for name, values in contrasts.items()}
    return Claim(2, about, statistic, own, verdict(own.against(0), gain.against(0)), controls=controls)


def _agreement_claim(agreements: Float[np.ndarray, " n"], about: str) -> Claim:
    """Decide claim 18: the strongest map and the class are sensitive to different positions."""
    difference = mean_of(1 - agreements)
    statistic = (
        "1 minus the correlation of the maps of activation and probability, against 0.1 (that is, a correlation of 0.9)"
    )
    controls = {"images where the correlation is below 0": f"{100 * (agreements < 0).mean():.0f} %"}
    outcome = verdict(difference.against(SAME_AGREEMENT))
    paper = "0.34, 1.39 and 1.19 (three images)"
    return Claim(18, about, statistic, difference, outcome, paper=paper, controls=controls)
