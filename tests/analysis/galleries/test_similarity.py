import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from torch import Tensor

from convlens.analysis.galleries.similarity import (
    auc,
    pairs_across,
    pairs_within,
    phase_randomized,
    similarity,
    spectra,
)


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
    across = pairs_across([found[:2], spectra(moved[None])], 0)
    assert across.tolist() == pytest.approx([1], abs=1e-5)


def test_large_pictures_are_shrunk():
    picture = torch.zeros(1, 1, 256, 128)
    picture[..., 64:192, 32:96] = 1
    assert spectra(picture).shape == (1, 1, 128, 33)


def test_pictures_are_paired_with_those_of_all_other_maps():
    """Pictures of single pixels of their own: a pair with map m has similarity 1 in m's channel alone."""
    maps = []
    for number in range(4):
        pictures = torch.zeros(5, 4, 3, 3)
        pictures[:, number, 1, 1] = 1
        maps.append(spectra(pictures))
    assert pairs_across(maps, 1).abs().max() < 1e-5
    for other in (0, 2, 3):  # a twin of map 1 under another number is met
        twins = [maps[1] if number == other else spectrum for number, spectrum in enumerate(maps)]
        alike = pairs_across(twins, 1) > 0.5
        assert len(alike) == 10
        assert 0 < alike.sum() < 10
    assert torch.equal(pairs_across(maps, 2), pairs_across(maps, 2))


def test_the_area_is_scikit_learns():
    rng = np.random.default_rng(0)
    within, across = rng.integers(0, 9, 20) / 8 + 0.1, rng.integers(0, 9, 15) / 8
    expected = roc_auc_score([1] * 20 + [0] * 15, np.concatenate([within, across]))
    assert auc(within, across) == pytest.approx(expected)


def test_the_area_by_hand():
    # 3 beats both; 1 loses to 2 and ties with 1.
    assert auc(np.array([3.0, 1.0]), np.array([2.0, 1.0])) == (2 + 0.5) / 4


# ---- random phases ----------------------------------------------------------------------------------------------


def literal_randomized(picture: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """The padded picture's amplitudes with the noise's phases, frequency by frequency, and the corner that remains."""
    _, height, width = picture.shape
    result = np.zeros((len(picture), 2 * height, 2 * width))
    y, x = np.meshgrid(np.arange(2 * height), np.arange(2 * width), indexing="ij")
    for channel, values in enumerate(picture):
        for u in range(2 * height):
            for v in range(2 * width):
                wave = np.exp(-2j * np.pi * (u * y / (2 * height) + v * x / (2 * width)))
                value, phase = (values * wave[:height, :width]).sum(), (noise * wave).sum()
                result[channel] += (value * phase / abs(phase) * wave.conj()).real
    result = result[:, :height, :width]
    return result / np.sqrt((result**2).sum())


def test_random_phases_are_the_literal_ones():
    torch.manual_seed(3)
    pictures = torch.randn(2, 3, 3, 4, dtype=torch.float64)
    found = phase_randomized(spectra(pictures), torch.Generator().manual_seed(7))
    noise = torch.randn(2, 1, 6, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(7))
    for picture, one, spectrum in zip(pictures, noise, found, strict=True):
        back = torch.fft.irfft2(spectrum, s=(6, 8))[:, :3, :4]
        np.testing.assert_allclose(back, literal_randomized(picture.numpy(), one[0].numpy()), atol=1e-9)


def test_random_phases_keep_colors_and_smoothness_but_not_the_picture():
    torch.manual_seed(0)
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    blob = torch.exp(-((y - 16) ** 2 + (x - 16) ** 2) / 50)
    pictures = torch.stack([blob, -2 * blob, 0.5 * blob])[None].repeat(20, 1, 1, 1)
    found = phase_randomized(spectra(pictures), torch.Generator().manual_seed(0))
    back = torch.fft.irfft2(found, s=(64, 64))[..., :32, :32]
    torch.testing.assert_close(back[:, 1], -2 * back[:, 0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(back[:, 2], 0.5 * back[:, 0], rtol=1e-4, atol=1e-5)

    def roughness(images):
        return (images.diff(dim=-1).square().mean() / images.square().mean()).item()

    assert roughness(back[:, 0]) < 3 * roughness(pictures[:, 0]) < 0.1 * roughness(torch.randn(20, 32, 32))
    assert pairs_within(spectra(pictures)).min() > 0.999
    assert pairs_within(found).mean() < 0.8
