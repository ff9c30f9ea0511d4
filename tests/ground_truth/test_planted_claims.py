"""Verdicts of claims on networks and images whose right answers are known: a truth and a falsehood for each."""

import numpy as np
import pytest
import torch
from torch import nn

from convlens.analysis.correspondence.claims import correspondence_claim
from convlens.analysis.correspondence.delta import sign_changes
from convlens.analysis.correspondence.random_regions import random_regions
from convlens.analysis.invariance.claims import invariance_claims
from convlens.analysis.invariance.curves import invariance
from convlens.analysis.invariance.transforms import transform_values
from convlens.analysis.occlusion.faithfulness import (
    faithfulness,
    faithfulness_claims,
    map_projections,
    projection_energies,
)
from convlens.analysis.occlusion.localization import localization_claim, localize
from convlens.analysis.occlusion.occlude import occlude
from convlens.stats.claims import Claim
from tests.ground_truth.planted import (
    SIDE,
    ArrangementNet,
    CancellingNet,
    ColourNet,
    NoseLoudNet,
    PaintedImages,
    PixelCodeNet,
    PooledNet,
    ReadingNet,
    SignCodeNet,
    painted_images,
)

COUNT = 10


@pytest.fixture(scope="module")
def eyes() -> PaintedImages:
    """The class is the colour of the eyes."""
    return painted_images(COUNT)


@pytest.fixture(scope="module")
def backgrounds() -> PaintedImages:
    """The class is the colour of the background."""
    return painted_images(COUNT, eyes=False, background=True)


def occlusion_verdicts(
    net: nn.Module, data: PaintedImages, layer: str, map: int | None = None, size: int = 8
) -> dict[int, str]:
    faithful, local = [], []
    for image, target, mask in zip(data.images, data.targets, data.objects, strict=True):
        maps = occlude(net, image, target, size=size, stride=4, layer=layer, map=map)
        local.append(localize(maps, mask))
        other = (maps.map + 1) % 2
        projections = map_projections(net, image, layer, maps.map, other)
        faithful.append(faithfulness(maps, projection_energies(projections, image), projections))
    claims = [*faithfulness_claims(faithful, layer), localization_claim(local, "")]
    return {claim.number: claim.verdict for claim in claims}


def test_a_detector_of_bodies_uses_the_object():
    bodies = painted_images(COUNT, eyes=False, body=True)
    assert occlusion_verdicts(ColourNet(gain=6.0), bodies, "layer", size=14)[17] == "supports"


def test_a_detector_of_backgrounds_does_not(backgrounds):
    assert occlusion_verdicts(ColourNet(gain=6.0), backgrounds, "layer", size=14)[17] == "refutes"


def test_projections_show_what_excites_a_map_that_reads_them():
    found = occlusion_verdicts(ReadingNet(), painted_images(COUNT, texture=True), "layer", map=0)
    assert (found[1], found[2]) == ("supports", "supports")


def test_projections_do_not_show_what_excites_a_map_whose_paths_cancel(eyes):
    found = occlusion_verdicts(CancellingNet(), eyes, "layer", map=0)
    assert found[1] in ("refutes", "no effect")
    assert found[2] in ("refutes", "no effect")


def test_the_strongest_map_can_be_blind_to_the_class(eyes):
    assert occlusion_verdicts(NoseLoudNet(), eyes, "layer")[18] == "supports"
    # With few bright pixels beside, the probability falls exactly with the map of the eyes.
    assert occlusion_verdicts(ColourNet(gain=2.0), eyes, "layer")[18] in ("refutes", "no effect")


def invariance_verdicts(net, data: PaintedImages, symmetric=None, images=None) -> dict[int, Claim]:
    images = data.images if images is None else images
    curves = {
        kind: invariance(net, images, data.targets, ["first", "top"], kind, transform_values(kind, SIDE, 9))
        for kind in ("translation", "scale", "rotation")
    }
    return {claim.number: claim for claim in invariance_claims(curves, "first", "top", SIDE, symmetric)}


def test_a_network_that_is_invariant_by_construction(eyes):
    assert invariance_verdicts(PooledNet(), eyes)[10].verdict == "supports"


def test_a_network_whose_top_layer_codes_positions(eyes):
    assert invariance_verdicts(PixelCodeNet(), eyes)[10].verdict == "refutes"


class CentreNet(nn.Module):
    """One layer is the mean position and extent of the coloured pixels, the other their exact pattern."""

    def __init__(self, linear_on_top: bool) -> None:
        super().__init__()
        self.first, self.top, self.linear_on_top = nn.Identity(), nn.Identity(), linear_on_top

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = torch.relu(x[:, :2].sum(1) - 0.5)
        axis = torch.linspace(-1, 1, x.shape[-1])
        mass = weight.sum((1, 2)) + 1e-6
        at = [(weight * one).sum((1, 2)) / mass for one in (axis[:, None], axis[None])]
        spread = ((weight * (axis[:, None] - at[0][:, None, None]) ** 2).sum((1, 2)) / mass + 1e-9).sqrt()
        centre, pattern = torch.stack([*at, spread], 1), (weight > 0.1).float().flatten(1)
        lower, upper = (pattern, centre) if self.linear_on_top else (centre, pattern)
        self.first(lower)
        return self.top(upper)[:, :2]


@pytest.mark.parametrize(("linear_on_top", "verdict"), [(True, "supports"), (False, "refutes")])
def test_a_layer_that_is_linear_in_the_position(eyes, linear_on_top, verdict):
    assert invariance_verdicts(CentreNet(linear_on_top), eyes)[11].verdict == verdict


@pytest.mark.parametrize(("radial", "verdict"), [(False, "supports"), (True, "refutes")])
def test_an_output_that_only_rotation_or_only_translation_changes(eyes, radial, verdict):
    assert invariance_verdicts(ArrangementNet(radial), eyes)[12].verdict == verdict


def crosses_and_bars(count: int) -> tuple[torch.Tensor, list[bool]]:
    """Red figures on black: crosses are symmetric under quarter turns, bars are not."""
    images, symmetric = [], []
    for number in range(count):
        image, half = torch.zeros(3, SIDE, SIDE), 2 + number % 3
        middle = SIDE // 2
        image[0, middle - half : middle + half, 8:-8] = 1
        if number % 2 == 0:
            image[0, 8:-8, middle - half : middle + half] = 1
        images.append(image)
        symmetric.append(number % 2 == 0)
    return torch.stack(images), symmetric


class UprightNet(nn.Module):
    """The probability of class 0 is high while the figure is the same as upright: its mass lies on the two axes."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.top = nn.Identity(), nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        middle = x.shape[-1] // 2
        red = torch.relu(self.first(x)[:, 0])
        across = red[:, middle - 4 : middle + 4].sum((1, 2)) / (red.sum((1, 2)) + 1e-6)
        return self.top(torch.stack([12 * across, torch.full_like(across, 5.0)], 1))


def test_a_symmetry_is_seen_where_it_is():
    images, symmetric = crosses_and_bars(16)
    data = PaintedImages(images, [0] * 16, {}, [])
    assert invariance_verdicts(UprightNet(), data, symmetric)[13].verdict == "supports"
    swapped = [not one for one in symmetric]
    assert invariance_verdicts(UprightNet(), data, swapped)[13].verdict == "refutes"


def correspondence_verdict(data: PaintedImages, lower: str, upper: str) -> str:
    masks = []
    for number, inside in enumerate(data.objects):
        own = [data.parts[part][number] for part in ("eyes", "nose")]
        masks.append([*own, *random_regions(inside, [int(mask.sum()) for mask in own], number)])
    net = SignCodeNet()
    signs = sign_changes(net, data.images, masks, ["part", "code"], lambda number: data.images[number] * 0)
    return correspondence_claim(signs, ["eyes", "nose"], lower, upper).verdict


def test_parts_correspond_where_a_layer_answers_to_them():
    data = painted_images(24)
    same = PaintedImages(
        data.images[::2], data.targets[::2], {k: v[::2] for k, v in data.parts.items()}, data.objects[::2]
    )
    assert correspondence_verdict(same, "part", "code") == "supports"
    assert correspondence_verdict(same, "code", "part") in ("refutes", "no effect")


def test_the_images_hold_what_they_promise(eyes, backgrounds):
    for data in (eyes, backgrounds):
        scores = ColourNet()(data.images)
        assert scores.argmax(1).tolist() == data.targets
        assert np.ptp(data.targets) == 1
