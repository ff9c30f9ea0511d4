"""Occlusion of an image against Captum's `Occlusion` with as many squares at once as serve it best."""

import json
import sys
import warnings
from collections.abc import Callable
from time import process_time

import torch
import torchvision
from torch import Tensor, nn

from convlens.analysis.occlusion.occlude import occlude, places
from convlens.nets import zfnet
from tests.bench.timing import in_a_process, row
from tests.bench.top import STATUS

SIDE, TARGET = 224, 7
AT_ONCE = (4, 16, 32)  # Captum's squares at once: the best one counts
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


class Upto(nn.Module):
    """What one writes for the activity of a map: a network that ends at its layer."""

    def __init__(self, net: nn.Module, layer: str) -> None:
        super().__init__()
        self.net, self.layer = net, layer

    def forward(self, images: Tensor) -> Tensor:
        """The sum over all places of each map."""
        kept: list[Tensor] = []
        handle = self.net.get_submodule(self.layer).register_forward_hook(lambda *call: kept.append(call[2]) or _stop())
        try:
            self.net(images)
        except StopIteration:
            pass
        finally:
            handle.remove()
        return kept[0].sum((2, 3))


def _stop() -> None:
    raise StopIteration


def captum(net: nn.Module, image: Tensor, target: int, square: int, stride: int, at_once: int) -> None:
    """One attribution; Captum too has a last square that ends at the border, cut where it must be."""
    from captum.attr import Occlusion

    Occlusion(net).attribute(
        image[None],
        target=target,
        sliding_window_shapes=(3, square, square),
        strides=(3, stride, stride),
        perturbations_per_eval=at_once,
    )


def time_squares(name: str, square: int, stride: int, what: str) -> list[float]:
    """CPU seconds per square, of all of ours and of a part of Captum's at its best number at once."""
    torch.manual_seed(0)
    net, image = NETWORKS[name]().eval(), torch.randn(3, SIDE, SIDE)
    count = len(places(SIDE, square, stride)) ** 2
    layer, target = (None, TARGET) if what == "probability" else (LAYER, None)
    occlude(net, image, target, size=200, stride=24, layer=layer)
    start = process_time()
    occlude(net, image, target, size=square, stride=stride, layer=layer)
    ours = (process_time() - start) / count
    few = 8  # rows and columns of Captum's squares, which cost the same wherever they are
    apart = min((SIDE - square) // (few - 1), square)  # Captum wants no gaps
    reference = []
    model: Callable = Upto(net, LAYER) if what != "probability" else lambda images: net(images).softmax(1)
    for at_once in AT_ONCE:
        start = process_time()
        with torch.no_grad():
            captum(model, image, TARGET, square, apart, at_once)  # type: ignore[arg-type]
        done = (-(-(SIDE - square) // apart) + 1) ** 2 + 1
        reference.append((process_time() - start) / done)
    return [ours, min(reference)]


def peak_memory(which: str) -> list[float]:
    """Megabytes that a process needs at most for ZFNet."""
    torch.manual_seed(0)
    net, image = NETWORKS["zfnet"]().eval(), torch.randn(3, SIDE, SIDE)
    if which == "ours":
        occlude(net, image, TARGET, size=50, stride=6)
    else:
        captum(net, image, TARGET, 50, 24, 32)
    peak = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))
    return [int(peak.split()[1]) / 1024]


def run() -> list[dict]:
    """A row for each network and square, one for the activity of a map, one for the memory."""
    rows = []
    for (name, square, stride), bound in BOUNDS.items():
        times = in_a_process(__name__, "time", name, str(square), str(stride), "probability")
        note = f"per square, {SIDE} px; Captum at the best of {AT_ONCE} at once; CPU time of one thread"
        rows.append(row(f"occlusion, {name}, {square} px at stride {stride}", *times, bound, note))
    times = in_a_process(__name__, "time", "zfnet", "50", "6", "activity")
    rows.append(row(f"occlusion, zfnet, activity of a map of {LAYER} alone", *times, 8.0, note))
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
        print(json.dumps(time_squares(which[0], int(which[1]), int(which[2]), which[3])))
    else:
        print(json.dumps(peak_memory(which[0])))
