"""Networks built from a table of layers and edits of it, such as the ablations of Table 3."""

from collections.abc import Iterable, Mapping

from convlens.nets.convnet import ConvNet, Init
from convlens.nets.spec import Table, edit


def build(
    table: Table,
    num_classes: int = 1000,
    *,
    input_size: int = 224,
    width: float = 1.0,
    removed: Iterable[int] = (),
    maps: Mapping[str, int] | None = None,
    filters: Mapping[str, Mapping[str, int]] | None = None,
    in_channels: int = 3,
    dropout: float = 0.5,
    init: Init = "gaussian",
) -> ConvNet:
    """Build the network of a table.

    A network of its own is ``functools.partial(build, TABLE)``; its edits are merged into the table.

    Args:
        table: the layers, without the classifier.
        num_classes: number of class scores.
        input_size: side of the square images in pixels, which sets the size of the classifier.
        width: factor on all maps and units, applied after ``maps``; rounded to multiples of 8.
        removed: numbers of the layers to leave out (Table 3).
        maps: numbers of maps or units by layer name, in place of the table's.
        filters: kernels, strides, paddings and groups by layer name, in place of the table's.
        in_channels: number of channels of the images.
        dropout: dropout probability in layers 6 and 7.
        init: weight initialization; ``gaussian`` is the paper's N(0, 0.01), ``he`` scales to the fan-in.

    Raises:
        InputError: an edit is impossible, or the images are too small.
    """
    return ConvNet(
        edit(table, removed=removed, maps=maps, filters=filters, width=width),
        num_classes=num_classes,
        input_size=input_size,
        in_channels=in_channels,
        dropout=dropout,
        init=init,
    )
