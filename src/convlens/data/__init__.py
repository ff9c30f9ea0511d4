"""Images: where they come from, the cache of decoded images, crops, and the DataModule."""

from convlens.data.dataset import PackedImages
from convlens.data.module import ImageData
from convlens.data.packed import pack
from convlens.data.sampler import EpochSampler
from convlens.data.sources import (
    Caltech101,
    Cifar10,
    ImageFolder,
    ImageNet,
    PartsImages,
    PointedImages,
    Source,
    TinyImageNet,
    VocObjects,
)

__all__ = [
    "Caltech101",
    "Cifar10",
    "EpochSampler",
    "ImageData",
    "ImageFolder",
    "ImageNet",
    "PackedImages",
    "PartsImages",
    "PointedImages",
    "Source",
    "TinyImageNet",
    "VocObjects",
    "pack",
]
