"""The strongest activations of layers with their projections and image patches (paper, Fig 2).

Units are projected image by image, so that each image is read once and its forward pass is shared by all of its units,
whatever their layer and rule; pictures go to disk as they come.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor, nn
from tqdm import tqdm

from convlens.analysis.galleries.array_store import Patches, Progress, Projections
from convlens.analysis.galleries.selected_units import SelectedUnits, select_units
from convlens.deconv import FieldProjector
from convlens.deconv.backward import WORTH, area
from convlens.deconv.forward_cache import ForwardCache, record
from convlens.ops.layer_access import like_parameters

Pictures = Callable[[Tensor], Tensor]
OWN = "projections"
PIXELS_AT_ONCE = 32 * 224**2


@dataclass(frozen=True)
class ProjectionVariant:
    """A way of looking at the units: a network with the options of ``project``.

    Attributes:
        name: of its pictures; ``OWN`` are the gallery's own.
        net: the network, or one like it.
        options: of ``project``.
        other: takes another map's unit at the same place instead.
        maps: how many of the gallery's maps it shows, a random choice; None is all.
    """

    name: str
    net: nn.Module
    options: dict[str, Any] = field(default_factory=dict)
    other: bool = False
    maps: int | None = None

    def rows(self, chosen: SelectedUnits) -> list[int]:
        """Which of the chosen maps it shows."""
        return select_units(len(chosen.maps), self.maps).tolist()


def crop(images: Tensor, box: Sequence[int], fill: float) -> Tensor:
    """The window (top, left, bottom, right) of images [..., h, w]; what lies outside them is ``fill``."""
    top, left, bottom, right = box
    height, width = images.shape[-2:]
    window = torch.full(
        (*images.shape[:-2], bottom - top, right - left), fill, dtype=images.dtype, device=images.device
    )
    y0, y1, x0, x1 = max(top, 0), min(bottom, height), max(left, 0), min(right, width)
    if y0 < y1 and x0 < x1:
        window[..., y0 - top : y1 - top, x0 - left : x1 - left] = images[..., y0:y1, x0:x1]
    return window


def projectors_of(
    views: Sequence[ProjectionVariant], layers: Sequence[str], image: Tensor
) -> dict[tuple[str, str], FieldProjector]:
    """A projector for each view and layer, each tried out."""
    found = {}
    for view in views:
        for layer in layers:
            projector = FieldProjector(view.net, image, layer, **view.options)
            projector.try_out(image)
            found[view.name, layer] = projector
    return found


@dataclass(frozen=True)
class Gallery:
    """Everything that is to be drawn, and where the pictures go.

    Attributes:
        dataset: gives an image, alone or before its label, for each number in the chosen maps' ``images``.
        chosen: the layers' maps.
        views: ``OWN`` first.
        folder: for the files.
        to_display: turns images as the network reads them into uint8 pictures.
        images_at_once: how many images are held with their maps at a time, which bounds the memory; None is as many
            as have the pixels of 32 images of 224 x 224.
    """

    dataset: Any
    chosen: list[SelectedUnits]
    views: list[ProjectionVariant]
    folder: Path
    to_display: Pictures
    images_at_once: int | None = None

    def prepare(self) -> None:
        """Make empty files for all pictures."""
        channels = _image(self.dataset, 0).shape[0]
        for chosen in self.chosen:
            size, k = chosen.field.size, chosen.images.shape[1]
            Patches.create(self.folder, f"{chosen.layer}.patches", (len(chosen.maps), k, 3, *size))
            for view in self.views:
                shape = (len(view.rows(chosen)), k, channels, *size)
                Projections.create(self.folder, f"{chosen.layer}.{view.name}", shape)

    def patches(self, chosen: SelectedUnits) -> Patches:
        """The patches of a layer."""
        return Patches(self.folder, f"{chosen.layer}.patches")

    def pictures(self, chosen: SelectedUnits, view: ProjectionVariant) -> Projections:
        """The projections of a layer in a view; row i is the i-th of ``view.rows``."""
        return Projections(self.folder, f"{chosen.layer}.{view.name}")

    def blocks(self) -> list[list[int]]:
        """The numbers of the images that are needed, as many at a time as are held."""
        found = [chosen.images[chosen.alive] for chosen in self.chosen]
        numbers = torch.cat(found).unique().tolist() if found else []
        height, width = _image(self.dataset, 0).shape[-2:]
        count = self.images_at_once or max(1, PIXELS_AT_ONCE // (height * width))
        return [numbers[i : i + count] for i in range(0, len(numbers), count)]

    def make(
        self,
        process: tuple[int, int] = (0, 1),
        projectors: Mapping[tuple[str, str], FieldProjector] | None = None,
        *,
        progress: bool = False,
    ) -> None:
        """Project what is not projected yet; with several processes each does its share of the images.

        ``projectors`` are those of views and layers, by their names, if they were made before.

        Raises:
            InputError: as ``project``.
        """
        rank, processes = process
        notes = Progress(self.folder, rank)
        blocks, done = self.blocks(), notes.done()
        mine = [n for n in range(rank, len(blocks), processes) if n not in done]
        if not mine:
            return
        if projectors is None:
            image = _image(self.dataset, blocks[0][0])[None]
            projectors = projectors_of(self.views, [chosen.layer for chosen in self.chosen], image)
        hidden = None if progress and rank == 0 else True
        with tqdm(desc="projections", unit="image", total=sum(len(blocks[n]) for n in mine), disable=hidden) as bar:
            for number in mine:
                self._block(blocks[number], projectors)
                notes.note(number)
                bar.update(len(blocks[number]))

    def _block(self, numbers: list[int], projectors: Mapping[tuple[str, str], FieldProjector]) -> None:
        """The units of some images, in all layers and views."""
        images = torch.stack([_image(self.dataset, number) for number in numbers])
        members = [(chosen, self._members(chosen, numbers)) for chosen in self.chosen]
        self._cut_patches(members, self.to_display(images).cpu())
        for net in {id(view.net): view.net for view in self.views}.values():
            views = [view for view in self.views if view.net is net]
            recording = self._recording(net, images, views, members)
            for view in views:
                for chosen, (places, rows) in members:
                    shown = {row: index for index, row in enumerate(view.rows(chosen))}
                    own = [(place, row) for place, row in zip(places, rows, strict=True) if place[0] in shown]
                    if not own:
                        continue
                    units = [chosen.unit(*place, row, view.other) for place, row in own]
                    found = projectors[view.name, chosen.layer](images, units, recording)
                    store = self.pictures(chosen, view)
                    for ((row, rank), _), projection in zip(own, found, strict=True):
                        store.put(shown[row], rank, projection)
                    store.flush()

    def _cut_patches(self, members: list[tuple[SelectedUnits, "Members"]], pictures: UInt8[Tensor, "n 3 h w"]) -> None:
        for chosen, (places, rows) in members:
            store = self.patches(chosen)
            for (row, rank), image in zip(places, rows, strict=True):
                store.put(row, rank, crop(pictures[image], chosen.box(row, rank), 128))
            store.flush()

    @staticmethod
    def _members(chosen: SelectedUnits, numbers: list[int]) -> "Members":
        row_of = {number: row for row, number in enumerate(numbers)}
        inside = chosen.alive & torch.isin(chosen.images, torch.tensor(numbers))
        places = [(row, rank) for row, rank in inside.nonzero().tolist()]
        return places, [row_of[int(chosen.images[place])] for place in places]

    @staticmethod
    def _recording(
        net: nn.Module, images: Tensor, views: list[ProjectionVariant], members: list[tuple[SelectedUnits, "Members"]]
    ) -> ForwardCache | None:
        """One forward pass over the images, if it is cheaper than those of all the windows."""
        seen = []
        local = [(chosen, places) for chosen, (places, _) in members if chosen.field.local]
        for chosen, places in local:
            spots = torch.tensor([chosen.positions[p].tolist() for p in places], dtype=torch.int64).reshape(-1, 2)
            for view in views:
                shown = set(view.rows(chosen))
                seen.append((chosen.field, spots[[row in shown for row, _ in places]]))
        sizes = (images.shape[-2], images.shape[-1])
        if not local or sum(area(field, spots, sizes) for field, spots in seen) < WORTH * len(images):
            return None
        return record(net, like_parameters(net, images), [chosen.layer for chosen, _ in local])


Members = tuple[list[tuple[int, int]], list[int]]
"""(row, rank) of some units, and the row of the image of each."""


def _image(dataset: Any, number: int) -> Tensor:
    item = dataset[number]
    return item[0] if isinstance(item, list | tuple) else item
