import numpy as np
import pytest
from PIL import Image

from convlens.errors import InputError
from convlens.figures import evolution_sheet, filters_sheet, top9_sheet
from convlens.figures.text import ACCENT, EMPTY, font, number, shorten, wrap

RECEPTIVE_FIELDS = {"conv1": 7, "conv2": 27, "conv3": 75, "conv4": 107, "conv5": 139, "image": 224, "large": 300}


def count(sheet: Image.Image, colour: tuple[int, int, int]) -> int:
    return int((np.asarray(sheet) == np.array(colour)).all(axis=-1).sum())


def gallery(levels: list[float], side: int = 10, k: int = 9) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Maps whose projections are flat: +level; patches are flat 200, activations 1."""
    maps = len(levels)
    projections = np.broadcast_to(np.array(levels, np.float32)[:, None, None, None, None], (maps, k, 3, side, side))
    return projections.copy(), np.full((maps, k, 3, side, side), 200, np.uint8), np.ones((maps, k), np.float32)


def test_top9_has_one_gain_for_the_sheet():
    projections, patches, values = gallery([1.0, 0.5])
    sheet = top9_sheet(projections, patches, values=values, percentile=100)
    # tiles of 10 px are shown 6 times as large; 1.0 reaches 255, 0.5 is half-way: 128 + 63.5 = 191.5 -> 192
    area = 9 * 60 * 60
    assert count(sheet, (192, 192, 192)) == area
    assert count(sheet, (200, 200, 200)) == 2 * area
    assert count(sheet, (255, 255, 255)) > area


def test_top9_shows_a_dead_map_as_an_empty_tile():
    projections, patches, values = gallery([1.0, -1.0, 0.5])
    values[1] = 0
    sheet = top9_sheet(projections, patches, values=values, percentile=100)
    assert count(sheet, (200, 200, 200)) == 2 * 9 * 60 * 60
    assert count(sheet, (1, 1, 1)) == 0  # the dead map's -1 is not drawn
    # one empty pair of blocks of 3 * 60 + 2 * 2 + 2 px, 8 px apart, less the letters of "dead"
    pair = (2 * 186 + 8) * 186
    assert pair - 2000 < count(sheet, EMPTY) < pair


def test_top9_dead_mask_and_single_empty_tiles():
    projections, patches, values = gallery([1.0, 1.0])
    values[0, 7:] = 0
    values[0, 6] = np.nan
    sheet = top9_sheet(projections, patches, values=values, dead=np.array([False, True]))
    assert count(sheet, (200, 200, 200)) == 6 * 60 * 60
    assert count(sheet, EMPTY) > 2 * 3 * 60 * 60


def test_top9_gain_ignores_what_is_not_drawn():
    projections, patches, values = gallery([0.5, 100.0])
    values[1] = 0
    sheet = top9_sheet(projections, patches, values=values, percentile=100)
    assert count(sheet, (255, 255, 255)) > 9 * 60 * 60
    assert count(sheet, (129, 129, 129)) == 0  # 0.5 on the scale of 100


@pytest.mark.parametrize("side", RECEPTIVE_FIELDS.values(), ids=RECEPTIVE_FIELDS)
@pytest.mark.parametrize("maps", [1, 6])
def test_top9_sheets_are_legible_at_any_receptive_field(side: int, maps: int):
    projections, patches, values = gallery([1.0] * maps, side)
    sheet = top9_sheet(projections, patches, values=values, title="a net, conv1, epoch 3", maps=list(range(maps)))
    assert 600 <= sheet.width <= 1600
    scale = (count(sheet, (200, 200, 200)) / (maps * 9 * side * side)) ** 0.5
    # pixels are repeated until there are 600, never resampled unless six tiles in a row would be too wide
    assert scale == int(scale) if side <= 224 else scale < 1
    assert (scale == 1) == (100 <= side <= 224 or (maps > 1 and 64 <= side <= 224))


def test_top9_takes_other_k_shapes_and_channels():
    maps = np.zeros((2, 4, 1, 9, 5), np.float32)
    sheet = top9_sheet(
        maps, np.full((2, 4, 1, 9, 5), 77, np.uint8), values=np.ones((2, 4), np.float32), maps=["a", "b"]
    )
    # 9 x 5 px enlarged by the same whole number in both directions
    shown = count(sheet, (77, 77, 77)) / (2 * 4 * 9 * 5)
    assert round(shown**0.5) ** 2 == shown


def test_top9_wants_a_name_for_each_map():
    projections, patches, values = gallery([1.0, 1.0])
    with pytest.raises(InputError, match="conv1: 2 maps with 1 names"):
        top9_sheet(projections, patches, values=values, maps=[3], title="conv1")


def flat_filters(*levels: float, channels: int = 3) -> np.ndarray:
    return np.stack([np.full((channels, 7, 7), level, np.float32) for level in levels])


def test_filters_share_one_scale():
    sheet = filters_sheet(flat_filters(*[0.1] * 95, 1.0), columns=11)
    tile_area = (9 * 7) ** 2
    assert count(sheet, (141, 141, 141)) == 95 * tile_area  # 128 + 12.7: a filter that dominates leaves the rest grey
    assert 600 <= sheet.width <= 1600


def test_filters_with_a_scale_each():
    sheet = filters_sheet(flat_filters(-0.1, -1.0, 0.0), columns=3, per_filter=True)
    area = (35 * 7) ** 2
    assert count(sheet, (1, 1, 1)) == 2 * area  # 128 - 127
    assert count(sheet, (128, 128, 128)) == area


def test_filters_lie_in_reading_order_eleven_to_a_row():
    pixels = np.asarray(filters_sheet(flat_filters(*np.linspace(-1, 1, 96)), columns=11))[..., 0]
    expected = [int(np.rint(np.float32(128 + 127 * level))) for level in np.linspace(-1, 1, 96)]
    top = int(np.argmax((pixels == 1).sum(axis=1) == 63))  # the first line with filter 0 across it
    left = int(np.argmax(pixels[top] == 1))
    found = [int(pixels[top + 68 * (i // 11), left + 68 * (i % 11)]) for i in range(96)]
    assert found == expected


def test_filters_of_other_channel_counts_are_their_grey_mean():
    weights = np.zeros((3, 4, 3, 3), np.float32)
    weights[0, 0], weights[1, :2], weights[2, 3] = 1.0, -1.0, -0.5  # means 0.25, -0.5 and -0.125
    sheet = filters_sheet(weights)
    area = count(sheet, (1, 1, 1))
    assert area > 0
    assert count(sheet, (192, 192, 192)) == area  # 128 + 127 / 2 = 191.5
    assert count(sheet, (96, 96, 96)) == area  # 128 - 127 / 4 = 96.25


def test_dead_filters_are_underlined():
    weights = flat_filters(*[1.0] * 22)
    dead = np.zeros(22, bool)
    dead[[3, 21]] = True
    assert count(filters_sheet(weights), ACCENT) == 0
    # 2 of the 5 px between rows, as wide as the filter, also under the last row
    assert count(filters_sheet(weights, dead=dead), ACCENT) == 2 * 63 * 3


def test_filters_need_a_filter():
    with pytest.raises(InputError, match="0 filters"):
        filters_sheet(np.zeros((0, 3, 7, 7), np.float32))


def stages(level: float, maps: int = 2, epochs: int = 3, side: int = 7) -> np.ndarray:
    return np.full((maps, epochs, 3, side, side), level, np.float32)


def unchanged(maps: int = 2, epochs: int = 3) -> np.ndarray:
    return np.zeros((maps, epochs), bool)


def test_evolution_has_a_gain_for_each_layer():
    weak = stages(0.1)
    weak[0, 0] = 0.05
    projections = {"conv1": weak, "conv2": stages(10.0)}
    changed = {"conv1": unchanged(), "conv2": unchanged()}
    sheet = evolution_sheet(projections, [1, 2, 5], changed, percentile=100)
    area = (7 * (108 // 7)) ** 2
    assert count(sheet, (192, 192, 192)) == area  # half of the largest of its own layer: 191.5
    assert count(sheet, (255, 255, 255)) > (5 + 6) * area


def test_evolution_marks_where_the_strongest_image_changed():
    changed = unchanged()
    changed[1, 2] = changed[0, 1] = True
    width = 7 * (108 // 7)
    assert count(evolution_sheet({"conv1": stages(1)}, [1, 2, 5], {"conv1": unchanged()}), ACCENT) == 0
    assert count(evolution_sheet({"conv1": stages(1)}, [1, 2, 5], {"conv1": changed}), ACCENT) == 2 * 4 * width


@pytest.mark.parametrize("epochs", [1, 3, 8])
def test_evolution_sheets_are_legible(epochs: int):
    layers = {name: stages(1.0, 6, epochs, side) for name, side in RECEPTIVE_FIELDS.items()}
    sheet = evolution_sheet(layers, list(range(1, epochs + 1)), dict.fromkeys(layers, unchanged(6, epochs)))
    assert 600 <= sheet.width <= 1600


def test_evolution_names_the_layer_that_does_not_fit():
    with pytest.raises(InputError, match=r"conv1: projections of 2 maps x 3 epochs.*and 2 epochs must agree"):
        evolution_sheet({"conv1": stages(1)}, [1, 2], {"conv1": unchanged()})
    with pytest.raises(InputError, match="changed none"):
        evolution_sheet({"conv1": stages(1)}, [1, 2, 3], {})
    with pytest.raises(InputError, match="nothing to draw"):
        evolution_sheet({}, [1], {})


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (51.0, "51.0"), (0.1234, "0.123"), (1234.5, "1234"), (2e-5, "2e-05"), (3.456e7, "3.46e+07")],
)
def test_numbers_on_sheets_have_three_digits(value: float, text: str):
    assert number(value) == text


def test_text_is_wrapped_and_shortened_to_a_width():
    letters = font(14)
    lines = wrap("one two three four five", letters, 90)
    assert " ".join(lines) == "one two three four five"
    assert len(lines) > 1
    assert all(letters.getlength(line) <= 90 for line in lines)
    assert shorten("map 3", letters, 500) == "map 3"
    assert letters.getlength(shorten("a very long name of a map", letters, 60)) <= 60
