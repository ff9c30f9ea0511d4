"""Images: where they come from, the cache of decoded images, crops, and the DataModule."""

from convlens.data.cache.store import pack
from convlens.data.datamodule import ImageData
from convlens.data.loading.dataset import CachedImages
from convlens.data.loading.sampler import EpochSampler
from convlens.data.shards.datamodule import ShardedData
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
from convlens.data.splits.export import write_splits
from convlens.data.splits.protocol import FixedSplit, HeldOutFolds, Protocol, RandomFolds

__all__ = [
    "CachedImages",
    "Caltech101",
    "Caltech256",
    "Cifar10",
    "EpochSampler",
    "FixedSplit",
    "HeldOutFolds",
    "ImageData",
    "ImageFolder",
    "ImageNet",
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
