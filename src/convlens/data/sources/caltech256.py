"""Caltech-256: images of objects, 80 to 827 in each of 256 classes (Table 5 and Fig 9)."""

from pathlib import Path

from convlens.data.download.catalog import CALTECH_256
from convlens.data.sources.random_folds import RandomFoldsSource


class Caltech256(RandomFoldsSource):
    """``root/256_ObjectCategories/<number>.<class>/*.jpg``, with ``257.clutter``.

    The protocol of Griffin et al. (2007): ``train_per_class`` random images of each class for training (15, 30, 45 or
    60 in the paper) and ``test_per_class`` others for testing; the paper gives no number, 25 is that of Griffin et al.
    ``fold`` selects them. All folds share one cache. The paper does not say whether clutter counts as a class; by
    default it doesn't, unless ``include_clutter`` is true.
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
        max_train_per_class: int | None = None,
    ) -> None:
        super().__init__(root, train_per_class, test_per_class, fold, include_clutter, seed, max_train_per_class)

    def class_name(self, folder: str) -> str:
        """Return the name of the folder without its number."""
        return folder.partition(".")[2] or folder
