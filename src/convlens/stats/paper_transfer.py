"""The paper's Tables 4 to 7: transfer scores by data set, layer, probe and images per class."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

CALTECH_101, CALTECH_256, VOC_2012 = "caltech-101", "caltech-256", "voc2012"
TABLE_7 = {
    (CALTECH_101, 30): {
        ("layer1", "svm"): "44.8 ± 0.7", ("layer2", "svm"): "66.2 ± 0.5", ("layer3", "svm"): "72.3 ± 0.4",
        ("layer4", "svm"): "76.6 ± 0.4", ("layer5", "svm"): "86.2 ± 0.8", ("fc7", "svm"): "85.5 ± 0.4",
        ("layer5", "softmax"): "82.9 ± 0.4", ("fc7", "softmax"): "85.4 ± 0.4",
    },
    (CALTECH_256, 60): {
        ("layer1", "svm"): "24.6 ± 0.4", ("layer2", "svm"): "39.6 ± 0.3", ("layer3", "svm"): "46.0 ± 0.3",
        ("layer4", "svm"): "51.3 ± 0.1", ("layer5", "svm"): "65.6 ± 0.3", ("fc7", "svm"): "71.7 ± 0.2",
        ("layer5", "softmax"): "65.7 ± 0.5", ("fc7", "softmax"): "72.6 ± 0.1",
    },
}  # fmt: skip
PRETRAINED = {
    (CALTECH_101, 15): "83.8 ± 0.5", (CALTECH_101, 30): "86.5 ± 0.5", (CALTECH_256, 15): "65.7 ± 0.2",
    (CALTECH_256, 30): "70.6 ± 0.2", (CALTECH_256, 45): "72.7 ± 0.4", (CALTECH_256, 60): "74.2 ± 0.3",
}  # fmt: skip
SCRATCH = {
    (CALTECH_101, 15): "22.8 ± 1.5", (CALTECH_101, 30): "46.5 ± 1.7", (CALTECH_256, 15): "9.0 ± 1.4",
    (CALTECH_256, 30): "22.5 ± 0.7", (CALTECH_256, 45): "31.2 ± 0.5", (CALTECH_256, 60): "38.8 ± 1.4",
}  # fmt: skip


TABLE_6 = {
    "aeroplane": 96.0, "bicycle": 77.1, "bird": 88.4, "boat": 85.5, "bottle": 55.8, "bus": 85.8, "car": 78.6,
    "cat": 91.2, "chair": 65.0, "cow": 74.4, "diningtable": 67.7, "dog": 87.8, "horse": 86.0, "motorbike": 85.1,
    "person": 90.9, "pottedplant": 52.2, "sheep": 83.6, "sofa": 61.1, "train": 91.8, "tvmonitor": 76.1,
}  # fmt: skip
PAPER_ROWS = {"pretrained": PRETRAINED, "from scratch": SCRATCH}


def paper_score(title: str, layer: str, probe: str, images_per_class: int | None) -> str:
    """Return the accuracy of Table 7 in percent; empty if the table has none."""
    return TABLE_7.get(_key(title, images_per_class), {}).get((layer, probe), "")


def paper_row(title: str, kind: str, probe: str, images_per_class: int | None) -> str:
    """Return the accuracy of Tables 4 and 5 in percent; empty if the tables have none.

    Args:
        title: name of the data set.
        kind: ``pretrained`` for a softmax on pretrained features, ``from scratch`` for a network trained on the data.
        probe: only ``softmax`` is in these tables.
        images_per_class: number of training images per class.
    """
    return PAPER_ROWS[kind].get(_key(title, images_per_class), "") if probe == "softmax" else ""


def paper_classes(title: str, names: Sequence[str]) -> Float[np.ndarray, " classes"] | None:
    """Return the average precisions of Table 6 on the official test set, in percent; None for other data sets."""
    return np.array([TABLE_6[name] for name in names]) if title == VOC_2012 else None


def _key(title: str, images_per_class: int | None) -> tuple[str, int]:
    # The paper does not say whether the background was a class.
    return title.removesuffix(" with background"), images_per_class or 0
