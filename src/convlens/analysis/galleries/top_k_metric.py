"""The strongest activations of every map, kept while images stream by (paper, Fig 2 and section 4.1)."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torchmetrics import Metric

from convlens.errors import InputError


@dataclass(frozen=True)
class TopActivations:
    """The k strongest activations of each map, one per image, strongest first; ties in the order of the images.

    Where fewer than k images were seen, ``images`` is -1 and ``values`` minus infinity.
    """

    values: Float[Tensor, "maps k"]
    images: Int[Tensor, "maps k"]
    positions: Int[Tensor, "maps k 2"]
    vector: bool = False

    def unit(self, feature_map: int, rank: int) -> tuple[int, ...]:
        """The (image, map, y, x), or (image, unit) for a layer that gives a vector, that ``project`` takes."""
        image = int(self.images[feature_map, rank])
        if self.vector:
            return image, feature_map
        y, x = self.positions[feature_map, rank].tolist()
        return image, feature_map, y, x


class StrongestUnits(Metric):
    """Per map, the k images with the greatest maximum; constant memory, and the same on any number of processes."""

    full_state_update = False
    values: Tensor
    images: Tensor
    positions: Tensor

    def __init__(self, maps: int, k: int = 9, dtype: torch.dtype = torch.float32, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if k < 1:
            raise InputError(f"k={k}: ask for at least 1 activation per map")
        self.k = k
        for name, empty in (
            ("values", torch.full((maps, k), -torch.inf, dtype=dtype)),
            ("images", torch.full((maps, k), -1, dtype=torch.int64)),
            ("positions", torch.zeros(maps, k, 2, dtype=torch.int64)),
        ):
            self.add_state(name, empty, dist_reduce_fx=None)

    def update(self, outputs: Float[Tensor, "n maps *space"], images: Int[Tensor, " n"]) -> None:
        """Take in a layer's outputs for a batch, and the numbers of its images."""
        strongest = outputs.flatten(2).amax(2) if outputs.dim() > 2 else outputs
        strongest = strongest.to(self.values.dtype)
        # Most batches change few lists. A tie may, by the image's number; NaN passes here, to be found below.
        changed = (strongest.amax(0) < self.values[:, -1]).logical_not_().nonzero().flatten()
        if not len(changed):
            return
        found = strongest.T[changed]
        if bool(found.isnan().any()):
            raise InputError(f"NaN among the activations of image {int(images[strongest.isnan().any(1).cpu()][0])}")
        values = torch.cat([self.values[changed], found], 1)
        images = images.to(found.device)
        numbers = torch.cat([self.images[changed], images.expand(len(changed), -1)], 1)
        # The lists are in order, and where the new images come after the old ones in order, one stable sort does.
        later = bool((images.diff() > 0).all()) and bool(images[0] > self.images.max())
        order = values.argsort(dim=1, descending=True, stable=True) if later else _order(values, numbers)
        keep = order[:, : self.k]
        old = keep.clamp(max=self.k - 1).unsqueeze(2).expand(-1, -1, 2)
        positions = self.positions[changed].gather(1, old)
        rows, ranks = (keep >= self.k).nonzero(as_tuple=True)
        if outputs.dim() > 2:
            # Places are looked up for what enters the list only: finding them is dearer than the maximum.
            positions[rows, ranks] = _places(outputs[keep[rows, ranks] - self.k, changed[rows]])
        self.values[changed] = values.gather(1, keep)
        self.images[changed] = numbers.gather(1, keep)
        self.positions[changed] = positions

    def compute(self) -> dict[str, Tensor]:
        """The fields of `TopActivations` over all images of all processes."""
        values, images, positions = self.values, self.images, self.positions
        if values.dim() == 3:
            values, images = values.transpose(0, 1).flatten(1), images.transpose(0, 1).flatten(1)
            positions = positions.transpose(0, 1).flatten(1, 2)
            keep = _order(values, images)[:, : self.k]
            values, images = values.gather(1, keep), images.gather(1, keep)
            positions = positions.gather(1, keep.unsqueeze(2).expand(-1, -1, 2))
        return {"values": values, "images": images, "positions": positions}

    def top(self, vector: bool = False) -> TopActivations:
        """The result as `TopActivations`; ``vector`` says that the layer gives vectors."""
        found = self.compute()
        # torchmetrics squeezes a result of a single element.
        shape = (-1, self.k)
        return TopActivations(
            found["values"].reshape(shape),
            found["images"].reshape(shape),
            found["positions"].reshape(*shape, 2),
            vector,
        )


def _places(planes: Float[Tensor, "m h w"]) -> Int[Tensor, "m 2"]:
    """Row and column of each plane's first maximum; its row first, since maxima are found faster than places."""
    rows = planes.amax(2).argmax(1)
    lines = planes.gather(1, rows[:, None, None].expand(-1, 1, planes.shape[2])).squeeze(1)
    return torch.stack([rows, lines.argmax(1)], 1)


def _order(values: Tensor, images: Tensor) -> Tensor:
    """Columns by falling value, equal values by rising image number."""
    by_image = images.argsort(dim=1, stable=True)
    return by_image.gather(1, values.gather(1, by_image).argsort(dim=1, descending=True, stable=True))
