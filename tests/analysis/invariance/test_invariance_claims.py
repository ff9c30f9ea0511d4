from dataclasses import replace

import numpy as np
import pytest
import torch

from convlens.analysis.invariance.claims import (
    invariance_claims,
    label_changes,
    line_r_squared,
    mean_displacement,
    probability_change,
    small_value_index,
)
from convlens.analysis.invariance.curves import Invariance


def curves_of(kind: str, values, first, last, probability, count: int = 8) -> Invariance:
    """Curves of several images, equal up to a factor of 1 to 1 + count / 100."""
    values = np.asarray(values, float)
    own = 1 + torch.arange(count)[:, None].double() / 100
    distance = {
        name: {form: own * torch.as_tensor(curve, dtype=torch.float64) for form in ("raw", "relative", "unit")}
        for name, curve in (("first", first), ("last", last))
    }
    p = (torch.as_tensor(probability, dtype=torch.float64).expand(count, len(values))) / own
    label = (p < 0.5).long()
    clean = torch.full((count,), 0.9, dtype=torch.float64) / own[:, 0]
    return Invariance(kind, values, distance, {"first": 2.0, "last": 1.0}, p, label, clean, torch.zeros(count).long())


def test_claims_of_curves_like_the_papers():
    t = np.linspace(-63, 63, 22)
    translation = curves_of("translation", t, 2 * (1 - np.exp(-np.abs(t) / 4)), np.abs(t) / 100, 0.9 - np.abs(t) / 400)
    s = np.linspace(1, 2, 21)
    scale = curves_of("scale", s, 2 * (1 - np.exp(-(s - 1) * 20)), (s - 1) * 0.6, 0.9 - (s - 1) / 10)
    r = np.linspace(0, 360, 33)
    peak = np.isin(r % 90, [0.0])
    rotation = curves_of("rotation", r, 2 * (r > 0) + 0.0, np.sin(np.deg2rad(r / 2)), np.where(peak, 0.8, 0.1))
    found = {"translation": translation, "scale": scale, "rotation": rotation}
    claims = invariance_claims(found, "first", "last", 224, [True, False] * 4)
    assert [(claim.number, claim.verdict) for claim in claims] == [
        (10, "supports"),
        (11, "supports"),
        (12, "supports"),
        (13, "can't tell"),
    ]
    # Four symmetric classes are too few to decide; without known classes there is no claim 13.
    assert invariance_claims({"rotation": rotation, "scale": scale}, "first", "last", 224)[-1].number == 12
    # With first and last layer swapped, the claim is refuted.
    swapped = {
        kind: curves_of(kind, one.values, one.distance["last"]["raw"][0], one.distance["first"]["raw"][0], 0.5)
        for kind, one in found.items()
        if kind != "rotation"
    }
    turned = invariance_claims(swapped, "first", "last", 224)
    assert {claim.verdict for claim in turned if claim.number == 11} == {"refutes"}


def papers_curves(count: int = 8) -> dict[str, Invariance]:
    t, s, r = np.linspace(-63, 63, 22), np.linspace(1, 2, 21), np.linspace(0, 360, 33)
    return {
        "translation": curves_of(
            "translation", t, 2 * (1 - np.exp(-np.abs(t) / 4)), np.abs(t) / 100, 0.9 - np.abs(t) / 400, count
        ),
        "scale": curves_of("scale", s, 2 * (1 - np.exp(-(s - 1) * 20)), (s - 1) * 0.6, 0.9 - (s - 1) / 10, count),
        "rotation": curves_of("rotation", r, 2 * (r > 0) + 0.0, np.sin(np.deg2rad(r / 2)), 0.1, count),
    }


def test_what_a_network_without_training_shows_as_well_is_architecture():
    trained = papers_curves()
    same = invariance_claims(trained, "first", "last", 224, control=papers_curves())
    assert [(claim.number, claim.verdict) for claim in same] == [
        (10, "architecture"),
        (11, "architecture"),
        (12, "architecture"),
    ]
    flat = {
        kind: curves_of(kind, one.values, one.distance["last"]["raw"][0], one.distance["last"]["raw"][0] / 2, 0.5)
        for kind, one in trained.items()
    }
    # The first layer of this control is twice as far as its top layer, whose distance is half of the pair's.
    other = invariance_claims(trained, "first", "last", 224, control=flat)
    assert [(claim.number, claim.verdict) for claim in other] == [
        (10, "supports"),
        (11, "supports"),
        (12, "supports"),
    ]
    # A trained network that is no better than the control shows nothing of its own.
    reverse = invariance_claims(flat, "first", "last", 224, control=trained)
    assert {claim.verdict for claim in reverse if claim.number == 11} == {"no effect"}


def test_an_output_that_never_changes_is_no_effect():
    """Shuffled weights give -0.000 (-0.000 to -0.000), which is not a refutation."""
    still = {
        kind: replace(one, probability=torch.full_like(one.probability, 0.1) + 1e-5 * torch.rand(one.probability.shape),
                      clean_probability=torch.full_like(one.clean_probability, 0.1))
        for kind, one in papers_curves().items()
    }  # fmt: skip
    (twelve,) = (claim for claim in invariance_claims(still, "first", "last", 224) if claim.number == 12)
    assert twelve.verdict == "no effect"


def test_classes_without_a_symmetry_are_the_control():
    r = np.linspace(0, 360, 33)
    one = curves_of(
        "rotation", r, 2 * (r > 0) + 0.0, np.sin(np.deg2rad(r / 2)), np.where(r % 90 == 0, 0.8, 0.1), count=16
    )
    symmetric = [True, False] * 8

    def claim(**changed):
        return invariance_claims({"rotation": replace(one, **changed)}, "first", "last", 224, symmetric)[-1]

    # Quarter turns lose no pixel: a peak of all classes shows nothing about symmetries.
    assert claim().verdict == "can't tell"
    probability = one.probability.clone()
    probability[1::2] = 0.3
    assert claim(probability=probability).verdict == "supports"
    assert claim(probability=probability).estimate.value == pytest.approx(0.7, abs=0.1)  # of noisy curves
    assert claim(probability=probability.flip(0)).verdict == "refutes"


def test_a_single_image_decides_nothing():
    t = np.linspace(-63, 63, 22)
    one = curves_of("translation", t, np.abs(t), np.abs(t) / 100, 0.9, count=1)
    assert {claim.verdict for claim in invariance_claims({"translation": one}, "first", "last", 224)} == {"can't tell"}


def test_numbers_by_hand():
    assert line_r_squared(np.array([0.0, 1, 2, 3]), np.array([1.0, 3, 5, 7])) == pytest.approx(1)
    # Of 0, 0, 1: slope 1/2, residuals 1/6, -1/3, 1/6, sum 1/6; about the mean 2/3.
    assert line_r_squared(np.array([0.0, 1, 2]), np.array([0.0, 0, 1])) == pytest.approx(1 - (1 / 6) / (2 / 3))
    assert np.isnan(line_r_squared(np.array([0.0, 1]), np.array([2.0, 2.0])))
    assert mean_displacement("translation", np.array([-6.0, 6.0]), 224).tolist() == [6, 6]
    assert mean_displacement("scale", np.array([1.0, 1.5]), 222).tolist() == [0, 37]
    assert mean_displacement("rotation", np.array([180.0]), 222) == pytest.approx([148])
    one = curves_of("translation", [-4, -2, 0, 2, 4], [1] * 5, [1] * 5, [0.5, 0.7, 0.9, 0.7, 0.5], count=1)
    # |change| 0, .2, .4 at 0, 2, 4 px: at 1 and 3 px in between .1 and .3.
    assert probability_change(one, 224, np.array([1.0, 3.0])) == pytest.approx([0.2], abs=1e-9)
    assert label_changes(curves_of("scale", [1, 2], [0, 0], [0, 0], [0.9, 0.1], count=1)) == 50
    assert small_value_index(curves_of("scale", [1, 1.04, 1.5], [0] * 3, [0] * 3, [1] * 3), 224) == 1


def test_displacement_is_that_of_points_of_a_disc():
    rng = np.random.default_rng(0)
    angle, radius = rng.uniform(0, 2 * np.pi, 200_000), 112 * np.sqrt(rng.uniform(0, 1, 200_000))
    points = np.stack([radius * np.cos(angle), radius * np.sin(angle)])
    turn = np.deg2rad(40)
    turned = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ points
    mean = np.linalg.norm(turned - points, axis=0).mean()
    assert mean_displacement("rotation", np.array([40.0]), 224)[0] == pytest.approx(mean, rel=0.01)
    mean = np.linalg.norm(0.3 * points, axis=0).mean()
    assert mean_displacement("scale", np.array([1.3]), 224)[0] == pytest.approx(mean, rel=0.01)
