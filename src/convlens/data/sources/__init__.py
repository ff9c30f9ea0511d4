"""Sources of images: ImageNet, Caltech, PASCAL VOC, CIFAR-10, Tiny-ImageNet, image folders and the built-in images."""

from convlens.data.sources.base import Source
from convlens.data.sources.caltech101 import Caltech101
from convlens.data.sources.caltech256 import Caltech256
from convlens.data.sources.cifar10 import Cifar10
from convlens.data.sources.image_folder import ImageFolder
from convlens.data.sources.imagenet import ImageNet
from convlens.data.sources.keypoint_csv import PointedImages
from convlens.data.sources.synthetic_parts import PartsImages
from convlens.data.sources.tiny_imagenet import TinyImageNet
from convlens.data.sources.voc import VocClassification, VocObjects

__all__ = [
    "Caltech101",
    "Caltech256",
    "Cifar10",
    "ImageFolder",
    "ImageNet",
    "PartsImages",
    "PointedImages",
    "Source",
    "TinyImageNet",
    "VocClassification",
    "VocObjects",
]
