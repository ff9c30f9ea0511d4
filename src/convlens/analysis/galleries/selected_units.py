"""The selected maps of a layer with their strongest activations, receptive fields and unit indices."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from convlens.analysis.galleries.top_k_metric import TopActivations
from convlens.errors import InputError
from convlens.ops.receptive_field import ReceptiveField
from convlens.ops.tensor_repr import summary

DEFAULT_MAPS = 16
"""Maps per layer that a gallery shows unless told otherwise."""


@dataclass(frozen=True)
class SelectedUnits:
    """Some maps of one layer with their k strongest activations, at most one per image, strongest first.

    Attributes:
        layer: name of the layer.
        field: receptive field of the layer's units.
        vector: whether the layer gives a vector instead of maps.
        total: number of maps of the layer.
        maps: indices of the selected maps.
        values: activations.
        images: index of each activation's image in the data set; -1 if there were too few images.
        positions: row and column of each activation in its map.
    """

    layer: str
    field: ReceptiveField
    vector: bool
    total: int
    maps: Int[Tensor, " maps"]
    values: Float[Tensor, "maps k"]
    images: Int[Tensor, "maps k"]
    positions: Int[Tensor, "maps k 2"]

    __repr__ = summary

    @staticmethod
    def from_top_activations(
        layer: str, top: TopActivations, field: ReceptiveField, maps: Int[Tensor, " maps"]
    ) -> "SelectedUnits":
        """Select maps by their indices."""
        values, images, positions = (tensor[maps].cpu() for tensor in (top.values, top.images, top.positions))
        return SelectedUnits(layer, field, top.vector, len(top.values), maps, values, images, positions)

    @property
    def active(self) -> Bool[Tensor, "maps k"]:
        """Activations above zero; the others are left blank in figures."""
        return (self.values > 0) & (self.images >= 0)

    @property
    def boxes(self) -> Int[Tensor, "maps k 4"]:
        """Receptive fields (top, left, bottom, right) in input pixels, not clipped to the image."""
        rows = [[self.field.box(*position) for position in row] for row in self.positions.tolist()]
        return torch.tensor(rows, dtype=torch.int64).reshape(*self.images.shape, 4)

    def box(self, row: int, rank: int) -> list[int]:
        """Return the receptive field of one activation, as in ``boxes``."""
        return list(self.field.box(*self.positions[row, rank].tolist()))

    def unit(self, row: int, rank: int, image: int, other: bool) -> tuple[int, ...]:
        """Return an activation as `convlens.project` takes it.

        Args:
            row: index of the map among the selected ones.
            rank: 0 for the strongest activation.
            image: index of the image among those given to ``project``.
            other: return another map's unit at the same position instead.
        """
        number = int(self.maps[row])
        if other:
            number = (number + max(1, self.total // 2)) % self.total
        return (image, number) if self.vector else (image, number, *self.positions[row, rank].tolist())


def select_units(maps: int, count: int | None, seed: int = 0) -> Int[Tensor, " selected"]:
    """Return the sorted indices of a random subset of maps, as the paper shows; None selects all maps.

    Raises:
        InputError: ``count`` is below 1.
    """
    if count is not None and count < 1:
        raise InputError(f"{count} maps to draw: give at least 1, or null for all")
    if count is None or count >= maps:
        return torch.arange(maps)
    return torch.randperm(maps, generator=torch.Generator().manual_seed(seed))[:count].sort().values
