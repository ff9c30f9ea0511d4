"""Projections of one feature map: in a given image and in the images that excite the map most (Fig 7 c)."""

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from convlens.analysis.galleries.gallery import crop
from convlens.analysis.galleries.image_data import Batches, ImageDataset, image_at
from convlens.analysis.galleries.top_activations import top_activations
from convlens.analysis.galleries.top_k_metric import TopActivations
from convlens.analysis.occlusion.faithfulness import peak_unit
from convlens.deconv import project
from convlens.figures.image_grid import panel_gain, signed_to_uint8, to_rgb
from convlens.ops.receptive_field import receptive_field

EXAMPLES = 4
"""Projections of a map that are drawn side by side: the given image's and up to three others."""


class MapExamples:
    """Searches some images once and then gives example projections of any map of a layer.

    Args:
        net: the network.
        layer: name of the layer.
        dataset: the searched images, each alone or before its label.
        loader: batches of ``dataset`` in order; None skips the search, so that only the given image is projected.
        image_size: side of an input image in pixels.
    """

    def __init__(
        self, net: nn.Module, layer: str, dataset: ImageDataset, loader: Batches | None, image_size: int
    ) -> None:
        self.net, self.layer, self.dataset = net, layer, dataset
        self.field = receptive_field(net, layer, (image_size, image_size))
        self.top: TopActivations | None = None
        if loader is not None:
            self.top = top_activations(net, loader, [layer], k=EXAMPLES)[layer]

    def tiles(self, image: Float[Tensor, "c h w"], index: int, number: int) -> list[UInt8[np.ndarray, "_ _ 3"]]:
        """Return projections of a map, cropped to the receptive field, with one gain for all.

        Args:
            image: the image whose projection comes first.
            index: its index in the data set; it is not repeated among the examples.
            number: index of the feature map.
        """
        windows = []
        for example, unit in self._units(image, index, number)[:EXAMPLES]:
            picture = project(self.net, example[None], self.layer, [(0, *unit)])[0]
            box = self.field.box(*unit[1:]) if self.field.local and len(unit) == 3 else (0, 0, *picture.shape[1:])
            windows.append(crop(picture, box, 0.0))
        pictures = torch.stack(windows).cpu().numpy()
        return list(to_rgb(signed_to_uint8(pictures, panel_gain(pictures))))

    def _units(self, image: Tensor, index: int, number: int) -> list[tuple[Tensor, tuple[int, ...]]]:
        """Return images with the map's strongest unit in each, the given image first."""
        units = [(image, peak_unit(self.net, image, self.layer, number)[1:])]
        for rank in range(0 if self.top is None else self.top.values.shape[1]):
            assert self.top is not None
            found = int(self.top.images[number, rank])
            if float(self.top.values[number, rank]) > 0 and found != index:
                units.append((image_at(self.dataset, found), self.top.unit(number, rank)[1:]))
        return units
