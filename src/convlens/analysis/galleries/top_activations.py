"""The search of a data set for the strongest activations: one pass, which can be interrupted and shared."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from convlens.analysis.galleries.top_k_metric import StrongestUnits, TopActivations
from convlens.errors import InputError
from convlens.ops.layer_access import check_outputs, evaluating, forward_to, like_parameters

SECONDS_BETWEEN_PAUSES = 30.0


def numbered(loader: Iterable[Any], first: int = 0, step: int = 1) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches of images with their numbers: every ``step``-th batch from ``first`` on.

    A ``DataLoader`` is read in the order of its data set, so that a number is an index into the set whatever the
    loader's own order; anything else is numbered as it comes, and read but not handed on where batches are left out.

    Raises:
        InputError: a batch holds no images, or images of another size than those before.
    """
    size: torch.Size | None = None
    for start, batch in _batches(loader, first, step):
        images = batch[0] if isinstance(batch, list | tuple) else batch
        if not isinstance(images, Tensor) or images.dim() != 4:
            raise InputError(
                "the loader must give batches of images [n, c, h, w], alone or before their labels; "
                f"got {type(images).__name__}" + (f" {list(images.shape)}" if isinstance(images, Tensor) else "")
            )
        size = size or images.shape[1:]
        if images.shape[1:] != size:
            raise InputError(
                f"image {start} is {list(images.shape[1:])} after images of {list(size)}: scale or crop all to one size"
            )
        yield images, torch.arange(start, start + len(images))


def _batches(loader: Iterable[Any], first: int, step: int) -> Iterator[tuple[int, Any]]:
    """Batches with the numbers of their first images."""
    if isinstance(loader, DataLoader) and loader.batch_size is not None and hasattr(loader.dataset, "__len__"):
        length: int = len(loader.dataset)
        ranges = [list(range(s, min(s + loader.batch_size, length))) for s in range(0, length, loader.batch_size)]
        ranges = ranges[first::step]
        ordered = DataLoader(
            loader.dataset,
            batch_sampler=ranges,
            num_workers=loader.num_workers,
            collate_fn=loader.collate_fn,
            pin_memory=loader.pin_memory,
        )
        try:
            yield from zip((r[0] for r in ranges), ordered, strict=True)
        except RuntimeError as error:
            if "equal size" not in str(error):
                raise
            raise InputError("images of different sizes in one batch: scale or crop all to one size") from error
        return
    start = 0
    for number, batch in enumerate(loader):
        images = batch[0] if isinstance(batch, list | tuple) else batch
        if number >= first and (number - first) % step == 0:
            yield start, batch
        start += len(images) if isinstance(images, Tensor) else 0


class Search:
    """One pass over a data set for the k strongest activations of every map of some layers, in constant memory.

    Args:
        net: the network.
        layers: names.
        k: activations per map, one per image.
        process: which of how many processes this is, of those that `torch.distributed` has brought together; each
            takes its share of the batches, and all get the same result as a single one.

    Raises:
        InputError: no layer.
    """

    def __init__(self, net: nn.Module, layers: Sequence[str], k: int = 9, process: tuple[int, int] = (0, 1)) -> None:
        if not layers:
            raise InputError("no layer to search: name at least one")
        self.net, self.layers, self.k = net, list(layers), k
        self.rank, self.processes = process
        self.done = 0
        self._tops: dict[str, StrongestUnits] = {}
        self._vector: dict[str, bool] = {}

    def state(self) -> dict[str, Any]:
        """What is needed to go on after ``done`` batches: tensors and plain values."""
        states = {layer: {n: getattr(top, n) for n in top._defaults} for layer, top in self._tops.items()}
        return {"done": self.done, "processes": self.processes, "vector": self._vector, "tops": states}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a state of the same search by as many processes; one by another number of them is ignored."""
        if state["processes"] != self.processes:
            return
        self.done, self._vector = state["done"], state["vector"]
        for layer, kept in state["tops"].items():
            self._tops[layer] = self._units(len(kept["values"]), kept["values"])
            for name, tensor in kept.items():
                setattr(self._tops[layer], name, tensor.to(kept["values"].device))

    @torch.no_grad()
    def run(self, loader: Iterable[Any], *, progress: bool = True, pause: Callable[[], None] | None = None) -> None:
        """Read the data set; ``pause`` is called every half a minute and may keep the state.

        Raises:
            InputError: unknown or unusable layer, NaN activations, images of several sizes.
        """
        batches = len(loader) if isinstance(loader, DataLoader) else None
        if self.processes > 1 and batches is not None and batches < self.processes:
            # Said by each process alike, or the others would wait for this one.
            raise InputError(f"{batches} batches for {self.processes} processes: give fewer, or a smaller batch_size")
        paused = time.monotonic()
        first = self.rank + self.done * self.processes
        total = None if batches is None else -(-(batches - self.rank) // self.processes)
        hidden = None if progress and self.rank == 0 else True
        with (
            evaluating(self.net),
            tqdm(desc="strongest activations", unit="batch", total=total, initial=self.done, disable=hidden) as bar,
        ):
            for images, numbers in numbered(loader, first, self.processes):
                self._take(like_parameters(self.net, images), numbers)
                self.done += 1
                bar.update()
                if pause and time.monotonic() - paused > SECONDS_BETWEEN_PAUSES:
                    pause()
                    paused = time.monotonic()

    def top(self) -> dict[str, TopActivations]:
        """The result; with several processes each must ask for it.

        Raises:
            InputError: there was no image.
        """
        if not self._tops:
            raise InputError("the loader gave no images: give at least one")
        return {layer: self._tops[layer].top(self._vector[layer]) for layer in self.layers}

    def _units(self, maps: int, like: Tensor) -> StrongestUnits:
        return StrongestUnits(maps, self.k, dtype=like.dtype, sync_on_compute=self.processes > 1).to(like.device)

    def _take(self, images: Tensor, numbers: Tensor) -> None:
        if not self._tops:
            for layer, shape in check_outputs(self.net, images, list(self.layers)).items():
                assert layer is not None
                self._tops[layer] = self._units(shape[0], images)
                self._vector[layer] = len(shape) == 1
        consumers = {layer: partial(top.update, images=numbers) for layer, top in self._tops.items()}
        # A copy, since a network may begin by changing its input in place and the batch is the caller's.
        forward_to(self.net, images.clone(), consumers)


def top_activations(
    net: nn.Module, loader: Iterable[Any], layers: Sequence[str], k: int = 9, *, progress: bool = True
) -> dict[str, TopActivations]:
    """The k strongest activations of every map of the layers, in one pass over the images, in constant memory.

    One activation, the spatial maximum, counts per image. The result depends on the data set alone: not on the batch
    size, not on the loader's order, and not on a sampler that leaves images out: give a `Subset` for that.

    Raises:
        InputError: unknown or unusable layer, no image at all, NaN activations, images of several sizes.
    """
    search = Search(net, layers, k)
    search.run(loader, progress=progress)
    return search.top()
