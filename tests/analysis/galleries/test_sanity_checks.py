from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from convlens.analysis.galleries.gallery import Gallery
from convlens.analysis.galleries.network_statistics import measure_network
from convlens.analysis.galleries.sanity_checks import (
    CENTRE,
    OTHER,
    RANDOM,
    control_variants,
    evaluate_controls,
)
from convlens.analysis.galleries.selected_units import SelectedUnits
from convlens.analysis.galleries.top_activations import top_activations
from convlens.analysis.galleries.variants import OWN, ProjectionVariant
from convlens.deconv import project_fields
from convlens.ops.depth import layer_depths
from convlens.ops.receptive_field import receptive_field

SIZE = 24


def striped(count: int = 24) -> Tensor:
    """Patches of horizontal and of vertical stripes at random places, on noise."""
    generator = torch.Generator().manual_seed(0)
    images = 0.3 * torch.randn(count, 3, SIZE, SIZE, generator=generator)
    wave = torch.tensor([1.0, 1.0, -1.0, -1.0]).repeat(3)
    for i in range(count):
        y, x = torch.randint(0, SIZE - 12, (2,), generator=generator).tolist()
        patch = wave[:, None].expand(12, 12) if i % 2 else wave.expand(12, 12)
        images[i, :, y : y + 12, x : x + 12] += 2 * patch
    return images


def striking() -> nn.Module:
    """Maps for both directions of stripes, the rest noise."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 6, 5), nn.ReLU(), nn.Conv2d(6, 4, 5), nn.BatchNorm2d(4), nn.ReLU())
    wave = torch.tensor([1.0, 1.0, -1.0, -1.0, 1.0])
    with torch.no_grad():
        net[0].weight[0], net[0].weight[1] = wave[:, None].expand(5, 5), wave.expand(5, 5)
        net[2].weight.mul_(0.1)
        net[2].weight[0, 0], net[2].weight[1, 1] = 1.0, 1.0
    return net.eval()


def gallery(folder: Path, net: nn.Module, images: Tensor, layer: str = "4") -> tuple[Gallery, SelectedUnits]:
    dataset = TensorDataset(images, torch.zeros(len(images), dtype=torch.int64))
    top = top_activations(net, [images], [layer], 6, progress=False)[layer]
    field = receptive_field(net, layer, (SIZE, SIZE))
    selected = SelectedUnits.from_top_activations(layer, top, field, torch.arange(len(top.values)))
    variants = [ProjectionVariant(OWN, net), *control_variants(net, {}, images, 3)]
    made = Gallery(dataset, [selected], variants, folder, lambda x: ((x + 4) * 32).clamp(0, 255).to(torch.uint8))
    made.create_files()
    made.make()
    return made, selected


def test_the_views_are_the_other_rules_another_map_and_random_weights(tmp_path):
    net, images = striking(), striped()
    made, selected = gallery(tmp_path, net, images)
    assert [variant.name for variant in made.variants] == [OWN, "gradient", "guided", OTHER, RANDOM]
    for variant in made.variants[1:]:
        rows = variant.rows(selected)
        assert len(rows) == 3
        stored = made.projections(selected, variant)
        for index, row in enumerate(rows):
            image, feature_map, y, x = selected.unit(row, 0, 0, False)
            number = (feature_map + 2) % 4 if variant.name == OTHER else feature_map
            options = {"rule": variant.name} if variant.name in ("gradient", "guided") else {"signal": "one"}
            source = images[int(selected.images[row, 0])][None]
            expected = project_fields(variant.net, source, "4", [(image, number, y, x)], **options)[0]
            close = 1e-3 * max(1e-6, float(expected.abs().max()))
            torch.testing.assert_close(torch.from_numpy(stored[index])[0], expected, rtol=0, atol=close)


def test_a_gallery_by_another_rule_is_controlled_by_the_rest():
    net = striking()
    assert [variant.name for variant in control_variants(net, {"rule": "gradient"}, striped(4), None)] == [
        "deconvnet", "guided", OTHER, RANDOM,
    ]  # fmt: skip


def test_without_a_control_network_there_is_no_row_of_it_and_pools_add_one_without_switches():
    net = striking()
    names = [v.name for v in control_variants(net, {}, striped(4), None, randomized=False, pools=True)]
    assert names == ["gradient", "guided", CENTRE, OTHER]
    by_gradient = control_variants(net, {"rule": "gradient", "lrn": "adjoint"}, striped(4), None, pools=True)
    (centre,) = (variant for variant in by_gradient if variant.name == CENTRE)
    assert centre.options == {"rule": "deconvnet", "lrn": None, "unpool": "centre"}
    followed_back = control_variants(net, {"lrn": "adjoint"}, striped(4), None, pools=True)
    assert CENTRE not in [variant.name for variant in followed_back]
    for rules in ({"unpool": "centre"}, {"rule": "gradient", "unpool": "centre"}):  # nothing depends on switches
        assert CENTRE not in [variant.name for variant in control_variants(net, rules, striped(4), None, pools=True)]


def test_sharpness_is_compared_by_rule_over_the_same_units(tmp_path):
    made, selected = gallery(tmp_path, striking(), striped())
    found = evaluate_controls(made, selected)
    assert found is not None
    assert found.maps == 3
    for rule in ("deconvnet", "gradient", "guided"):
        assert 0 < found.sparsity[rule].value < 1
        assert 0 < found.coherence[rule].value < 1
    gain = found.sparsity["deconvnet"].value - found.sparsity["gradient"].value
    assert found.sparsity_gain.value == pytest.approx(gain)


def test_the_same_projections_under_two_names_are_alike(tmp_path):
    """Another map's unit that is the very same map: the similarity at the same position is 1."""
    net = striking()
    with torch.no_grad():
        net[2].weight[2:], net[2].bias[2:] = net[2].weight[:2].clone(), net[2].bias[:2].clone()
    made, selected = gallery(tmp_path, net, striped())
    found = evaluate_controls(made, selected)
    assert found is not None
    assert found.same_place.value == pytest.approx(1, abs=1e-3)


def test_dead_maps_decide_nothing(tmp_path):
    net = striking()
    with torch.no_grad():
        net[3].bias[:] = -1e6
    made, selected = gallery(tmp_path, net, striped())
    assert evaluate_controls(made, selected) is None


def test_a_layer_too_small_for_edges_has_no_coherence(tmp_path):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU()).eval()
    made, selected = gallery(tmp_path, net, striped(), layer="1")
    found = evaluate_controls(made, selected)
    assert found is not None
    assert np.isnan(found.coherence["deconvnet"].value)
    assert np.isnan(found.coherence_gain.value)


# ---- statistics of the network ----------------------------------------------------------------------------------


def statistics(folder: Path, net: nn.Module, layer: str = "4"):
    images = striped()
    made, selected = gallery(folder, net, images, layer)
    top = {layer: top_activations(net, [images], [layer], 6, progress=False)[layer]}
    labels = np.arange(len(images)) % 2
    return measure_network(made, 3, layer_depths(net, [layer], SIZE), top, labels), selected


def test_a_network_with_two_kinds_of_detectors_is_grouped(tmp_path):
    found, selected = statistics(tmp_path, striking())
    grouping = found.grouping["4"]
    assert len(grouping.auc) == 3
    assert grouping.auc.mean() > 0.7
    assert not found.switches
    assert found.strongest.images.shape == (4, 6)  # of all maps, not only of those that are compared
    detectors = [int(row) for row in range(4) if int(selected.maps[row]) < 2]
    classes = found.strongest.classes()[detectors]
    assert all((row == row[0]).mean() > 0.8 for row in classes)  # each direction of stripes is a class


def test_switches_are_measured_above_a_pool(tmp_path):
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 6, 5), nn.ReLU(), nn.MaxPool2d(3, 2), nn.Conv2d(6, 4, 3), nn.BatchNorm2d(4), nn.ReLU()
    ).eval()  # fmt: skip
    images = striped()
    top = top_activations(net, [images], ["1", "5"], 6, progress=False)
    selected = [
        SelectedUnits.from_top_activations(layer, one, receptive_field(net, layer, (SIZE, SIZE)), torch.arange(4))
        for layer, one in top.items()
    ]
    variants = [ProjectionVariant(OWN, net), *control_variants(net, {}, images, 3, pools=True)]
    dataset = TensorDataset(images, torch.zeros(len(images), dtype=torch.int64))
    made = Gallery(dataset, selected, variants, tmp_path, lambda x: ((x + 4) * 32).clamp(0, 255).to(torch.uint8))
    made.create_files()
    made.make()
    depths = layer_depths(net, ["1", "5"], SIZE)
    found = measure_network(made, 3, depths, top, np.zeros(len(images), int))
    assert list(found.switches) == ["5"]
    row, units = made.variants[1].rows(selected[1])[0], selected[1]
    pictures = [
        project_fields(net, images[units.images[row, rank]][None], "5", [units.unit(row, rank, 0, False)])[0]
        for rank in range(6)
    ]
    values = []
    for i in range(6):
        for j in range(i):
            shared = [
                (y, x)
                for y in range(units.field.size[0])
                for x in range(units.field.size[1])
                if all(
                    0 <= units.boxes[row, rank, 0] + y < SIZE and 0 <= units.boxes[row, rank, 1] + x < SIZE
                    for rank in (i, j)
                )
            ]
            ys, xs = zip(*shared, strict=True)
            a, b = (pictures[rank][:, ys, xs].numpy().ravel() for rank in (i, j))
            values.append(1 - np.corrcoef(a, b)[0, 1])
    assert found.switches["5"].other_image[0] == pytest.approx(np.mean(values), abs=2e-3)  # projections are halves
    assert 0 < found.switches["5"].centre.min() <= found.switches["5"].centre.max() < 2
