import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convlens.errors import InputError
from convlens.figures.image_grid import fitted, panel_gain, resize, saturation, signed_to_uint8, tile, to_rgb


def f32(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)


def test_zero_is_mid_grey_and_values_saturate():
    # 128 + 100 x: -2 -> -72 -> 0, -0.5 -> 78, 0 -> 128, 0.004 -> 128.4 -> 128, 0.5 -> 178, 1.27 -> 255, 9 -> 255
    grey = signed_to_uint8(f32(-2, -0.5, 0, 0.004, 0.006, 0.5, 1.27, 9), gain=100.0)
    assert grey.tolist() == [0, 78, 128, 128, 129, 178, 255, 255]
    assert grey.dtype == np.uint8


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_diverged_network_is_named_not_drawn_as_grey(bad: float):
    with pytest.raises(InputError, match="NaN or infinite"):
        signed_to_uint8(f32(0, bad), gain=1.0)


@given(
    arrays.arrays(np.float32, arrays.array_shapes(max_dims=4), elements=st.floats(-1e6, 1e6, width=32)),
    st.floats(1e-3, 1e6),
)
def test_grey_levels_follow_the_formula_and_the_sign(values: np.ndarray, gain: float):
    grey = signed_to_uint8(values, gain)
    literal = [min(255, max(0, round(128 + gain * float(x)))) for x in values.ravel()]
    assert grey.shape == values.shape
    # one level of slack where float32 and float64 round to different sides
    assert np.abs(grey.ravel().astype(int) - np.array(literal)).max(initial=0) <= 1
    assert (grey[values >= 0] >= 128).all()
    assert (grey[values <= 0] <= 128).all()


def test_panel_gain_by_hand():
    values = f32(*range(-100, 101))
    # magnitudes 0, 1, 1, ..., 100, 100: the 50th percentile of 201 of them is the 100th, which is 50
    assert panel_gain(values, 50) == pytest.approx(127 / 50)
    assert panel_gain(values, 100) == pytest.approx(1.27)
    assert saturation(panel_gain(values, 100)) == pytest.approx(100)


def test_panel_gain_is_one_for_the_panel():
    weak, strong = f32(0.1, -0.1), f32(1.0, -1.0)
    gain = panel_gain(np.stack([weak, strong]), 100)
    assert signed_to_uint8(strong, gain).tolist() == [255, 1]
    assert signed_to_uint8(weak, gain).tolist() == [141, 115]  # 128 +- 12.7


def test_panel_gain_of_sparse_and_empty_panels():
    sparse = np.zeros(10_000, np.float32)
    sparse[7] = -4
    assert panel_gain(sparse, 99.5) == pytest.approx(127 / 4)
    assert panel_gain(np.zeros(9, np.float32)) == 1.0
    assert panel_gain(np.empty(0, np.float32)) == 1.0
    assert panel_gain(f32(1e-45)) == 1.0
    with pytest.raises(InputError, match="percentile is 0"):
        panel_gain(sparse, 0)


def test_tile_by_hand():
    tiles = np.stack([np.full((1, 2, 3), level, np.uint8) for level in (10, 20, 30)])
    sheet = tile(tiles, columns=2, gap=1, background=7)
    assert sheet.shape == (3, 5, 3)
    assert sheet[..., 0].tolist() == [[10, 10, 7, 20, 20], [7, 7, 7, 7, 7], [30, 30, 7, 7, 7]]
    assert (sheet[..., 0] == sheet[..., 2]).all()


@pytest.mark.parametrize(("count", "columns"), [(0, 3), (3, 0)])
def test_tile_needs_something_to_lay_out(count: int, columns: int):
    with pytest.raises(InputError, match="at least 1"):
        tile(np.zeros((count, 2, 2, 3), np.uint8), columns)


def test_rgb_keeps_three_channels_and_averages_the_rest():
    colour = np.arange(12, dtype=np.uint8).reshape(3, 2, 2)
    assert to_rgb(colour)[0, 1].tolist() == [1, 5, 9]
    two = np.stack([np.full((1, 1), 10, np.uint8), np.full((1, 1), 21, np.uint8)])
    assert to_rgb(two).tolist() == [[[16, 16, 16]]]
    assert to_rgb(np.full((5, 9, 1, 2, 2), 3, np.uint8)).shape == (5, 9, 2, 2, 3)


@pytest.mark.parametrize(
    ("size", "box", "expected"),
    [((7, 7), 64, (63, 63)), ((7, 3), 64, (63, 27)), ((64, 64), 64, (64, 64)), ((139, 139), 101, (101, 101))],
)
def test_fitted_enlarges_by_whole_numbers_and_shrinks_exactly(size: tuple, box: int, expected: tuple):
    assert fitted(size, box) == expected


def test_resize_repeats_pixels():
    picture = np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8)[None]
    large = resize(picture, (2, 4))
    assert large[0, :, :, 0].tolist() == [[1, 1, 4, 4], [1, 1, 4, 4]]


def test_resize_shrinks_without_changing_a_flat_tone():
    assert (resize(np.full((2, 139, 139, 3), 128, np.uint8), (101, 101)) == 128).all()
