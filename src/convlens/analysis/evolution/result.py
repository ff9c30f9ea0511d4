"""Result of the evolution of features: sheet, convergence curves, table and claims (section 4, Fig 4)."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from convlens.analysis.evolution.claims import converged_after, convergence_claim, jump_claim
from convlens.analysis.evolution.convergence import Convergence, convergence, epoch_reached
from convlens.analysis.evolution.jumps import Jumps, jumps, row_means
from convlens.errors import DamagedError
from convlens.figures.evolution import evolution_sheet
from convlens.figures.line_plots import Curve, curves
from convlens.figures.png import save_png
from convlens.io.arrays import check_zip, read_arrays
from convlens.stats.results import AnalysisResult, Figure, Number, Table

log = logging.getLogger(__name__)
TEXT = (
    "Each row is a map, each column an epoch: the projection of the map's strongest activation over the training "
    "images. A bar marks where the strongest image changed, the paper's reason for sudden jumps: for claim 9 the "
    "former image is projected beside the new one. Claim 8 compares each map's activations on fixed training images "
    "with those of the last epoch."
)
FEWEST = 3
"""Recorded epochs below which there are no curves of convergence."""
Record = Mapping[str, np.ndarray]


def drawn_path(folder: Path, epoch: int) -> Path:
    """Return the file of what was drawn at an epoch (see `epoch_record`)."""
    return folder / f"epoch_{epoch:03d}.npz"


def state_path(folder: Path, epoch: int) -> Path:
    """Return the file of an epoch's activations (see `sampled_activations`); epoch 0 is before training."""
    return folder / "states" / f"epoch_{epoch:03d}.npz"


def is_whole(path: Path) -> bool:
    """Return whether the arrays of an epoch are there; with a warning if they are damaged."""
    try:
        check_zip(path)
    except FileNotFoundError:
        return False
    except DamagedError as error:
        log.warning("%s: the epoch is left out", error)
        return False
    return True


def write_evolution(folder: Path, drawn: Sequence[int], states: Sequence[int]) -> list[Path]:
    """Draw the sheet and the curves from the epochs' files and write ``result.json``.

    Args:
        folder: the folder of the result and of the epochs' files.
        drawn: the epochs of the sheet, 1-based.
        states: the epochs whose activations were recorded; 0 is before training.

    Returns:
        Paths of the sheet and, with three or more recorded epochs, of the curves.
    """
    files = [read_arrays(drawn_path(folder, epoch)) for epoch in drawn]
    layers = [str(layer) for layer in files[0]["layers"]]
    strongest = {layer: np.stack([f[f"{layer}/images"][:, 0] for f in files], 1) for layer in layers}
    sheet = _draw_sheet(files, drawn, strongest, folder)
    switches = {layer: np.diff(images, axis=1) != 0 for layer, images in strongest.items() if len(drawn) > 1}
    by_layer = _convergence(folder, layers, dict(zip(drawn, files, strict=True)), states)
    figures = [Figure(sheet.name, "evolution", f"epochs {', '.join(map(str, drawn))}")]
    if by_layer:
        path = _draw_curves(by_layer, folder)
        figures.append(Figure(path.name, "convergence", f"similarity to epoch {states[-1]} by layer"))
    claims = [convergence_claim(by_layer), jump_claim(_jumps(files, layers))]
    AnalysisResult(
        analysis="evolution",
        title="Evolution of features during training",
        reproduces="Fig 4",
        text=TEXT,
        numbers=[
            Number(f"strongest image changed between drawn epochs, {layer}", 100 * float(switched.mean()), "%")
            for layer, switched in switches.items()
        ],
        figures=figures,
        tables=[_table(by_layer)] if by_layer else [],
        claims=[one for one in claims if one],
    ).write(folder)
    return [folder / figure.file for figure in figures]


def _draw_sheet(
    files: Sequence[Record], epochs: Sequence[int], strongest: Mapping[str, np.ndarray], folder: Path
) -> Path:
    projections = {layer: np.stack([f[f"{layer}/projections"][:, 0] for f in files], 1) for layer in strongest}
    changed = {layer: np.diff(images, axis=1, prepend=images[:, :1]) != 0 for layer, images in strongest.items()}
    maps = {layer: files[0][f"{layer}/maps"].tolist() for layer in strongest}
    return save_png(evolution_sheet(projections, epochs, changed, maps=maps), folder / "evolution.png")


def _convergence(
    folder: Path, layers: Sequence[str], drawn: Mapping[int, Record], states: Sequence[int]
) -> dict[str, Convergence]:
    """Return the convergence of each layer; empty with too few records."""
    if sum(epoch > 0 for epoch in states) < FEWEST:
        return {}
    files = [read_arrays(state_path(folder, epoch)) for epoch in states]
    return {
        layer: convergence(
            states, [file[layer] for file in files], [drawn.get(epoch, {}).get(f"{layer}/top") for epoch in states]
        )
        for layer in layers
    }


def _jumps(files: Sequence[Record], layers: Sequence[str]) -> dict[str, Jumps]:
    """Return the changes between drawn epochs by layer; empty with too few, or if an older version began the run."""
    names = ("projections", "kept", "images")
    if len(files) < FEWEST or any(
        f"{layer}/{name}" not in file for file in files for layer in layers for name in names
    ):
        return {}
    return {
        layer: jumps(*(np.stack([file[f"{layer}/{name}"][:, 0] for file in files], 1) for name in names))
        for layer in layers
    }


def _draw_curves(layers: Mapping[str, Convergence], folder: Path) -> Path:
    """Draw similarity to the last state over epochs by layer: correlation, CKA and shared strongest images."""
    plots: dict[str, list[Curve]] = {
        "correlation, median map": [],
        "linear CKA": [],
        "final top-9 images": [],
    }
    for name, layer in layers.items():
        known = np.isfinite(layer.correlation).all(1)
        median = np.median(layer.correlation[known], 0) if known.any() else np.full(len(layer.epochs), np.nan)
        rows = (median, layer.cka, row_means(layer.overlap.T))
        for panel, row in zip(plots.values(), rows, strict=True):
            panel.append(Curve(name, layer.epochs, row))
    last = next(iter(layers.values())).epochs[-1]
    title = f"Similarity to the state after epoch {last}"
    return save_png(curves(plots, title=title), folder / "convergence.png")


def _table(layers: Mapping[str, Convergence]) -> Table:
    """Return the epochs at which layers have converged."""
    rows = []
    for name, layer in layers.items():
        shares = converged_after(layer)
        learned = shares[np.isfinite(shares)] * layer.epochs[-1]
        quartiles = np.percentile(learned, [25, 50, 75]) if len(learned) else None
        overlap = row_means(layer.overlap.T)
        rows.append(
            [
                name,
                f"{len(learned)} of {len(shares)}",
                None if quartiles is None else f"{quartiles[1]:.1f} ({quartiles[0]:.1f} to {quartiles[2]:.1f})",
                f"{epoch_reached(layer.epochs, layer.cka):.1f}",
                ", ".join(f"{100 * share:.0f}" for share in overlap[np.isfinite(overlap)]) or None,
            ]
        )
    columns = ["layer", "maps that learned", "epoch of correlation 0.95, median (quartiles)", "epoch of CKA 0.95"]
    return Table("Convergence to the final state", [*columns, "final top 9 at the drawn epochs, %"], rows)
