"""The search for the strongest activations over a loader, against the bare forward pass over the same batches."""

import resource
import subprocess
import sys
from functools import partial

import torch
import torchvision
from torch import Tensor, nn

from convlens.deconv import top_activations
from convlens.nets import ConvNet, zfnet
from tests.bench.timing import in_turn, row

ROUNDS, BATCHES, BATCH = 5, 24, 32
IMAGES = (256, 2560)  # for the memory: ten times as many must not need more


def networks() -> dict[str, tuple[nn.Module, list[str], int]]:
    """Name to network, layers to search, side of the images."""
    torch.manual_seed(0)
    ours = zfnet(1000, input_size=112, width=0.5).eval()
    squeezenet = torchvision.models.squeezenet1_0(weights=None).eval()
    layers = [f"features.{i}" for i in (0, 3, 4, 5, 7, 8, 9, 10, 12)]
    assert isinstance(ours, ConvNet)
    return {"zfnet, 112 px": (ours, ours.conv_names(), 112), "squeezenet1_0, 112 px": (squeezenet, layers, 112)}


def forward(net: nn.Module, last: str, batches: list[tuple[Tensor, Tensor]]) -> None:
    """As far as the last of the layers, without looking at anything."""

    def stop(module: nn.Module, args: object, output: Tensor) -> None:
        raise StopIteration

    handle = net.get_submodule(last).register_forward_hook(stop)
    with torch.no_grad():
        for images, _ in batches:
            try:
                net(images)
            except StopIteration:
                continue
    handle.remove()


def run() -> list[dict]:
    """The time on two networks, the memory on one."""
    rows = []
    for name, (net, layers, size) in networks().items():
        batches = [(torch.randn(BATCH, 3, size, size), torch.zeros(BATCH)) for _ in range(BATCHES)]
        search = partial(top_activations, net, batches, layers, k=9)
        times = in_turn(search, partial(forward, net, layers[-1], batches), ROUNDS)
        note = f"{BATCHES * BATCH} images, {len(layers)} layers, all maps, k = 9, median of {ROUNDS}"
        rows.append(row(f"top_activations, {name}", *times, 1.05, note, less_is_better=True))
    few, many = (peak_memory(count) for count in IMAGES)
    memory = {"name": f"top_activations, peak memory of {IMAGES[1]} images against {IMAGES[0]}", "unit": "MB"}
    rows.append(memory | {"ours": many, "reference": few, "ratio": many / few, "bound": 1.02, "less_is_better": True})
    rows[-1]["note"] = "whole process, zfnet, batches made as they are read"
    return rows


def peak_memory(count: int) -> float:
    """Megabytes that a process of its own needs at most for that many images."""
    done = subprocess.run([sys.executable, "-m", __name__, str(count)], capture_output=True, text=True, check=True)
    return float(done.stdout)


def search_once(count: int) -> None:
    """What the process does: one search, then its peak."""
    net = zfnet(10, input_size=64, width=0.25).eval()
    batches = ((torch.randn(BATCH, 3, 64, 64), torch.zeros(BATCH)) for _ in range(count // BATCH))
    top_activations(net, batches, ["conv1", "conv5"], k=9)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


if __name__ == "__main__":
    search_once(int(sys.argv[1]))
