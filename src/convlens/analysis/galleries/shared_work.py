"""Steps of a gallery that several processes share and that continue after an interruption: search and projections."""

import io
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from convlens.analysis.galleries.gallery import Gallery
from convlens.analysis.galleries.image_data import GalleryData
from convlens.analysis.galleries.job import GalleryJob
from convlens.analysis.galleries.top_activations import ActivationSearch
from convlens.analysis.galleries.top_k_metric import TopActivations
from convlens.analysis.galleries.variants import Projectors
from convlens.errors import DamagedError
from convlens.io.atomic import write_bytes
from convlens.io.claims import claim, remove_own
from convlens.nets.weights import read_checkpoint

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Worker:
    """One of the processes that share the work.

    Attributes:
        rank: its number; the first one, 0, writes the files.
        world_size: number of processes.
        barrier: waits for all of them.
        progress: whether to show progress bars.
    """

    rank: int = 0
    world_size: int = 1
    barrier: Callable[[], None] = lambda: None
    progress: bool = False


def search_activations(
    net: nn.Module, data: GalleryData, job: GalleryJob, layers: Sequence[str], partial: Path, worker: Worker
) -> dict[str, TopActivations]:
    """Search the strongest activations, continuing an interrupted search.

    Args:
        net: the network.
        data: the images.
        job: the gallery's request.
        layers: names of the layers.
        partial: folder of the work in progress.
        worker: this process.
    """
    search = ActivationSearch(net, layers, job.k, rank=worker.rank, world_size=worker.world_size)
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


def project_units(gallery: Gallery, projectors: Projectors | None, continued: bool, worker: Worker) -> None:
    """Create the gallery's files, unless an interrupted attempt has created them, and project its units.

    Args:
        gallery: the gallery.
        projectors: of all variants and layers, if they were made before.
        continued: whether the folder holds an interrupted attempt.
        worker: this process.
    """
    prepared = gallery.folder / "prepared"
    if worker.rank == 0 and not (continued and prepared.exists() and gallery.has_files()):
        for path in gallery.folder.glob("done.*"):
            remove_own(path)
        gallery.create_files()
        claim(prepared)
        prepared.touch()
    worker.barrier()
    gallery.make(projectors, rank=worker.rank, world_size=worker.world_size, progress=worker.progress)
    worker.barrier()
