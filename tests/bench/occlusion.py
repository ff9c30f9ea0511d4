"""Occlusion sensitivity: ``convlens.occlude`` against Captum's ``Occlusion`` at its best batch size."""

import json
import sys
import warnings
from collections.abc import Callable
from time import process_time

import torch
import torchvision
from torch import Tensor, nn

from convlens.analysis.occlusion.occlude import occlude, positions
from convlens.nets import zfnet
from tests.bench.timing import in_a_process, row
from tests.bench.top import STATUS

SIDE, TARGET = 224, 7
AT_ONCE = (4, 16, 32)  # Captum's occluders in one forward pass; the fastest counts
NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "zfnet": lambda: zfnet(1000, input_size=SIDE),
    "alexnet": torchvision.models.alexnet,
    "resnet18": torchvision.models.resnet18,
    "vgg16": torchvision.models.vgg16,
}
BOUNDS = {
    ("zfnet", 50, 6): 3.5, ("zfnet", 16, 8): 5.5, ("vgg16", 50, 6): 4.5, ("vgg16", 16, 8): 8.0,
    ("resnet18", 50, 6): 2.0, ("resnet18", 16, 8): 2.5, ("alexnet", 50, 6): 2.3, ("alexnet", 16, 8): 3.3,
}  # fmt: skip
LAYER = "conv3"


class Truncated(nn.Module):
    """A network that ends at a layer, which is Captum's way to the activation of a map."""

    def __init__(self, net: nn.Module, layer: str) -> None:
        super().__init__()
        self.net, self.layer = net, layer

    def forward(self, images: Tensor) -> Tensor:
        """Return the sum over space of each map."""
        outputs: list[Tensor] = []
        layer = self.net.get_submodule(self.layer)
        handle = layer.register_forward_hook(lambda *call: outputs.append(call[2]) or _stop())
        try:
            self.net(images)
        except StopIteration:
            pass
        finally:
            handle.remove()
        return outputs[0].sum((2, 3))


def _stop() -> None:
    raise StopIteration


def captum(net: nn.Module, image: Tensor, target: int, size: int, stride: int, at_once: int) -> None:
    """Compute one attribution; Captum too covers the last row and column, with a smaller occluder if necessary."""
    from captum.attr import Occlusion

    Occlusion(net).attribute(
        image[None],
        target=target,
        sliding_window_shapes=(3, size, size),
        strides=(3, stride, stride),
        perturbations_per_eval=at_once,
    )


def time_positions(name: str, size: int, stride: int, what: str) -> list[float]:
    """Return CPU seconds per position: of all positions by convlens, and of some by Captum at its fastest."""
    torch.manual_seed(0)
    net, image = NETWORKS[name]().eval(), torch.randn(3, SIDE, SIDE)
    count = len(positions(SIDE, size, stride)) ** 2
    layer, target = (None, TARGET) if what == "probability" else (LAYER, None)
    occlude(net, image, target, size=200, stride=24, layer=layer)
    start = process_time()
    occlude(net, image, target, size=size, stride=stride, layer=layer)
    ours = (process_time() - start) / count
    few = 8  # rows and columns of Captum's positions, which all take the same time
    spacing = min((SIDE - size) // (few - 1), size)  # Captum allows no gaps
    reference = []
    model: Callable = Truncated(net, LAYER) if what != "probability" else lambda images: net(images).softmax(1)
    for at_once in AT_ONCE:
        start = process_time()
        with torch.no_grad():
            captum(model, image, TARGET, size, spacing, at_once)  # type: ignore[arg-type]
        done = (-(-(SIDE - size) // spacing) + 1) ** 2 + 1
        reference.append((process_time() - start) / done)
    return [ours, min(reference)]


def peak_memory(which: str) -> list[float]:
    """Return the peak memory of a process that occludes an image with ZFNet, in megabytes."""
    torch.manual_seed(0)
    net, image = NETWORKS["zfnet"]().eval(), torch.randn(3, SIDE, SIDE)
    if which == "ours":
        occlude(net, image, TARGET, size=50, stride=6)
    else:
        captum(net, image, TARGET, 50, 24, 32)
    peak = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))
    return [int(peak.split()[1]) / 1024]


def run() -> list[dict]:
    """Return a row for each network and occluder, one for the activation of a map, one for the peak memory."""
    rows = []
    for (name, size, stride), bound in BOUNDS.items():
        times = in_a_process(__name__, "time", name, str(size), str(stride), "probability")
        note = f"per position, {SIDE} px; Captum at the best of {AT_ONCE} at once; CPU time of one thread"
        rows.append(row(f"occlusion, {name}, {size} px at stride {stride}", *times, bound, note))
    times = in_a_process(__name__, "time", "zfnet", "50", "6", "activation")
    rows.append(row(f"occlusion, zfnet, activation of a map of {LAYER} alone", *times, 8.0, note))
    if STATUS.exists():
        ours, reference = (in_a_process(__name__, "memory", which)[0] for which in ("ours", "captum"))
        memory = {"name": "occlusion, peak memory", "unit": "MB", "ours": ours, "reference": reference}
        note = "whole process, zfnet, 50 px at stride 6; Captum with 32 at once"
        rows.append(memory | {"ratio": ours / reference, "bound": 1.0, "less_is_better": True, "note": note})
    return rows


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    task, *which = sys.argv[1:]
    if task == "time":
        print(json.dumps(time_positions(which[0], int(which[1]), int(which[2]), which[3])))
    else:
        print(json.dumps(peak_memory(which[0])))
