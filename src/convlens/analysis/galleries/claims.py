"""Claims 4 to 7 about the strongest activations of feature maps, decided from a gallery (section 4, Fig 2)."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Float

from convlens.analysis.galleries.grouping import Grouping
from convlens.analysis.galleries.network_statistics import NetworkStatistics
from convlens.analysis.galleries.purity import PAPERS_K, purity, slope
from convlens.stats.claims import Claim, claim
from convlens.stats.estimates import difference, mean_of, mean_of_runs
from convlens.stats.verdicts import Control

ByLayer = Mapping[str, Float[np.ndarray, " maps"]]
"""A value of each map, by layer."""


def gallery_claims(own: NetworkStatistics, control: NetworkStatistics | None = None) -> list[Claim]:
    """Decide the claims that a gallery allows.

    Claims 4 to 6 are left out where no layer has switches or lies above the first, claim 7 without classes.

    Args:
        own: statistics of the network.
        control: of its copy with randomized weights, whose own strongest activations were searched; None for none.
    """
    found = [_switches_claim(own), _grouping_claim(own, control), _variation_claim(own, control)]
    return [*filter(None, found), *filter(None, [_purity_claim(own, control)])]


def counted_layers(network: NetworkStatistics) -> list[str]:
    """Return the layers above the first convolution, whose projections are no mere copies of one filter each."""
    return [layer for layer in network.grouping if network.depths[layer].convolutions > 1]


def _switches_claim(own: NetworkStatistics) -> Claim | None:
    """Decide claim 4: with the switches of another image, a projection is another one."""
    if not own.switches:
        return None
    changes = {layer: one.other_image for layer, one in own.switches.items()}
    centre = _pooled({layer: one.centre for layer, one in own.switches.items()}, list(own.switches))
    return claim(
        4,
        mean_of(_pooled(changes, list(changes))),
        about=_span(list(changes)),
        details={"against values at the centres of the windows": str(mean_of(centre))} | _means(changes),
    )


def _grouping_claim(own: NetworkStatistics, control: NetworkStatistics | None) -> Claim | None:
    """Decide claim 5: projections of one map are more alike than their power spectra make them."""
    layers = counted_layers(own)
    areas = _values(own, lambda one: one.auc)
    details = {
        "AUC": str(mean_of(_pooled(areas, layers))),
        "AUC, phase-randomized": str(mean_of(_pooled(_values(own, lambda one: one.null_auc), layers))),
    }
    details |= {f"AUC, {layer}": text for layer, text in _means(areas).items()}
    return _gain_claim(5, lambda one: one.auc - one.null_auc, own, control, details)


def _variation_claim(own: NetworkStatistics, control: NetworkStatistics | None) -> Claim | None:
    """Decide claim 6: projections of one map are more alike than the patches."""

    def gain(one: Grouping) -> Float[np.ndarray, " maps"]:
        return one.projections - one.patches

    layers = counted_layers(own)
    details = {
        "projections": str(mean_of(_pooled(_values(own, lambda one: one.projections), layers))),
        "patches": str(mean_of(_pooled(_values(own, lambda one: one.patches), layers))),
    }
    details |= {f"difference, {layer}": text for layer, text in _means(_values(own, gain)).items()}
    return _gain_claim(6, gain, own, control, details)


def _gain_claim(
    number: int,
    gain: Callable[[Grouping], Float[np.ndarray, " maps"]],
    own: NetworkStatistics,
    control: NetworkStatistics | None,
    details: Mapping[str, str],
) -> Claim | None:
    """Decide a claim by a value of each map; None where no layer lies above the first convolution."""
    layers, values = counted_layers(own), _values(own, gain)
    if not layers:
        return None
    return claim(
        number,
        mean_of(_pooled(values, layers)),
        about=_span(layers),
        control=_control(values, None if control is None else _values(control, gain), layers),
        details=details,
    )


def _purity_claim(own: NetworkStatistics, control: NetworkStatistics | None) -> Claim | None:
    """Decide claim 7: the strongest images of a map are of fewer classes in higher layers."""
    strongest = own.strongest
    if not strongest.is_labelled:
        return None
    other = None if control is None else control.strongest
    details = {"chance": f"{strongest.chance:.3f}"}
    details |= {f"purity, {layer}": f"{value:.3f}" for layer, value in layer_purity(own).items()}
    if strongest.images.shape[1] >= 100:
        details |= {f"top 100, {layer}": f"{value:.3f}" for layer, value in layer_purity(own, 100).items()}
    return claim(
        7,
        slope(strongest),
        about=_span(list(own.depths)),
        control=None if other is None else Control(slope(other), slope(strongest, other)),
        details=details,
    )


def layer_purity(network: NetworkStatistics, k: int = PAPERS_K) -> dict[str, float]:
    """Return the mean purity of each layer's maps; NaN where no map has two images of known class."""
    values = purity(network.strongest.classes(k))
    return {layer: mean_of_runs(values[network.strongest.layer == layer]).value for layer in network.depths}


def _values(network: NetworkStatistics, value: Callable[[Grouping], Float[np.ndarray, " maps"]]) -> ByLayer:
    return {layer: value(one) for layer, one in network.grouping.items()}


def _pooled(values: ByLayer, layers: Sequence[str]) -> Float[np.ndarray, " pooled"]:
    """Return the values of all maps of some layers; those that are missing are left out."""
    return np.concatenate([np.zeros(0), *(values[layer] for layer in layers if layer in values)])


def _control(own: ByLayer, other: ByLayer | None, layers: Sequence[str]) -> Control | None:
    """Return the control of a mean over maps, on layers where both networks have maps to compare."""
    if other is None:
        return None
    shared = [layer for layer in layers if layer in other]
    return Control(mean_of(_pooled(other, shared)), difference(_pooled(own, shared), _pooled(other, shared)))


def _span(layers: Sequence[str]) -> str:
    return layers[0] if len(layers) == 1 else f"{layers[0]} to {layers[-1]}"


def _means(values: ByLayer) -> dict[str, str]:
    return {layer: f"{mean_of_runs(of_maps).value:.3f}" for layer, of_maps in values.items()}
