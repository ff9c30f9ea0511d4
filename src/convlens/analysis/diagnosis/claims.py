"""What two first layers say of the paper's claims 14 to 16."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from convlens.analysis.diagnosis.diagnose import PERIOD, Diagnosis
from convlens.stats.claims import Claim, difference, verdict

PERMUTATIONS = 5000


def diagnosis_claims(coarse: tuple[str, Diagnosis], fine: tuple[str, Diagnosis]) -> list[Claim]:
    """Claims 14 and 15, of a network with large filters at a large stride and one with small ones, both named."""
    (coarse_name, one), (fine_name, other) = coarse, fine
    about = f"{fine_name} against {coarse_name}"
    middle = difference(other.spectra.per_filter[:, 1] / 100, one.spectra.per_filter[:, 1] / 100)
    dead = difference(one.health.dead.double().cpu().numpy(), other.health.dead.double().cpu().numpy())
    claims = [
        Claim(
            14, about, "share of the filters' power at middle frequencies (1/6 to 1/3 cycles per pixel), small less "
            "large filters, against 0; and share of flat filters, the other way round",
            middle, verdict(middle.against(0), dead.against(0)),
            paper="23 of 96 filters flat at 11x11, 4 of 96 at 7x7 (counted in Fig 6)",
            controls={
                **{f"middle, {name}": f"{d.spectra.middle:.1f} %" for name, d in (coarse, fine)},
                **{f"flat, {name}": f"{d.health.dead_share:.1f} %" for name, d in (coarse, fine)},
                "flat, difference": str(dead),
            },
        )
    ]  # fmt: skip
    measured = [d.aliasing[PERIOD] for d in (one, other)]
    excess = difference(*(np.log(values[np.isfinite(values) & (values > 0)]) for values in measured))
    layers = [next(iter(d.shifts), None) for d in (one, other)]
    outcomes, controls = [excess.against(0)], {}
    if all(layers):
        errors = [d.shifts[layer].error.mean(1) for d, layer in zip((one, other), layers, strict=True) if layer]
        moved = difference(*errors)
        controls["first layer's change under shifts, difference"] = str(moved)
        outcomes.append(moved.against(0))
    claims.append(
        Claim(
            15, about, f"log of the power at {PERIOD} px over that beside it, in projections of the second layer, "
            "large less small stride, against 0; and the change under shifts of 1 to 3 px",
            excess, verdict(*outcomes),
            controls={**{f"peak, {name}": f"{d.peak(PERIOD):.2f}" for name, d in (coarse, fine)}, **controls},
        )
    )  # fmt: skip
    return claims


def rank_correlation(values: Sequence[float], errors: Sequence[float], seed: int = 0) -> tuple[float, float]:
    """Spearman's correlation of a number with the error over networks, and the p of a permutation test (two-sided)."""
    first, second = (_ranks(np.asarray(column, float)) for column in (values, errors))
    if len(first) < 3 or first.std() == 0 or second.std() == 0:
        return float("nan"), float("nan")
    found = float(np.corrcoef(first, second)[0, 1])
    rng = np.random.default_rng(seed)
    others = [np.corrcoef(rng.permutation(first), second)[0, 1] for _ in range(PERMUTATIONS)]
    return found, float((1 + (np.abs(others) >= abs(found) - 1e-12).sum()) / (1 + PERMUTATIONS))


def _ranks(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Ranks from 0; equal values share the mean of theirs."""
    smaller = (values[None] < values[:, None]).sum(1)
    return smaller + ((values[None] == values[:, None]).sum(1) - 1) / 2


def clipping_claim(without: Sequence[Diagnosis], clipped: Sequence[Diagnosis]) -> Claim:
    """Claim 16, of runs (seeds) without and with the clipping of filters."""
    spreads = [np.log([d.health.spread for d in group]) for group in (without, clipped)]
    gain = difference(*spreads)
    controls = {
        name: f"{np.exp(values.mean()):.2f} times the median"
        for name, values in zip(("strongest filter without", "with clipping"), spreads, strict=True)
    }
    statistic = "log of the strongest filter's RMS over the median, without less with clipping, against 0, over runs"
    return Claim(16, "", statistic, gain, verdict(gain.against(0)), controls=controls)
