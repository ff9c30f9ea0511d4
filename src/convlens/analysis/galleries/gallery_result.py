"""The result of a gallery: its figures, numbers and tables, and the claims that its controls decide."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from convlens.analysis.galleries.claims import gallery_claims
from convlens.analysis.galleries.job import GalleryFiles, GalleryJob
from convlens.analysis.galleries.network_statistics import NetworkStatistics
from convlens.analysis.galleries.sanity_checks import RULES, Controls
from convlens.analysis.galleries.statistics_tables import mean_and_error, statistics_tables
from convlens.stats.claims import Claim
from convlens.stats.control_table import control_table
from convlens.stats.estimates import mean_of_runs
from convlens.stats.results import AnalysisResult, Figure, Number, Table


def gallery_result(files: GalleryFiles, folder: Path, when: str, job: GalleryJob) -> AnalysisResult:
    """Return the result of a gallery.

    Args:
        files: the gallery's files.
        folder: folder of the result, relative to which its figures are named.
        when: the searched images in words, such as ``epoch 5, val images``.
        job: the gallery's request.
    """
    claims = gallery_claims(files.statistics, _last_control(files)) if files.statistics else []
    return AnalysisResult(
        analysis="projections",
        title="Strongest activations, projected to the pixels",
        reproduces="Fig 2",
        text=_text(files, when, job),
        numbers=[Number(f"dead maps, {layer}", share, "%") for layer, share in files.dead.items()],
        figures=[
            *_figures(files.sheets, folder, "", when),
            *_figures({"statistics by layer": files.by_layer} if files.by_layer else {}, folder, "", when),
            *_figures(files.contexts, folder, ": where in the images", when),
            *_figures(files.control_sheets, folder, ": controls", when),
        ],
        tables=_tables(files, claims),
        claims=claims,
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
            "rules and without switches, another map's unit at the same position, and the same units with randomized "
            "weights. The statistics of claims 5 to 7 are also those of a network with randomized weights and its own "
            "strongest activations."
        )
    return text


def _figures(paths: Mapping[str, Path], folder: Path, part: str, when: str) -> list[Figure]:
    return [
        Figure(str(path.relative_to(folder)), f"{layer}{part}", f"{layer}{part}, {when}")
        for layer, path in paths.items()
    ]


def _last_control(files: GalleryFiles) -> NetworkStatistics | None:
    """Return the statistics of the fully randomized network; None if there is none."""
    return list(files.control_statistics.values())[-1] if files.control_statistics else None


def _tables(files: GalleryFiles, claims: Sequence[Claim]) -> list[Table]:
    if not files.statistics:
        return []
    layers = list(files.controls.values())
    by_control = {name: gallery_claims(one) for name, one in files.control_statistics.items()}
    return [
        *control_table([claim for claim in claims if claim.rule.controlled], by_control),
        *statistics_tables(files.statistics, _last_control(files)),
        *([_same_place_table(layers, files.statistics), _sharpness_table(layers)] if layers else []),
    ]


def _same_place_table(layers: Sequence[Controls], own: NetworkStatistics) -> Table:
    title = (
        "Does a projection depend on the map? Mean similarity of two projections of one map, and of a projection to "
        "that of another map's unit at the same position of the same image (1: identical); in brackets the standard "
        "error over maps"
    )
    columns = ["layer", "same map, other images", "other map, same position"]
    rows = [
        [c.layer, mean_and_error(mean_of_runs(own.grouping[c.layer].projections)), mean_and_error(c.same_place)]
        for c in layers
    ]
    return Table(title, columns, rows)


def _sharpness_table(layers: Sequence[Controls]) -> Table:
    title = (
        "Sharpness of projections by each rule: Gini coefficient (sparsity) and edge coherence, and deconvnet less "
        "gradient over the same units. task=occlude decides claim 3, which is about faithfulness as well"
    )
    by_rule = [f"{measure}, {rule}" for measure in ("Gini", "coherence") for rule in RULES]
    columns = ["layer", *by_rule, "Gini, difference", "coherence, difference"]
    rows = []
    for c in layers:
        means = [f"{estimate.value:.3f}" for values in (c.sparsity, c.coherence) for estimate in values.values()]
        rows.append([c.layer, *means, str(c.sparsity_gain), str(c.coherence_gain)])
    return Table(title, columns, rows)
