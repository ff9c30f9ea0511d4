"""Diagnosis of a network's first two convolutions, and the changes the paper would try (section 4.1 and Fig 6)."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from convlens.analysis.diagnosis.filter_health import FilterHealth, dead_map_share, filter_health
from convlens.analysis.diagnosis.shift_error import ShiftError, shift_errors
from convlens.analysis.diagnosis.spectra import FilterSpectra, filter_spectra, grid_peak
from convlens.analysis.galleries.top_activations import top_activations
from convlens.deconv import project_fields
from convlens.errors import InputError, NoReLUError
from convlens.ops.callers_code import check_function
from convlens.ops.input_checks import (
    check_count,
    check_images,
    check_layers,
    check_list,
    check_network,
    shown,
)
from convlens.ops.layer_access import check_outputs
from convlens.ops.receptive_field import receptive_fields
from convlens.ops.tensor_repr import summary

log = logging.getLogger(__name__)

NUM_MAPS, UNITS_PER_MAP = 32, 2
"""Projections of the second layer: maps that are spread over the layer, and units of each."""
FEW_MIDDLE = 20.0
"""Few middle frequencies, in percent of the power: filters of white noise have 26."""


@dataclass(frozen=True)
class Finding:
    """A problem of the first layers.

    Attributes:
        observation: the measured value.
        meaning: what it means for the network.
        change: what the paper would try.
    """

    observation: str
    meaning: str
    change: str


@dataclass(frozen=True)
class Diagnosis:
    """State of a network's first two convolutions.

    Attributes:
        layer: name of the first one.
        filters: its weights.
        stride: its stride, in pixels.
        health: strengths of its filters, and which are dead.
        dead_maps: percentage of its maps that are dead.
        spectra: spectra of its filters.
        second: name of the second convolution, whose projections are examined for aliasing.
        projections: of its strongest activations, in their receptive fields.
        shifts: by layer, the change under small shifts beyond what the stride explains.
    """

    layer: str
    filters: Float[Tensor, "maps c kh kw"]
    stride: int
    health: FilterHealth
    dead_maps: float
    spectra: FilterSpectra
    second: str
    projections: Float[Tensor, "units channels fh fw"]
    shifts: Mapping[str, ShiftError]

    __repr__ = summary

    @property
    def kernel(self) -> int:
        """Side of the filters, in pixels."""
        return self.filters.shape[-1]

    @property
    def peak(self) -> float:
        """Power of the projections at the stride's frequency over its background: 1 without a peak, NaN if unknown."""
        return grid_peak(self.projections, self.stride)

    @property
    def findings(self) -> list[Finding]:
        """Problems of the two layers. The paper gives no thresholds; these are ours."""
        return list(_findings(self))


def _findings(found: Diagnosis) -> Iterator[Finding]:
    if found.health.spread > 5:
        yield Finding(
            f"the strongest filter's RMS is {found.health.spread:.1f} times the median",
            "a few filters dominate the layer",
            "renormalise filters whose RMS exceeds 0.1 (recipe.max_filter_rms)",
        )
    if found.health.dead_share > 5 or found.dead_maps > 10:
        yield Finding(
            f"{found.health.dead_share:.0f} % of the filters and {found.dead_maps:.0f} % of the maps are dead",
            "these maps cost time and memory and carry no information",
            "smaller filters at a smaller stride; renormalise filters; a lower learning rate",
        )
    if found.spectra.middle < FEW_MIDDLE:
        yield Finding(
            f"only {found.spectra.middle:.0f} % of the filters' power is at middle frequencies",
            "the layer responds to very coarse and very fine structure, and little between",
            "a smaller kernel, such as 7x7 instead of 11x11",
        )
    if found.peak > 2:
        yield Finding(
            f"projections of {found.second} have {found.peak:.1f} times the power at the stride's frequency that "
            "neighbouring frequencies suggest",
            "aliasing: the second layer responds to the sampling grid of the first",
            f"a stride below {found.stride}",
        )
    first = next(iter(found.shifts.values()), None)
    if first is not None and first.mean > 60:
        yield Finding(
            f"shifts of 1 to 3 px change the first layer's maps by {first.mean:.0f} % beyond what its stride explains",
            "the layer's output depends on the position of its sampling grid",
            "a smaller stride, or a smoother filter",
        )


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
        images: as network input, such as the validation images.
        larger: images before ``preprocess``, larger than ``images`` by at least 3 pixels on each side, for the shifts;
            without any, shifts are not measured.
        preprocess: converts shifted crops of ``larger`` to network input.
        layers: layers whose change under shifts is measured; empty: the two convolutions.
        names: layers to read instead of the two convolutions, such as their rectified maps.
        batch_size: number of images in a forward pass.

    Raises:
        InputError: no image is given, or the network has fewer than two convolutions.
    """
    check_network(net)
    preprocess = check_function("preprocess", preprocess)
    batch_size = check_count("batch_size", batch_size)
    convolutions = [(name, module) for name, module in net.named_modules() if isinstance(module, nn.Conv2d)]
    if len(convolutions) < 2:
        raise InputError(f"{type(net).__name__} has {len(convolutions)} convolutions: a diagnosis needs two")
    check_images(images)
    first, second = _two_layers(net, images, [name for name, _ in convolutions[:2]] if names is None else names)
    conv = convolutions[0][1]
    size = (images.shape[2], images.shape[3])
    loader = [(batch, torch.zeros(len(batch), dtype=torch.int64)) for batch in images.split(batch_size)]
    shifts: dict[str, ShiftError] = {}
    shifted = [first, second] if isinstance(layers, list | tuple) and not layers else check_layers(layers)
    if check_list("larger", larger):
        fields = receptive_fields(net, shifted, size)
        local = {layer: field for layer, field in fields.items() if field.local}
        shifts = shift_errors(net, larger, size[0], local, preprocess)
    try:
        projections = _projections(net, images, loader, second)
    except NoReLUError as error:
        log.warning("aliasing is not measured, since nothing can be projected: %s", error)
        projections = torch.zeros(0, images.shape[1], 8, 8)
    return Diagnosis(
        first,
        conv.weight.detach().cpu().float(),
        conv.stride[0],
        filter_health(conv.weight),
        dead_map_share(net, first, loader),
        filter_spectra(conv.weight),
        second,
        projections.cpu(),
        shifts,
    )


def _two_layers(net: nn.Module, images: Tensor, names: Sequence[str]) -> tuple[str, str]:
    """Return the names of two layers that give maps, checked."""
    if len(check_layers(names)) != 2:
        raise InputError(f"names={shown(names)}: give two layers")
    for name, shape in check_outputs(net, images, names).items():
        if len(shape) != 3:
            raise InputError(f"layer {name!r} gives a vector: name one that gives maps [n, c, h, w]")
    return names[0], names[1]


def _projections(
    net: nn.Module, images: Tensor, loader: Sequence[tuple[Tensor, Tensor]], layer: str
) -> Float[Tensor, "units c h w"]:
    """Return projections of the strongest activations of maps that are spread over the layer."""
    top = top_activations(net, loader, [layer], k=UNITS_PER_MAP)[layer]
    chosen = torch.linspace(0, len(top.values) - 1, min(NUM_MAPS, len(top.values))).round().long().unique().tolist()
    units = [
        top.unit(number, rank)
        for number in chosen
        for rank in range(top.values.shape[1])
        if float(top.values[number, rank]) > 0
    ]
    return project_fields(net, images, layer, units) if units else torch.zeros(0, images.shape[1], 8, 8)
