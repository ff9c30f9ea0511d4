"""A gallery from end to end: search, projections, controls, and the files that are written (paper, Fig 2)."""

import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import nn

from convlens.analysis.galleries.array_store import remove_work, start_or_continue
from convlens.analysis.galleries.control_galleries import measure_controls
from convlens.analysis.galleries.gallery import Gallery
from convlens.analysis.galleries.image_data import GalleryData
from convlens.analysis.galleries.job import GalleryFiles, GalleryJob
from convlens.analysis.galleries.network_statistics import measure_network
from convlens.analysis.galleries.sanity_checks import control_variants, evaluate_controls
from convlens.analysis.galleries.selected_units import SelectedUnits, select_units
from convlens.analysis.galleries.shared_work import Worker, project_units, search_activations
from convlens.analysis.galleries.sheets import context_sheet, controls_sheet, table_rows, write_layer_arrays
from convlens.analysis.galleries.statistics_tables import draw_statistics
from convlens.analysis.galleries.top_k_metric import TopActivations
from convlens.analysis.galleries.variants import OWN, ProjectionVariant, Projectors, make_projectors
from convlens.errors import InputError
from convlens.figures.png import save_png
from convlens.figures.top9 import top9_sheet
from convlens.io.hashing import digest_named_arrays
from convlens.ops.depth import Depth, layer_depths
from convlens.ops.receptive_field import ReceptiveField, receptive_fields

CONTROL_IMAGES = 32
"""Images that set the batch norm statistics of the randomized network."""


def draw_galleries(
    net: nn.Module,
    data: GalleryData,
    job: GalleryJob,
    folder: Path,
    *,
    title: str,
    worker: Worker | None = None,
    controls: Iterable[tuple[str, nn.Module]] = (),
) -> GalleryFiles | None:
    """Search a split, project the strongest activations and write the files of a gallery.

    Work in progress is in ``folder/partial``; an interrupted attempt at the same job is continued.

    Args:
        net: the network.
        data: the images.
        job: the request.
        folder: folder of the files.
        title: title of the sheets, after the layer's name.
        worker: this process, if several share the work.
        controls: name and network of each control network, the fully randomized one last; none is made if the job
            compares no map.

    Returns:
        The files and numbers; None in other processes than the first.

    Raises:
        InputError: unknown or unusable layer, or a network without a ReLU.
    """
    worker = worker or Worker()
    # Layers and rules that cannot be drawn raise before anything is written.
    fields = receptive_fields(net, list(job.layers), (data.image_size, data.image_size))
    depths = layer_depths(net, job.layers, data.image_size)
    variants, projectors = _checked_variants(net, data, job, depths)
    partial = folder / "partial"
    continued = start_or_continue(partial, gallery_plan(net, data, job)) if worker.rank == 0 else True
    worker.barrier()
    times = [time.monotonic()]
    tops = search_activations(net, data, job, job.layers, partial, worker)
    times.append(time.monotonic())
    gallery = _selected_gallery(tops, data, job, fields, variants, partial)
    project_units(gallery, projectors, continued, worker)
    times.append(time.monotonic())
    files = GalleryFiles()
    if job.controls != 0:
        files.control_statistics = measure_controls(controls, data, job, fields, depths, partial, worker)
        times.append(time.monotonic())
    if worker.rank != 0:
        return None
    if job.controls != 0:
        labels = data.dataset(job.split, "centre", job.images).labels.numpy()
        files.statistics = measure_network(gallery, job.controls, depths, tops, labels)
    _write_files(files, gallery, data, job, folder, title)
    remove_work(partial)
    times.append(time.monotonic())
    files.dead = {layer: 100 * float(top.dead.float().mean()) for layer, top in tops.items()}
    names = ("search", "projections", *(("control networks",) if job.controls != 0 else ()), "pictures")
    files.seconds = {name: end - begin for name, begin, end in zip(names, times, times[1:], strict=False)}
    return files


def _selected_gallery(
    tops: Mapping[str, TopActivations],
    data: GalleryData,
    job: GalleryJob,
    fields: Mapping[str, ReceptiveField],
    variants: list[ProjectionVariant],
    partial: Path,
) -> Gallery:
    """Return the gallery of each layer's selected maps."""
    selected = []
    for layer, top in tops.items():
        maps = select_units(len(top.values), job.maps)
        selected.append(SelectedUnits.from_top_activations(layer, top, fields[layer], maps))
    images = data.dataset(job.split, "centre", job.images)
    return Gallery(images, selected, variants, partial, data.to_display, job.max_images)


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
        "control": job.control,
        "images_at_once": job.max_images,
        "table": job.table,
        "keep": job.keep,
    }


def _checked_variants(
    net: nn.Module, data: GalleryData, job: GalleryJob, depths: Mapping[str, Depth]
) -> tuple[list[ProjectionVariant], Projectors]:
    """Return the gallery's variants and a tested projector for each.

    Raises:
        InputError: a layer cannot be projected by a rule; of a control's rule, the message names ``task.controls``.
    """
    dataset = data.dataset(job.split, "centre", job.images)
    images = dataset.__getitems__(range(min(CONTROL_IMAGES, len(dataset))))[0]
    variants = [ProjectionVariant(OWN, net, job.rules)]
    projectors = dict(make_projectors(variants, job.layers, images[:1]))
    if job.controls != 0:
        pools = any(depth.max_pools for depth in depths.values())
        randomized = job.control != "none"
        controls = control_variants(net, job.rules, images, job.controls, randomized=randomized, pools=pools)
        try:
            projectors |= make_projectors(controls, job.layers, images[:1])
        except InputError as error:
            raise InputError(f"{error}; the controls use all rules: task.controls=0 leaves them out") from error
        variants += controls
    return variants, projectors


def _write_files(
    files: GalleryFiles, gallery: Gallery, data: GalleryData, job: GalleryJob, folder: Path, title: str
) -> None:
    """Write the sheets and arrays of all layers, and note them in ``files``."""
    if files.statistics:
        files.by_layer = draw_statistics(files.statistics, files.control_statistics, title, folder)
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
