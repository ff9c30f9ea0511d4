import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms.functional import ten_crop

from convlens.data.loading.crops import (
    centre_crop,
    crop_batch,
    default_stored_size,
    fixed_positions,
    random_positions,
    ten_crops,
    ten_positions,
)


def literal_crop(image, mean, top, left, flip, size):
    """Pixel by pixel, in double precision."""
    result = torch.empty(3, size, size, dtype=torch.float64)
    for c in range(3):
        for y in range(size):
            for x in range(size):
                column = left + (size - 1 - x if flip else x)
                result[c, y, x] = float(image[c, top + y, column]) - float(mean[c, top + y, column])
    return result


def some_images(n, stored, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (n, 3, stored, stored), dtype=torch.uint8, generator=generator)
    return images, torch.rand(3, stored, stored, generator=generator) * 255


def test_stored_size_keeps_the_papers_proportion():
    assert [default_stored_size(size) for size in (224, 112, 56, 28, 64, 227)] == [256, 128, 64, 32, 73, 259]


def test_crop_by_hand():
    # Channel 0 counts 0..8 along the rows, the mean is 1 everywhere but at the last pixel of the middle row.
    images = torch.stack([torch.arange(9), torch.full((9,), 255), torch.zeros(9)]).view(1, 3, 3, 3).to(torch.uint8)
    mean = torch.ones(3, 3, 3)
    mean[0, 1, 2] = 100.0
    position = torch.tensor([1]), torch.tensor([1])
    plain = crop_batch(images, mean, *position, torch.tensor([False]), 2)
    assert plain.tolist() == [[[[3, -95], [6, 7]], [[254, 254], [254, 254]], [[-1, -1], [-1, -1]]]]
    mirrored = crop_batch(images, mean, *position, torch.tensor([True]), 2)
    assert mirrored[0, 0].tolist() == [[-95, 3], [7, 6]]
    assert plain.dtype == torch.float32


@settings(deadline=None, max_examples=25)
@given(n=st.integers(0, 4), size=st.integers(1, 9), room=st.integers(0, 5), data=st.data())
def test_crops_match_the_literal_form(n, size, room, data):
    images, mean = some_images(n, size + room)
    place = st.lists(st.integers(0, room), min_size=n, max_size=n)
    tops, lefts = (torch.tensor(data.draw(place), dtype=torch.int64) for _ in range(2))
    flips = torch.tensor(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)), dtype=torch.bool)
    crops = crop_batch(images, mean, tops, lefts, flips, size)
    assert crops.shape == (n, 3, size, size)
    for i in range(n):
        expected = literal_crop(images[i], mean, int(tops[i]), int(lefts[i]), bool(flips[i]), size)
        torch.testing.assert_close(crops[i].double(), expected, atol=1e-4, rtol=0)


@settings(deadline=None, max_examples=15)
@given(size=st.integers(1, 8), room=st.integers(0, 5))
def test_ten_crops_are_those_of_torchvision(size, room):
    images, mean = some_images(2, size + room)
    crops = ten_crops(images, mean, size)
    centred = images.float() - mean
    plain = ten_crop(centred, size)[:5]
    # torchvision mirrors the image first, so that its mirrored corners come in another order.
    for view in range(5):
        place = (room - room // 2) if view == 4 else None
        expected = (
            plain[view] if place is None else centred[..., room // 2 : room // 2 + size, room // 2 : room // 2 + size]
        )
        torch.testing.assert_close(crops[:, view], expected)
        torch.testing.assert_close(crops[:, view + 5], expected.flip(-1))


def test_order_of_the_ten_crops_by_hand():
    tops, lefts, flips = ten_positions(256, 224)
    assert list(zip(tops.tolist(), lefts.tolist(), flips.tolist(), strict=True)) == [
        (0, 0, False),
        (0, 32, False),
        (32, 0, False),
        (32, 32, False),
        (16, 16, False),
        (0, 0, True),
        (0, 32, True),
        (32, 0, True),
        (32, 32, True),
        (16, 16, True),
    ]


def test_centre_crop_is_the_fifth_of_the_ten():
    images, mean = some_images(3, 11)
    torch.testing.assert_close(centre_crop(images, mean, 8), ten_crops(images, mean, 8)[:, 4], atol=0, rtol=0)


def test_crops_do_not_change_their_input():
    images, mean = some_images(2, 6)
    before = images.clone(), mean.clone()
    ten_crops(images, mean, 4)
    assert torch.equal(images, before[0])
    assert torch.equal(mean, before[1])


def test_extreme_draws_reach_the_first_and_the_last_place():
    draws = np.array([0, 2**64 - 1], np.uint64)
    tops, lefts, flips = random_positions(draws, 256, 224)
    assert (tops.tolist(), lefts.tolist(), flips.tolist()) == ([0, 32], [0, 32], [False, True])
    tops, lefts, flips = fixed_positions(draws, 256, 224)
    assert (tops.tolist(), lefts.tolist(), flips.tolist()) == ([0, 16], [0, 16], [False, True])


@pytest.mark.parametrize(("stored", "size"), [(256, 224), (9, 7), (5, 5)])
def test_all_places_and_both_sides_are_as_likely(stored, size):
    draws = np.random.default_rng(0).integers(0, 2**64, 40_000, np.uint64)
    tops, lefts, flips = random_positions(draws, stored, size)
    places = stored - size + 1
    counts = np.bincount((tops * places + lefts).numpy(), minlength=places**2)
    expected = len(draws) / places**2
    assert len(counts) == places**2
    # Chi-square has mean k - 1 and variance 2 (k - 1); five standard deviations.
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert abs(chi_square - (places**2 - 1)) <= 5 * (2 * (places**2 - 1)) ** 0.5
    assert abs(flips.double().mean() - 0.5) < 0.0125
    assert abs(np.corrcoef(flips, tops)[0, 1]) < 0.025 if places > 1 else True


def test_the_ten_fixed_crops_are_as_likely():
    draws = np.random.default_rng(1).integers(0, 2**64, 20_000, np.uint64)
    triples = torch.stack([p.long() for p in fixed_positions(draws, 256, 224)], 1).unique(dim=0, return_counts=True)
    assert len(triples[0]) == 10
    assert ((triples[1] - 2000).abs() < 220).all()
