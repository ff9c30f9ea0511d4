"""Health of a layer: strengths of its filters, dead filters (by weights), dead maps (by activations) (Fig 6 a-c)."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from convlens.analysis.galleries.image_data import Batches
from convlens.analysis.galleries.top_activations import numbered_batches
from convlens.errors import InputError
from convlens.ops.layer_access import evaluating, forward_to, like_parameters
from convlens.ops.tensor_repr import summary

DEAD_MAP_PERCENT = 0.01
"""A map is dead if fewer than this percentage of its activations are above zero."""


@dataclass(frozen=True)
class FilterHealth:
    """Strengths of a layer's filters.

    A filter is dead if its RMS, or its standard deviation over the pixels of a channel (mean over channels), is below a
    tenth of the layer's median or a hundredth of its maximum. The paper shows dead filters but gives no threshold;
    these are ours.

    Attributes:
        rms: root mean square of each filter's weights.
        dead: which filters are dead.
    """

    rms: Float[Tensor, " maps"]
    dead: Bool[Tensor, " maps"]

    __repr__ = summary

    @property
    def spread(self) -> float:
        """Greatest RMS over the median RMS: 1 if all filters are equally strong, large if one dominates."""
        return float(self.rms.max() / self.rms.quantile(0.5))

    @property
    def dead_share(self) -> float:
        """Percentage of dead filters."""
        return 100 * float(self.dead.float().mean())


def filter_health(weight: Float[Tensor, "maps in kh kw"]) -> FilterHealth:
    """Return the RMS of each filter, and which filters are dead."""
    weight = weight.detach().float()
    rms = weight.square().mean((1, 2, 3)).sqrt()
    deviation = weight.flatten(2).std(2, correction=0).mean(1)
    dead = _far_below(rms)
    if weight[0, 0].numel() > 1:
        dead = dead | _far_below(deviation)
    return FilterHealth(rms, dead)


def _far_below(values: Float[Tensor, " maps"]) -> Bool[Tensor, " maps"]:
    # quantile(0.5), because Tensor.median returns the lower of two middle values.
    level = torch.maximum(0.1 * values.quantile(0.5), 0.01 * values.max())
    return (values < level) | (values == 0)


@torch.no_grad()
def dead_map_share(
    net: nn.Module,
    layer: str,
    loader: Batches,
    threshold: float = DEAD_MAP_PERCENT,
) -> float:
    """Return the percentage of a layer's maps that are dead: hardly any activation is above zero.

    For a layer before its ReLU this counts the activations that the ReLU would let through.

    Args:
        net: any network.
        layer: module path of a layer with maps [n, c, h, w].
        loader: batches of images, or pairs of images and labels.
        threshold: a map is dead if fewer than this percentage of its activations are above zero.

    Raises:
        InputError: the loader yields no image.
    """
    active: Tensor | None = None
    total = 0

    def count(maps: Tensor) -> None:
        nonlocal active
        shares = (maps > 0).double().mean((2, 3)).sum(0)
        active = shares if active is None else active + shares

    with evaluating(net):
        for images, _ in numbered_batches(loader):
            forward_to(net, like_parameters(net, images), {layer: count})
            total += len(images)
    if active is None:
        raise InputError("the loader gave no images: give at least one")
    return 100 * float((100 * active / total < threshold).double().mean())
