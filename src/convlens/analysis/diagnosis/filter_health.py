"""Health of a layer's filters (paper, section 4.1 and Fig 6 a-c)."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from convlens.analysis.galleries.top_activations import numbered
from convlens.errors import InputError
from convlens.ops.layer_access import evaluating, forward_to, like_parameters


@dataclass(frozen=True)
class FilterHealth:
    """Strengths of a layer's filters.

    ``rms`` is each filter's root mean square. ``dead`` marks flat filters: RMS or spread over the pixels below a
    tenth of the layer's median, or a hundredth of its greatest (the paper shows dead filters but gives no threshold;
    these are ours).
    """

    rms: Float[Tensor, " maps"]
    dead: Bool[Tensor, " maps"]

    @property
    def spread(self) -> float:
        """Greatest RMS over the median: 1 where all filters are equally strong, large where one dominates."""
        return float(self.rms.max() / self.rms.quantile(0.5))

    @property
    def dead_share(self) -> float:
        """Dead filters, in percent."""
        return 100 * float(self.dead.float().mean())


def filter_health(weight: Float[Tensor, "maps in kh kw"]) -> FilterHealth:
    """RMS of each filter, and which are flat."""
    weight = weight.detach().float()
    rms = weight.square().mean((1, 2, 3)).sqrt()
    spread = weight.flatten(2).std(2, correction=0).mean(1)
    dead = _far_below(rms)
    if weight[0, 0].numel() > 1:
        dead = dead | _far_below(spread)
    return FilterHealth(rms, dead)


def _far_below(values: Float[Tensor, " maps"]) -> Bool[Tensor, " maps"]:
    # torch's own median is the lower of the two middle values.
    level = torch.maximum(0.1 * values.quantile(0.5), 0.01 * values.max())
    return (values < level) | (values == 0)


@torch.no_grad()
def dead_map_share(net: nn.Module, layer: str, loader: Iterable[Any], threshold: float = 0.01) -> float:
    """Maps of a layer that are above zero at fewer than ``threshold`` percent of all places, in percent of the maps.

    For a layer before its ReLU this counts what the ReLU would let through.
    """
    firing: Tensor | None = None
    total = 0

    def count(maps: Tensor) -> None:
        nonlocal firing
        here = (maps > 0).double().mean((2, 3)).sum(0)
        firing = here if firing is None else firing + here

    with evaluating(net):
        for images, _ in numbered(loader):
            forward_to(net, like_parameters(net, images), {layer: count})
            total += len(images)
    if firing is None:
        raise InputError("the loader gave no images: give at least one")
    return 100 * float((100 * firing / total < threshold).double().mean())
