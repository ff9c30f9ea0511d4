"""Networks as tables of layers."""

from convlens.nets.alexnet import alexnet
from convlens.nets.convnet import ConvNet, renormalize_filters
from convlens.nets.lrn import ContrastNorm, lrn
from convlens.nets.zfnet import zfnet, zfnet_wide

__all__ = ["ContrastNorm", "ConvNet", "alexnet", "lrn", "renormalize_filters", "zfnet", "zfnet_wide"]
