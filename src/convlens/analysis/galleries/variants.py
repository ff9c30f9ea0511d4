"""Variants of a gallery's projections: network, options of `convlens.project` and which units are projected."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor, nn

from convlens.analysis.galleries.selected_units import SelectedUnits, select_units
from convlens.deconv.project import FieldProjector, ProjectOptions

OWN = "projections"
"""Name of the variant that the gallery shows itself; the others are controls."""


@dataclass(frozen=True)
class ProjectionVariant:
    """One way to project the units of a gallery: the gallery's own or a control.

    Attributes:
        name: name of its files; the gallery's own variant is called ``OWN``.
        net: the network, or a control such as one of random weights.
        options: options of `convlens.project`.
        other: project another map's unit at the same position instead.
        maps: how many of the gallery's maps are projected, a fixed random choice; None is all.
    """

    name: str
    net: nn.Module
    options: ProjectOptions = field(default_factory=lambda: ProjectOptions())
    other: bool = False
    maps: int | None = None

    def rows(self, selected: SelectedUnits) -> list[int]:
        """Return which of the selected maps are projected."""
        return select_units(len(selected.maps), self.maps).tolist()


Projectors = Mapping[tuple[str, str], FieldProjector]
"""Projectors by the names of variant and layer."""


def make_projectors(
    variants: Sequence[ProjectionVariant], layers: Sequence[str], image: Float[Tensor, "1 c h w"]
) -> Projectors:
    """Return a projector for each variant and layer, after projecting one unit with each.

    Args:
        variants: the variants.
        layers: names of layers.
        image: one image [1, c, h, w].

    Raises:
        InputError: as `convlens.project`.
    """
    projectors = {}
    for variant in variants:
        for layer in layers:
            projector = FieldProjector(variant.net, image, layer, **variant.options)
            projector.try_out(image)
            projectors[variant.name, layer] = projector
    return projectors
