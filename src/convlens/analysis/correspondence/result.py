"""Result of the correspondence analysis: the tables of Delta in both forms, claims, and the arrays behind them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from convlens.analysis.correspondence.claims import (
    PAPER,
    Signs,
    correspondence_claim,
    delta_of_five,
    mask_distances,
)
from convlens.analysis.correspondence.delta import (
    NONZERO,
    THREE_VALUED,
    PartConsistency,
    SignForm,
    consistencies,
    off_diagonal,
)
from convlens.io.arrays import write_arrays
from convlens.stats.control_table import control_table
from convlens.stats.results import AnalysisResult, Figure, Number, Table

FIGURE = "parts.png"


def correspondence_result(
    signs: Signs, parts: Sequence[str], has_figure: bool, controls: Mapping[str, Signs] | None = None
) -> AnalysisResult:
    """Return the result for the report.

    Args:
        signs: sign changes by layer, from the lowest to the highest; the random regions come after the parts.
        parts: names of the parts.
        has_figure: whether ``parts.png`` was drawn.
        controls: of the same images, by name of the control network, the fully randomized one last.
    """
    controls = controls or {}
    layers = list(signs)
    ends = (layers[0], layers[-1])
    claims = [correspondence_claim(signs, parts, *ends, list(controls.values())[-1] if controls else None)]
    by_control = {name: [correspondence_claim(own, parts, *ends)] for name, own in controls.items()}
    count = len(signs[layers[0]])
    return AnalysisResult(
        "correspondence",
        "Correspondence of object parts (Table 1)",
        "Table 1",
        "Delta is the mean, over pairs of images, of the share of a layer's dimensions that change in different "
        "directions when the same part is covered in both images; a low Delta means that the network treats the part "
        "alike in different images. Random regions have the parts' areas and lie inside the object if they fit.",
        numbers=[Number("images", count)],
        figures=[Figure(FIGURE, "parts", "covered parts and random regions")] if has_figure else [],
        tables=[
            *(_table(signs, parts, form, count) for form in (THREE_VALUED, NONZERO)),
            *control_table(claims, by_control),
        ],
        claims=claims,
    )


def save_signs(
    signs: Signs, masks: Sequence[Sequence[Bool[Tensor, "h w"]]], image_ids: Sequence[str], path: Path
) -> None:
    """Write sign changes by layer, names of the images, and masks [n, masks, h, w] to an npz file."""
    arrays = {f"signs/{layer or 'output'}": changes.numpy() for layer, changes in signs.items()}
    stacked = np.stack([torch.stack(list(own)).numpy() for own in masks])
    write_arrays(path, arrays | {"image_ids": np.array(image_ids), "masks": stacked})


def _table(signs: Signs, parts: Sequence[str], form: SignForm, count: int) -> Table:
    """Return Table 1 in one form: a row for each part and one for the random regions."""
    by_layer = consistencies(signs, parts, form)
    distances = {layer: mask_distances(changes, form) for layer, changes in signs.items()}
    fives = {layer: delta_of_five(own) for layer, own in distances.items()}
    rows = []
    for number, part in enumerate(parts):
        cells = [_part_cells(by_layer[layer][part], fives[layer][number]) for layer in signs]
        rows.append([part, *(cell for own in cells for cell in own), _paper(part, form)])
    cells = [_random_cells(distances[layer][len(parts) :], fives[layer][len(parts) :]) for layer in signs]
    rows.append(["random", *(cell for own in cells for cell in own), _paper("random", form)])
    columns = ["covered"]
    for name in (layer or "output" for layer in signs):
        columns += [f"Delta, {name}", f"of 5 images, {name}", f"d, {name}", f"p, {name}"]
    title = (
        f"Table 1, {form} signs: Delta over {count} images with its standard deviation over pairs, and mean and "
        "standard deviation over 200 samples of five images; effect size d and permutation p against random regions"
    )
    return Table(title, [*columns, "paper, layers 5 and 7"], rows)


def _paper(part: str, form: SignForm) -> str:
    values = PAPER.get(part) if form == THREE_VALUED else None
    return f"{values[0]:.3f}, {values[1]:.3f}" if values else ""


def _part_cells(found: PartConsistency, five: tuple[float, float]) -> list[str]:
    """Return Delta, Delta of five images, effect size and p of a part."""
    return [
        f"{found.delta:.3f} ± {found.spread:.3f}",
        f"{five[0]:.3f} ± {five[1]:.3f}",
        f"{found.effect:.2f}",
        f"{found.p:.4f}",
    ]


def _random_cells(distances: Sequence[Float[np.ndarray, "n n"]], fives: Sequence[tuple[float, float]]) -> list[str]:
    """Return Delta and Delta of five images of the random regions, means over them; no effect size and no p."""
    pairs = np.concatenate([off_diagonal(one) for one in distances])
    mean, spread = (float(np.mean([five[i] for five in fives])) for i in (0, 1))
    return [f"{np.nanmean(pairs):.3f} ± {np.nanstd(pairs):.3f}", f"{mean:.3f} ± {spread:.3f}", "", ""]
