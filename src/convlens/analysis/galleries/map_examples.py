"""A map's projection in one image, and in the images of a split that excite it most (Fig 7 c)."""

from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8

from convlens.analysis.galleries.gallery import crop
from convlens.analysis.occlusion.faithfulness import peak_unit
from convlens.deconv import TopActivations, project, receptive_field, top_activations
from convlens.figures.image_grid import panel_gain, signed_to_uint8, to_rgb
from convlens.runs.image_selection import SelectedImage
from convlens.runs.subject import LoadedNetwork


class MapExamples:
    """Searches the split once; then gives the projections of any map of the layer."""

    def __init__(self, subject: LoadedNetwork, layer: str, split: str, images: int) -> None:
        self.subject, self.layer, self.split = subject, layer, split
        self.field = receptive_field(subject.net, layer, (subject.data.image_size,) * 2)
        self.top: TopActivations | None = None
        if images:
            loader = subject.data.plain_dataloader(split, images)
            self.top = top_activations(subject.net, loader, [layer], k=4)[layer]

    def tiles(self, looked: SelectedImage, number: int) -> list[UInt8[np.ndarray, "h w 3"]]:
        """Windows of the projections: of the image itself, then of up to three others, with one gain for all."""
        units = [(looked.image, peak_unit(self.subject.net, looked.image, self.layer, number)[1:])]
        if self.top is not None:
            dataset: Any = self.subject.data.dataset(self.split)
            for rank in range(self.top.values.shape[1]):
                index = int(self.top.images[number, rank])
                if float(self.top.values[number, rank]) > 0 and index != looked.index:
                    units.append((dataset[index][0], self.top.unit(number, rank)[1:]))
        windows = []
        for image, unit in units[:4]:
            picture = project(self.subject.net, image[None], self.layer, [(0, *unit)])[0]
            box = self.field.box(*unit[1:]) if self.field.local and len(unit) == 3 else (0, 0, *picture.shape[1:])
            windows.append(crop(picture, box, 0.0))
        pictures = torch.stack(windows).cpu().numpy()
        return list(to_rgb(signed_to_uint8(pictures, panel_gain(pictures))))
