"""The network built from a table: its modules bear the paper's layer names."""

from collections import OrderedDict
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from convlens.errors import InputError
from convlens.nets.lrn import ContrastNorm
from convlens.nets.spec import LayerSpec, Table, number, smallest_input


class ConvNet(nn.Module):
    """Convolutional layers, fully connected layers and a linear classifier (its softmax is in the loss).

    Submodules: ``conv1`` .. ``conv5`` give the rectified feature maps, ``layer1`` .. ``layer5`` what the layer hands
    on after pool and normalisation, ``fc6`` and ``fc7`` the rectified vectors, ``fc8`` the class scores.

    Raises:
        InputError: the images are smaller than the table can take, or groups do not divide the maps.
    """

    def __init__(
        self,
        table: Table,
        *,
        num_classes: int,
        input_size: int,
        in_channels: int = 3,
        dropout: float = 0.5,
        init: Literal["gaussian", "he"] = "gaussian",
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
        self.initialise(init)

    def _add(self, name: str, module: nn.Module) -> None:
        self.add_module(name, module)
        self.steps.append(name)

    def initialise(self, init: Literal["gaussian", "he"]) -> None:
        """Weights N(0, 0.01) with the table's biases (paper, section 3), or scaled to the fan-in with zero biases.

        With ``he`` the first layer begins a hundredth as large. Adam moves weights by the learning rate whatever their
        size; in few epochs that is less than the noise they would start from, which filters would then still show.
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
        """Class scores of mean-subtracted images with values of about +-128.

        The convolutional layers take images of any size; who stops there may give windows of images.
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
        """Names of the layers whose output the paper projects, from the image upwards."""
        return [row.name for row in self.table if row.is_conv]

    def filters(self, layer: str = "conv1") -> Float[Tensor, "maps in kh kw"]:
        """Weights of one convolutional layer, without a copy."""
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
    """Scale back, in place, every conv filter whose RMS exceeds ``radius``; returns how many there were.

    Paper, section 3: the RMS is over one output filter's weights (in-channels x kh x kw), biases excluded. Frozen
    filters are left as they are.
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
