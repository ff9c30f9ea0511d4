from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from convlens.analysis.galleries.gallery import Gallery
from convlens.analysis.galleries.sanity_checks import (
    OTHER,
    RANDOM,
    control_variants,
    evaluate_controls,
)
from convlens.analysis.galleries.selected_units import SelectedUnits
from convlens.analysis.galleries.top_activations import top_activations
from convlens.analysis.galleries.variants import OWN, ProjectionVariant
from convlens.deconv import project_fields
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


def test_a_network_with_two_kinds_of_detectors_is_grouped(tmp_path):
    made, selected = gallery(tmp_path, striking(), striped())
    found = evaluate_controls(made, selected)
    assert found is not None
    assert found.maps == 3
    assert found.grouping.value > 0.7
    assert found.grouping.low <= found.grouping.value <= found.grouping.high
    difference = found.grouping.value - found.grouping_random.value
    assert found.grouping_gain.value == pytest.approx(difference)
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


def test_a_layer_too_small_for_edges_leaves_that_claim_open(tmp_path):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU()).eval()
    made, selected = gallery(tmp_path, net, striped(), layer="1")
    found = evaluate_controls(made, selected)
    assert found is not None
    assert np.isnan(found.coherence["deconvnet"].value)
    assert found.claim_3 == "can't tell"
