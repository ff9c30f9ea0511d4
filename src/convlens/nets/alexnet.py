"""AlexNet (Krizhevsky, Sutskever and Hinton 2012)."""

import functools

from convlens.nets.build import build
from convlens.nets.spec import LayerSpec, Table

# Padding 2 in conv1 gives the paper's 55 x 55 maps from 224 px with floor arithmetic (the original rounds up instead).
ALEXNET: Table = (
    LayerSpec("conv1", 96, kernel=11, stride=4, padding=2, pool=True, norm="before_pool"),
    LayerSpec("conv2", 256, kernel=5, padding=2, groups=2, pool=True, norm="before_pool", bias=1.0),
    LayerSpec("conv3", 384, kernel=3, padding=1),
    LayerSpec("conv4", 384, kernel=3, padding=1, groups=2, bias=1.0),
    LayerSpec("conv5", 256, kernel=3, padding=1, groups=2, pool=True, bias=1.0),
    LayerSpec("fc6", 4096, bias=1.0),
    LayerSpec("fc7", 4096, bias=1.0),
)

alexnet = functools.partial(build, ALEXNET)
alexnet.__doc__ = """Build AlexNet: groups in layers 2, 4 and 5, contrast normalization before the pool.

See `convlens.nets.build` for the arguments.
"""
