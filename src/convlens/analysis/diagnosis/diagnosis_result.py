"""What the report reads of a diagnosis: one network, or several side by side."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from convlens.analysis.diagnosis.claims import rank_correlation
from convlens.analysis.diagnosis.diagnose import PERIOD, Diagnosis
from convlens.runs.subject import LoadedNetwork
from convlens.stats.claims import Claim


@dataclass(frozen=True)
class DiagnosedNetwork:
    """A network with what was found.

    Attributes:
        name: told apart from the others.
        subject: the network and its data.
        found: the diagnosis.
        error: of a run, the top-1 error on the test images, in percent; NaN where there is none.
        clipped: whether its filters were clipped while it was trained; None where that is not known.
    """

    name: str
    subject: LoadedNetwork
    found: Diagnosis
    error: float
    clipped: bool | None


def diagnosis_result(
    patients: Sequence[DiagnosedNetwork], figures: list[dict[str, str]], claims: Sequence[Claim]
) -> dict[str, Any]:
    """What the report reads."""
    first = patients[0].found
    numbers = [
        {"name": "strongest filter's RMS over the median", "value": first.health.spread, "unit": "times"},
        {"name": "flat filters", "value": first.health.dead_share, "unit": "%"},
        {"name": "maps active at fewer than 0.01 % of places", "value": first.silent, "unit": "%"},
        {
            "name": "power at middle frequencies",
            "value": first.spectra.middle,
            "unit": "%",
        },
    ]
    columns = [
        "network", "kernel / stride", "test error (%)", "RMS, strongest / median", "flat (%)", "silent (%)", "low (%)",
        "middle (%)", "high (%)", f"peak at {PERIOD} px", "peak at stride",
    ]  # fmt: skip
    shifts = list(dict.fromkeys(layer for patient in patients for layer in patient.found.shifts))
    rows = [_row(patient, shifts) for patient in patients]
    findings = [
        [patient.name, finding.seen, finding.meaning, finding.change]
        for patient in patients
        for finding in patient.found.findings
    ]
    tables = [
        {
            "title": "First layer: strengths, bands of frequency, aliasing in the second layer's projections, and "
            "change (%) of each layer under shifts of 1 to 3 px beyond what its stride explains",
            "columns": [*columns, *(f"shifts, {layer}" for layer in shifts)],
            "rows": rows,
        }
    ]
    if prediction := _prediction(patients):
        tables.append(prediction)
    if findings:
        tables.append({"title": "Findings", "columns": ["network", "seen", "means", "try"], "rows": findings})
    return {
        "analysis": "filters",
        "title": "Health of the first layer",
        "reproduces": "Fig 6",
        "order": 20,
        "text": (
            "The first layer's filters on one common scale, so that one filter that dominates leaves the others grey, "
            "and each on its own scale, which shows structure but no strength. Underlined filters are flat. "
            "Frequencies are those of the image, whatever the size of the filters."
        ),
        "numbers": numbers if len(patients) == 1 else [],
        "figures": figures,
        "tables": tables,
        "claims": [claim.as_json() for claim in claims],
    }


def _prediction(patients: Sequence[DiagnosedNetwork]) -> dict[str, Any] | None:
    """Whether the numbers tell which network is better; None for fewer than three with a test error."""
    known = [patient for patient in patients if math.isfinite(patient.error)]
    if len(known) < 3:
        return None
    first = [next(iter(patient.found.shifts.values()), None) for patient in known]
    measures = {
        "strongest filter's RMS over the median": [patient.found.health.spread for patient in known],
        "flat filters": [patient.found.health.dead_share for patient in known],
        "silent maps": [patient.found.silent for patient in known],
        "power at middle frequencies": [patient.found.spectra.middle for patient in known],
        f"peak at {PERIOD} px": [patient.found.peak(PERIOD) for patient in known],
        "first layer's change under shifts": [one.mean if one else math.nan for one in first],
    }
    errors = [patient.error for patient in known]
    rows = []
    for name, values in measures.items():
        if all(map(math.isfinite, values)):
            correlation, p = rank_correlation(values, errors)
            shown = [round(value, 3) if math.isfinite(value) else None for value in (correlation, p)]
            rows.append([name, *shown])
    title = f"Do the numbers predict the error? Rank correlation with the test error over {len(known)} networks"
    return {"title": title, "columns": ["number", "correlation", "permutation p"], "rows": rows}


def _row(patient: DiagnosedNetwork, shifts: Sequence[str]) -> list[Any]:
    found = patient.found
    values = [
        patient.error, found.health.spread, found.health.dead_share, found.silent, found.spectra.low,
        found.spectra.middle, found.spectra.high, found.peak(PERIOD), found.peak(found.stride),
        *(found.shifts[layer].mean if layer in found.shifts else math.nan for layer in shifts),
    ]  # fmt: skip
    shown = [round(value, 2) if math.isfinite(value) else None for value in values]
    return [patient.name, f"{found.kernel}x{found.kernel} / {found.stride}", *shown]
