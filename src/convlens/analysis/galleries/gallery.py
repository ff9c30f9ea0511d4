"""Projections and image patches of the strongest activations of several layers, written to disk (paper, Fig 2).

Units are projected image by image: each image is read once, and all of its units, of any layer and rule, share its
forward pass.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor, nn
from tqdm import tqdm

from convlens.analysis.galleries.array_store import Patches, Progress, Projections
from convlens.analysis.galleries.image_data import ImageDataset, image_at
from convlens.analysis.galleries.selected_units import SelectedUnits
from convlens.analysis.galleries.variants import ProjectionVariant, Projectors, make_projectors
from convlens.deconv.backward import MIN_AREA_RATIO, window_area
from convlens.deconv.forward_cache import ForwardCache, cache_forward
from convlens.deconv.project import FieldProjector
from convlens.io.claims import remove_own
from convlens.ops.layer_access import like_parameters

log = logging.getLogger(__name__)
MAX_PIXELS = 32 * 224**2
"""Default number of image pixels that are held at once: 32 images of 224 x 224."""
PATCH_PADDING = 128


@dataclass(frozen=True)
class _UnitsInBlock:
    """The units of a layer whose images are in a block.

    Attributes:
        selected: the layer's selected maps.
        places: (row, rank) of each unit among them.
        images: index of each unit's image in the block.
    """

    selected: SelectedUnits
    places: list[tuple[int, int]]
    images: list[int]


def crop(images: Tensor, box: Sequence[int], fill: float) -> Tensor:
    """Return the window (top, left, bottom, right) of images [..., h, w], filled outside of them with ``fill``."""
    top, left, bottom, right = box
    height, width = images.shape[-2:]
    window = torch.full(
        (*images.shape[:-2], bottom - top, right - left), fill, dtype=images.dtype, device=images.device
    )
    y0, y1, x0, x1 = max(top, 0), min(bottom, height), max(left, 0), min(right, width)
    if y0 < y1 and x0 < x1:
        window[..., y0 - top : y1 - top, x0 - left : x1 - left] = images[..., y0:y1, x0:x1]
    return window


@dataclass(frozen=True)
class Gallery:
    """Projections and patches of the strongest activations of some layers, as files in a folder.

    Attributes:
        dataset: the images, by the indices in the selected maps' ``images``.
        selected: the selected maps of each layer.
        variants: how to project; ``OWN`` comes first.
        folder: folder of the files.
        to_display: converts images [n, c, h, w] as the network reads them to pixel values 0..255.
        max_images: number of images that are held at once with their maps, which bounds the memory; None is as many
            as have the pixels of 32 images of 224 x 224.
    """

    dataset: ImageDataset
    selected: list[SelectedUnits]
    variants: list[ProjectionVariant]
    folder: Path
    to_display: Callable[[Tensor], Tensor]
    max_images: int | None = None

    def create_files(self) -> None:
        """Create files of zeros for all projections and patches.

        Raises:
            OSError: the disk has no room for all of them; none is left.
        """
        try:
            for store, name, shape in self._files():
                store.create(self.folder, name, shape)
        except OSError:
            for path in self.folder.glob("*.npy"):
                remove_own(path)
            raise

    def has_files(self) -> bool:
        """Return whether all files are there, and none is cut short or of another shape."""
        try:
            return all(store(self.folder, name).values.shape == shape for store, name, shape in self._files())
        except (OSError, ValueError, EOFError, SyntaxError):
            return False

    def _files(self) -> Iterator[tuple[type[Patches] | type[Projections], str, tuple[int, ...]]]:
        """Yield the kind, the name and the shape of each array."""
        channels = image_at(self.dataset, 0).shape[0]
        for selected in self.selected:
            size, k = selected.field.size, selected.images.shape[1]
            yield Patches, f"{selected.layer}.patches", (len(selected.maps), k, 3, *size)
            for variant in self.variants:
                shape = (len(variant.rows(selected)), k, channels, *size)
                yield Projections, f"{selected.layer}.{variant.name}", shape

    def patches(self, selected: SelectedUnits) -> Patches:
        """Return the image patches of a layer."""
        return Patches(self.folder, f"{selected.layer}.patches")

    def projections(self, selected: SelectedUnits, variant: ProjectionVariant) -> Projections:
        """Return the projections of a layer by a variant; row i is the i-th of ``variant.rows``."""
        return Projections(self.folder, f"{selected.layer}.{variant.name}")

    def blocks(self) -> list[list[int]]:
        """Return the indices of the images that are needed, divided into blocks that are held at once."""
        needed = [selected.images[selected.active] for selected in self.selected]
        indices = torch.cat(needed).unique().tolist() if needed else []
        height, width = image_at(self.dataset, 0).shape[-2:]
        count = self.max_images or max(1, MAX_PIXELS // (height * width))
        return [indices[start : start + count] for start in range(0, len(indices), count)]

    def make(
        self, projectors: Projectors | None = None, *, rank: int = 0, world_size: int = 1, progress: bool = False
    ) -> None:
        """Project the units that are not projected yet; with several processes, those of this process' images.

        Args:
            projectors: of all variants and layers, if they were made before.
            rank: number of this process.
            world_size: number of processes.
            progress: show a progress bar.

        Raises:
            InputError: as `convlens.project`.
        """
        finished = Progress(self.folder, rank)
        blocks, done = self.blocks(), finished.done()
        own = [number for number in range(rank, len(blocks), world_size) if not self._is_done(number, blocks, done)]
        if not own:
            return
        if projectors is None:
            image = image_at(self.dataset, blocks[0][0])[None]
            projectors = make_projectors(self.variants, [selected.layer for selected in self.selected], image)
        hidden = None if progress and rank == 0 else True
        with tqdm(desc="projections", unit="image", total=sum(len(blocks[n]) for n in own), disable=hidden) as bar:
            for number in own:
                self._make_block(blocks[number], projectors)
                finished.add(number, self._crc(blocks[number]))
                bar.update(len(blocks[number]))

    def _is_done(self, number: int, blocks: list[list[int]], done: Mapping[int, int]) -> bool:
        """Return whether a block is finished and its values are as they were written."""
        if number not in done:
            return False
        if self._crc(blocks[number]) == done[number]:
            return True
        log.warning("unfinished work in %s is damaged: a part of it is done again", self.folder)
        return False

    def _crc(self, indices: list[int]) -> int:
        """Return the CRC-32 of the patches and projections of some images."""
        crc = 0
        for units in (_units_in(selected, indices) for selected in self.selected):
            patches = self.patches(units.selected)
            for place in units.places:
                crc = patches.crc(*place, crc)
            for variant in self.variants:
                store = self.projections(units.selected, variant)
                index_of = {row: index for index, row in enumerate(variant.rows(units.selected))}
                for row, rank in units.places:
                    crc = store.crc(index_of[row], rank, crc) if row in index_of else crc
        return crc

    def _make_block(self, indices: list[int], projectors: Projectors) -> None:
        """Project the units of some images in all layers and variants and cut out their patches."""
        images = torch.stack([image_at(self.dataset, index) for index in indices])
        units = [_units_in(selected, indices) for selected in self.selected]
        self._cut_patches(units, self.to_display(images).cpu())
        for net in {id(variant.net): variant.net for variant in self.variants}.values():
            variants = [variant for variant in self.variants if variant.net is net]
            cache = _shared_forward_pass(net, images, variants, units)
            for variant in variants:
                for layer_units in units:
                    projector = projectors[variant.name, layer_units.selected.layer]
                    self._project(variant, layer_units, projector, images, cache)

    def _project(
        self,
        variant: ProjectionVariant,
        units: _UnitsInBlock,
        projector: FieldProjector,
        images: Tensor,
        cache: ForwardCache | None,
    ) -> None:
        """Project units of one layer by one variant."""
        selected = units.selected
        index_of = {row: index for index, row in enumerate(variant.rows(selected))}
        shown = [(p, image) for p, image in zip(units.places, units.images, strict=True) if p[0] in index_of]
        if not shown:
            return
        projections = projector(images, [selected.unit(*p, image, variant.other) for p, image in shown], cache)
        store = self.projections(selected, variant)
        for ((row, rank), _), projection in zip(shown, projections, strict=True):
            store.put(index_of[row], rank, projection)
        store.flush()

    def _cut_patches(self, units: list[_UnitsInBlock], pictures: UInt8[Tensor, "n c h w"]) -> None:
        for layer_units in units:
            selected, store = layer_units.selected, self.patches(layer_units.selected)
            for (row, rank), image in zip(layer_units.places, layer_units.images, strict=True):
                store.put(row, rank, crop(pictures[image], selected.box(row, rank), PATCH_PADDING))
            store.flush()


def _units_in(selected: SelectedUnits, indices: list[int]) -> _UnitsInBlock:
    """Return the units of a layer whose images are among those indices."""
    index_in_block = {index: number for number, index in enumerate(indices)}
    inside = selected.active & torch.isin(selected.images, torch.tensor(indices))
    places = [(row, rank) for row, rank in inside.nonzero().tolist()]
    return _UnitsInBlock(selected, places, [index_in_block[int(selected.images[place])] for place in places])


def _shared_forward_pass(
    net: nn.Module, images: Tensor, variants: list[ProjectionVariant], units: list[_UnitsInBlock]
) -> ForwardCache | None:
    """Run the network once over whole images if that is cheaper than over the windows of all units."""
    local = [layer_units for layer_units in units if layer_units.selected.field.local]
    sizes = (images.shape[-2], images.shape[-1])
    total = 0.0
    for layer_units in local:
        selected, places = layer_units.selected, layer_units.places
        positions = torch.tensor([selected.positions[p].tolist() for p in places], dtype=torch.int64).reshape(-1, 2)
        for variant in variants:
            rows = set(variant.rows(selected))
            total += window_area(selected.field, positions[[row in rows for row, _ in places]], sizes)
    if not local or total < MIN_AREA_RATIO * len(images):
        return None
    return cache_forward(net, like_parameters(net, images), [layer_units.selected.layer for layer_units in local])
