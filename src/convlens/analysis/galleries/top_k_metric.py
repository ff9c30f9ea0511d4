"""Streaming metric of the k strongest activations of every feature map; ties go to the earlier image (Fig 2)."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torchmetrics import Metric

from convlens.errors import InputError
from convlens.ops.input_checks import check_count
from convlens.ops.tensor_repr import summary

MOST = 10**6
"""Largest number of activations per map, which are held in memory."""


@dataclass(frozen=True)
class TopActivations:
    """The k strongest activations of each map, at most one per image, strongest first.

    Equal activations are in the order of the images. If there are fewer than k images, the remaining ``images`` are -1
    and their ``values`` minus infinity.

    Attributes:
        values: activations, in the units of the layer.
        images: index of each activation's image in the data set.
        positions: row and column of each activation in the map; zeros for a layer that gives a vector.
        vector: whether the layer gives a vector [n, units] instead of maps [n, maps, h, w].
    """

    values: Float[Tensor, "maps k"]
    images: Int[Tensor, "maps k"]
    positions: Int[Tensor, "maps k 2"]
    vector: bool = False

    __repr__ = summary

    @property
    def dead(self) -> Bool[Tensor, " maps"]:
        """Dead maps: no image activates them above zero."""
        return self.values[:, 0] <= 0

    def unit(self, feature_map: int, rank: int) -> tuple[int, ...]:
        """Return an activation as `convlens.project` takes it: (image, map, y, x), or (image, unit) of a vector.

        Raises:
            InputError: there is no such map or rank.
        """
        feature_map = check_count("feature_map", feature_map, 0, len(self.images) - 1)
        rank = check_count("rank", rank, 0, self.images.shape[1] - 1)
        image = int(self.images[feature_map, rank])
        if image < 0:
            raise InputError(f"map {feature_map} has no activation of rank {rank}: fewer images were searched")
        if self.vector:
            return image, feature_map
        y, x = self.positions[feature_map, rank].tolist()
        return image, feature_map, y, x


class StrongestUnits(Metric):
    """The k images with the greatest maximum of each map, in constant memory.

    The result does not depend on batch size, order of the images or number of processes.

    Args:
        maps: number of maps of the layer.
        k: activations per map.
        dtype: of the activations.
        options: those of `torchmetrics.Metric`.

    Raises:
        InputError: ``k`` is below 1.
    """

    full_state_update = False
    values: Tensor
    images: Tensor
    positions: Tensor

    def __init__(self, maps: int, k: int = 9, dtype: torch.dtype = torch.float32, **options: Any) -> None:
        super().__init__(**options)
        self.k = k = check_count("k", k, most=MOST)
        for name, empty in (
            ("values", torch.full((maps, k), -torch.inf, dtype=dtype)),
            ("images", torch.full((maps, k), -1, dtype=torch.int64)),
            ("positions", torch.zeros(maps, k, 2, dtype=torch.int64)),
        ):
            self.add_state(name, empty, dist_reduce_fx=None)

    def update(self, outputs: Float[Tensor, "n maps *space"], images: Int[Tensor, " n"]) -> None:
        """Add a batch.

        Args:
            outputs: the layer's outputs.
            images: the indices of the batch's images.

        Raises:
            InputError: an activation is NaN.
        """
        strongest = outputs.flatten(2).amax(2) if outputs.dim() > 2 else outputs
        strongest = strongest.to(self.values.dtype)
        # Most batches change few lists. An equal value can enter by its image's index; NaN passes, to be found below.
        changed = (strongest.amax(0) < self.values[:, -1]).logical_not_().nonzero().flatten()
        if not len(changed):
            return
        candidates = strongest.T[changed]
        if bool(candidates.isnan().any()):
            raise InputError(f"NaN among the activations of image {int(images[strongest.isnan().any(1).cpu()][0])}")
        values = torch.cat([self.values[changed], candidates], 1)
        images = images.to(candidates.device)
        numbers = torch.cat([self.images[changed], images.expand(len(changed), -1)], 1)
        # The lists are sorted; if the new images follow the old ones in order, one stable sort is enough.
        later = bool((images.diff() > 0).all()) and bool(images[0] > self.images.max())
        order = values.argsort(dim=1, descending=True, stable=True) if later else _order(values, numbers)
        keep = order[:, : self.k]
        old = keep.clamp(max=self.k - 1).unsqueeze(2).expand(-1, -1, 2)
        positions = self.positions[changed].gather(1, old)
        rows, ranks = (keep >= self.k).nonzero(as_tuple=True)
        if outputs.dim() > 2:
            # Positions are searched only for what enters a list: an argmax is slower than a maximum.
            positions[rows, ranks] = _peak_positions(outputs[keep[rows, ranks] - self.k, changed[rows]])
        self.values[changed] = values.gather(1, keep)
        self.images[changed] = numbers.gather(1, keep)
        self.positions[changed] = positions

    def compute(self) -> dict[str, Tensor]:
        """Return ``values``, ``images`` and ``positions`` of `TopActivations` over all processes."""
        values, images, positions = self.values, self.images, self.positions
        if values.dim() == 3:
            values, images = values.transpose(0, 1).flatten(1), images.transpose(0, 1).flatten(1)
            positions = positions.transpose(0, 1).flatten(1, 2)
            keep = _order(values, images)[:, : self.k]
            values, images = values.gather(1, keep), images.gather(1, keep)
            positions = positions.gather(1, keep.unsqueeze(2).expand(-1, -1, 2))
        return {"values": values, "images": images, "positions": positions}

    def top(self, vector: bool = False) -> TopActivations:
        """Return the result; ``vector`` tells that the layer gives vectors."""
        result = self.compute()
        shape = (-1, self.k)  # torchmetrics squeezes a result of a single element
        return TopActivations(
            result["values"].reshape(shape),
            result["images"].reshape(shape),
            result["positions"].reshape(*shape, 2),
            vector,
        )


def _peak_positions(planes: Float[Tensor, "m h w"]) -> Int[Tensor, "m 2"]:
    """Return row and column of each plane's first maximum; the row first, since that is faster than a flat argmax."""
    rows = planes.amax(2).argmax(1)
    lines = planes.gather(1, rows[:, None, None].expand(-1, 1, planes.shape[2])).squeeze(1)
    return torch.stack([rows, lines.argmax(1)], 1)


def _order(values: Tensor, images: Tensor) -> Tensor:
    """Return the columns by falling value, equal values by rising image index."""
    by_image = images.argsort(dim=1, stable=True)
    return by_image.gather(1, values.gather(1, by_image).argsort(dim=1, descending=True, stable=True))
