"""Networks as tables of layers: AlexNet, ZFNet and edits of them."""

from convlens.nets.alexnet import alexnet
from convlens.nets.build import build
from convlens.nets.convnet import ConvNet, renormalize_filters
from convlens.nets.lrn import ContrastNorm, lrn
from convlens.nets.zfnet import zfnet, zfnet_wide

__all__ = ["ContrastNorm", "ConvNet", "alexnet", "build", "lrn", "renormalize_filters", "zfnet", "zfnet_wide"]
