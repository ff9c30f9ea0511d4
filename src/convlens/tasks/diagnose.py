"""``task=diagnose``: the state of the first layers, of one network or of several side by side (paper, section 4.1)."""

import logging
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf

from convlens.analysis.diagnosis.claims import clipping_claim, diagnosis_claims
from convlens.analysis.diagnosis.diagnose import Diagnosis, diagnose
from convlens.analysis.diagnosis.diagnosis_result import DiagnosedNetwork, diagnosis_result
from convlens.callbacks.filters import convolutions, first_conv
from convlens.errors import InputError
from convlens.figures import Curve, curves, filters_sheet, rms_histogram, save_png
from convlens.io.atomic import write_json
from convlens.runs.record import command_line, read_json
from convlens.runs.subject import LoadedNetwork, load_network, open_run
from convlens.runs.typed_settings import check_number
from convlens.stats.claims import Claim
from convlens.tasks.invariance import reader

log = logging.getLogger(__name__)


def run(
    cfg: DictConfig, overrides: list[str], *, runs: Sequence[str] | None, split: str, images: int | None, shifted: int
) -> int:
    """Draw the filters, measure the layers, write ``results/filters``."""
    check_number("task.images", images, 1, optional=True)
    check_number("task.shifted", shifted, 0)
    examine(cfg, overrides, runs, split, images, shifted)
    return 0


def examine(
    cfg: DictConfig, overrides: list[str], directories: Sequence[str] | None, split: str, images: int | None,
    shifted: int,
) -> None:  # fmt: skip
    """The work itself."""
    with open_run(cfg, overrides, "diagnose") as run_dir:
        patients = []
        if directories is not None and not directories:
            raise InputError("task.runs is empty: give directories of runs, or run=DIR")
        names = short_names(directories or [])
        for number, directory in enumerate(directories or [cfg.run]):
            own = cfg.copy()
            own.run = directory
            subject = load_network(own, overrides)
            name = subject.name if directories is None else names[number]
            found = _diagnosis(subject, split, images, shifted)
            patients.append(DiagnosedNetwork(name, subject, found, *_record(directory)))
        folder = run_dir / "results" / "filters"
        figures = [figure for patient in patients for figure in _draw(patient, folder, len(patients) > 1)]
        figures += _together(patients, folder)
        claims = _claims(patients)
        result = diagnosis_result(patients, figures, claims)
        write_json(folder / "result.json", {**result, "command": command_line(overrides)})
    for patient in patients:
        for finding in patient.found.findings:
            log.info("%s: %s: %s; try %s", patient.name, finding.seen, finding.meaning, finding.change)
    for claim in claims:
        log.info("claim %d, %s: %s, %s", claim.number, claim.about, claim.verdict, claim.estimate)
    for patient in patients:
        health, silent = patient.found.health, patient.found.silent
        log.info(
            "%s of %s: strongest filter %.1f times the median, %.1f %% flat, %.1f %% hardly ever active; "
            "pictures in %s",
            patient.found.layer, patient.name, health.spread, health.dead_share, silent, folder,
        )  # fmt: skip


def short_names(directories: Sequence[str]) -> list[str]:
    """The last parts of paths, as many as tell them apart; a path that is given twice has its number behind it."""
    paths = [Path(directory).resolve().parts for directory in directories]
    for length in range(1, max(map(len, paths), default=1) + 1):
        names = ["-".join(parts[-length:]).replace("/", "") for parts in paths]
        if len(set(names)) == len(set(paths)):
            break
    seen: dict[str, int] = {}
    for number, name in enumerate(names if paths else []):
        seen[name] = seen.get(name, 0) + 1
        names[number] = name if seen[name] == 1 else f"{name}-{seen[name]}"
    return names if paths else []


def _diagnosis(subject: LoadedNetwork, split: str, images: int | None, shifted: int) -> Diagnosis:
    data = subject.data
    loader = data.plain_dataloader(split, images)
    batches = [batch for batch, _ in loader]
    if not batches:
        raise InputError(f"the split {split!r} holds no image: choose another with task.split")
    names = [name.removesuffix(".filter") for name, _ in convolutions(subject.net)]
    if len(names) < 2:
        raise InputError(f"{subject.name} has {len(names)} convolutions: a diagnosis is of the first two")
    larger = []
    if data.stored_size >= data.image_size + 6:
        count = min(shifted, len(data.dataset(split)))
        larger = [image.float() for image in data.dataset(split).stored(range(count))]
    ours = names[0] == "conv1"
    layers = names if ours else names[:2]
    return diagnose(
        subject.net, torch.cat(batches), larger=larger, preprocess=reader(subject),
        layers=layers, names=(names[0], names[1]),
    )  # fmt: skip


def _record(directory: str | None) -> tuple[float, bool | None]:
    """A run's test error, and whether its filters were clipped."""
    if directory is None:
        return math.nan, None
    metrics = read_json(Path(directory) / "metrics.json")
    error = metrics.get("test/top1_error", metrics.get("test/error", math.nan))
    config = Path(directory) / "config.yaml"
    clipped = OmegaConf.select(OmegaConf.load(config), "system.max_filter_rms") is not None if config.exists() else None
    return float(error) if isinstance(error, int | float) else math.nan, clipped


def _draw(patient: DiagnosedNetwork, folder: Path, several: bool) -> list[dict[str, str]]:
    """Filters on one scale and each on its own."""
    found, name = patient.found, patient.name
    _, conv = first_conv(patient.subject.net)
    weights, dead = conv.weight.detach().cpu().float().numpy(), found.health.dead.cpu().numpy()
    size, stride = found.kernel, found.stride
    layer = found.layer if found.layer == "conv1" else f"{found.layer} followed by relu"
    title = f"{name}: {layer}, {size}x{size} at stride {stride}"
    before = f"{name}-" if several else ""
    save_png(filters_sheet(weights, title=f"{title}, one scale", dead=dead), folder / f"{before}filters.png")
    save_png(filters_sheet(weights, per_filter=True, title=f"{title}, own scales"), folder / f"{before}each.png")
    after = f", {name}" if several else ""
    return [
        {"file": f"{before}filters.png", "key": f"filters{after}", "caption": f"one scale for all{after}"},
        {"file": f"{before}each.png", "key": f"each{after}", "caption": f"a scale for each{after}"},
    ]


def _together(patients: Sequence[DiagnosedNetwork], folder: Path) -> list[dict[str, str]]:
    """Strengths and spectra of all."""
    strengths = {patient.name: patient.found.health.rms.cpu().numpy() for patient in patients}
    save_png(rms_histogram(strengths, title="RMS of the filters"), folder / "rms.png")
    lines = [
        Curve(patient.name, patient.found.spectra.frequency, 100 * patient.found.spectra.power)
        for patient in patients
        if np.isfinite(patient.found.spectra.power).all()
    ]
    figures = [{"file": "rms.png", "key": "rms", "caption": "RMS of the filters"}]
    if lines:
        sheet = curves(
            {"share of the filters' power (%)": lines}, x_label="frequency (cycles per pixel)",
            title="Spectra of the first layer's filters",
        )  # fmt: skip
        save_png(sheet, folder / "spectra.png")
        figures.append({"file": "spectra.png", "key": "spectra", "caption": "spectra of the filters"})
    return figures


def _claims(patients: Sequence[DiagnosedNetwork]) -> list[Claim]:
    """Of the largest and the smallest first stride, and of runs without and with clipping, where there are such."""
    claims = []
    ordered = sorted(patients, key=lambda patient: (patient.found.stride, patient.found.kernel))
    fine, coarse = ordered[0], ordered[-1]
    if coarse.found.stride > fine.found.stride:
        claims += diagnosis_claims((coarse.name, coarse.found), (fine.name, fine.found))
    without, clipped = ([p.found for p in patients if p.clipped is kind] for kind in (False, True))
    if without and clipped:
        claims.append(clipping_claim(without, clipped))
    return claims
