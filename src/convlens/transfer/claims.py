"""Claims 24 to 26 of the paper, on features for other data sets; the units of the statistics are the classes."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import isotonic_regression
from scipy.stats import page_trend_test

from convlens.stats.claims import Claim, claim
from convlens.stats.estimates import Estimate, mean_of, statistic_of
from convlens.stats.verdicts import Control

MIN_POSITIVES = 20
"""Fewest test images of a class for which its average precision counts."""
FEW = 0.1
"""Share of the control's training images that is few: 6 of 60 in the paper's Fig 9."""
ClassScores = Float[np.ndarray, " classes"]


def depth_claim(
    scores: Mapping[str, ClassScores], about: str, randomized: Mapping[str, ClassScores] | None = None
) -> Claim:
    """Decide claim 25: features improve steadily with depth (section 5.3, Table 7).

    Each step from a layer to the next one must be above 0; one that is below 0 beyond noise refutes the claim, after
    Holm's correction for the number of steps. Page's test and the isotonic fit, which a single step down does not
    stop, are shown beside it.

    Args:
        scores: score of each class in percent by layer, at least two, in the order of the network.
        about: data set and probe.
        randomized: the same layers' scores with random weights; None if they were not measured.
    """
    names = list(scores)
    table = np.stack(list(scores.values()), 1)
    table = table[np.isfinite(table).all(1)]
    gaps = {f"{upper} - {lower}": gap for (lower, upper), gap in zip(pairwise(names), np.diff(table).T, strict=True)}
    steps = {name: mean_of(gap) for name, gap in gaps.items()}
    smallest = min(steps, key=lambda name: steps[name].value)
    control = None
    if randomized is not None and all(name in randomized for name in names):
        control = _depth_control(scores, randomized)
    return claim(
        25,
        steps[smallest],
        about=f"{about}: {smallest}",
        required=[(step, 0.0) for name, step in steps.items() if name != smallest],
        control=control,
        paper="-0.7 points, layer 7 - layer 5 (86.2 to 85.5; the steps before: 21.4, 6.1, 4.3, 9.6; Caltech-101)",
        details={f"{name}, points": str(step) for name, step in steps.items()} | _trend(table),
    )


def _depth_control(trained: Mapping[str, ClassScores], randomized: Mapping[str, ClassScores]) -> Control:
    """Return the smallest step of random weights, and the trained network's smallest step less that, class by class."""
    tables = [np.stack([scores[name] for name in trained], 1) for scores in (trained, randomized)]
    known = np.isfinite(tables).all((0, 2))
    own, control = (min(np.diff(table[known]).T, key=np.mean) for table in tables)
    return Control(mean_of(control), mean_of(own - control))


def _trend(table: Float[np.ndarray, "classes layers"]) -> dict[str, str]:
    """Return Page's test (Page 1963) and the distance of the layers' means from the nearest rising sequence."""
    if len(table) < 2 or table.shape[1] < 3:
        return {}
    found = page_trend_test(table)
    means = table.mean(0)
    distance = np.abs(means - isotonic_regression(means).x).max()
    return {
        "Page's L": f"{found.statistic:.0f}, p = {found.pvalue:.2g}",
        "largest distance of a layer from the isotonic fit, points": f"{distance:.2f}",
    }


@dataclass(frozen=True)
class Goal:
    """A fixed score that features of a few images are to pass.

    Attributes:
        name: what reached it.
        score: mean score of the classes in percent.
    """

    name: str
    score: float


def smallest_size(scores: Mapping[int | None, ClassScores], goal: float) -> int | None:
    """Return the smallest number of images per class whose mean score is above a goal in percent.

    Args:
        scores: score of each class by images per class; None is all training images.
        goal: the score to pass.

    Returns:
        The number; 0 if no number passes; None if only all training images do.
    """
    better = [size for size, values in scores.items() if float(np.nanmean(values)) > goal]
    return min(better, key=as_number) if better else 0


def pretraining_claim(
    pretrained: Mapping[int | None, ClassScores],
    scratch: Mapping[int | None, ClassScores],
    name: str,
    about: str,
    goal: Goal | None = None,
) -> Claim:
    """Decide claim 24: pretrained features beat training on the images alone by far, with few images (Fig 9).

    By far: at the largest number of images that both have. With few: where at most a tenth of the control's images
    was tried, too, the score with it must be above that of the control with all.

    Args:
        pretrained: score of each class in percent by images per class; None is all training images.
        scratch: the same for networks that were trained on the images alone.
        name: name of these networks.
        about: data set, layer and probe, and how they were chosen.
        goal: fixed score whose crossing is shown; None is that of ``scratch`` with the most images.
    """
    most = max(set(pretrained) & set(scratch), key=as_number)
    gap = mean_of(pretrained[most] - scratch[most])
    largest = max(scratch, key=as_number)
    goal = goal or Goal(f"{name} with {size_text(largest)}", float(np.nanmean(scratch[largest])))
    crossing = smallest_size(pretrained, goal.score)
    details = {
        f"fewest images that beat {goal.name} ({goal.score:.1f} %)": "none" if crossing == 0 else size_text(crossing),
        "the same in the paper": "6 images per class (57.0 %) beat Bo et al. 2013 with 60 (55.2 %; Caltech-256)",
    }
    required: list[tuple[Estimate, float]] = []
    few = [size for size in pretrained if size is not None and largest is not None and size <= FEW * largest]
    if few:
        enough = mean_of(pretrained[max(few)] - scratch[largest])
        required = [(enough, 0.0)]
        details[f"{size_text(max(few))} less {name} with {size_text(largest)}, points"] = str(enough)
    return claim(
        24,
        gap,
        about=f"{about}, {size_text(most)}, less {name}",
        required=required,
        paper="86.5 - 46.5 = 40.0 points at 30 images per class (Caltech-101)",
        details=details,
    )


def as_number(size: int | None) -> float:
    """Return a number of images per class, by which sizes are ordered; all training images are the most."""
    return float("inf") if size is None else size


def size_text(size: int | None) -> str:
    """Return a number of images per class in words."""
    return "all training images" if size is None else f"{size} image{'s' if size > 1 else ''} per class"


def heads_claim(
    sigmoid: ClassScores,
    softmax: ClassScores,
    labels_per_image: ClassScores,
    about: str,
    positives: Int[np.ndarray, " classes"],
) -> Claim:
    """Decide claim 26: sigmoid heads beat softmax where images show several classes (section 5.2, Table 6).

    Args:
        sigmoid: average precision of each class in percent, with sigmoid heads.
        softmax: the same with softmax.
        labels_per_image: mean number of classes in the images that show a class.
        about: data set, layer, and how it was chosen.
        positives: number of test images of each class; classes with fewer than ``MIN_POSITIVES`` are left out.
    """
    enough = np.isfinite(sigmoid) & np.isfinite(softmax) & (positives >= MIN_POSITIVES)
    gap, crowd, precision = (sigmoid - softmax)[enough], labels_per_image[enough], softmax[enough]

    def correlation(rows: np.ndarray) -> float:
        first, second = crowd[rows], precision[rows]
        return float(np.corrcoef(first, second)[0, 1]) if first.std() > 0 and second.std() > 0 else float("nan")

    details = {}
    if len(gap) > 2:
        details["correlation of a class's AP with labels per image"] = str(statistic_of(len(gap), correlation))
    return claim(
        26,
        mean_of(gap),
        about=f"{about}, classes with {MIN_POSITIVES} test images",
        paper="the softmax is called a mismatch; no number is given",
        details=details,
    )
