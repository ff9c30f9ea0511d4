"""Caltech-101: images of single objects, 31 to 800 in each of 101 classes (Table 4)."""

from pathlib import Path

from convlens.data.download.catalog import CALTECH_101
from convlens.data.sources.random_folds import RandomFoldsSource


class Caltech101(RandomFoldsSource):
    """``root/101_ObjectCategories/<class>/image_NNNN.jpg``.

    The protocol of Fei-Fei et al. (2006): ``train_per_class`` random images of each class for training and up to
    ``test_per_class`` others for testing; ``fold`` selects them. All folds share one cache. The paper does not say
    whether the background folder counts as a class; as in torchvision it doesn't, unless ``include_background`` is
    true.
    """

    title = "Caltech-101"
    below = "101_ObjectCategories"
    background = "BACKGROUND_Google"
    origin = "https://data.caltech.edu/records/mzrjq-6wc02 (caltech-101.zip)"
    layout = "<root>/101_ObjectCategories/<class>/image_NNNN.jpg"
    archives = CALTECH_101

    def __init__(
        self,
        root: str | Path,
        train_per_class: int = 30,
        test_per_class: int = 50,
        fold: int = 0,
        include_background: bool = False,
        seed: int = 0,
        max_train_per_class: int | None = None,
    ) -> None:
        super().__init__(root, train_per_class, test_per_class, fold, include_background, seed, max_train_per_class)

    def class_name(self, folder: str) -> str:
        """Return the name of the folder."""
        return folder
