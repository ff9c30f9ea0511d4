"""Probes of all layers, folds, sizes and kinds against scikit-learn in full dimension, and the cost of extraction."""

import json
import sys
import time
import warnings

import numpy as np
import torch
import torchvision
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.svm import LinearSVC

from convlens.transfer import Cell, Setting, Truth, extract_features, sweep
from tests.bench.timing import in_a_process, in_turn, row

CLASSES, EACH, TEST = 40, 30, 20
WIDTHS = {"low": 16_384, "middle": 8_192, "high": 4_096}
FOLDS, SIZES, PROBES, C = 5, (15, 30), ("svm", "softmax"), {"svm": 10.0, "softmax": 100.0}
SHARES = {"low": 0.12, "middle": 0.16, "high": 0.22}


def drawn() -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Features like those of a network: not negative, alike in most images, classes the further apart the higher."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(CLASSES * (EACH + TEST)) % CLASSES
    features = {}
    for name, width in WIDTHS.items():
        centres, common = torch.randn(CLASSES, width, generator=generator), torch.randn(64, width, generator=generator)
        mixed = torch.randn(len(labels), 64, generator=generator) @ common / 8
        noise = torch.randn(len(labels), width, generator=generator)
        features[name] = (0.5 + SHARES[name] * centres[labels] + mixed + noise).relu()
    return features, labels


def split(size: int | None, fold: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The first images of each class in the order of a fold, and the last."""
    order = np.random.default_rng(fold).permutation(EACH + TEST)
    images = np.arange(CLASSES * (EACH + TEST)).reshape(EACH + TEST, CLASSES)[order]
    return torch.from_numpy(images[:size].reshape(-1).copy()), torch.from_numpy(images[EACH:].reshape(-1).copy())


def probes() -> list[float]:
    """Seconds of the whole sweep, those of scikit-learn, and the largest difference in mean class accuracy (points).

    Of the slow side one fold is timed, with each layer, size and probe, and counts for all five. Its softmax is asked
    to go on until it is done: as it comes it stops up to ten points short.
    """
    features, labels = drawn()
    start = time.perf_counter()
    found = {}
    for probe in PROBES:
        cells = [Cell(layer, probe, size, fold) for layer in WIDTHS for size in SIZES for fold in range(FOLDS)]
        for outcome in sweep(features.__getitem__, Truth(labels, CLASSES), split, cells, Setting(c=C[probe])):
            found[outcome.cell] = outcome.scored.score
    ours = time.perf_counter() - start
    start, worst = time.perf_counter(), 0.0
    for layer, values in features.items():
        x = torch.nn.functional.normalize(values, dim=1).numpy()
        for size in SIZES:
            train, test = split(size, 0)
            for probe in PROBES:
                model = (
                    LinearSVC(C=C[probe]) if probe == "svm" else LogisticRegression(C=C[probe], max_iter=5000, tol=1e-6)
                )
                predicted = model.fit(x[train], labels[train]).predict(x[test])
                score = 100 * balanced_accuracy_score(labels[test], predicted)
                worst = max(worst, abs(score - found[Cell(layer, probe, size, 0)]))
    return [ours, FOLDS * (time.perf_counter() - start), worst]


def extraction() -> list[float]:
    """Seconds of extracting eight layers, and of the bare forward pass."""
    net, images = torchvision.models.squeezenet1_0().eval(), torch.randn(64, 3, 224, 224)
    layers = [f"features.{i}" for i in (0, 3, 4, 5, 7, 8, 10, 12)] + ["classifier.1"]
    batches = images.split(32)

    def bare() -> None:
        with torch.no_grad():
            for batch in batches:
                net(batch)

    return list(in_turn(lambda: extract_features(net, batches, layers, cells=4), bare, 4))


def run() -> list[dict]:
    """Two rows."""
    ours, reference, worst = in_a_process(__name__, "probes")
    note = f"{CLASSES} classes, 3 layers of 4,096 to 16,384 dimensions, 5 folds, 15 and 30 per class, svm and softmax; "
    note += f"scikit-learn's time of one fold, times 5; greatest difference of accuracy {worst:.2f} points"
    rows = [row("transfer, all probes", ours, reference, 10.0, note)]
    times = in_a_process(__name__, "extraction")
    note = "squeezenet1_0, 64 images of 224 px, nine layers pooled to 4 x 4"
    return [*rows, row("transfer, extraction of nine layers", *times, 1.10, note, less_is_better=True)]


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print(json.dumps(probes() if sys.argv[1] == "probes" else extraction()))
