"""The paper's numbers of Tables 4, 5 and 7, by data set, layer, probe and images per class."""

CALTECH_101, CALTECH_256 = "caltech-101", "caltech-256"
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
SCRATCH = {
    (CALTECH_101, 15): "22.8 ± 1.5", (CALTECH_101, 30): "46.5 ± 1.7", (CALTECH_256, 15): "9.0 ± 1.4",
    (CALTECH_256, 30): "22.5 ± 0.7", (CALTECH_256, 45): "31.2 ± 0.5", (CALTECH_256, 60): "38.8 ± 1.4",
}  # fmt: skip


def paper_score(title: str, layer: str, probe: str, images_per_class: int | None) -> str:
    """What Table 7 has; empty where it has nothing."""
    return TABLE_7.get((title, images_per_class or 0), {}).get((layer, probe), "")


def paper_scratch(title: str, images_per_class: int | None) -> str:
    """The non-pretrained row of Tables 4 and 5; empty where they have none."""
    return SCRATCH.get((title, images_per_class or 0), "")
