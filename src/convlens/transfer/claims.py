"""Claims 24 to 26 of the paper, on features for other data sets; the units of the statistics are the classes."""

from collections.abc import Mapping
from itertools import pairwise
from math import erfc, sqrt

import numpy as np
from jaxtyping import Float, Int

from convlens.stats.claims import Claim, claim
from convlens.stats.estimates import mean_of, statistic_of

MIN_POSITIVES = 20
"""Fewest test images of a class for which its average precision counts."""
ClassScores = Float[np.ndarray, " classes"]


def ranks(values: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n k"]:
    """Return the rank of each value in its row, from 1; equal values share their mean rank."""
    below = (values[:, None, :] < values[:, :, None]).sum(2)
    equal = (values[:, None, :] == values[:, :, None]).sum(2)
    return below + (equal + 1) / 2


def depth_correlations(scores: Float[np.ndarray, "classes layers"]) -> Float[np.ndarray, " classes"]:
    """Return each class's rank correlation of score and depth: 1 if it rises with every layer, 0 if it is constant."""
    found = ranks(scores)
    depth = np.arange(scores.shape[1]) - (scores.shape[1] - 1) / 2
    centered = found - found.mean(1, keepdims=True)
    norm = np.sqrt((centered**2).sum(1) * (depth**2).sum())
    return np.divide((centered * depth).sum(1), norm, out=np.zeros(len(scores)), where=norm > 0)


def page_test(scores: Float[np.ndarray, "classes layers"]) -> tuple[float, float]:
    """Return Page's L for scores that rise with depth, and its p by the normal approximation (Page 1963)."""
    count, layers = scores.shape
    statistic = float((ranks(scores).sum(0) * np.arange(1, layers + 1)).sum())
    mean = count * layers * (layers + 1) ** 2 / 4
    variance = count * layers**2 * (layers + 1) * (layers**2 - 1) / 144
    return statistic, erfc((statistic - mean) / sqrt(2 * variance)) / 2


def depth_claim(scores: Mapping[str, ClassScores], about: str) -> Claim:
    """Decide claim 25: features improve with depth.

    Args:
        scores: score of each class by layer, in the order of the network.
        about: data set and probe.
    """
    table = np.stack([scores[layer] for layer in scores], 1)
    table = table[np.isfinite(table).all(1)]
    names = list(scores)
    steps = {
        f"{upper} - {lower}": mean_of(table[:, number + 1] - table[:, number])
        for number, (lower, upper) in enumerate(pairwise(names))
    }
    smallest = min(steps, key=lambda name: steps[name].value)
    statistic, p = page_test(table)
    return claim(
        25,
        steps[smallest],
        about=f"{about}: {smallest}",
        required=[(step, 0.0) for name, step in steps.items() if name != smallest],
        paper="-0.7 from layer 5 to 7 (Caltech-101: 44.8, 66.2, 72.3, 76.6, 86.2, 85.5)",
        details={
            **{f"{name}, points": str(step) for name, step in steps.items()},
            "rank correlation with depth": str(mean_of(depth_correlations(table))),
            "Page's L": f"{statistic:.0f}, p = {p:.2g}",
        },
    )


def pretraining_claim(
    pretrained: Mapping[int | None, ClassScores], baseline: Mapping[int | None, ClassScores], name: str, about: str
) -> Claim:
    """Decide claim 24: pretrained features beat training on the images alone.

    Args:
        pretrained: score of each class by images per class; None is all training images.
        baseline: the same for networks that were trained on the images.
        name: name of the baseline.
        about: data set, layer and probe.
    """
    most = max(set(pretrained) & set(baseline), key=_as_number)
    gap = pretrained[most] - baseline[most]
    estimate = mean_of(gap)
    goal = max(float(np.nanmean(scores)) for scores in baseline.values())
    better = [size for size, scores in pretrained.items() if float(np.nanmean(scores)) > goal]
    crossing = _size_text(min(better, key=_as_number)) if better else "never"
    return claim(
        24,
        estimate,
        about=f"{about}, {_size_text(most)}, less {name}",
        paper="86.5 - 46.5 = 40.0 points at 30 images per class (Caltech-101)",
        details={f"beats {name} with {_size_text(max(baseline, key=_as_number))} from": crossing},
    )


def _as_number(size: int | None) -> float:
    return float("inf") if size is None else size


def _size_text(size: int | None) -> str:
    return "all training images" if size is None else f"{size} images per class"


def heads_claim(
    sigmoid: ClassScores,
    softmax: ClassScores,
    labels_per_image: ClassScores,
    about: str,
    positives: Int[np.ndarray, " classes"],
) -> Claim:
    """Decide claim 26: sigmoid heads beat softmax where images show several classes.

    Args:
        sigmoid: average precision of each class in percent, with sigmoid heads.
        softmax: the same with softmax.
        labels_per_image: mean number of classes in the images that show a class.
        about: data set and layer.
        positives: number of test images of each class; classes with fewer than ``MIN_POSITIVES`` are left out.
    """
    enough = np.isfinite(sigmoid) & np.isfinite(softmax) & (positives >= MIN_POSITIVES)
    gap = (sigmoid - softmax)[enough]
    crowd = labels_per_image[enough]

    def correlation(rows: np.ndarray) -> float:
        first, second = crowd[rows], softmax[enough][rows]
        return float(np.corrcoef(first, second)[0, 1]) if first.std() > 0 and second.std() > 0 else float("nan")

    several = len(gap) > 1
    return claim(
        26,
        mean_of(gap),
        about=f"{about}, classes with {MIN_POSITIVES} test images",
        paper="the softmax is called a mismatch; no number is given",
        details={"correlation of a class's AP with labels per image": str(statistic_of(len(gap), correlation))}
        if several
        else {},
    )
