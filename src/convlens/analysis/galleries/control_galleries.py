"""Galleries of control networks: their own strongest activations, projected, of which only statistics are kept."""

import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

from torch import nn

from convlens.analysis.galleries.array_store import remove_work, start_or_continue
from convlens.analysis.galleries.gallery import Gallery
from convlens.analysis.galleries.image_data import GalleryData
from convlens.analysis.galleries.job import GalleryJob
from convlens.analysis.galleries.network_statistics import NetworkStatistics, measure_network
from convlens.analysis.galleries.selected_units import SelectedUnits, select_units
from convlens.analysis.galleries.shared_work import Worker, project_units, search_activations
from convlens.analysis.galleries.variants import OWN, ProjectionVariant
from convlens.errors import DamagedError
from convlens.ops.depth import Depth
from convlens.ops.receptive_field import ReceptiveField

log = logging.getLogger(__name__)


def measure_controls(
    controls: Iterable[tuple[str, nn.Module]],
    data: GalleryData,
    job: GalleryJob,
    fields: Mapping[str, ReceptiveField],
    depths: Mapping[str, Depth],
    partial: Path,
    worker: Worker,
) -> dict[str, NetworkStatistics]:
    """Search and project the control networks, one after the other, continuing an interrupted attempt.

    Args:
        controls: name and network of each.
        data: the images.
        job: the request of the gallery that they are the controls of.
        fields: receptive field of each layer.
        depths: depth of each layer.
        partial: folder of the work in progress.
        worker: this process.

    Returns:
        The statistics by name; empty in other processes than the first.
    """
    found = {}
    for number, (name, net) in enumerate(controls):
        path = partial / f"control{number}.npz"
        done = _finished(path, depths)
        if done is None:
            done = _measure(net, data, job, fields, depths, partial / f"control{number}", worker)
            if done is not None:
                done.write(path)
        if done is not None:
            found[name] = done
    return found


def _finished(path: Path, depths: Mapping[str, Depth]) -> NetworkStatistics | None:
    """Return what an interrupted attempt has measured; None if there is nothing, or it is damaged."""
    try:
        return NetworkStatistics.read(path, depths)
    except FileNotFoundError:
        return None
    except DamagedError as error:
        log.warning("%s: the control network is measured again", error)
        return None


def _measure(
    net: nn.Module,
    data: GalleryData,
    job: GalleryJob,
    fields: Mapping[str, ReceptiveField],
    depths: Mapping[str, Depth],
    folder: Path,
    worker: Worker,
) -> NetworkStatistics | None:
    """Measure one network; None in other processes than the first."""
    continued = start_or_continue(folder, {"control": folder.name}) if worker.rank == 0 else True
    worker.barrier()
    tops = search_activations(net, data, job, list(fields), folder, worker)
    selected = []
    for layer, top in tops.items():
        maps = select_units(len(top.values), job.maps)
        maps = maps[select_units(len(maps), job.controls)]  # those of the network itself that have controls
        selected.append(SelectedUnits.from_top_activations(layer, top, fields[layer], maps))
    images = data.dataset(job.split, "centre", job.images)
    variants = [ProjectionVariant(OWN, net, job.rules)]
    gallery = Gallery(images, selected, variants, folder, data.to_display, job.max_images)
    project_units(gallery, None, continued, worker)
    if worker.rank != 0:
        return None
    statistics = measure_network(gallery, None, depths, tops, images.labels.numpy())
    remove_work(folder)
    return statistics
