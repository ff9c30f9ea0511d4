"""The strongest activations against a search that keeps everything, whatever the order and the size of batches."""

import inspect
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, TensorDataset

from convlens.analysis.galleries.top_activations import top_activations
from convlens.analysis.galleries.top_k_metric import StrongestUnits, TopActivations
from convlens.deconv import project
from convlens.errors import InputError


class Small(nn.Module):
    """Maps, in-place ReLUs and vectors."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.relu1 = nn.Conv2d(1, 3, 3, padding=1), nn.ReLU(inplace=True)
        self.conv2, self.relu2 = nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True)
        self.drop, self.head, self.unused = nn.Dropout(0.5), nn.Linear(4, 5), nn.Linear(2, 2)
        self.passes: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        self.passes.append(len(images))
        x = self.relu2(self.conv2(self.relu1(self.conv1(images))))
        return self.head(self.drop(x.amax((2, 3))))


def small(seed: int = 0) -> Small:
    torch.manual_seed(seed)
    return Small().double()


def pictures(n: int, seed: int = 0) -> Tensor:
    return torch.randn(n, 1, 6, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def every_output(net: Small, images: Tensor) -> dict[str, Tensor]:
    """Each layer's own output, computed by its formula."""
    net.eval()
    with torch.no_grad():
        conv1 = F.conv2d(images, net.conv1.weight, net.conv1.bias, padding=1)
        conv2 = F.conv2d(conv1.clamp(min=0), net.conv2.weight, net.conv2.bias)
        head = F.linear(conv2.clamp(min=0).amax((2, 3)), net.head.weight, net.head.bias)
    return {"conv1": conv1, "relu1": conv1.clamp(min=0), "conv2": conv2, "relu2": conv2.clamp(min=0), "head": head}


def literal_top(outputs: Tensor, k: int) -> list[list[tuple[float, int, tuple[int, int]]]]:
    """Per map the k greatest (value, image, position): sort all images' maxima, equal ones in the images' order."""
    result = []
    for feature_map in range(outputs.shape[1]):
        found = []
        for image in range(len(outputs)):
            plane = outputs[image, feature_map]
            if plane.dim() == 0:
                found.append((float(plane), image, (0, 0)))
                continue
            best = None
            for y in range(plane.shape[0]):
                for x in range(plane.shape[1]):
                    if best is None or plane[y, x] > plane[best]:
                        best = y, x
            assert best is not None
            found.append((float(plane[best]), image, best))
        result.append(sorted(found, key=lambda entry: (-entry[0], entry[1]))[:k])
    return result


def as_lists(top: TopActivations) -> list[list[tuple[float, int, tuple[int, ...]]]]:
    return [
        [(float(v), int(i), tuple(p.tolist())) for v, i, p in zip(*columns, strict=True)]
        for columns in zip(top.values, top.images, top.positions, strict=True)
    ]


def assert_same(top: TopActivations, expected: list[list[tuple[float, int, tuple[int, int]]]]) -> None:
    ours = as_lists(top)
    assert [[entry[1:] for entry in entries] for entries in ours] == [[e[1:] for e in entries] for entries in expected]
    for entries, others in zip(ours, expected, strict=True):
        assert [e[0] for e in entries] == pytest.approx([e[0] for e in others], rel=1e-6)


def test_the_strongest_of_every_layer_are_those_of_a_search_through_everything_in_one_pass():
    net, images = small(), pictures(29)
    layers = ["relu2", "head", "conv1", "conv2", "relu1"]
    outputs = every_output(net, images)
    net.passes.clear()
    tops = top_activations(net, DataLoader(TensorDataset(images), batch_size=8), layers, k=5)
    assert list(tops) == layers
    for layer in layers:
        assert_same(tops[layer], literal_top(outputs[layer], 5))
    assert net.passes == [1, 8, 8, 8, 5]  # one image to see the layers' shapes, then each image once


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(1, 14),
    k=st.integers(1, 6),
    batch_size=st.integers(1, 15),
    levels=st.integers(1, 4),
    shuffle=st.booleans(),
)
def test_the_result_depends_neither_on_the_batches_nor_on_the_loaders_order(seed, n, k, batch_size, levels, shuffle):
    # Few distinct values, so that ties are many: between images and within maps.
    values = torch.randint(0, levels, (n, 2, 3, 2), generator=torch.Generator().manual_seed(seed)).float()
    net = nn.Sequential(nn.Identity())
    loader = DataLoader(TensorDataset(values, torch.zeros(n)), batch_size, shuffle=shuffle, drop_last=shuffle)
    top = top_activations(net, loader, ["0"], k)["0"]
    expected = literal_top(values, k)
    for entries in expected:
        entries.extend([(-torch.inf, -1, (0, 0))] * (k - n))
    assert as_lists(top) == expected


@settings(max_examples=25, deadline=None)
@given(data=st.data(), seed=st.integers(0, 10_000), n=st.integers(1, 12), k=st.integers(1, 5))
def test_images_may_arrive_in_any_order_at_one_process_or_several(data, seed, n, k):
    values = torch.randint(0, 3, (n, 2, 3, 2), generator=torch.Generator().manual_seed(seed)).float()
    order = torch.tensor(data.draw(st.permutations(range(n))))
    cut = data.draw(st.integers(0, n))
    whole = StrongestUnits(2, k)
    whole.update(values, torch.arange(n))
    one = StrongestUnits(2, k)
    for image in order:
        one.update(values[image][None], image[None])
    halves = []
    for part in (order[:cut], order[cut:]):
        half = StrongestUnits(2, k)
        if len(part):
            half.update(values[part], part)
        halves.append({name: getattr(half, name) for name in ("values", "images", "positions")})

    # What torchmetrics gathers from two processes, without starting them.
    def gather(tensor: Tensor, group: Any = None) -> list[Tensor]:
        name = next(name for name in halves[0] if tensor is getattr(merged, name))
        return [half[name] for half in halves]

    merged = StrongestUnits(2, k, dist_sync_fn=gather, distributed_available_fn=lambda: True)
    merged._update_count = 1
    expected = as_lists(whole.top())
    assert as_lists(one.top()) == expected
    assert as_lists(merged.top()) == expected


def test_ties_go_to_the_earlier_image_and_the_first_place():
    values = torch.zeros(4, 1, 2, 2)
    values[1, 0, 1, 0] = values[1, 0, 1, 1] = values[3, 0, 0, 1] = values[2, 0, 1, 1] = 5.0
    top = StrongestUnits(1, 4)
    top.update(values[2:], torch.tensor([2, 3]))
    top.update(values[:2], torch.tensor([0, 1]))
    assert as_lists(top.top()) == [[(5.0, 1, (1, 0)), (5.0, 2, (1, 1)), (5.0, 3, (0, 1)), (0.0, 0, (0, 0))]]


def test_an_image_counts_once_however_many_strong_places_it_has():
    values = torch.zeros(2, 1, 2, 2)
    values[0] = torch.tensor([[9.0, 8.0], [7.0, 6.0]])
    values[1, 0, 0, 1] = 1.0
    top = top_activations(nn.Sequential(nn.Identity()), [values], ["0"], k=2)["0"]
    assert as_lists(top) == [[(9.0, 0, (0, 0)), (1.0, 1, (0, 1))]]


def test_fewer_images_than_asked_for_leave_places_empty():
    net, images = small(), pictures(2)
    tops = top_activations(net, [images], ["conv2", "head"], k=4)
    for top in tops.values():
        assert (top.images[:, :2].sort(1).values == torch.tensor([0, 1])).all()
        assert (top.images[:, 2:] == -1).all()
        assert (top.values[:, 2:] == -torch.inf).all()
        assert top.values[:, :2].isfinite().all()


def test_all_negative_maps_are_found_too():
    values = torch.tensor([-3.0, -1.0, -2.0]).view(3, 1, 1, 1)
    top = top_activations(nn.Sequential(nn.Identity()), [values], ["0"], k=2)["0"]
    assert as_lists(top) == [[(-1.0, 1, (0, 0)), (-2.0, 2, (0, 0))]]


def test_the_state_does_not_grow_with_the_images():
    top = StrongestUnits(7, 9)
    sizes = {name: value.shape for name, value in top.metric_state.items()}
    assert sizes == {"values": (7, 9), "images": (7, 9), "positions": (7, 9, 2)}
    for start in range(0, 300, 50):
        top.update(torch.randn(50, 7, 4, 4), torch.arange(start, start + 50))
        assert {name: value.shape for name, value in top.metric_state.items()} == sizes
        # Nor does it keep a batch alive through a view.
        assert all(v.untyped_storage().nbytes() == v.nbytes for v in top.metric_state.values())


def test_a_single_value_keeps_its_shape():
    top = StrongestUnits(1, 1)
    top.update(torch.tensor([[2.0]]), torch.tensor([0]))
    assert as_lists(top.top(vector=True)) == [[(2.0, 0, (0, 0))]]


def test_units_are_those_that_project_takes():
    net, images = small(), pictures(20)
    tops = top_activations(net, [images], ["relu2", "head"], k=3)
    outputs = every_output(net, images)
    for layer, length in (("relu2", 4), ("head", 2)):
        top = tops[layer]
        for feature_map in range(len(top.values)):
            for rank in range(3):
                unit = top.unit(feature_map, rank)
                assert len(unit) == length
                assert unit[1] == feature_map
                assert outputs[layer][unit].item() == pytest.approx(top.values[feature_map, rank].item(), rel=1e-6)
        projection = project(net, images, layer, [top.unit(0, 0)], signal="one", rule="gradient")
        assert projection.abs().max() > 0


class Loud(Dataset):
    """Images that are made when asked for, in a list beside their label."""

    def __init__(self, images: Tensor) -> None:
        self.images, self.asked = images, []

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> list[Any]:
        self.asked.append(index)
        return [self.images[index], index % 3]


def test_a_shuffled_loader_is_read_in_the_order_of_its_set_with_nothing_dropped():
    net, data = small(), Loud(pictures(11))
    shuffled = DataLoader(data, batch_size=4, shuffle=True, drop_last=True)
    top = top_activations(net, shuffled, ["conv2"], k=3)["conv2"]
    assert data.asked == list(range(11))
    assert_same(top, literal_top(every_output(net, data.images)["conv2"], 3))


def test_the_network_and_the_batches_are_left_as_they_were():
    net = nn.Sequential(nn.ReLU(inplace=True), nn.BatchNorm2d(1), nn.Dropout(0.5)).train()
    net[1].eval()
    images = pictures(6).float()
    before, numbers = images.clone(), torch.random.get_rng_state()
    buffers = {name: value.clone() for name, value in net.state_dict().items()}
    top = top_activations(net, [images], ["2"], k=2)["2"]
    assert torch.equal(images, before)
    assert torch.equal(torch.random.get_rng_state(), numbers)
    assert [module.training for module in net.modules()] == [True, True, False, True]
    assert not any(module._forward_hooks for module in net.modules())
    assert all(torch.equal(buffers[name], value) for name, value in net.state_dict().items())
    assert_same(top, literal_top(net[1](before.clamp(min=0)).detach(), 2))


def test_layers_above_the_last_wanted_one_are_not_computed():
    net = small()
    reached: list[str] = []
    net.head.register_forward_hook(lambda *_: reached.append("head"))
    top_activations(net, [pictures(3), pictures(3)], ["conv2"], k=1)
    assert reached == ["head"]  # by the one image that shows the layers' shapes


@pytest.mark.parametrize(
    ("loader", "layers", "k", "message"),
    [
        ([], ["conv1"], 1, "the loader gave no images"),
        ([torch.zeros(2, 6, 7)], ["conv1"], 1, r"batches of images \[n, c, h, w\].*got Tensor \[2, 6, 7\]"),
        ([{"image": 1}], ["conv1"], 1, "got dict"),
        ([pictures(2)], ["conv3"], 1, "unknown layer 'conv3' in Small: did you mean conv"),
        ([pictures(2)], ["unused"], 1, "layer 'unused' is never reached"),
        ([pictures(2)], ["conv1"], 0, "k=0: give a whole number from 1"),
        (
            [pictures(2), pictures(3) * torch.tensor([1, 1, torch.nan]).view(3, 1, 1, 1)],
            ["conv1"],
            1,
            "image 4 .*: NaN",
        ),
    ],
)
def test_a_mistake_is_answered_in_one_line(loader, layers, k, message):
    net = small()
    with pytest.raises(InputError, match=message) as error:
        inspect.unwrap(top_activations)(net, loader, layers, k)
    assert "\n" not in str(error.value)
    assert not any(module._forward_hooks for module in net.modules())
    assert net.training
