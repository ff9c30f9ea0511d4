"""Contrast normalization against ``nn.LocalResponseNorm`` at the sizes of AlexNet and ZFNet."""

import torch
from torch import Tensor, nn

from convlens.nets.lrn import ContrastNorm
from tests.bench.timing import in_turn, row

SHAPES = {
    "alexnet layer 1, 224 px": (16, 96, 55, 55),
    "zfnet layer 1, 224 px": (16, 96, 55, 55),
    "alexnet layer 2, 224 px": (16, 256, 27, 27),
    "zfnet layer 2, 224 px": (16, 256, 13, 13),
    "layer 1, 224 px, twice the batch": (32, 96, 55, 55),
    "layer 1, 64 px": (128, 96, 15, 15),
    "alexnet layer 2, 64 px": (128, 256, 7, 7),
    "zfnet layer 2, 64 px": (128, 256, 3, 3),
}
ROUNDS = 9


def run() -> list[dict]:
    """Time the forward pass, and forward with backward, at each distinct size."""
    torch.manual_seed(0)
    ours, reference = ContrastNorm(5, 1e-4, 0.75, 2.0), nn.LocalResponseNorm(5, 1e-4, 0.75, 2.0)
    rows = []
    for shape in dict.fromkeys(SHAPES.values()):
        name = next(name for name, value in SHAPES.items() if value == shape)
        x = 10 * torch.randn(shape).relu()
        rows += [compare(name, x, ours, reference, backward) for backward in (False, True)]
    return rows


def compare(name: str, x: Tensor, ours: nn.Module, reference: nn.Module, backward: bool) -> dict:
    """Compare at one size, with or without the backward pass."""

    def work(module: nn.Module) -> None:
        if not backward:
            with torch.no_grad():
                module(x)
            return
        leaf = x.detach().requires_grad_()
        module(leaf).sum().backward()

    times = in_turn(lambda: work(ours), lambda: work(reference), ROUNDS)
    what = "forward + backward" if backward else "forward"
    return row(f"lrn {what}, {name}", *times, 3.0 if backward else 2.5, f"{list(x.shape)}, median of {ROUNDS}")
