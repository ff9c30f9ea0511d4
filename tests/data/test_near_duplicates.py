import io
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from convlens.data.decode import square
from convlens.data.near_duplicates import (
    DuplicatePair,
    ImageSet,
    MatchCriteria,
    candidate_pairs,
    find_duplicates,
    images_to_drop,
    vectors,
)
from convlens.errors import InputError


def scene(seed: int, side: int = 96) -> Image.Image:
    """Blobs of colour, as smooth as a photograph."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8))
    return small.resize((side, side), Image.Resampling.BICUBIC)


def jpeg(image: Image.Image, quality: int) -> Image.Image:
    content = io.BytesIO()
    image.save(content, "JPEG", quality=quality)
    return Image.open(content)


def set_of(*images: Image.Image, size: int = 73) -> ImageSet:
    squares = torch.from_numpy(np.stack([square(image, size) for image in images]))
    names = [f"{i}.jpg" for i in range(len(images))]
    return ImageSet(names, ["thing"] * len(images), lambda indices: squares[list(indices)])


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pixel by pixel, each channel about its own mean."""
    above = below_a = below_b = 0.0
    for channel_a, channel_b in zip(a, b, strict=True):
        mean_a, mean_b = channel_a.sum() / channel_a.size, channel_b.sum() / channel_b.size
        for x, y in zip(channel_a.ravel(), channel_b.ravel(), strict=True):
            above += (x - mean_a) * (y - mean_b)
            below_a += (x - mean_a) ** 2
            below_b += (y - mean_b) ** 2
    return above / math.sqrt(below_a * below_b)


@pytest.mark.parametrize("colour", [True, False])
def test_products_are_correlations_literally(colour):
    images = set_of(*map(scene, range(3)), size=8).read_pixels(range(3))  # as large as asked for: nothing is scaled
    ours = vectors(images, 8, colour=colour)
    pixels = images.double().numpy()
    if not colour:
        pixels = (pixels * np.array([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdims=True)
    for i in range(3):
        for j in range(3):
            assert float(ours[i] @ ours[j]) == pytest.approx(correlation(pixels[i], pixels[j]), abs=1e-5)


def test_by_hand():
    image = torch.tensor([[0, 40], [80, 120]], dtype=torch.uint8).expand(1, 3, 2, 2)
    assert vectors(image, 2, colour=False)[0].tolist() == pytest.approx([x / math.sqrt(20) for x in (-3, -1, 1, 3)])


def test_a_flat_image_is_like_nothing_not_even_another():
    flat = [Image.new("RGB", (96, 96), colour) for colour in ("red", "red", "white")]
    noisy = Image.fromarray(np.random.default_rng(0).integers(100, 102, (96, 96, 3), np.uint8))
    images = set_of(*flat, noisy, noisy)
    assert not vectors(images.read_pixels(range(5)), 64, colour=True).any()
    assert find_duplicates(images, None, MatchCriteria(small_threshold=0.01, large_threshold=0.01)) == []


def test_copies_are_found_and_other_images_are_not():
    originals = [scene(seed) for seed in range(20)]
    brighter = Image.fromarray((0.7 * np.asarray(originals[2]) + 40).astype(np.uint8))
    copies = [
        jpeg(originals[0], 40), originals[1].resize((61, 61), Image.Resampling.BICUBIC), brighter,
        originals[3].convert("L"), scene(99),
    ]  # fmt: skip
    found = find_duplicates(set_of(*copies), set_of(*originals), MatchCriteria())
    assert sorted((pair.image, pair.other) for pair in found if pair.image != 3) == [(0, 0), (1, 1), (2, 2)]
    assert [pair.large for pair in found] == sorted((pair.large for pair in found), reverse=True)
    within = find_duplicates(set_of(*originals, *copies[:3]), None, MatchCriteria())
    assert sorted((pair.image, pair.other) for pair in within) == [(0, 20), (1, 21), (2, 22)]


def test_the_second_look_sees_the_colour():
    one = np.asarray(scene(0))
    other = one[:, :, [2, 1, 0]]  # red and blue changed places
    grey = MatchCriteria(small_threshold=0.5, large_threshold=0.01)
    (pair,) = find_duplicates(set_of(Image.fromarray(one)), set_of(Image.fromarray(np.ascontiguousarray(other))), grey)
    assert pair.large < 0.7 < pair.small


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 12), m=st.integers(1, 12), block=st.integers(1, 13), within=st.booleans(), seed=st.integers(0, 99)
)
def test_the_block_does_not_matter_and_every_pair_is_looked_at_once(n, m, block, within, seed):
    generator = torch.Generator().manual_seed(seed)
    first = torch.nn.functional.normalize(torch.randn(n, 4, generator=generator))
    second = None if within else torch.nn.functional.normalize(torch.randn(m, 4, generator=generator))
    theirs = first if second is None else second
    expected = [
        [i, j]
        for i in range(n)
        for j in range(i + 1 if within else 0, len(theirs))
        if float((first[i].double() * theirs[j].double()).sum()) >= 0.3
    ]
    assert candidate_pairs(first, second, 0.3, block).tolist() == expected


def test_the_pairs_and_their_numbers_are_the_same_in_any_block():
    images = set_of(*(scene(seed % 7) for seed in range(15)))
    found = [
        find_duplicates(images, None, MatchCriteria(block_size=block, small_threshold=0.2, large_threshold=0.2))
        for block in (1, 4, 99)
    ]
    assert found[0] == found[1] == found[2]
    assert len(found[0]) >= 9


def test_no_pair_is_left_when_the_listed_are_dropped():
    pairs = [
        DuplicatePair(0, 1, 1, 1),
        DuplicatePair(1, 2, 1, 1),
        DuplicatePair(0, 2, 1, 1),
        DuplicatePair(3, 4, 1, 1),
        DuplicatePair(4, 5, 1, 1),
    ]
    assert images_to_drop(pairs, within=True) == [1, 2, 4]  # 5 is like 4 alone, which goes
    assert images_to_drop(pairs, within=False) == [0, 1, 3, 4]
    left = set(range(6)) - set(images_to_drop(pairs, within=True))
    assert not [pair for pair in pairs if {pair.image, pair.other} <= left]


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ({"small_size": 1}, "sizes 1 and 64 px"),
        ({"large_threshold": 1.5}, "a correlation of 1.5 is out of range"),
        ({"small_threshold": 0}, "a correlation of 0 is out of range"),
    ],
)
def test_rules_that_cannot_be_are_refused(setting, said):
    with pytest.raises(InputError, match=said):
        MatchCriteria(**setting)
