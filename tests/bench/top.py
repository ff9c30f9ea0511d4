"""Time of the search for the strongest activations, against the forward pass over the same batches."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from time import process_time

import torch
import torchvision
from torch import Tensor, nn
from tqdm import tqdm

from convlens.analysis.galleries.top_activations import top_activations
from convlens.nets import ConvNet, zfnet
from tests.bench.timing import in_a_process, row

ROUNDS, BATCHES, BATCH = 2, 32, 32
SIZES = {"zfnet": 112, "alexnet": 224}
IMAGES = (256, 2560)  # for the memory: ten times as many must not need more
STATUS = Path("/proc/self/status")


def network(name: str) -> tuple[nn.Module, list[str]]:
    """Return the network and its convolutional layers."""
    torch.manual_seed(0)
    if name == "alexnet":
        return torchvision.models.alexnet(weights=None).eval(), [f"features.{i}" for i in (0, 3, 6, 8, 10)]
    net = zfnet(1000, input_size=SIZES[name]).eval()
    assert isinstance(net, ConvNet)
    return net, net.conv_names()


@torch.no_grad()
def forward(net: nn.Module, last: str, images: Tensor) -> None:
    """Run the network up to its last searched layer."""

    def stop(module: nn.Module, args: object, output: Tensor) -> None:
        raise StopIteration

    handle = net.get_submodule(last).register_forward_hook(stop)
    try:
        net(images)
    except StopIteration:
        pass
    finally:
        handle.remove()


def time_batches(name: str) -> list[float]:
    """Return CPU seconds per batch of the search and of the forward pass, measured alternately on each batch.

    The fastest round of each batch counts: the first ones are slower for the search, since all lists still change.
    """
    net, layers = network(name)
    batches = [torch.randn(BATCH, 3, SIZES[name], SIZES[name]) for _ in range(BATCHES)]
    ours: list[list[float]] = [[] for _ in batches]
    reference: list[list[float]] = [[] for _ in batches]

    def in_turn() -> Iterator[Tensor]:
        for index, images in enumerate(tqdm(batches, name, leave=False, disable=None)):
            start = process_time()
            forward(net, layers[-1], images)
            middle = process_time()
            reference[index].append(middle - start)
            yield images
            ours[index].append(process_time() - middle)

    for _ in range(ROUNDS):
        top_activations(net, in_turn(), layers, k=9, progress=False)
    return [sum(map(min, times)) / BATCHES for times in (ours, reference)]


def peak_memory(count: int) -> list[float]:
    """Return the peak memory of this process in megabytes after one search in ``count`` images."""
    net = zfnet(10, input_size=64, width=0.25).eval()
    batches = ((torch.randn(BATCH, 3, 64, 64), torch.zeros(BATCH)) for _ in range(count // BATCH))
    top_activations(net, batches, ["conv1", "conv5"], k=9, progress=False)
    # Not `ru_maxrss`, which a new process inherits from its parent.
    peak = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))
    return [int(peak.split()[1]) / 1024]


def run() -> list[dict]:
    """Return rows of time for two networks and of memory for one, if the system has ``/proc``."""
    rows = []
    for name, size in SIZES.items():
        note = f"per batch of {BATCH}, {BATCHES * BATCH} images, all conv layers, k = 9; CPU time of one thread"
        times = in_a_process(__name__, "time", name)
        rows.append(row(f"top_activations, {name}, {size} px", *times, 1.05, note, less_is_better=True))
    if STATUS.exists():
        few, many = (in_a_process(__name__, "memory", str(count))[0] for count in IMAGES)
        memory = {"name": f"top_activations, peak memory, {IMAGES[1]} images against {IMAGES[0]}", "unit": "MB"}
        note = "whole process, zfnet, batches made as they are read"
        memory |= {"ours": many, "reference": few, "ratio": many / few, "bound": 1.02}
        rows.append(memory | {"less_is_better": True, "note": note})
    return rows


if __name__ == "__main__":
    what, which = sys.argv[1:]
    print(json.dumps(time_batches(which) if what == "time" else peak_memory(int(which))))
