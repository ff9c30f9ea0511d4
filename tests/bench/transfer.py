"""Speed of the probes against scikit-learn in full dimension, and of feature extraction against a forward pass."""

import json
import sys
import time
import warnings
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path

import numpy as np
import torch
import torchvision
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.svm import LinearSVC

from convlens.data import Caltech101, ImageData
from convlens.nets.weights import load_weights
from convlens.transfer import GridPoint, ProbeConfig, Targets, extract_features, fit_grid
from convlens.transfer.dataset import SplitRows
from tests.bench.timing import in_a_process, in_turn, row

SHARED = Path(__file__).resolve().parents[3] / "shared"
IMAGES, WEIGHTS = SHARED / "data" / "caltech101", SHARED / "weights" / "squeezenet1_0.safetensors"
LAYERS = ("features.0", "features.7", "classifier.1")
"""Layers of 1,536, 4,096 and 16,000 dimensions at 4 x 4 positions: the narrowest, one between, the widest."""
FOLDS, SIZES, PROBES, C = 5, (15, 30), ("svm", "softmax"), {"svm": 10.0, "softmax": 100.0}
MAX_DIFFERENCE = 0.2
"""Largest difference of accuracies, in points."""
CLASSES, EACH, TEST = 40, 30, 20


def real(layers: Sequence[str]) -> tuple[Mapping[str, torch.Tensor], torch.Tensor, int, SplitRows]:
    """Return SqueezeNet's features of Caltech-101, the labels, the number of classes and the splits."""
    net = torchvision.models.squeezenet1_0()
    load_weights(net, WEIGHTS)
    colors = {"mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375)}
    data = ImageData(Caltech101(IMAGES), cache_dir=Path("outputs") / "bench_cache", resize_mode="squeeze", **colors)
    protocol = data.protocol
    features = extract_features(net.eval(), data.pool_dataloader(), layers, pool_size=4)

    def split(size: int | None, fold: int) -> tuple[torch.Tensor, torch.Tensor]:
        train, test = protocol.split(size, fold)
        return torch.from_numpy(train), torch.from_numpy(test)

    return features, torch.from_numpy(protocol.labels), len(protocol.class_names), split


def synthetic() -> tuple[Mapping[str, torch.Tensor], torch.Tensor, int, SplitRows]:
    """Return features for machines without the images: like a network's, not negative, and similar for most images."""
    generator = torch.Generator().manual_seed(0)
    labels, width = torch.arange(CLASSES * (EACH + TEST)) % CLASSES, 4096
    centers, common = torch.randn(CLASSES, width, generator=generator), torch.randn(64, width, generator=generator)
    mixed = torch.randn(len(labels), 64, generator=generator) @ common / 8
    noise = torch.randn(len(labels), width, generator=generator)

    def split(size: int | None, fold: int) -> tuple[torch.Tensor, torch.Tensor]:
        order = np.random.default_rng(fold).permutation(EACH + TEST)
        images = np.arange(CLASSES * (EACH + TEST)).reshape(EACH + TEST, CLASSES)[order]
        return torch.from_numpy(images[:size].reshape(-1).copy()), torch.from_numpy(images[EACH:].reshape(-1).copy())

    return {"synthetic": (0.5 + 0.16 * centers[labels] + mixed + noise).relu()}, labels, CLASSES, split


def probes(layers: Sequence[str] = LAYERS) -> list[float]:
    """Return the seconds of our fits, those of scikit-learn, and the largest difference in accuracy in points.

    For scikit-learn the first fold is timed, with both sizes and probes, and multiplied by five. Its softmax gets a
    smaller tolerance: with the default it ends up to ten points short.
    """
    features, labels, classes, split = real(layers) if IMAGES.is_dir() and WEIGHTS.exists() else synthetic()
    theirs, worst, start = 0.0, 0.0, time.process_time()
    points = [GridPoint(*of) for of in product(features, PROBES, SIZES, range(FOLDS))]
    found = {}
    for result in fit_grid(features.__getitem__, Targets(labels, classes), split, points, ProbeConfig(C=C)):
        found[result.point] = result.metrics.score
    ours = time.process_time() - start
    for layer, probe, size in product(features, PROBES, SIZES):
        train, test = split(size, 0)
        x = torch.nn.functional.normalize(features[layer], dim=1).numpy()
        most = {"tol": 1e-6, "max_iter": 5000}
        model = LinearSVC(C=C[probe]) if probe == "svm" else LogisticRegression(C=C[probe], **most)
        start = time.process_time()
        predicted = model.fit(x[train], labels[train]).predict(x[test])
        taken = time.process_time() - start
        own, score = found[GridPoint(layer, probe, size, 0)], 100 * balanced_accuracy_score(labels[test], predicted)
        theirs, worst = theirs + FOLDS * taken, max(worst, abs(score - own))
        print(f"{layer}, {probe}, {size}: {score:.2f} in {taken:.0f} s, ours {own:.2f}", file=sys.stderr)
    return [ours, theirs, worst]


def extraction() -> list[float]:
    """Return the seconds of extracting nine layers, and of the forward pass alone."""
    net, images = torchvision.models.squeezenet1_0().eval(), torch.randn(64, 3, 224, 224)
    layers = [f"features.{i}" for i in (0, 3, 4, 5, 7, 8, 10, 12)] + ["classifier.1"]
    batches = images.split(32)

    def forward() -> None:
        with torch.no_grad():
            for batch in batches:
                net(batch)

    return list(in_turn(lambda: extract_features(net, batches, layers, pool_size=4), forward, 4))


def run() -> list[dict]:
    """Return the rows of the benchmark table."""
    ours, reference, worst = in_a_process(__name__, "probes")
    if worst > MAX_DIFFERENCE:
        raise SystemExit(
            f"transfer: accuracies differ by {worst:.2f} points from scikit-learn's, at most {MAX_DIFFERENCE}"
        )
    what = f"SqueezeNet's {', '.join(LAYERS)} on Caltech-101" if IMAGES.is_dir() else "synthetic features of 40 classes"
    note = (
        f"{what}, 5 folds, 15 and 30 per class, svm and softmax, seconds of one thread; scikit-learn's (softmax with "
    )
    note += f"tol=1e-6) of the first fold, times 5; greatest difference of accuracy {worst:.2f} points"
    rows = [row("transfer, all probes of three layers", ours, reference, 10.0, note)]
    times = in_a_process(__name__, "extraction")
    note = "squeezenet1_0, 64 images of 224 px, nine layers pooled to 4 x 4"
    return [*rows, row("transfer, extraction of nine layers", *times, 1.10, note, less_is_better=True)]


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print(json.dumps(probes() if sys.argv[1] == "probes" else extraction()))
