"""Changes of projections between epochs, with the new and with the former strongest image."""

import numpy as np
import pytest
import torch

from convlens.analysis.evolution.jumps import Jumps, jumps, row_means, switches_in_largest
from convlens.analysis.galleries.similarity import similarity, spectra

NAN = float("nan")


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(3, 8, 8))


NOTHING = np.zeros((3, 8, 8))


def test_changes_are_one_minus_the_similarity():
    a, b, c = picture(0), picture(1), picture(2)
    own = np.stack([np.stack([a, 2 * a, b])])
    kept = np.stack([np.stack([NOTHING, NOTHING, c])])
    found = jumps(own, kept, np.array([[5, 5, 8]]))
    assert found.switched.tolist() == [[False, True]]

    def alike(first: np.ndarray, second: np.ndarray) -> float:
        pair = spectra(torch.from_numpy(np.stack([first, second]).astype(np.float32)))
        return float(similarity(pair[:1], pair[1:]))

    assert found.change[0] == pytest.approx([0.0, 1 - alike(a, b)], abs=1e-5)  # a factor is no change
    assert np.isnan(found.kept[0, 0])
    assert found.kept[0, 1] == pytest.approx(1 - alike(a, c), abs=1e-5)
    assert found.effect[0] == pytest.approx(found.change[0, 1] - found.kept[0, 1])


def test_the_same_picture_at_another_place_is_no_change():
    small = np.zeros((1, 1, 1, 16, 16))
    small[..., 4:8, 4:8] = 1 + np.arange(16).reshape(4, 4)
    moved = np.roll(small, (2, 3), (-2, -1))
    found = jumps(np.concatenate([small, moved], 1), np.zeros((1, 2, 1, 16, 16)), np.array([[1, 2]]))
    assert found.change[0, 0] == pytest.approx(0.0, abs=1e-5)


def test_pictures_without_a_common_pixel_change_completely():
    one, other = NOTHING.copy(), NOTHING.copy()
    one[0, :3], other[1, :3] = 1, 1  # in other channels: alike at no shift
    found = jumps(np.stack([np.stack([one, other])]), np.stack([np.stack([NOTHING, one])]), np.array([[1, 2]]))
    assert (found.change[0, 0], found.kept[0, 0]) == (pytest.approx(1.0), pytest.approx(0.0, abs=1e-5))
    assert found.effect == pytest.approx([1.0], abs=1e-5)


def test_a_former_image_that_no_longer_activates_the_map_would_have_changed_all():
    found = jumps(
        np.stack([np.stack([picture(0), picture(1)])]), np.stack([np.stack([NOTHING, NOTHING])]), np.array([[1, 2]])
    )
    assert found.kept[0, 0] == 1.0
    assert found.effect[0] <= 0


def test_epochs_at_which_a_map_is_dead_do_not_count():
    own = np.stack([np.stack([picture(0), NOTHING, picture(1), picture(1)])])
    found = jumps(own, np.zeros_like(own), np.array([[1, 0, 2, 2]]))
    assert np.isnan(found.change[0, :2]).all()
    assert found.switched.tolist() == [[False, False, False]]
    assert np.isnan(found.effect).all()


def test_the_effect_is_the_mean_over_the_switches_of_a_map():
    one = Jumps(
        np.array([[True, True, False], [False, False, False]]),
        np.array([[0.9, 0.5, 0.1], [0.2, 0.1, 0.0]]),
        np.array([[0.4, 0.2, NAN], [NAN, NAN, NAN]]),
    )
    assert one.effect[0] == pytest.approx(0.4)
    assert np.isnan(one.effect[1])
    assert row_means(np.array([[1.0, NAN, 4.0]])).tolist() == [2.5]


def test_the_largest_changes_are_counted_over_all_layers():
    first = Jumps(np.array([[True, False, True]]), np.array([[0.9, 0.1, 0.2]]), np.full((1, 3), NAN))
    second = Jumps(np.array([[False, True, False]]), np.array([[0.8, 0.3, NAN]]), np.full((1, 3), NAN))
    assert switches_in_largest([first, second], 0.4) == (0.5, 0.6)  # 0.9 and 0.8 of five changes
    assert switches_in_largest([first, second], 0.01) == (1.0, 0.6)  # at least one
    nothing = Jumps(np.zeros((1, 2), bool), np.full((1, 2), NAN), np.full((1, 2), NAN))
    assert np.isnan(switches_in_largest([nothing])).all()
