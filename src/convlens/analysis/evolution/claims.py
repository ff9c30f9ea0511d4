"""Claims 8 and 9 about the evolution of features during training (section 4, Fig 4)."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from convlens.analysis.evolution.convergence import Convergence
from convlens.analysis.evolution.jumps import Jumps, row_means, switches_in_largest
from convlens.stats.claims import Claim, claim
from convlens.stats.estimates import mean_of
from convlens.stats.rank_correlation import rank_correlation, rank_correlation_of

MIN_MAPS = 20
"""Fewer maps that have learned decide nothing: of ten without a trend 7 to 9 % would, of twenty 4 %."""


def converged_after(layer: Convergence) -> Float[np.ndarray, " maps"]:
    """Return the share of the recorded training after which each map agrees with its final state, from 0 to 1.

    NaN for maps that are dead in the end, and for those that agree with it before training: nothing was learned.
    """
    moved = layer.moved if layer.epochs[0] == 0 else np.ones(len(layer.correlation), bool)
    return np.where(moved, layer.reached / layer.epochs[-1], np.nan)


def convergence_claim(layers: Mapping[str, Convergence]) -> Claim | None:
    """Decide claim 8: maps of higher layers reach their final state later; the units are the maps.

    Args:
        layers: by name, in the network's order; may be empty.

    Returns:
        The claim; None for fewer than three recorded epochs or 20 maps that learned, or if these are of one layer.
    """
    if not layers:
        return None
    shares = {layer: converged_after(one) for layer, one in layers.items()}
    shares = {layer: share[np.isfinite(share)] for layer, share in shares.items() if np.isfinite(share).any()}
    epochs = next(iter(layers.values())).epochs
    if len(shares) < 2 or (epochs > 0).sum() < 3 or sum(map(len, shares.values())) < MIN_MAPS:
        return None
    depth = {layer: float(list(layers).index(layer)) for layer in shares}
    depths = np.concatenate([np.full(len(share), depth[layer]) for layer, share in shares.items()])
    medians = np.array([np.median(share) for share in shares.values()])
    of_layers = rank_correlation(np.array([*depth.values()]), medians)
    return claim(
        8,
        rank_correlation_of(depths, np.concatenate([*shares.values()])),
        about=f"{next(iter(shares))} to {list(shares)[-1]}, epochs up to {epochs[-1]}",
        paper="a few epochs for lower layers, 40 to 50 of 70 for upper ones (by eye)",
        details={
            f"{layer}, share of the training (median of {len(share)} maps)": f"{100 * np.median(share):.0f} %"
            for layer, share in shares.items()
        }
        | {"rank correlation of the layers' medians": f"{of_layers:.2f} ({len(shares)} layers)"},
    )


def jump_claim(layers: Mapping[str, Jumps]) -> Claim | None:
    """Decide claim 9: projections jump because another image is the strongest one; the units are the maps.

    The first layer is shown but does not count: its projections are its filters, whatever the image.

    Args:
        layers: by name, in the network's order; may be empty.

    Returns:
        The claim; None with fewer than two changes between epochs, or with one layer only.
    """
    upper = list(layers.values())[1:]
    if not upper or upper[0].change.shape[1] < 2:
        return None
    change, kept = (np.concatenate([getattr(one, name) for one in upper]) for name in ("change", "kept"))
    switched = np.concatenate([one.switched for one in upper])
    largest, all_of_them = (f"{100 * share:.0f} %" for share in switches_in_largest(upper))
    details = {
        "change with another image": str(mean_of(row_means(np.where(switched, change, np.nan)))),
        "change had the image been kept": str(mean_of(row_means(kept))),
        "change where the image is the same": str(mean_of(row_means(np.where(switched, np.nan, change)))),
        "another image at the tenth of largest changes": f"{largest}, of all changes {all_of_them}",
    }
    return claim(
        9,
        mean_of(np.concatenate([one.effect for one in upper])),
        about=", ".join(list(layers)[1:]),
        details=details | {f"effect, {layer}": str(mean_of(one.effect)) for layer, one in layers.items()},
    )
