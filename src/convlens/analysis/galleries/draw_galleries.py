"""A gallery from end to end: search, projections, controls, and the files that are written (paper, Fig 2)."""

import io
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from convlens.analysis.galleries.array_store import remove_work, start_or_continue
from convlens.analysis.galleries.gallery import Gallery
from convlens.analysis.galleries.image_data import GalleryData
from convlens.analysis.galleries.job import GalleryFiles, GalleryJob
from convlens.analysis.galleries.sanity_checks import control_variants, evaluate_controls
from convlens.analysis.galleries.selected_units import SelectedUnits, select_units
from convlens.analysis.galleries.sheets import context_sheet, controls_sheet, table_rows, write_layer_arrays
from convlens.analysis.galleries.top_activations import ActivationSearch
from convlens.analysis.galleries.top_k_metric import TopActivations
from convlens.analysis.galleries.variants import OWN, ProjectionVariant, Projectors, make_projectors
from convlens.errors import DamagedError, InputError
from convlens.figures.png import save_png
from convlens.figures.top9 import top9_sheet
from convlens.io.atomic import write_bytes
from convlens.io.hashing import digest_named_arrays
from convlens.nets.weights import read_checkpoint
from convlens.ops.receptive_field import receptive_fields

log = logging.getLogger(__name__)
CONTROL_IMAGES = 64
"""Images that set the batch norm statistics of the randomized network."""


def draw_galleries(
    net: nn.Module,
    data: GalleryData,
    job: GalleryJob,
    folder: Path,
    *,
    title: str,
    progress: bool = False,
    rank: int = 0,
    world_size: int = 1,
    barrier: Callable[[], None] = lambda: None,
) -> GalleryFiles | None:
    """Search a split, project the strongest activations and write the files of a gallery.

    Work in progress is in ``folder/partial``; an interrupted attempt at the same job is continued.

    Args:
        net: the network.
        data: the images.
        job: the request.
        folder: folder of the files.
        title: title of the sheets, after the layer's name.
        progress: show progress bars.
        rank: number of this process; the first one writes the files.
        world_size: number of processes, which share the work.
        barrier: waits for all processes.

    Returns:
        The files and numbers; None in other processes than the first.

    Raises:
        InputError: unknown or unusable layer, or a network without a ReLU.
    """
    worker = _Worker(rank, world_size, barrier, progress)
    # Layers and rules that cannot be drawn raise before anything is written.
    fields = receptive_fields(net, list(job.layers), (data.image_size, data.image_size))
    variants, projectors = _checked_variants(net, data, job)
    partial = folder / "partial"
    continued = start_or_continue(partial, gallery_plan(net, data, job)) if rank == 0 else True
    barrier()
    times = [time.monotonic()]
    tops = _search(net, data, job, partial, worker)
    times.append(time.monotonic())
    selected = []
    for layer, top in tops.items():
        maps = select_units(len(top.values), job.maps)
        selected.append(SelectedUnits.from_top_activations(layer, top, fields[layer], maps))
    images = data.dataset(job.split, "centre", job.images)
    gallery = Gallery(images, selected, variants, partial, data.to_display, job.max_images)
    _project(gallery, projectors, continued, worker)
    times.append(time.monotonic())
    if rank != 0:
        return None
    files = _write_files(gallery, data, job, folder, title)
    remove_work(partial)
    times.append(time.monotonic())
    files.dead = {layer: 100 * float(top.dead.float().mean()) for layer, top in tops.items()}
    steps = zip(("search", "projections", "pictures"), times, times[1:], strict=False)
    files.seconds = {name: end - begin for name, begin, end in steps}
    return files


def gallery_plan(net: nn.Module, data: GalleryData, job: GalleryJob) -> dict[str, object]:
    """Return all that a gallery depends on, by which an interrupted or finished one is recognised.

    The keys and their order are those of galleries on disk, which differ from the names of the job's attributes.
    """
    dataset = data.dataset(job.split, "centre", job.images)
    ids = [data.image_id(job.split, index) for index in range(len(dataset))]
    sizes = [data.image_size, data.stored_size, data.mean.double().mean().item(), data.std.tolist()]
    weights = ((name, tensor.detach().cpu().reshape(-1)) for name, tensor in net.state_dict().items())
    return {
        "weights": digest_named_arrays((name, tensor.view(torch.uint8).numpy()) for name, tensor in weights),
        "network": repr(net),
        "image_ids": ids,
        "labels": dataset.labels.tolist(),
        "cache": dataset.path.parent.name,
        "preprocessing": sizes,
        "layers": list(job.layers),
        "split": job.split,
        "images": job.images,
        "maps": job.maps,
        "k": job.k,
        "rules": {"seed" if name == "signal" else name: value for name, value in job.rules.items()},
        "detailed": job.detailed,
        "controls": job.controls,
        "images_at_once": job.max_images,
        "table": job.table,
        "keep": job.keep,
    }


@dataclass(frozen=True)
class _Worker:
    rank: int
    world_size: int
    barrier: Callable[[], None]
    progress: bool


def _checked_variants(net: nn.Module, data: GalleryData, job: GalleryJob) -> tuple[list[ProjectionVariant], Projectors]:
    """Return the gallery's variants and a tested projector for each.

    Raises:
        InputError: a layer cannot be projected by a rule; of a control's rule, the message names ``task.controls``.
    """
    dataset = data.dataset(job.split, "centre", job.images)
    images = dataset.__getitems__(range(min(CONTROL_IMAGES, len(dataset))))[0]
    variants = [ProjectionVariant(OWN, net, job.rules)]
    projectors = dict(make_projectors(variants, job.layers, images[:1]))
    if job.controls != 0:
        controls = control_variants(net, job.rules, images, job.controls)
        try:
            projectors |= make_projectors(controls, job.layers, images[:1])
        except InputError as error:
            raise InputError(f"{error}; the controls use all rules: task.controls=0 leaves them out") from error
        variants += controls
    return variants, projectors


def _search(
    net: nn.Module, data: GalleryData, job: GalleryJob, partial: Path, worker: _Worker
) -> dict[str, TopActivations]:
    """Search the strongest activations, continuing an interrupted search."""
    search = ActivationSearch(net, job.layers, job.k, rank=worker.rank, world_size=worker.world_size)
    path = partial / f"search.{worker.rank}.pt"

    def save() -> None:
        content = io.BytesIO()  # torch's own writer reports a full disk as a broken archive
        torch.save(search.state(), content)
        write_bytes(path, content.getbuffer())

    try:
        device = next((p.device for p in net.parameters()), torch.device("cpu"))
        search.load(read_checkpoint(path, device))
    except FileNotFoundError:
        pass
    except DamagedError as error:
        log.warning("%s: the images are searched again", error)
    loader = data.plain_dataloader(job.split, job.images, worker.world_size)
    search.run(loader, progress=worker.progress, checkpoint=save)
    save()
    return search.top()


def _project(gallery: Gallery, projectors: Projectors, continued: bool, worker: _Worker) -> None:
    """Create the gallery's files, unless an interrupted attempt has created them, and project its units."""
    prepared = gallery.folder / "prepared"
    if worker.rank == 0 and not (continued and prepared.exists() and gallery.has_files()):
        for path in gallery.folder.glob("done.*"):
            path.unlink()
        gallery.create_files()
        prepared.touch()
    worker.barrier()
    gallery.make(projectors, rank=worker.rank, world_size=worker.world_size, progress=worker.progress)
    worker.barrier()


def _write_files(gallery: Gallery, data: GalleryData, job: GalleryJob, folder: Path, title: str) -> GalleryFiles:
    """Write the sheets and arrays of all layers."""
    files = GalleryFiles()
    for selected in gallery.selected:
        name = selected.layer
        heading = f"{name}, {title}"
        sheet = top9_sheet(
            gallery.projections(selected, gallery.variants[0]),
            gallery.patches(selected),
            values=selected.values.numpy(),
            maps=selected.maps.tolist(),
            title=heading,
        )
        files.sheets[name] = save_png(sheet, folder / f"{name}.png")
        if job.detailed and (context := context_sheet(gallery, selected, data, job, heading)):
            files.contexts[name] = save_png(context, folder / f"{name}-where.png")
        if job.controls != 0:
            if picture := controls_sheet(gallery, selected, heading):
                files.control_sheets[name] = save_png(picture, folder / f"{name}-controls.png")
            if controls := evaluate_controls(gallery, selected):
                files.controls[name] = controls
        if job.table:
            files.rows += table_rows(gallery, selected, data, job.split)
        write_layer_arrays(gallery, selected, data, job, folder)
    return files
