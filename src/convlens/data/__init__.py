"""Images: where they come from, the cache of decoded images, crops, and the DataModule."""

from convlens.data.dataset import PackedImages
from convlens.data.module import ImageData
from convlens.data.packed import pack
from convlens.data.protocol import FixedSplit, HeldOutFolds, Protocol, RandomFolds
from convlens.data.sampler import EpochSampler
from convlens.data.shards import ShardedData
from convlens.data.sources import (
    Caltech101,
    Caltech256,
    Cifar10,
    ImageFolder,
    ImageNet,
    PartsImages,
    PointedImages,
    Source,
    TinyImageNet,
    VocClassification,
    VocObjects,
)
from convlens.data.split_files import write_splits

__all__ = [
    "Caltech101",
    "Caltech256",
    "Cifar10",
    "EpochSampler",
    "FixedSplit",
    "HeldOutFolds",
    "ImageData",
    "ImageFolder",
    "ImageNet",
    "PackedImages",
    "PartsImages",
    "PointedImages",
    "Protocol",
    "RandomFolds",
    "ShardedData",
    "Source",
    "TinyImageNet",
    "VocClassification",
    "VocObjects",
    "pack",
    "write_splits",
]
