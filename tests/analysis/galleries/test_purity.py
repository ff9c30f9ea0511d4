"""Classes of the strongest images by depth (claim 7)."""

import itertools

import numpy as np
import pytest
import torch

from convlens.analysis.galleries.purity import (
    StrongestImages,
    purity,
    slope,
    slope_and_changes,
    slope_weights,
)
from convlens.analysis.galleries.top_k_metric import TopActivations
from convlens.ops.depth import Depth
from convlens.stats.estimates import mean_of, statistic_of
from convlens.stats.rules import RULES
from convlens.stats.verdicts import decide

LAYERS = 5


def literal_purity(classes) -> float:
    pairs = [a == b for a, b in itertools.combinations([c for c in classes if c >= 0], 2)]
    return float(np.mean(pairs)) if pairs else np.nan


def literal_slope(strongest: StrongestImages, without: int | None = None) -> float:
    """Least squares over the maps; ``without`` an image, whose maps keep the weight that they had."""
    values, changed = [], []
    for row in strongest.images:
        values.append(literal_purity([strongest.labels[i] for i in row[:9] if i >= 0]))
        left = [i for i in row[:9] if i >= 0 and i != without]
        changed.append(literal_purity([strongest.labels[i] for i in left]) if len(left) > 1 else values[-1])
    known = np.isfinite(values)
    x = strongest.depth[known] - strongest.depth[known].mean()
    return float(x @ np.array(changed)[known] / (x @ x))


def selective(rng: np.random.Generator, shares: list[float], maps: int = 20, images: int = 200) -> StrongestImages:
    """Maps that show an image of their own class with a probability by layer, else any."""
    classes = 8 if images > 100 else 3
    labels = rng.integers(0, classes, images)
    rows = []
    for layer, share in enumerate(shares):
        for number in range(maps):
            own = rng.choice(np.flatnonzero(labels == (number + layer) % classes), round(share * 9), False)
            rest = rng.choice(np.setdiff1d(np.arange(images), own), 9 - len(own), False)
            rows.append(np.concatenate([own, rest]))
    depth = np.repeat(np.linspace(0, 1, len(shares)), maps)
    names = np.repeat([f"conv{number}" for number in range(1, len(shares) + 1)], maps)
    return StrongestImages(np.array(rows), names, depth, labels)


def test_purity_by_hand():
    # Three of class 1 make 3 of 6 pairs; two images of one class 1 of 1; one image has no pair.
    found = purity(np.array([[1, 1, 1, 2], [3, 3, -1, -1], [1, -1, -1, -1], [1, 2, 3, 4]]))
    np.testing.assert_equal(found, [0.5, 1, np.nan, 0])


def test_purity_does_not_depend_on_the_number_of_images_by_itself():
    """The share of the most frequent class would rise from 0.25 to 0.6."""
    rng = np.random.default_rng(0)
    for k in (9, 3, 2):
        classes = np.full((20_000, 9), -1)
        classes[:, :k] = rng.integers(0, 4, (20_000, k))
        assert purity(classes).mean() == pytest.approx(0.25, abs=0.01)


def test_searched_layers_are_collected_with_depth_and_inactive_images_left_out():
    tops = {
        "conv1": TopActivations(torch.tensor([[2.0, 1.0]]), torch.tensor([[1, 0]]), torch.zeros(1, 2, 2).long()),
        "conv4": TopActivations(
            torch.tensor([[2.0, 0.0], [1.0, -torch.inf]]), torch.tensor([[2, 0], [0, -1]]), torch.zeros(2, 2, 2).long()
        ),
        "conv5": TopActivations(torch.tensor([[3.0, 1.0]]), torch.tensor([[0, 3]]), torch.zeros(1, 2, 2).long()),
    }
    depths = {"conv1": Depth(1, 0), "conv4": Depth(4, 2), "conv5": Depth(5, 2)}
    found = StrongestImages.from_tops(tops, depths, np.array([7, 7, 5, -1]))
    assert found.images.tolist() == [[1, 0], [2, -1], [0, -1], [0, 3]]
    assert found.layer.tolist() == ["conv1", "conv4", "conv4", "conv5"]
    assert found.depth.tolist() == [0, 0.75, 0.75, 1]
    assert found.classes().tolist() == [[7, 7], [5, -1], [7, -1], [7, -1]]  # image 3 has no known class
    assert found.chance == pytest.approx(1 / 3)  # of three pairs of images with a class
    assert found.is_labelled
    assert not StrongestImages.from_tops(tops, depths, np.array([7, 7, 7, -1])).is_labelled
    assert not StrongestImages.from_tops({"conv1": tops["conv1"]}, depths, np.array([7, 7, 5, -1])).is_labelled


def test_the_slope_is_least_squares_and_changes_as_without_an_image():
    rng = np.random.default_rng(1)
    strongest = selective(rng, [0.2, 0.3, 0.8], maps=4, images=40)
    strongest.images[3, 4:] = -1
    strongest.images[5, 2:] = -1  # two images: keeps its purity
    strongest.images[7, :] = -1
    strongest.labels[strongest.images[0, 0]] = -1
    value, change = slope_and_changes(strongest)
    values = purity(strongest.classes())
    known = np.isfinite(values)
    assert value == pytest.approx(np.polyfit(strongest.depth[known], values[known], 1)[0])
    for image in range(40):
        assert value + change[image] == pytest.approx(literal_slope(strongest, image)), image


def test_the_slope_has_the_interval_of_its_leave_one_out_values():
    strongest = selective(np.random.default_rng(2), [0.2, 0.5], maps=6, images=30)
    shown = np.unique(strongest.images)
    found = slope(strongest)
    expected = statistic_of(
        len(shown),
        lambda units: literal_slope(strongest, *set(shown) - set(shown[units])),
    )
    assert (found.value, found.low, found.high, found.count) == pytest.approx(
        (expected.value, expected.low, expected.high, len(shown))
    )


def test_weights_add_up_to_the_slope_by_hand():
    weights = slope_weights(np.array([1.0, np.nan, 2.0, 4.0]), np.array([0.0, 0.3, 0.5, 1.0]))
    assert weights.tolist() == [-1, 0, 0, 1]  # the slope is 4 - 1 over a depth of 1


def test_a_difference_of_slopes_is_paired_by_image():
    rng = np.random.default_rng(3)
    own = selective(rng, [0.2, 0.4, 0.6])
    other = StrongestImages(own.images, own.layer, own.depth, own.labels)
    found = slope(own, other)
    assert (found.value, found.low, found.high) == (0, 0, 0)
    pure = slope(own, StrongestImages(own.images[:, :2] * 0 - 1, own.layer, own.depth, own.labels))
    assert pure.value == slope(own).value


@pytest.mark.parametrize(
    ("shares", "expected"),
    [
        ([0.1, 0.3, 0.5, 0.7, 0.9], "supports"),
        ([0.9, 0.7, 0.5, 0.3, 0.1], "refutes"),
    ],
)
def test_planted_trends_are_found(shares, expected):
    for seed in range(5):
        assert decide(RULES[7], slope(selective(np.random.default_rng(seed), shares))) == expected


def test_equal_purity_at_all_depths_has_no_effect():
    one = selective(np.random.default_rng(0), [0.6])
    depth = np.repeat(np.linspace(0, 1, LAYERS), len(one.images))
    strongest = StrongestImages(np.tile(one.images, (LAYERS, 1)), np.tile(one.layer, LAYERS), depth, one.labels)
    assert decide(RULES[7], slope(strongest)) == "no effect"


def test_classes_that_have_nothing_to_do_with_the_maps_decide_nothing():
    """Maps of one layer share their strongest images, as those of a network do; maps as units would decide far more."""
    rng = np.random.default_rng(4)
    runs, decided, by_maps = 200, 0, 0
    images, maps = 60, 25
    hubs = [rng.choice(images, 12, False) for _ in range(LAYERS)]  # a few striking images in each layer
    rows = np.array([rng.choice(hub, 9, False) for hub in hubs for _ in range(maps)])
    depth = np.repeat(np.linspace(0, 1, LAYERS), maps)
    for _ in range(runs):
        labels = rng.permutation(np.arange(images) % 6)
        strongest = StrongestImages(rows, np.repeat("layer", len(rows)), depth, labels)
        decided += decide(RULES[7], slope(strongest)) in ("supports", "refutes")
        values = purity(strongest.classes())
        by_maps += slope_of_maps(values, depth).against(0) != "open"
    assert decided <= 0.07 * runs
    assert by_maps > 0.3 * runs


def slope_of_maps(values: np.ndarray, depth: np.ndarray):
    """The slope with maps as units: its weights times the values, scaled so that their mean is the slope."""
    return mean_of(len(values) * slope_weights(values, depth) * (values - values.mean()))
