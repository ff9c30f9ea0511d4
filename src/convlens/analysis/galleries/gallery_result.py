"""The result of a gallery: its figures, numbers and tables, and the claims that its controls decide."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from convlens.analysis.galleries.job import GalleryFiles, GalleryJob
from convlens.analysis.galleries.sanity_checks import RULES, Controls
from convlens.stats.results import AnalysisResult, Figure, Number, Table


def gallery_result(files: GalleryFiles, folder: Path, when: str, job: GalleryJob) -> AnalysisResult:
    """Return the result of a gallery.

    Args:
        files: the gallery's files.
        folder: folder of the result, relative to which its figures are named.
        when: the searched images in words, such as ``epoch 5, val images``.
        job: the gallery's request.
    """
    return AnalysisResult(
        analysis="projections",
        title="Strongest activations, projected to the pixels",
        reproduces="Fig 2",
        text=_text(files, when, job),
        numbers=[Number(f"dead maps, {layer}", share, "%") for layer, share in files.dead.items()],
        figures=[
            *_figures(files.sheets, folder, "", when),
            *_figures(files.contexts, folder, ": where in the images", when),
            *_figures(files.control_sheets, folder, ": controls", when),
        ],
        tables=_tables(list(files.controls.values())),
        claims=[claim for controls in files.controls.values() for claim in controls.claims()],
    )


def rounded_seconds(files: GalleryFiles) -> dict[str, float]:
    """Return the duration of each step as ``result.json`` has it."""
    return {step: round(seconds, 1) for step, seconds in files.seconds.items()}


def _text(files: GalleryFiles, when: str, job: GalleryJob) -> str:
    rules = job.rules
    rule = rules.get("rule", "deconvnet")
    options = "".join(f", {name} {value}" for name, value in rules.items() if name != "rule" and value is not None)
    shown = "all maps" if job.maps is None else "some maps"
    text = (
        f"The {job.k} strongest activations of {shown} of each layer ({when}), at most one per image. Left: the "
        f"activation projected to the pixels (rule {rule}{options}). Right: the image patch in the unit's receptive "
        "field. All projections of a layer share one gain; grey is zero. A map is dead if no image activates it above "
        "zero."
    )
    if files.controls:
        text += (
            " A deconvnet can draw recognisable images of anything, so the controls show the same units by the other "
            "rules, another map's unit at the same position, and the same units with randomized weights."
        )
    return text


def _figures(paths: Mapping[str, Path], folder: Path, part: str, when: str) -> list[Figure]:
    return [
        Figure(str(path.relative_to(folder)), f"{layer}{part}", f"{layer}{part}, {when}")
        for layer, path in paths.items()
    ]


def _tables(layers: Sequence[Controls]) -> list[Table]:
    return [_grouping_table(layers), _same_place_table(layers), _sharpness_table(layers)] if layers else []


def _grouping_table(layers: Sequence[Controls]) -> Table:
    title = (
        "Claim 5: the nine projections of a map are similar. Area under the ROC curve of pairs of projections of one "
        "map against pairs of different maps, by similarity (greatest cosine over small shifts); 0.5 is chance; in "
        "brackets the 95 % interval over maps"
    )
    columns = ["layer", "maps", "projections", "random weights", "difference", "patches"]
    rows: list[list[str | int]] = []
    for c in layers:
        areas = [str(auc) for auc in (c.grouping, c.grouping_random, c.grouping_gain, c.patches)]
        rows.append([c.layer, c.maps, *areas])
    return Table(title, columns, rows)


def _same_place_table(layers: Sequence[Controls]) -> Table:
    title = (
        "Does a projection depend on the map? Mean similarity of two projections of one map, and of a projection to "
        "that of another map's unit at the same position of the same image (1: identical)"
    )
    columns = ["layer", "same map, other images", "other map, same position"]
    return Table(title, columns, [[c.layer, str(c.within), str(c.same_place)] for c in layers])


def _sharpness_table(layers: Sequence[Controls]) -> Table:
    title = (
        "Claim 3: projections by the deconvnet are sharper than by the gradient. Gini coefficient (sparsity) and edge "
        "coherence, and deconvnet less gradient over the same units"
    )
    by_rule = [f"{measure}, {rule}" for measure in ("Gini", "coherence") for rule in RULES]
    columns = ["layer", *by_rule, "Gini, difference", "coherence, difference"]
    rows = []
    for c in layers:
        means = [f"{estimate.value:.3f}" for values in (c.sparsity, c.coherence) for estimate in values.values()]
        rows.append([c.layer, *means, str(c.sparsity_gain), str(c.coherence_gain)])
    return Table(title, columns, rows)
