"""Do projections show what excites a map: does covering what they show cut its activity (claims 1, 2 and 18)?"""

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
from convlens.stats.claims import Claim, mean_of, verdict

RULES: tuple[Rule, ...] = ("deconvnet", "gradient", "guided")
ALIKE = 0.1
"""Two maps whose correlation is at least 0.9 are sensitive to the same places; the paper gives no level."""
OTHER, EDGES = "another map", "edges of the image"


@dataclass(frozen=True)
class Faithfulness:
    """What covering an image says of a map's projection.

    Attributes:
        correlation: Spearman's, over the places of the square, of the energy of a picture inside of the square and the
            drop of the map's activity: by rule of the way down, for another map's projection, and for the edges of the
            image (the gradient of its brightness).
        cuts: relative drop of the activity, mean over the tenth of the places where a picture is strongest, less that
            over the half where it is weakest; by the same names.
        agreement: Pearson's correlation of the activity and the target's probability (paper: +0.66, -0.39, -0.19);
            NaN without a target.
    """

    correlation: dict[str, float]
    cuts: dict[str, float]
    agreement: float


def peak_unit(net: nn.Module, image: Float[Tensor, "c h w"], layer: str, number: int) -> tuple[int, ...]:
    """The strongest unit of a map, as ``project`` wants it, of image 0."""
    kept: list[Tensor] = []
    handle = net.get_submodule(layer).register_forward_hook(lambda *call: kept.append(call[2].detach().clone()))
    try:
        with torch.no_grad(), evaluating(net):
            net(like_parameters(net, image[None].clone()))
    finally:
        handle.remove()
    if kept[0].dim() == 2:
        return 0, number
    place = int(kept[0][0, number].argmax())
    return 0, number, *divmod(place, kept[0].shape[-1])


def pictures(
    net: nn.Module, image: Float[Tensor, "c h w"], layer: str, number: int, other: int
) -> dict[str, Float[Tensor, "h w"]]:
    """Energies (summed absolute values) of the map's projection by each rule, and of the controls."""
    image = like_parameters(net, image)
    unit = peak_unit(net, image, layer, number)
    found: dict[str, Tensor] = {str(rule): project(net, image[None], layer, [unit], rule=rule)[0] for rule in RULES}
    found[OTHER] = project(net, image[None], layer, [(0, other, *unit[2:])], seed="one")[0]
    energies = {name: picture.abs().sum(0) for name, picture in found.items()}
    brightness = image.mean(0)
    down, right = brightness.diff(dim=0).abs(), brightness.diff(dim=1).abs()
    energies[EDGES] = nn.functional.pad(down, (0, 0, 0, 1)) + nn.functional.pad(right, (0, 1))
    return energies


def faithfulness(maps: OcclusionMaps, energies: Mapping[str, Float[Tensor, "h w"]]) -> Faithfulness | None:
    """Compares maps of the activity with pictures' energies; None where the activity is zero or never changes."""
    if maps.activation is None or not maps.clean_activation:
        return None
    drop = (1 - maps.activation.double().cpu() / maps.clean_activation).flatten()
    if drop.std() == 0:
        return None
    inside = {name: box_sums(e, maps.tops, maps.lefts, maps.size).flatten() for name, e in energies.items()}
    agreement = float("nan")
    if maps.probability is not None:
        agreement = float(pearson_corrcoef(maps.activation.double().flatten(), maps.probability.double().flatten()))
    return Faithfulness(
        {name: float(spearman_corrcoef(energy, drop)) for name, energy in inside.items()},
        {name: _cut(energy, drop) for name, energy in inside.items()},
        agreement,
    )


def _cut(energy: Tensor, drop: Tensor) -> float:
    order = energy.argsort(descending=True)
    return float(drop[order[: max(1, len(order) // 10)]].mean() - drop[order[len(order) // 2 :]].mean())


def faithfulness_claims(found: Sequence[Faithfulness], about: str) -> list[Claim]:
    """Claims 1, 2 and 18 over several images."""
    by_name = {name: np.array([item.correlation[name] for item in found]) for name in found[0].correlation}
    own = by_name["deconvnet"]
    gains = {name: mean_of(own - by_name[name]) for name in (OTHER, EDGES)}
    cuts = {name: np.array([item.cuts[name] for item in found]) for name in found[0].cuts}
    cut, beyond = mean_of(cuts["deconvnet"]), mean_of(cuts["deconvnet"] - cuts[OTHER])
    claims = [
        Claim(
            1, about, "rank correlation of the projection's energy under the square and the drop of the map's "
            "activity, less that of another map's projection and of the image's edges, against 0",
            gains[OTHER], verdict(*(gain.against(0) for gain in gains.values())),
            controls={f"correlation, {name}": str(mean_of(values)) for name, values in by_name.items()},
        ),
        Claim(
            2, about, "relative drop of the activity, tenth of the places where the projection is strongest less the "
            "weakest half, against 0 and against the same by another map's projection", cut,
            verdict(cut.against(0), beyond.against(0)),
            controls={f"less {OTHER}'s": str(beyond)} | {name: str(mean_of(values)) for name, values in cuts.items()},
        ),
    ]  # fmt: skip
    agreements = np.array([item.agreement for item in found if np.isfinite(item.agreement)])
    if len(agreements):
        apart = mean_of(1 - agreements)
        claims.append(
            Claim(
                18, about, "1 less the correlation of the activity's and the probability's maps, against 0.1 (that "
                "is, a correlation of 0.9)",
                apart, verdict(apart.against(ALIKE)), paper="0.34, 1.39 and 1.19 (three images)",
                controls={"images where the correlation is below 0": f"{100 * (agreements < 0).mean():.0f} %"},
            )
        )  # fmt: skip
    return claims
