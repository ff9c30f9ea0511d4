"""What is wrong with a network's first layers, and what the paper would change (section 4.1 and Fig 6)."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from convlens.analysis.diagnosis.filter_health import FilterHealth, dead_map_share, filter_health
from convlens.analysis.diagnosis.shift_error import ShiftError, shift_errors
from convlens.analysis.diagnosis.spectra import FilterSpectra, filter_spectra, peak_at
from convlens.deconv import project_fields, receptive_fields, top_activations
from convlens.errors import InputError, NoReLUError

log = logging.getLogger(__name__)

PERIOD = 4
"""The stride that the paper blames for the aliasing; all networks are looked at there, so that they can be compared."""
MAPS, PER_MAP = 32, 2
FEW = 20.0
"""Percent of the power at middle frequencies that are few: filters of white noise have 26."""


@dataclass(frozen=True)
class Finding:
    """Something that is not well: what was seen, what it means, and what the paper would try."""

    seen: str
    meaning: str
    change: str


@dataclass(frozen=True)
class Diagnosis:
    """The state of a network's first two convolutions.

    Attributes:
        layer: name of the first one.
        kernel: side of its filters, in pixels.
        stride: in pixels.
        health: of its filters: strengths, and which are flat.
        silent: share of its maps that hardly ever fire, in percent.
        spectra: of its filters.
        second: name of the second convolution, whose projections are looked at.
        aliasing: by period in pixels, for each projection the power at that period over that beside it.
        shifts: for each layer, the change under small shifts beyond what its stride explains.
    """

    layer: str
    kernel: int
    stride: int
    health: FilterHealth
    silent: float
    spectra: FilterSpectra
    second: str
    aliasing: dict[int, Float[np.ndarray, " units"]]
    shifts: dict[str, ShiftError]

    def peak(self, period: int) -> float:
        """Median of the aliasing at a period; NaN where that was not measured or no projection is large enough."""
        values = self.aliasing.get(period, np.zeros(0))
        known = values[np.isfinite(values)]
        return float(np.median(known)) if len(known) else float("nan")

    @property
    def findings(self) -> list[Finding]:
        """What is out of the ordinary. The paper gives no thresholds; these are ours."""
        found = []
        if self.health.spread > 5:
            found.append(
                Finding(
                    f"the strongest filter's RMS is {self.health.spread:.1f} times the median",
                    "a few filters dominate the layer",
                    "renormalise filters whose RMS exceeds 0.1 (recipe.max_filter_rms)",
                )
            )
        if self.health.dead_share > 5 or self.silent > 10:
            found.append(
                Finding(
                    f"{self.health.dead_share:.0f} % of the filters are flat, {self.silent:.0f} % of maps are silent",
                    "maps that cost time and memory and say nothing",
                    "smaller filters at a smaller stride; renormalise filters; a lower learning rate",
                )
            )
        if self.spectra.middle < FEW:
            found.append(
                Finding(
                    f"only {self.spectra.middle:.0f} % of the filters' power is at middle frequencies",
                    "the layer sees what is very coarse and very fine, and little between",
                    "a smaller kernel, such as 7x7 instead of 11x11",
                )
            )
        if self.stride > 1 and self.peak(self.stride) > 2:
            found.append(
                Finding(
                    f"projections of {self.second} have {self.peak(self.stride):.1f} times the power at the stride's "
                    "frequency as beside it",
                    "aliasing: the layer above sees the grid of the first layer's stride",
                    f"a smaller stride than {self.stride}",
                )
            )
        first = next(iter(self.shifts.values()), None)
        if first is not None and first.mean > 60:
            found.append(
                Finding(
                    f"shifts of 1 to 3 px change the first layer's maps by {first.mean:.0f} % beyond what its stride "
                    "explains",
                    "what the layer says depends on where the grid of its stride happens to lie",
                    "a smaller stride, or a smoother filter",
                )
            )
        return found


def diagnose(
    net: nn.Module,
    images: Float[Tensor, "n c h w"],
    *,
    larger: Sequence[Float[Tensor, "c h2 w2"]] = (),
    preprocess: Callable[[Tensor], Tensor] = lambda pixels: pixels,
    layers: Sequence[str] = (),
    names: tuple[str, str] | None = None,
    batch_size: int = 32,
) -> Diagnosis:
    """Examine the first two convolutions.

    Args:
        net: any network.
        images: as it reads them, such as the validation images.
        larger: images before ``preprocess`` that are larger by a few pixels on each side, for the shifts; without any,
            those are left out.
        preprocess: what is done to those after they are moved.
        layers: for the shifts; none takes the two convolutions.
        names: of the two layers, where what is to be read is not the convolutions themselves but such as the rectified
            maps; None takes the convolutions.
        batch_size: how many images go through the network at once.

    Raises:
        InputError: no image, or fewer than two convolutions.
    """
    convolutions = [(name, module) for name, module in net.named_modules() if isinstance(module, nn.Conv2d)]
    if len(convolutions) < 2:
        raise InputError(f"{type(net).__name__} has {len(convolutions)} convolutions: a diagnosis is of the first two")
    if not len(images):
        raise InputError("no image to look at: give at least one")
    first, second = names or (convolutions[0][0], convolutions[1][0])
    conv = convolutions[0][1]
    size = (images.shape[2], images.shape[3])
    loader = [(batch, torch.zeros(len(batch), dtype=torch.int64)) for batch in images.split(batch_size)]
    moved: dict[str, ShiftError] = {}
    if len(larger):
        fields = receptive_fields(net, list(layers or (first, second)), size)
        local = {layer: field for layer, field in fields.items() if field.local}
        moved = shift_errors(net, larger, size[0], local, preprocess)
    try:
        pictures = _projections(net, images, loader, second)
    except NoReLUError as error:
        log.warning("no projections, and so nothing on aliasing: %s", error)
        pictures = torch.zeros(0, images.shape[1], 8, 8)
    periods = dict.fromkeys([PERIOD, conv.stride[0]])
    return Diagnosis(
        first,
        conv.kernel_size[0],
        conv.stride[0],
        filter_health(conv.weight),
        dead_map_share(net, first, loader),
        filter_spectra(conv.weight),
        second,
        {period: peak_at(pictures, period) for period in periods if period > 1},
        moved,
    )


def _projections(net: nn.Module, images: Tensor, loader: list, layer: str) -> Float[Tensor, "units c h w"]:
    """Of the strongest activations of maps that are spread over the layer."""
    top = top_activations(net, loader, [layer], k=PER_MAP)[layer]
    chosen = torch.linspace(0, len(top.values) - 1, min(MAPS, len(top.values))).round().long().unique().tolist()
    units = [
        top.unit(number, rank)
        for number in chosen
        for rank in range(top.values.shape[1])
        if float(top.values[number, rank]) > 0
    ]
    return project_fields(net, images, layer, units) if units else torch.zeros(0, images.shape[1], 8, 8)
