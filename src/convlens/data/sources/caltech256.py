"""Caltech-256: pictures of objects, 80 to 827 in each of 256 classes (paper, Table 5 and Fig 9)."""

from pathlib import Path

from convlens.data.download.catalog import CALTECH_256
from convlens.data.sources.random_folds import RandomFoldsSource


class Caltech256(RandomFoldsSource):
    """`root/256_ObjectCategories/001.ak47/*.jpg` and so on, with `257.clutter`.

    The protocol of Griffin et al. (2007): `train_per_class` random images of each class for training (the paper has 15,
    30, 45 and 60), `test_per_class` others for the test, 25 as theirs, since the paper does not say; `fold` chooses
    them. All folds share one cache. The paper is silent on whether clutter is a class; as is usual, we leave it out
    unless `include_clutter`.
    """

    title = "Caltech-256"
    archives = CALTECH_256
    below = "256_ObjectCategories"
    background = "257.clutter"
    origin = "https://data.caltech.edu/records/nyy15-4j048 (256_ObjectCategories.tar)"
    layout = "<root>/256_ObjectCategories/<number>.<class>/*.jpg"

    def __init__(
        self,
        root: str | Path,
        train_per_class: int = 60,
        test_per_class: int = 25,
        fold: int = 0,
        include_clutter: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(root, train_per_class, test_per_class, fold, include_clutter, seed)

    def class_name(self, folder: str) -> str:
        """The name of the folder without its number."""
        return folder.partition(".")[2] or folder
