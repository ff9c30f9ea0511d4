"""Projections of many units against Captum's `NeuronDeconvolution` with one unit per image of a batch."""

import json
import sys
import warnings
from collections.abc import Callable
from time import process_time

import torch
import torchvision
from torch import Tensor, nn

from convlens.deconv import project_fields
from convlens.nets import zfnet
from tests.bench.timing import in_a_process, row
from tests.bench.top import STATUS

SIZE, IMAGES = 224, 64
BATCHES = (4, 16)  # Captum's batch sizes: the better one counts
NETWORKS: dict[str, tuple[Callable[[], nn.Module], list[str], int, int]] = {
    # network: how to build it, its layers, units for ours and for Captum
    "zfnet": (lambda: zfnet(1000, input_size=SIZE), [f"conv{i}" for i in range(1, 6)], 64 * 9, 32),
    "vgg16": (lambda: torchvision.models.vgg16(), [f"features.{i}" for i in (3, 8, 15, 22, 29)], 32, 8),
    "resnet18": (
        lambda: torchvision.models.resnet18(),
        ["relu", "layer1.1", "layer2.1", "layer3.1", "layer4.1"],
        144,
        16,
    ),
}
Unit = tuple[int, int, int, int]


def draw(net: nn.Module, layer: str, images: Tensor, count: int) -> list[Unit]:
    """Draw units of the first 64 maps at random positions and images."""
    kept: list[torch.Size] = []
    handle = net.get_submodule(layer).register_forward_hook(lambda *call: kept.append(call[2].shape))
    with torch.no_grad():
        net(images[:1])
    handle.remove()
    _, maps, height, width = kept[0]
    limits = (len(images), min(maps, 64), height, width)
    drawn = [torch.randint(limit, (count,), generator=torch.Generator().manual_seed(limit)) for limit in limits]
    return [(int(i), int(m), int(y), int(x)) for i, m, y, x in zip(*drawn, strict=True)]


def captum(net: nn.Module, layer: str, images: Tensor, units: list[Unit], batch: int) -> Tensor:
    """Compute the same projections from a signal of one with Captum."""
    from captum.attr import NeuronDeconvolution

    method = NeuronDeconvolution(net, net.get_submodule(layer))
    found = []
    for start in range(0, len(units), batch):
        chosen = torch.tensor(units[start : start + batch])
        rows = torch.arange(len(chosen))
        at = (rows, *chosen[:, 1:].unbind(1))
        found.append(method.attribute(images[chosen[:, 0]].clone().requires_grad_(), lambda maps, at=at: maps[at]))
    return torch.cat(found)


def time_layer(name: str, layer: str) -> list[float]:
    """Return CPU seconds per unit of ours and of Captum at its better batch size."""
    build, _, many, few = NETWORKS[name]
    torch.manual_seed(0)
    net, images = build().eval(), torch.randn(IMAGES, 3, SIZE, SIZE) * 60
    units = draw(net, layer, images, many)
    project_fields(net, images, layer, units[:2])
    start = process_time()
    project_fields(net, images, layer, units)
    ours = (process_time() - start) / many
    reference = []
    for batch in BATCHES:
        start = process_time()
        captum(net, layer, images, units[:few], batch)
        reference.append((process_time() - start) / few)
    return [ours, min(reference)]


def peak_memory(which: str) -> list[float]:
    """Return the peak memory of a process in megabytes for 64 units of ZFNet's third layer."""
    torch.manual_seed(0)
    net, images = zfnet(1000, input_size=SIZE).eval(), torch.randn(IMAGES, 3, SIZE, SIZE) * 60
    units = draw(net, "conv3", images, 64)
    if which == "ours":
        project_fields(net, images, "conv3", units)
    else:
        captum(net, "conv3", images, units, 16)
    peak = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))
    return [int(peak.split()[1]) / 1024]


def run() -> list[dict]:
    """Return a row for each layer and for each network's total; the bound is for ZFNet's."""
    rows = []
    for name, (_, layers, many, few) in NETWORKS.items():
        times = [in_a_process(__name__, "time", name, layer) for layer in layers]
        note = f"per unit, {SIZE} px, {many} units of ours, {few} of Captum's at the better batch of {BATCHES}"
        note += "; CPU time of one thread"
        for layer, (ours, reference) in zip(layers, times, strict=True):
            rows.append(row(f"projection, {name}, {layer}", ours, reference, 0.0, note))
        total = [sum(column) for column in zip(*times, strict=True)]
        rows.append(row(f"projection, {name}, all {len(layers)}", *total, 10.0 if name == "zfnet" else 0.0, note))
    if STATUS.exists():
        ours, reference = (in_a_process(__name__, "memory", which)[0] for which in ("ours", "captum"))
        note = "whole process, 64 units of zfnet's conv3"
        memory = {"name": "projection, peak memory", "unit": "MB", "ours": ours, "reference": reference}
        rows.append(memory | {"ratio": ours / reference, "bound": 1.0, "less_is_better": True, "note": note})
    return rows


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    what, *which = sys.argv[1:]
    print(json.dumps(time_layer(*which) if what == "time" else peak_memory(*which)))
