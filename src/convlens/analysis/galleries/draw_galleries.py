"""A gallery from end to end: search, projections, controls, and the files that people look at."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from convlens.analysis.galleries.array_store import fingerprint, prepare
from convlens.analysis.galleries.gallery import OWN, Gallery, ProjectionVariant, projectors_of
from convlens.analysis.galleries.sanity_checks import Controls, control_variants, evaluate_controls
from convlens.analysis.galleries.selected_units import SelectedUnits, select_units
from convlens.analysis.galleries.sheets import context_sheet, controls_sheet, keep_arrays, table_rows
from convlens.analysis.galleries.top_activations import Search
from convlens.deconv import TopActivations, receptive_fields
from convlens.errors import InputError
from convlens.figures.png import save_png
from convlens.figures.top9 import top9_sheet
from convlens.io.atomic import replacing


@dataclass(frozen=True)
class GalleryJob:
    """What is asked for.

    Attributes:
        layers: names.
        split: where to search.
        images: search the first so many images only; None searches all.
        maps: how many of a layer's maps are projected (a fixed random choice); None is all.
        k: activations per map.
        rules: options of ``project``.
        detailed: how many maps per layer are also shown with their whole images; 0 leaves that out.
        controls: how many maps per layer are looked at with controls; 0 leaves them out, None is all.
        images_at_once: how many images are held with their maps at a time, which bounds the memory; see ``Gallery``.
        keep: leave projections and patches behind as arrays.
        table: make the rows of the table for loggers, which takes a while.
    """

    layers: list[str]
    split: str
    images: int | None = None
    maps: int | None = 12
    k: int = 9
    rules: dict[str, Any] = field(default_factory=dict)
    detailed: int = 0
    controls: int | None = 0
    images_at_once: int | None = None
    table: bool = True
    keep: bool = False


@dataclass(frozen=True)
class GalleryFiles:
    """What was made: pictures by layer, the rows of the table, and numbers.

    ``dead`` is the share of each layer's maps that never rise above zero, in percent; ``seconds`` are those of each
    step, of this attempt alone where an earlier one was continued.
    """

    sheets: dict[str, Path]
    contexts: dict[str, Path]
    control_sheets: dict[str, Path]
    controls: dict[str, Controls]
    rows: list[list[Any]]
    dead: dict[str, float]
    seconds: dict[str, float]


def draw_galleries(
    net: nn.Module,
    data: Any,
    job: GalleryJob,
    folder: Path,
    *,
    title: str,
    progress: bool = False,
    process: tuple[int, int] = (0, 1),
    together: Callable[[], None] = lambda: None,
) -> GalleryFiles | None:
    """Search a split, project, and write the files; an interrupted attempt at the same job is continued.

    Args:
        net: the network.
        data: an ``ImageData``.
        job: what is asked for.
        folder: for the files; work in progress is in its ``partial``.
        title: of the sheets, after the layer's name.
        progress: show it.
        process: which of how many processes this is. They share the work, and the first one writes the files.
        together: waits for all of them.

    Returns:
        What was made; None in processes other than the first.
    """
    loader = data.plain_dataloader(job.split, job.images, process[1])
    partial = folder / "partial"
    # What cannot be done is said before anything is written.
    fields = receptive_fields(net, job.layers, (data.image_size, data.image_size))
    some = loader.dataset.__getitems__(range(min(64, len(loader.dataset))))[0]
    views = [ProjectionVariant(OWN, net, job.rules)]
    known = projectors_of(views, job.layers, some[:1])
    if job.controls != 0:
        views += control_variants(net, job.rules, some, job.controls)
        try:
            known |= projectors_of(views[1:], job.layers, some[:1])
        except InputError as error:
            raise InputError(f"{error}; the controls use all rules: task.controls=0 leaves them out") from error
    resumed = prepare(partial, plan_of(net, data, job)) if process[0] == 0 else True
    together()
    started = time.monotonic()
    tops = _search(net, loader, job, partial, process, progress)
    searched = time.monotonic()
    chosen = [SelectedUnits.from_top_activations(x, tops[x], fields[x], select_units(len(tops[x].values), job.maps)) for x in job.layers]
    gallery = Gallery(loader.dataset, chosen, views, partial, data.to_display, job.images_at_once)
    if process[0] == 0 and not (resumed and (partial / "prepared").exists()):
        gallery.prepare()
        (partial / "prepared").touch()
    together()
    gallery.make(process, known, progress=progress)
    together()
    projected = time.monotonic()
    if process[0] != 0:
        return None
    drawn = _draw(gallery, data, job, folder, title)
    # The plan first: without it, what a kill leaves here is not taken for work in progress.
    for path in sorted(partial.iterdir(), key=lambda path: path.name != "plan.json"):
        path.unlink()
    partial.rmdir()
    dead = {layer: 100 * float((top.values[:, 0] <= 0).float().mean()) for layer, top in tops.items()}
    seconds = {
        "search": searched - started, "projections": projected - searched, "pictures": time.monotonic() - projected,
    }  # fmt: skip
    return GalleryFiles(*drawn, dead=dead, seconds=seconds)


def plan_of(net: nn.Module, data: Any, job: GalleryJob) -> dict[str, Any]:
    """What must be the same for work in progress to be continued."""
    dataset = data.dataset(job.split, "centre", job.images)
    count = len(dataset)
    ids = [data.image_id(job.split, index) for index in range(count)]
    settings = {name: getattr(job, name) for name in job.__dataclass_fields__}
    size = [data.image_size, data.stored_size, data.mean.double().mean().item(), data.std.tolist()]
    return {
        "weights": fingerprint(net), "network": repr(net), "image_ids": ids, "labels": dataset.labels.tolist(),
        "cache": dataset.path.parent.name, "preprocessing": size, **settings,
    }  # fmt: skip


def _search(
    net: nn.Module, loader: Any, job: GalleryJob, partial: Path, process: tuple[int, int], progress: bool
) -> dict[str, TopActivations]:
    """The strongest activations, from where an earlier attempt stopped."""
    search = Search(net, job.layers, job.k, process)
    kept = partial / f"search.{process[0]}.pt"

    def keep() -> None:
        with replacing(kept) as path:
            torch.save(search.state(), path)

    if kept.exists():
        device = next((p.device for p in net.parameters()), torch.device("cpu"))
        search.load(torch.load(kept, weights_only=True, map_location=device))
    search.run(loader, progress=progress, pause=keep)
    keep()
    return search.top()


def _draw(
    gallery: Gallery, data: Any, job: GalleryJob, folder: Path, title: str
) -> tuple[dict[str, Path], dict[str, Path], dict[str, Path], dict[str, Controls], list[list[Any]]]:
    """All files of all layers."""
    sheets, contexts, control_sheets = {}, {}, {}
    controls: dict[str, Controls] = {}
    rows: list[list[Any]] = []
    for chosen in gallery.chosen:
        own = gallery.pictures(chosen, gallery.views[0])
        patches = gallery.patches(chosen)
        name = chosen.layer
        sheet = top9_sheet(
            own, patches, values=chosen.values.numpy(), maps=chosen.maps.tolist(), title=f"{name}, {title}"
        )
        sheets[name] = save_png(sheet, folder / f"{name}.png")
        if job.detailed and (picture := context_sheet(gallery, chosen, data, job, f"{name}, {title}")):
            contexts[name] = save_png(picture, folder / f"{name}-where.png")
        if job.controls != 0:
            if picture := controls_sheet(gallery, chosen, f"{name}, {title}"):
                control_sheets[name] = save_png(picture, folder / f"{name}-controls.png")
            if found := evaluate_controls(gallery, chosen):
                controls[name] = found
        if job.table:
            rows += table_rows(gallery, chosen, data, job.split)
        keep_arrays(gallery, chosen, data, job, folder)
    return sheets, contexts, control_sheets, controls, rows
