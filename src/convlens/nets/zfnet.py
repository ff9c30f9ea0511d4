"""ZFNet (Zeiler and Fergus 2013, Fig 3) and its wide variant (Table 2 b)."""

import functools

from convlens.nets.build import build
from convlens.nets.spec import LayerSpec, Table, set_maps

# The paper gives no paddings; these, with pools that round up, give exactly Fig 3's map sizes 110/55/26/13/13/13/13/6.
ZFNET: Table = (
    LayerSpec("conv1", 96, kernel=7, stride=2, padding=1, pool=True, ceil_pool=True, norm="after_pool"),
    LayerSpec("conv2", 256, kernel=5, stride=2, pool=True, ceil_pool=True, norm="after_pool"),
    LayerSpec("conv3", 384, kernel=3, padding=1),
    LayerSpec("conv4", 384, kernel=3, padding=1),
    LayerSpec("conv5", 256, kernel=3, padding=1, pool=True, ceil_pool=True),
    LayerSpec("fc6", 4096),
    LayerSpec("fc7", 4096),
)
ZFNET_WIDE: Table = set_maps(ZFNET, {"conv3": 512, "conv4": 1024, "conv5": 512})

zfnet = functools.partial(build, ZFNET)
zfnet.__doc__ = """Build the paper's network: 7x7 and 5x5 filters at stride 2, dense, normalized after the pool.

See `convlens.nets.build` for the arguments.
"""

zfnet_wide = functools.partial(build, ZFNET_WIDE)
zfnet_wide.__doc__ = """Build ZFNet with 512, 1024 and 512 maps in layers 3, 4 and 5 (Table 2 b).

See `convlens.nets.build` for the arguments.
"""
