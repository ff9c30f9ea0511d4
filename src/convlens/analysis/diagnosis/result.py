"""Result of a diagnosis: numbers, tables, figures and claims of one network, or of several side by side."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from convlens.analysis.diagnosis.claims import diagnosis_claims, equal_window, permutation_test
from convlens.analysis.diagnosis.diagnose import Diagnosis
from convlens.analysis.diagnosis.filter_health import DEAD_MAP_PERCENT
from convlens.analysis.diagnosis.run_groups import DiagnosedNetwork, run_groups
from convlens.analysis.diagnosis.spectra import filter_spectra, grid_peak
from convlens.figures import Curve, curves, filters_sheet, rms_histogram, save_png
from convlens.io.tables import Cell
from convlens.stats.results import AnalysisResult, Figure, Number, Table


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
        claims=diagnosis_claims(run_groups(networks)),
    )


# ---- figures -----------------------------------------------------------------------------------------------------


def draw_filters(network: DiagnosedNetwork, folder: Path, several: bool) -> list[Figure]:
    """Draw a network's filters on one scale and each on its own; files have its name if there are several networks."""
    found, name = network.found, network.name
    layer = found.layer if found.layer == "conv1" else f"{found.layer} followed by relu"
    title = f"{name}: {layer}, {found.kernel}x{found.kernel} at stride {found.stride}"
    prefix, suffix = (f"{name}-", f", {name}") if several else ("", "")
    dead = found.health.dead.cpu().numpy()
    common = filters_sheet(found.filters.numpy(), title=f"{title}, one scale", dead=dead)
    own = filters_sheet(found.filters.numpy(), per_filter=True, title=f"{title}, own scales")
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
    size = _smallest_kernel(networks)
    spectra = [(network.name, filter_spectra(network.found.filters, size)) for network in networks]
    shown = [
        Curve(name, found.frequency, 100 * found.power) for name, found in spectra if np.isfinite(found.power).all()
    ]
    if shown:
        plot = curves(
            {"share of the filters' power (%)": shown},
            x_label="frequency (cycles per pixel)",
            title=f"Spectra of the first layer's filters, {size}x{size} px",
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


def _smallest_kernel(networks: Sequence[DiagnosedNetwork]) -> int:
    """Return the side of the smallest filters, to which all are cropped to compare their spectra."""
    return min(network.found.kernel for network in networks)


def _tables(networks: Sequence[DiagnosedNetwork]) -> list[Table]:
    shifts = list(dict.fromkeys(layer for network in networks for layer in network.found.shifts))
    stride, window = max(network.found.stride for network in networks), equal_window([n.found for n in networks])
    size = _smallest_kernel(networks)
    columns = [
        *("network", "kernel / stride", "test error (%)", "RMS, strongest / median", "dead filters (%)"),
        *("dead maps (%)", "low (%)", "middle (%)", "high (%)", "peak at stride"),
        *([f"peak at {stride} px, window {window} px"] if len(networks) > 1 else []),
        *(f"shifts, {layer}" for layer in shifts),
    ]
    title = (
        f"First layer: strengths, frequency bands of the filters' middle {size}x{size} px, aliasing in the second "
        "layer's projections (power at the stride's frequency over that suggested by its neighbours), and change (%) "
        "of each layer under shifts of 1 to 3 px beyond what its stride explains"
    )
    subjects = [(network.name, network.found, network.error) for network in networks]
    subjects += [
        (f"{network.name}, randomized weights", network.control, math.nan) for network in networks if network.control
    ]
    rows = []
    for name, found, error in subjects:
        common = [grid_peak(found.projections, stride, window=window)] if len(networks) > 1 else []
        rows.append(_row(name, found, error, size, [found.peak, *common], shifts))
    tables = [Table(title, columns, rows)]
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


def _row(
    name: str, found: Diagnosis, error: float, size: int, peaks: Sequence[float], shifts: Sequence[str]
) -> list[Cell]:
    spectra = filter_spectra(found.filters, size)
    values = [
        *(error, found.health.spread, found.health.dead_share, found.dead_maps),
        *(spectra.low, spectra.middle, spectra.high),
        *peaks,
        *(found.shifts[layer].mean if layer in found.shifts else math.nan for layer in shifts),
    ]
    return [name, f"{found.kernel}x{found.kernel} / {found.stride}", *(_rounded(value, 2) for value in values)]


def _prediction(networks: Sequence[DiagnosedNetwork]) -> Table | None:
    """Return rank correlations of the measures with the test error; None for fewer than three networks with one."""
    known = [network for network in networks if math.isfinite(network.error)]
    if len(known) < 3:
        return None
    stride, window = max(network.found.stride for network in known), equal_window([n.found for n in known])
    size = _smallest_kernel(known)
    shifts = [next(iter(network.found.shifts.values()), None) for network in known]
    measures = {
        "strongest filter's RMS over the median": [network.found.health.spread for network in known],
        "dead filters": [network.found.health.dead_share for network in known],
        "dead maps": [network.found.dead_maps for network in known],
        "power at middle frequencies": [filter_spectra(network.found.filters, size).middle for network in known],
        f"peak at {stride} px": [grid_peak(network.found.projections, stride, window=window) for network in known],
        "first layer's change under shifts": [shift.mean if shift else math.nan for shift in shifts],
    }
    errors = [network.error for network in known]
    rows = [
        [name, *(_rounded(value, 3) for value in permutation_test(values, errors))]
        for name, values in measures.items()
        if all(map(math.isfinite, values))
    ]
    title = f"Prediction of the error: rank correlation of each measure with the test error over {len(known)} networks"
    return Table(title, ["measure", "correlation", "permutation p"], rows)


def _rounded(value: float, digits: int) -> float | None:
    return round(value, digits) if math.isfinite(value) else None
