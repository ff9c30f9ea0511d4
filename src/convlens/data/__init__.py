"""Images: sources, splits, the cache of decoded images, crops, shards and the DataModules."""

from convlens.data.cache.store import cache_images
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
from convlens.data.splits.folds import FixedSplit, HeldOutFolds, RandomFolds
from convlens.data.splits.protocol import Protocol

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
    "cache_images",
    "write_splits",
]
