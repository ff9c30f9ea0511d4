"""Result of a diagnosis: numbers, tables, figures and claims of one network, or of several side by side."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from convlens.analysis.diagnosis.claims import clipping_claim, diagnosis_claims, rank_correlation
from convlens.analysis.diagnosis.diagnose import PERIOD, Diagnosis
from convlens.analysis.diagnosis.filter_health import DEAD_MAP_PERCENT
from convlens.figures import Curve, curves, filters_sheet, rms_histogram, save_png
from convlens.io.tables import Cell
from convlens.ops.tensor_repr import summary
from convlens.stats.claims import Claim
from convlens.stats.results import AnalysisResult, Figure, Number, Table


@dataclass(frozen=True)
class DiagnosedNetwork:
    """A network with its diagnosis.

    Attributes:
        name: a name that no other network of the diagnosis has.
        weights: filters of the first convolution.
        found: the diagnosis.
        error: top-1 error of the run on the test images, in percent; NaN if unknown.
        clipped: whether its filters were clipped in training; None if unknown.
    """

    name: str
    weights: Float[np.ndarray, "maps in kh kw"]
    found: Diagnosis
    error: float
    clipped: bool | None

    __repr__ = summary


def diagnosis_result(networks: Sequence[DiagnosedNetwork], folder: Path) -> AnalysisResult:
    """Draw the figures into ``folder`` and return the result for the report."""
    several = len(networks) > 1
    figures = [figure for network in networks for figure in draw_filters(network, folder, several)]
    return AnalysisResult(
        "filters",
        "Filters of the first layer (Fig 6)",
        "Fig 6",
        "The filters are drawn twice: on one common scale, on which a filter that dominates leaves the others grey, "
        "and each on its own scale, which shows structure but not strength. Dead filters are underlined. Frequencies "
        "are in cycles per pixel of the image, for filters of all sizes.",
        numbers=[] if several else _numbers(networks[0].found),
        figures=figures + _common_figures(networks, folder),
        tables=_tables(networks),
        claims=claims_of(networks),
    )


def claims_of(networks: Sequence[DiagnosedNetwork]) -> list[Claim]:
    """Return the claims that the networks decide.

    Claims 14 and 15 compare the largest with the smallest first stride, claim 16 runs without and with clipping.
    """
    claims = []
    ordered = sorted(networks, key=lambda network: (network.found.stride, network.found.kernel))
    fine, coarse = ordered[0], ordered[-1]
    if coarse.found.stride > fine.found.stride:
        claims += diagnosis_claims((coarse.name, coarse.found), (fine.name, fine.found))
    without, clipped = ([network.found for network in networks if network.clipped is kind] for kind in (False, True))
    if without and clipped:
        claims.append(clipping_claim(without, clipped))
    return claims


# ---- figures -----------------------------------------------------------------------------------------------------


def draw_filters(network: DiagnosedNetwork, folder: Path, several: bool) -> list[Figure]:
    """Draw a network's filters on one scale and each on its own; files have its name if there are several networks."""
    found, name = network.found, network.name
    layer = found.layer if found.layer == "conv1" else f"{found.layer} followed by relu"
    title = f"{name}: {layer}, {found.kernel}x{found.kernel} at stride {found.stride}"
    prefix, suffix = (f"{name}-", f", {name}") if several else ("", "")
    dead = found.health.dead.cpu().numpy()
    common = filters_sheet(network.weights, title=f"{title}, one scale", dead=dead)
    own = filters_sheet(network.weights, per_filter=True, title=f"{title}, own scales")
    save_png(common, folder / f"{prefix}filters.png")
    save_png(own, folder / f"{prefix}each.png")
    return [
        Figure(f"{prefix}filters.png", f"filters{suffix}", f"one scale for all{suffix}"),
        Figure(f"{prefix}each.png", f"each{suffix}", f"a scale for each{suffix}"),
    ]


def _common_figures(networks: Sequence[DiagnosedNetwork], folder: Path) -> list[Figure]:
    """Draw strengths and spectra of all networks."""
    strengths = {network.name: network.found.health.rms.cpu().numpy() for network in networks}
    save_png(rms_histogram(strengths, title="RMS of the filters"), folder / "rms.png")
    figures = [Figure("rms.png", "rms", "RMS of the filters")]
    spectra = [
        Curve(network.name, network.found.spectra.frequency, 100 * network.found.spectra.power)
        for network in networks
        if np.isfinite(network.found.spectra.power).all()
    ]
    if spectra:
        plot = curves(
            {"share of the filters' power (%)": spectra},
            x_label="frequency (cycles per pixel)",
            title="Spectra of the first layer's filters",
        )
        save_png(plot, folder / "spectra.png")
        figures.append(Figure("spectra.png", "spectra", "spectra of the filters"))
    return figures


# ---- numbers and tables ------------------------------------------------------------------------------------------


def _numbers(found: Diagnosis) -> list[Number]:
    return [
        Number("strongest filter's RMS over the median", found.health.spread, "times"),
        Number("dead filters", found.health.dead_share, "%"),
        Number(f"dead maps (fewer than {DEAD_MAP_PERCENT} % of activations above 0)", found.dead_maps, "%"),
        Number("power at middle frequencies", found.spectra.middle, "%"),
    ]


def _tables(networks: Sequence[DiagnosedNetwork]) -> list[Table]:
    shifts = list(dict.fromkeys(layer for network in networks for layer in network.found.shifts))
    columns = [
        *("network", "kernel / stride", "test error (%)", "RMS, strongest / median", "dead filters (%)"),
        *("dead maps (%)", "low (%)", "middle (%)", "high (%)", f"peak at {PERIOD} px", "peak at stride"),
        *(f"shifts, {layer}" for layer in shifts),
    ]
    title = (
        "First layer: strengths, frequency bands, aliasing in the second layer's projections, and change (%) of each "
        "layer under shifts of 1 to 3 px beyond what its stride explains"
    )
    tables = [Table(title, columns, [_row(network, shifts) for network in networks])]
    if prediction := _prediction(networks):
        tables.append(prediction)
    findings = [
        [network.name, finding.observation, finding.meaning, finding.change]
        for network in networks
        for finding in network.found.findings
    ]
    if findings:
        tables.append(Table("Findings", ["network", "observation", "meaning", "try"], findings))
    return tables


def _row(network: DiagnosedNetwork, shifts: Sequence[str]) -> list[Cell]:
    found = network.found
    values = [
        *(network.error, found.health.spread, found.health.dead_share, found.dead_maps),
        *(found.spectra.low, found.spectra.middle, found.spectra.high),
        *(found.peak(PERIOD), found.peak(found.stride)),
        *(found.shifts[layer].mean if layer in found.shifts else math.nan for layer in shifts),
    ]
    return [network.name, f"{found.kernel}x{found.kernel} / {found.stride}", *(_rounded(value, 2) for value in values)]


def _prediction(networks: Sequence[DiagnosedNetwork]) -> Table | None:
    """Return rank correlations of the measures with the test error; None for fewer than three networks with one."""
    known = [network for network in networks if math.isfinite(network.error)]
    if len(known) < 3:
        return None
    shifts = [next(iter(network.found.shifts.values()), None) for network in known]
    measures = {
        "strongest filter's RMS over the median": [network.found.health.spread for network in known],
        "dead filters": [network.found.health.dead_share for network in known],
        "dead maps": [network.found.dead_maps for network in known],
        "power at middle frequencies": [network.found.spectra.middle for network in known],
        f"peak at {PERIOD} px": [network.found.peak(PERIOD) for network in known],
        "first layer's change under shifts": [shift.mean if shift else math.nan for shift in shifts],
    }
    errors = [network.error for network in known]
    rows = [
        [name, *(_rounded(value, 3) for value in rank_correlation(values, errors))]
        for name, values in measures.items()
        if all(map(math.isfinite, values))
    ]
    title = f"Prediction of the error: rank correlation of each measure with the test error over {len(known)} networks"
    return Table(title, ["measure", "correlation", "permutation p"], rows)


def _rounded(value: float, digits: int) -> float | None:
    return round(value, digits) if math.isfinite(value) else None
