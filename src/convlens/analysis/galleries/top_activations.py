"""The search of a data set for the k strongest activations of every feature map, in one resumable pass (Fig 2)."""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TypedDict

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from convlens.analysis.galleries.image_data import Batches
from convlens.analysis.galleries.top_k_metric import MOST, StrongestUnits, TopActivations
from convlens.errors import InputError
from convlens.ops.callers_code import one_line, stacked
from convlens.ops.input_checks import (
    batch_images,
    check_count,
    check_images,
    check_layers,
    check_loader,
    check_network,
    shown,
)
from convlens.ops.layer_access import check_outputs, evaluating, forward_to, like_parameters

SECONDS_BETWEEN_CHECKPOINTS = 30.0


class SearchState(TypedDict):
    """A search in progress, as plain values and tensors.

    Keys: ``done`` is the number of finished batches of this process, ``world_size`` the number of processes, ``vector``
    tells for each layer whether it gives vectors, ``tops`` has the metric's state by layer and name.
    """

    done: int
    world_size: int
    vector: dict[str, bool]
    tops: dict[str, dict[str, Tensor]]


def numbered_batches(loader: Batches, first: int = 0, step: int = 1) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches of images with the images' indices: every ``step``-th batch from ``first`` on.

    A ``DataLoader`` is read in the order of its data set, not in its own, so that an index is one of the data set. Any
    other iterable is numbered in its own order and read completely, also the batches left out.

    Raises:
        InputError: a batch holds no images, or images of another size than those before.
    """
    size: torch.Size | None = None
    check_loader(loader)
    for start, batch in stacked(_batches(loader, first, step)):
        images = check_images(batch_images(batch), "batch", first=start)
        size = size or images.shape[1:]
        if images.shape[1:] != size:
            raise InputError(
                f"image {start} is {list(images.shape[1:])} after images of {list(size)}: scale or crop all to one size"
            )
        yield images, torch.arange(start, start + len(images))


def _batches(loader: Batches, first: int, step: int) -> Iterator[tuple[int, object]]:
    """Yield batches with the index of their first image."""
    if isinstance(loader, DataLoader) and loader.batch_size is not None and hasattr(loader.dataset, "__len__"):
        yield from _batches_in_order(loader, first, step)
        return
    start = 0
    for number, batch in enumerate(loader):
        if number >= first and (number - first) % step == 0:
            yield start, batch
        start += len(batch_images(batch))


def _batches_in_order(loader: DataLoader[object], first: int, step: int) -> Iterator[tuple[int, object]]:
    """Yield a loader's batches in the order of its data set."""
    length, size = len(loader.dataset), loader.batch_size or 1  # type: ignore[arg-type]
    ranges = [list(range(start, min(start + size, length))) for start in range(0, length, size)][first::step]
    ordered = DataLoader(
        loader.dataset,
        batch_sampler=ranges,
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        pin_memory=loader.pin_memory,
    )
    yield from zip((indices[0] for indices in ranges), ordered, strict=True)


class ActivationSearch:
    """One pass over a data set for the k strongest activations of every map of some layers, in constant memory.

    The processes of `torch.distributed` share the batches, and each gets the result of a single process.

    Args:
        net: the network.
        layers: names of the layers.
        k: activations per map, at most one per image.
        rank: number of this process.
        world_size: number of processes.

    Attributes:
        done: number of batches that this process has finished.

    Raises:
        InputError: no layer is named.
    """

    def __init__(
        self, net: nn.Module, layers: Sequence[str], k: int = 9, *, rank: int = 0, world_size: int = 1
    ) -> None:
        check_network(net)
        self.net, self.layers, self.k = net, check_layers(layers), check_count("k", k, most=MOST)
        self.rank, self.world_size = rank, world_size
        self.done = 0
        self._tops: dict[str, StrongestUnits] = {}
        self._vector: dict[str, bool] = {}

    def state(self) -> SearchState:
        """Return what `load` needs to continue after ``done`` batches."""
        tops = {layer: {name: getattr(top, name) for name in top._defaults} for layer, top in self._tops.items()}
        return SearchState(done=self.done, world_size=self.world_size, vector=self._vector, tops=tops)

    def load(self, state: SearchState) -> None:
        """Continue from the state of the same search; a state of another number of processes is ignored."""
        if state.get("world_size") != self.world_size:
            return
        self.done, self._vector = state["done"], state["vector"]
        for layer, tensors in state["tops"].items():
            self._tops[layer] = self._metric(len(tensors["values"]), tensors["values"])
            for name, tensor in tensors.items():
                setattr(self._tops[layer], name, tensor.to(tensors["values"].device))

    @torch.no_grad()
    def run(self, loader: Batches, *, progress: bool = True, checkpoint: Callable[[], None] | None = None) -> None:
        """Read the data set.

        Args:
            loader: batches of images, alone or before their labels.
            progress: show a progress bar.
            checkpoint: called every 30 seconds, for example to save the state.

        Raises:
            InputError: unknown or unusable layer, NaN activations, images of several sizes, fewer batches than
                processes.
        """
        batches = len(loader) if isinstance(loader, DataLoader) else None
        if self.world_size > 1 and batches is not None and batches < self.world_size:
            # Raised by every process, so that none waits for the others.
            raise InputError(f"{batches} batches for {self.world_size} processes: give fewer, or a smaller batch_size")
        saved = time.monotonic()
        first = self.rank + self.done * self.world_size
        total = None if batches is None else -(-(batches - self.rank) // self.world_size)
        hidden = None if progress and self.rank == 0 else True
        with (
            evaluating(self.net),
            tqdm(desc="strongest activations", unit="batch", total=total, initial=self.done, disable=hidden) as bar,
        ):
            for images, indices in numbered_batches(loader, first, self.world_size):
                self._update(like_parameters(self.net, images), indices)
                self.done += 1
                bar.update()
                if checkpoint and time.monotonic() - saved > SECONDS_BETWEEN_CHECKPOINTS:
                    checkpoint()
                    saved = time.monotonic()

    def top(self) -> dict[str, TopActivations]:
        """Return the result by layer; with several processes, every process must call this.

        Raises:
            InputError: there was no image.
        """
        if not self._tops:
            raise InputError("the loader gave no images: give at least one")
        return {layer: self._tops[layer].top(self._vector[layer]) for layer in self.layers}

    def _metric(self, maps: int, like: Tensor) -> StrongestUnits:
        return StrongestUnits(maps, self.k, dtype=like.dtype, sync_on_compute=self.world_size > 1).to(like.device)

    def _update(self, images: Tensor, indices: Tensor) -> None:
        if not self._tops:
            for layer, shape in check_outputs(self.net, images, list(self.layers)).items():
                assert layer is not None
                self._tops[layer] = self._metric(shape[0], images)
                self._vector[layer] = len(shape) == 1
        consumers = {layer: partial(top.update, images=indices) for layer, top in self._tops.items()}
        # A copy, since a network may change its input in place and the batch belongs to the caller.
        forward_to(self.net, images.clone(), consumers)


def top_activations(
    net: nn.Module, loader: Batches, layers: Sequence[str], k: int = 9, *, progress: bool = True
) -> dict[str, TopActivations]:
    """Find the k strongest activations of every map of some layers in one pass, in constant memory (Fig 2).

    One activation per image counts, the spatial maximum. The result depends on the data set only: not on the batch
    size, not on the loader's order and not on a sampler that leaves images out; give a `Subset` for that.

    Args:
        net: any network.
        loader: batches of images [n, c, h, w], alone or before their labels.
        layers: names of layers that give maps [n, maps, h, w] or vectors [n, units].
        k: activations per map.
        progress: show a progress bar.

    Returns:
        The result of each layer by name.

    Raises:
        InputError: unknown or unusable layer, no image at all, NaN activations, images of several sizes.
    """
    with one_line(f"progress={shown(progress)} is neither true nor false"):
        progress = bool(progress)
    search = ActivationSearch(net, layers, k)
    search.run(loader, progress=progress)
    return search.top()
