"""The network module built from a table of layers, and the RMS limit of its filters (renormalization, clipping)."""

from collections import OrderedDict
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from convlens.errors import InputError
from convlens.nets.lrn import ContrastNorm
from convlens.nets.spec import LayerSpec, Table, number, smallest_input

Init = Literal["gaussian", "he"]


class ConvNet(nn.Module):
    """Convolutional layers, fully connected layers and a linear classifier without softmax.

    The submodules ``conv1``, ..., ``conv5`` return the rectified feature maps; ``layer1``, ..., ``layer5`` return the
    layer's output after pooling and normalization; ``fc6`` and ``fc7`` return the rectified vectors and ``fc8`` the
    class scores.

    Args:
        table: the layers, without the classifier.
        num_classes: number of class scores.
        input_size: side of the square images in pixels.
        in_channels: number of channels of the images.
        dropout: dropout probability after the fully connected layers.
        init: weight initialization, see `init_weights`.

    Raises:
        InputError: the images are too small for the table, there are fewer than 2 classes, or groups do not divide the
            maps.
    """

    def __init__(
        self,
        table: Table,
        *,
        num_classes: int,
        input_size: int,
        in_channels: int = 3,
        dropout: float = 0.5,
        init: Init = "gaussian",
    ) -> None:
        super().__init__()
        if num_classes < 2:
            raise InputError(f"num_classes={num_classes}: a classifier needs at least 2 classes")
        if input_size < smallest_input(table):
            raise InputError(
                f"images of {input_size} px are too small for this network: give at least {smallest_input(table)} px"
            )
        self.table, self.num_classes, self.input_size = table, num_classes, input_size
        channels, size, flat = in_channels, input_size, False
        self.steps: list[str] = []
        for row in table:
            if row.is_conv:
                self._add(row.name, _filter_and_rectify(_conv(row, channels)))
                self._add(f"layer{number(row)}", _pool_and_norm(row))
                channels, size = row.maps, row.out_size(size)
                continue
            if not flat:
                channels, flat = channels * size * size, True
                self._add("flatten", nn.Flatten())
            self._add(row.name, _filter_and_rectify(nn.Linear(channels, row.maps)))
            self._add(f"drop{number(row)}", nn.Dropout(dropout))
            channels = row.maps
        if not flat:
            channels *= size * size
            self._add("flatten", nn.Flatten())
        self._add("fc8", nn.Linear(channels, num_classes))
        self.init_weights(init)

    def _add(self, name: str, module: nn.Module) -> None:
        self.add_module(name, module)
        self.steps.append(name)

    def init_weights(self, init: Init) -> None:
        """Initialize weights and biases.

        Args:
            init: ``gaussian`` draws weights from N(0, 0.01) and sets the table's biases (paper, section 3); ``he``
                scales weights to the fan-in and sets biases to zero. With ``he`` the first layer's weights are divided
                by 100: Adam changes a weight by about the learning rate per step, so that after few epochs the filters
                would still show their initial noise.

        Raises:
            InputError: ``init`` is unknown.
        """
        if init not in ("gaussian", "he"):
            raise InputError(f"init={init!r} is unknown: choose gaussian (the paper's) or he")
        bias = {row.name: row.bias for row in self.table}
        for name, module in self.named_modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                assert module.bias is not None
                if init == "gaussian":
                    nn.init.normal_(module.weight, std=0.01)
                    nn.init.constant_(module.bias, bias.get(name.partition(".")[0], 0.0))
                else:
                    nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                    nn.init.zeros_(module.bias)
        if init == "he":
            with torch.no_grad():
                self.filters(self.conv_names()[0]).mul_(0.01)

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n classes"]:
        """Return the class scores of mean-subtracted images with values of about +-128.

        The convolutional layers accept images of any size.

        Raises:
            InputError: the images are not of the size that the classifier was built for.
        """
        fits = images.shape[-2:] == (self.input_size, self.input_size)
        x: Tensor = images
        for name in self.steps:
            if name == "flatten" and not fits:
                raise InputError(
                    f"the network was built for images of {self.input_size} x {self.input_size} px and got "
                    f"{images.shape[-2]} x {images.shape[-1]} px: build it with input_size={images.shape[-1]} or resize"
                )
            x = self.get_submodule(name)(x)
        return x

    def conv_names(self) -> list[str]:
        """Return the names of the convolutional layers, from the image upwards."""
        return [row.name for row in self.table if row.is_conv]

    def filters(self, layer: str = "conv1") -> Float[Tensor, "maps in kh kw"]:
        """Return the weights of a convolutional layer, without a copy."""
        weight: Tensor = self.get_submodule(layer).get_submodule("filter").weight  # type: ignore[assignment]
        return weight


def _conv(row: LayerSpec, channels: int) -> nn.Conv2d:
    if channels % row.groups or row.maps % row.groups:
        raise InputError(
            f"layer {row.name!r} reads {channels} maps and gives {row.maps}, which its {row.groups} groups do not "
            f"divide: choose multiples of {row.groups}"
        )
    return nn.Conv2d(channels, row.maps, row.kernel, row.stride, row.padding, groups=row.groups)


def _filter_and_rectify(layer: nn.Module) -> nn.Sequential:
    return nn.Sequential(OrderedDict(filter=layer, relu=nn.ReLU()))


def _pool_and_norm(row: LayerSpec) -> nn.Sequential:
    steps: OrderedDict[str, nn.Module] = OrderedDict()
    if row.norm == "before_pool":
        steps["norm"] = ContrastNorm()
    if row.pool:
        steps["pool"] = nn.MaxPool2d(3, 2, ceil_mode=row.ceil_pool)
    if row.norm == "after_pool":
        steps["norm"] = ContrastNorm()
    return nn.Sequential(steps)


@torch.no_grad()
def renormalize_filters(net: nn.Module, radius: float = 0.1) -> int:
    """Scale each convolution filter whose RMS exceeds ``radius`` back to it, in place (paper, section 3).

    The RMS is taken over the weights of one output map (input channels x kernel height x kernel width) without the
    bias. Frozen filters are skipped.

    Returns:
        The number of filters that were scaled.
    """
    clipped = 0
    for module in net.modules():
        if isinstance(module, nn.Conv2d) and module.weight.requires_grad:
            weight = module.weight
            rms = weight.square().mean(dim=(1, 2, 3), keepdim=True).sqrt()
            if over := int((rms > radius).sum()):
                weight.mul_((radius / rms).clamp(max=1.0))
                clipped += over
    return clipped
