"""What features on another data set say of the paper's claims 24 to 26: the units are the classes."""

from collections.abc import Mapping
from math import erfc, sqrt

import numpy as np
from jaxtyping import Float, Int

from convlens.stats.claims import OPEN, Claim, Estimate, bootstrap, mean_of, verdict

ENOUGH = 20
"""Test images of a class from which its average precision tells something."""
ByClass = Float[np.ndarray, " classes"]


def ranks(values: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n k"]:
    """Ranks in each row from 1, equal values sharing the mean of theirs."""
    below = (values[:, None, :] < values[:, :, None]).sum(2)
    equal = (values[:, None, :] == values[:, :, None]).sum(2)
    return below + (equal + 1) / 2


def trends(scores: Float[np.ndarray, "classes layers"]) -> Float[np.ndarray, " classes"]:
    """For each class the rank correlation of its score with depth: 1 if it rises with every layer, 0 if it is flat."""
    found = ranks(scores)
    depth = np.arange(scores.shape[1]) - (scores.shape[1] - 1) / 2
    spread = found - found.mean(1, keepdims=True)
    norm = np.sqrt((spread**2).sum(1) * (depth**2).sum())
    return np.divide((spread * depth).sum(1), norm, out=np.zeros(len(scores)), where=norm > 0)


def page_test(scores: Float[np.ndarray, "classes layers"]) -> tuple[float, float]:
    """Page's L for an order that rises with depth, and its p by the normal approximation (Page 1963)."""
    count, layers = scores.shape
    statistic = float((ranks(scores).sum(0) * np.arange(1, layers + 1)).sum())
    mean = count * layers * (layers + 1) ** 2 / 4
    variance = count * layers**2 * (layers + 1) * (layers**2 - 1) / 144
    return statistic, erfc((statistic - mean) / sqrt(2 * variance)) / 2


def depth_claim(scores: Mapping[str, ByClass], about: str) -> Claim:
    """Claim 25: features get better with depth; of each layer the scores of all classes, from below to above."""
    table = np.stack([scores[layer] for layer in scores], 1)
    table = table[np.isfinite(table).all(1)]
    estimate = mean_of(trends(table))
    statistic, p = page_test(table)
    last, before = list(scores)[-1], list(scores)[-2]
    step = mean_of(table[:, -1] - table[:, -2])
    return Claim(
        25,
        about,
        "rank correlation of a class's score with depth, mean over classes, above 0",
        estimate,
        verdict(estimate.against(0)),
        paper="1 but for the last layer (Caltech-101: 44.8, 66.2, 72.3, 76.6, 86.2, 85.5)",
        controls={"Page's L": f"{statistic:.0f}, p = {p:.2g}", f"{last} - {before}, points": str(step)},
    )


def pretraining_claim(
    pretrained: Mapping[int | None, ByClass], control: Mapping[int | None, ByClass], name: str, about: str
) -> Claim:
    """Claim 24: pretrained features against training on the images alone, by images per class; None is all of them."""
    most = max(set(pretrained) & set(control), key=_as_number)
    gap = pretrained[most] - control[most]
    estimate = mean_of(gap[np.isfinite(gap)])
    goal = max(float(np.nanmean(scores)) for scores in control.values())
    better = [size for size, scores in pretrained.items() if float(np.nanmean(scores)) > goal]
    crossing = f"{_said(min(better, key=_as_number))}" if better else "never"
    return Claim(
        24,
        about,
        f"score with {_said(most)} less that of {name}, points, mean over classes, above 0",
        estimate,
        verdict(estimate.against(0)),
        paper="86.5 - 46.5 = 40.0 points at 30 images per class (Caltech-101)",
        controls={f"beats {name} with {_said(max(control, key=_as_number))} from": crossing},
    )


def _as_number(size: int | None) -> float:
    return float("inf") if size is None else size


def _said(size: int | None) -> str:
    return "all training images" if size is None else f"{size} images per class"


def heads_claim(
    sigmoid: ByClass, softmax: ByClass, labels_per_image: ByClass, about: str, positives: Int[np.ndarray, " classes"]
) -> Claim:
    """Claim 26: a head that can say several classes is better where images show several.

    Only classes with at least ``ENOUGH`` test images are looked at: the AP of a few is luck.
    """
    enough = np.isfinite(sigmoid) & np.isfinite(softmax) & (positives >= ENOUGH)
    gap = (sigmoid - softmax)[enough]
    estimate = mean_of(gap) if len(gap) else Estimate(float("nan"), float("nan"), float("nan"), 0)
    crowd = labels_per_image[enough]

    def correlation(rows: np.ndarray) -> float:
        first, second = crowd[rows], softmax[enough][rows]
        return float(np.corrcoef(first, second)[0, 1]) if first.std() > 0 and second.std() > 0 else float("nan")

    return Claim(
        26,
        about,
        f"AP of sigmoid heads less that of softmax, points, mean over classes with {ENOUGH} test images, above 0",
        estimate,
        verdict(estimate.against(0)) if len(gap) else OPEN,
        paper="the softmax is called a mismatch; no number is given",
        controls={"correlation of a class's AP with labels per image": str(bootstrap(len(gap), correlation))}
        if len(gap) > 1
        else {},
    )
