"""The control network of an analysis: the same network with randomized weights (``task.control``)."""

from collections.abc import Iterator
from typing import Literal

import torch
from torch import nn

from convlens.ops.randomize import cascading_randomization, randomize_weights
from convlens.runs.subject import LoadedNetwork

ControlKind = Literal["random", "cascade", "none"]
ALL_LAYERS = "all layers"
"""Name of the control whose layers are all randomized; it takes part in the verdicts."""
NUM_IMAGES = 32
"""Images that set the statistics of batch norms."""


def control_networks(network: LoadedNetwork, kind: ControlKind, split: str) -> Iterator[tuple[str, nn.Module]]:
    """Yield the control networks with their names, one at a time; the last one is called ``all layers``.

    Args:
        network: the network that is analysed.
        kind: ``random``, one network with randomized weights; ``cascade``, randomized from the top layer by layer;
            ``none``.
        split: the split whose first images set the statistics of batch norms.
    """
    if kind == "none":
        return
    batches = [images for images, _ in network.data.plain_dataloader(split, NUM_IMAGES)]
    images = torch.cat(batches) if batches else torch.zeros(2, 3, network.data.image_size, network.data.image_size)
    if kind == "random":
        yield ALL_LAYERS, randomize_weights(network.net, images)
        return
    pending: tuple[str, nn.Module] | None = None
    for name, other in cascading_randomization(network.net, images):
        if pending:
            yield pending
        pending = (f"from {name} up", other)
    if pending:
        yield ALL_LAYERS, pending[1]


def count_controls(network: LoadedNetwork, kind: ControlKind) -> int:
    """Return the number of control networks, for progress bars."""
    layers = sum(any(p.dim() > 1 for p in m.parameters(recurse=False)) for m in network.net.modules())
    return {"none": 0, "random": 1, "cascade": layers}[kind]
