"""ZFNet (Zeiler & Fergus 2013, Fig 3): a table."""

import functools
from collections.abc import Iterable, Mapping
from typing import Literal

from convlens.nets.convnet import ConvNet
from convlens.nets.spec import LayerSpec, Table, edit

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


def zfnet(
    num_classes: int = 1000,
    *,
    input_size: int = 224,
    width: float = 1.0,
    removed: Iterable[int] = (),
    maps: Mapping[str, int] | None = None,
    filters: Mapping[str, Mapping[str, int]] | None = None,
    in_channels: int = 3,
    dropout: float = 0.5,
    init: Literal["gaussian", "he"] = "gaussian",
) -> ConvNet:
    """The paper's modified network: 7x7 and 5x5 filters at stride 2, dense, normalised after the pool.

    Args:
        num_classes: size of the output.
        input_size: side of the square images in pixels; the classifier's size follows.
        width: factor on all maps and units.
        removed: numbers of layers left out (paper, Table 3).
        maps: other numbers of maps by layer name, before ``width`` is applied.
        filters: other kernels, strides and paddings by layer name.
        in_channels: channels of the images.
        dropout: probability in layers 6 and 7.
        init: ``gaussian`` is the paper's N(0, 0.01), ``he`` scales to the fan-in.
    """
    return ConvNet(
        edit(ZFNET, removed=removed, maps=maps, filters=filters, width=width),
        num_classes=num_classes,
        input_size=input_size,
        in_channels=in_channels,
        dropout=dropout,
        init=init,
    )


zfnet_wide = functools.partial(zfnet, maps={"conv3": 512, "conv4": 1024, "conv5": 512})
zfnet_wide.__doc__ = "ZFNet with 512, 1024, 512 maps in layers 3, 4, 5 (paper, Table 2 b); arguments as for `zfnet`."
