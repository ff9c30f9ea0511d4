import itertools
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from convlens.analysis.galleries.gallery import Gallery, crop
from convlens.analysis.galleries.selected_units import DEFAULT_MAPS, SelectedUnits, select_units
from convlens.analysis.galleries.top_activations import top_activations
from convlens.analysis.galleries.top_k_metric import TopActivations
from convlens.analysis.galleries.variants import OWN, ProjectionVariant
from convlens.callbacks import TopProjections
from convlens.deconv import project_fields
from convlens.deconv.forward_cache import cache_forward
from convlens.ops.receptive_field import receptive_field

SIZE = 12


def literal_crop(image: Tensor, box: tuple[int, int, int, int], fill: float) -> Tensor:
    """Pixel by pixel."""
    top, left, bottom, right = box
    height, width = image.shape[-2:]
    out = torch.full((*image.shape[:-2], bottom - top, right - left), fill, dtype=image.dtype)
    for y in range(top, bottom):
        for x in range(left, right):
            if 0 <= y < height and 0 <= x < width:
                out[..., y - top, x - left] = image[..., y, x]
    return out


def test_a_window_at_the_corner_by_hand():
    image = torch.arange(9.0).reshape(1, 3, 3)
    assert crop(image, (-1, 1, 2, 4), -7).tolist() == [[[-7, -7, -7], [1, 2, -7], [4, 5, -7]]]


@given(st.tuples(st.integers(-9, 9), st.integers(-9, 9), st.integers(1, 12), st.integers(1, 12)), st.integers(1, 5))
def test_windows_are_the_literal_ones_wherever_they_lie(place, side):
    """Fully outside too: a padded 1x1 filter sees nothing but padding at the border."""
    top, left, height, width = place
    image = torch.randint(256, (3, side, side + 2)).to(torch.uint8)
    box = (top, left, top + height, left + width)
    assert torch.equal(crop(image, box, 128), literal_crop(image, box, 128))


def test_maps_are_drawn_at_random_once_and_shown_in_order():
    selected = select_units(96, 12)
    assert selected.tolist() == sorted(set(selected.tolist()))
    assert len(selected) == 12
    assert selected.max() < 96
    assert selected.tolist() != list(range(12))
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    assert torch.equal(select_units(96, 12), selected)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not torch.equal(select_units(96, 12, seed=1), selected)


@pytest.mark.parametrize("count", [None, 4, 9])
def test_all_maps_are_taken_where_no_more_are_there_or_none_is_named(count):
    assert select_units(4, count).tolist() == [0, 1, 2, 3]


def test_the_default_number_of_maps_is_the_same_in_the_library_and_in_both_configurations():
    conf = Path(__file__).parents[3] / "conf"
    task, callbacks = (yaml.safe_load((conf / p).read_text()) for p in ("task/project.yaml", "callbacks/paper.yaml"))
    assert task["maps"] == callbacks["projections"]["maps"] == TopProjections().maps == DEFAULT_MAPS


def test_selected_units_and_top_activations_are_shown_by_shapes(tmp_path):
    top = top_activations(net(), [images()], ["4"], 2, progress=False)["4"]
    units = SelectedUnits.from_top_activations("4", top, receptive_field(net(), "4", (SIZE, SIZE)), select_units(5, 3))
    assert repr(top).startswith("TopActivations(values=[5, 2]")
    assert repr(units).startswith("SelectedUnits(layer='4', field=")
    assert "images=[3, 2]" in repr(units)
    assert "tensor(" not in repr(top) + repr(units)


def test_dead_maps_are_those_that_no_image_activates():
    top = top_activations(net(), [images()], ["4"], 2, progress=False)["4"]
    assert top.dead.tolist() == [False, False, True, False, False]


def test_every_map_has_the_same_chance():
    counts = torch.zeros(10)
    for seed in range(2000):
        counts[select_units(10, 3, seed)] += 1
    assert (counts / 600 - 1).abs().max() < 0.15  # expected 600 each, with a standard deviation of 20


# ---- galleries --------------------------------------------------------------------------------------------------


def net() -> nn.Module:
    torch.manual_seed(2)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 5, 3, padding=1), nn.ReLU(),
    )  # fmt: skip
    with torch.no_grad():
        net[3].bias[2] = -100  # a dead map
    return net.eval()


def images(count: int = 7) -> Tensor:
    return torch.rand(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(4)) * 255 - 128


def to_display(batch: Tensor) -> Tensor:
    return (batch + 128).round().clamp(0, 255).to(torch.uint8)


def literal_gallery(k: int) -> tuple[Tensor, Tensor, Tensor]:
    """Values, images and places of each map's strongest, by looking at everything."""
    with torch.no_grad():
        maps = net()(images())
    peak, place = maps.flatten(2).max(2)
    order = peak.T.sort(dim=1, descending=True, stable=True)
    selected = order.indices[:, :k]
    where = torch.stack([place[selected[m], m] for m in range(maps.shape[1])])
    return order.values[:, :k], selected, torch.stack([where // maps.shape[3], where % maps.shape[3]], 2)


def literal_projection(image: Tensor, feature_map: int, y: int, x: int) -> Tensor:
    """The paper's three steps written out for `net`: transposed filtering, unpooling at the switches, rectifying."""
    with torch.no_grad():
        first, _, _, second, _ = net()
        rectified = first(image[None]).relu()
        pooled, switches = nn.functional.max_pool2d(rectified, 2, return_indices=True)
        top = second(pooled).relu()
        signal = torch.zeros_like(top)
        signal[0, feature_map, y, x] = top[0, feature_map, y, x]
        signal = nn.functional.conv_transpose2d(signal.relu(), second.weight, padding=1)
        signal = nn.functional.max_unpool2d(signal, switches, 2, output_size=rectified.shape)
        return nn.functional.conv_transpose2d(signal.relu(), first.weight, padding=1)[0]


def drawn(network: nn.Module, dataset, layer: str, top, maps: list[int], folder: Path, **rules) -> SimpleNamespace:
    """A gallery made on disk and read back."""
    field = receptive_field(network, layer, input_size=(SIZE, SIZE))
    selected = SelectedUnits.from_top_activations(layer, top, field, torch.tensor(maps))
    variant = ProjectionVariant(OWN, network, rules)
    made = Gallery(dataset, [selected], [variant], folder, to_display, max_images=3)
    made.create_files()
    made.make()
    pictures, patches = made.projections(selected, variant), made.patches(selected)
    projections = np.stack([pictures[row] for row in range(len(pictures))])
    arrays = {"projections": torch.from_numpy(projections), "patches": torch.from_numpy(np.array(patches.values))}
    names = ("layer", "maps", "values", "images", "positions", "boxes", "active")
    return SimpleNamespace(**arrays, **{name: getattr(selected, name) for name in names})


@pytest.fixture
def gallery(tmp_path):
    numbers = itertools.count()

    def make(maps: list[int], k: int = 3, dataset=None, **rules) -> SimpleNamespace:
        network = net()
        dataset = dataset if dataset is not None else TensorDataset(images(), torch.arange(7))
        top = top_activations(network, DataLoader(dataset, 2), ["4"], k, progress=False)["4"]
        return drawn(network, dataset, "4", top, maps, tmp_path / str(next(numbers)), **rules)

    return make


def test_a_gallery_is_the_literal_one(gallery):
    found = gallery([0, 1, 3, 4])
    values, selected, places = literal_gallery(3)
    assert found.layer == "4"
    assert found.maps.tolist() == [0, 1, 3, 4]
    torch.testing.assert_close(found.values, values[found.maps])
    assert torch.equal(found.images, selected[found.maps])
    assert torch.equal(found.positions, places[found.maps])
    # conv 3 (padding 1), pool 2 at stride 2, conv 3 (padding 1): fields of 8 pixels at stride 2, from -3 on.
    assert found.projections.shape == (4, 3, 3, 8, 8)
    for m, feature_map in enumerate(found.maps.tolist()):
        for r in range(3):
            y, x = found.positions[m, r].tolist()
            box = (2 * y - 3, 2 * x - 3, 2 * y + 5, 2 * x + 5)
            assert found.boxes[m, r].tolist() == list(box)
            image = images()[int(found.images[m, r])]
            assert torch.equal(found.patches[m, r], literal_crop(to_display(image), box, 128))
            expected = literal_crop(literal_projection(image, feature_map, y, x), box, 0)
            close = 1e-3 * float(expected.abs().max())  # kept as halves
            torch.testing.assert_close(found.projections[m, r], expected, rtol=0, atol=close)
            assert found.projections[m, r].abs().max() > 0.1


def test_some_fields_of_this_gallery_reach_over_the_border(gallery):
    found = gallery([0, 1, 3, 4])
    assert (found.boxes[..., :2] < 0).any()
    assert (found.boxes[..., 2:] > SIZE).any()
    outside = found.patches[(found.boxes[..., 0] < 0)][:, :, 0]
    assert (outside == 128).all()


def test_a_dead_map_is_blank(gallery):
    found = gallery([1, 2])
    assert found.active.any(1).tolist() == [True, False]
    assert (found.values[1] <= 0).all()
    assert not found.projections[1].any()
    assert not found.patches[1].any()
    assert found.projections[0].any()


def test_a_gallery_of_dead_maps_alone_is_blank(gallery):
    found = gallery([2])
    assert (found.projections.shape, found.patches.shape) == ((1, 3, 3, 8, 8), (1, 3, 3, 8, 8))
    assert not found.projections.any()


def test_fewer_images_than_ranks_leave_the_last_ranks_blank(gallery):
    dataset = TensorDataset(images()[:2], torch.arange(2))
    found = gallery([0], k=4, dataset=dataset)
    assert found.images[0].tolist()[2:] == [-1, -1]
    assert not found.projections[0, 2:].any()
    assert found.projections[0, :2].flatten(1).any(1).all()


def test_data_sets_of_bare_images_do_too(gallery):
    bare = list(images())
    assert torch.equal(gallery([0, 3], dataset=bare).patches, gallery([0, 3]).patches)


def test_rules_are_handed_on(gallery):
    plain, one = gallery([0]), gallery([0], signal="one")
    # The deconvnet is linear in its seed: a seed of one gives the projection over the activation.
    scaled = one.projections * plain.values[0, :, None, None, None]
    torch.testing.assert_close(scaled, plain.projections, rtol=0, atol=1e-3 * float(scaled.abs().max()))


def test_a_layer_of_vectors_shows_whole_images(tmp_path):
    network = nn.Sequential(net(), nn.Flatten(), nn.Linear(5 * 36, 3), nn.ReLU()).eval()
    dataset = TensorDataset(images(), torch.arange(7))
    top = top_activations(network, DataLoader(dataset, 3), ["3"], 2, progress=False)["3"]
    assert isinstance(top, TopActivations)
    found = drawn(network, dataset, "3", top, [0, 1, 2], tmp_path)
    alive = found.values > 0
    assert alive.any()
    for m, r in alive.nonzero().tolist():
        assert found.boxes[m, r].tolist() == [0, 0, SIZE, SIZE]
        assert torch.equal(found.patches[m, r], to_display(images()[int(found.images[m, r])]))


def test_an_interrupted_gallery_is_continued_and_ends_the_same(tmp_path):
    """A kill after any block: what is done is not done again, and the arrays are those of a gallery never stopped."""
    network, dataset = net(), TensorDataset(images(), torch.arange(7))
    tops = top_activations(network, DataLoader(dataset, 2), ["1", "4"], 3, progress=False)
    fields = {layer: receptive_field(network, layer, input_size=(SIZE, SIZE)) for layer in tops}
    selected = [SelectedUnits.from_top_activations(x, tops[x], fields[x], torch.arange(4)) for x in tops]
    variants = [ProjectionVariant(OWN, network), ProjectionVariant("gradient", network, {"rule": "gradient"}, maps=2)]

    def made(folder: Path, stops: list[int]) -> dict[str, bytes]:
        gallery = Gallery(dataset, selected, variants, folder, to_display, max_images=2)
        gallery.create_files()
        count = len(gallery.blocks())
        for stop in stops:
            calls = itertools.count()
            whole = Gallery._make_block

            def interrupted(self, *args, stop=stop, calls=calls, whole=whole):
                if next(calls) == stop:
                    raise KeyboardInterrupt
                whole(self, *args)

            with patch.object(Gallery, "_make_block", interrupted), pytest.raises(KeyboardInterrupt):
                gallery.make()
        with patch.object(Gallery, "_make_block", autospec=True, side_effect=Gallery._make_block) as blocks:
            gallery.make()
        assert blocks.call_count == count - sum(stops)
        return {path.name: path.read_bytes() for path in folder.glob("*.npy")}

    never, stopped = made(tmp_path / "never", []), made(tmp_path / "stopped", [1, 1])
    assert never == stopped
    assert len(never) == 2 * (1 + 2 * 2)


def test_shares_of_several_processes_make_the_gallery_of_one(tmp_path):
    network, dataset = net(), TensorDataset(images(), torch.arange(7))
    top = top_activations(network, DataLoader(dataset, 2), ["4"], 3, progress=False)["4"]
    selected = [
        SelectedUnits.from_top_activations("4", top, receptive_field(network, "4", (SIZE, SIZE)), torch.arange(4))
    ]
    found = []
    for processes in (1, 3):
        folder = tmp_path / str(processes)
        gallery = Gallery(dataset, selected, [ProjectionVariant(OWN, network)], folder, to_display, max_images=1)
        gallery.create_files()
        for rank in range(processes):
            gallery.make(rank=rank, world_size=processes)
        found.append({path.name: path.read_bytes() for path in folder.glob("*.npy")})
    assert found[0] == found[1]


def test_an_images_forward_pass_is_shared_by_layers_and_rules(tmp_path):
    network, dataset = net(), TensorDataset(images(), torch.arange(7))
    tops = top_activations(network, DataLoader(dataset, 7), ["1", "4"], 3, progress=False)
    selected = [
        SelectedUnits.from_top_activations(x, tops[x], receptive_field(network, x, (SIZE, SIZE)), torch.arange(4))
        for x in tops
    ]
    variants = [ProjectionVariant(rule, network, {"rule": rule}) for rule in (OWN, "gradient", "guided")]
    variants[0] = ProjectionVariant(OWN, network)
    gallery = Gallery(dataset, selected, variants, tmp_path, to_display, max_images=100)
    gallery.create_files()
    with (
        patch("convlens.analysis.galleries.gallery.MIN_AREA_RATIO", 0.01),
        patch("convlens.analysis.galleries.gallery.cache_forward", side_effect=cache_forward) as recorded,
    ):
        gallery.make()
    assert recorded.call_count == 1
    for variant in variants:
        pictures = gallery.projections(selected[1], variant)
        for m, r in selected[1].active.nonzero().tolist():
            unit = selected[1].unit(m, r, 0, False)
            image = images()[int(selected[1].images[m, r])][None]
            expected = project_fields(network, image, "4", [unit], **variant.options)[0]
            close = 1e-3 * float(expected.abs().max())
            torch.testing.assert_close(torch.from_numpy(pictures[m])[r], expected, rtol=0, atol=close)
