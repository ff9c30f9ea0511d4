import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from torch import Tensor

from convlens.analysis.galleries.similarity import auc_table, pairs_across, pairs_within, similarity, spectra
from convlens.errors import InputError


def literal_similarity(first: Tensor, second: Tensor) -> float:
    """Every shift of up to a quarter of the side, by loops; what is moved out is lost."""
    _, height, width = first.shape
    first, second = first / first.norm(), second / second.norm()
    best = -1.0
    for dy in range(-(height // 4), height // 4 + 1):
        for dx in range(-(width // 4), width // 4 + 1):
            total = 0.0
            for y in range(height):
                for x in range(width):
                    if 0 <= y + dy < height and 0 <= x + dx < width:
                        total += float(first[:, y + dy, x + dx] @ second[:, y, x])
            best = max(best, total)
    return best


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 99))
def test_similarity_is_the_literal_one(height, width, seed):
    torch.manual_seed(seed)
    pictures = torch.randn(2, 3, height, width, dtype=torch.float64)
    spectrum = spectra(pictures)
    assert similarity(spectrum[:1], spectrum[1:]).item() == pytest.approx(literal_similarity(*pictures), abs=1e-9)


def test_a_moved_picture_is_the_same_and_another_is_not():
    torch.manual_seed(0)
    picture = torch.zeros(3, 40, 40)
    picture[:, 12:20, 12:20] = torch.randn(3, 8, 8)
    moved, other = picture.roll((7, -6), (1, 2)), torch.zeros(3, 40, 40)
    other[:, 12:20, 12:20] = torch.randn(3, 8, 8)
    found = spectra(torch.stack([picture, moved, other]))
    pairs = pairs_within(found)  # (0, 1), (0, 2), (1, 2)
    assert pairs[0].item() == pytest.approx(1, abs=1e-5)
    assert pairs[1:].max() < 0.5
    across = pairs_across(found, spectra(moved[None]))
    assert across[:2].tolist() == pytest.approx([1, 1], abs=1e-5)


def test_large_pictures_are_shrunk():
    picture = torch.zeros(1, 1, 256, 128)
    picture[..., 64:192, 32:96] = 1
    assert spectra(picture).shape == (1, 1, 128, 33)


def test_the_table_is_scikit_learns_area():
    rng = np.random.default_rng(0)
    within = [rng.integers(0, 9, 5) / 8 + 0.1 * (i % 2) for i in range(4)]
    across = [rng.integers(0, 9, 5) / 8 for _ in range(4)]
    labels = [1] * 20 + [0] * 20
    expected = roc_auc_score(labels, np.concatenate([*within, *across]))
    assert auc_table(within, across).mean() == pytest.approx(expected)


def test_the_table_by_hand():
    table = auc_table([np.array([3.0, 1.0])], [np.array([2.0, 1.0])])
    # 3 beats both; 1 loses to 2 and ties with 1.
    assert table.tolist() == [[(2 + 0.5) / 4]]


def test_a_table_of_nothing_is_refused():
    with pytest.raises(InputError, match="0 and 1 maps: give the same maps"):
        auc_table([], [np.ones(1)])
