"""AlexNet (Krizhevsky, Sutskever, Hinton 2012): a table."""

from collections.abc import Iterable, Mapping
from typing import Literal

from convlens.nets.convnet import ConvNet
from convlens.nets.spec import LayerSpec, Table, edit

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


def alexnet(
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
    """AlexNet with groups in layers 2, 4, 5 and contrast normalisation before the pool.

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
        edit(ALEXNET, removed=removed, maps=maps, filters=filters, width=width),
        num_classes=num_classes,
        input_size=input_size,
        in_channels=in_channels,
        dropout=dropout,
        init=init,
    )
