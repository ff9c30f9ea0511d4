import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from convlens.analysis.occlusion.faithfulness import map_projections
from convlens.analysis.occlusion.localization import localize
from convlens.analysis.occlusion.occlude import occlude
from convlens.analysis.occlusion.result import (
    OcclusionRecord,
    figure_row,
    label_changes,
    localize_object,
    occlusion_result,
    save_maps,
    selected_projections,
)
from convlens.errors import InputError
from convlens.nets import zfnet


def to_display(images: torch.Tensor) -> torch.Tensor:
    return (images * 10).to(torch.uint8)


@pytest.fixture
def record(random_maps) -> OcclusionRecord:
    maps = random_maps(1)
    labels = torch.zeros_like(maps.probability, dtype=torch.int64)
    labels[0, :3] = 4
    probability = maps.probability.clone()
    probability[1, 4] = -1
    occluder = torch.arange(400.0).reshape(20, 20).expand(3, 20, 20) / 20
    maps = replace(maps, label=labels, probability=probability)
    return OcclusionRecord(7, "seven", torch.ones(3, 20, 20), occluder, maps, None, None, (1, 2, 3, 4))


def test_the_row_shows_the_position_of_the_lowest_probability(record):
    row = figure_row(record, "conv5", [], to_display, "class {}".format)
    assert row.occluder == (3, 12, 5)  # row 1 and column 4 of positions 0, 3, ..., 12, 15
    shown = (np.arange(400).reshape(20, 20)[3:8, 12:17] // 2).mean()
    assert row.color == (round(shown),) * 3
    assert row.centers == (2.0, 17.0, 2.0, 17.0)
    assert (row.heading, row.map_name, row.object_box) == ("class 0", "conv5, map 0", (1, 2, 3, 4))
    assert row.label_names == {0: "class 0", 4: "class 4"}
    assert (row.image == 10).all()
    with pytest.raises(InputError, match="needs occlusion maps of a target and of a layer"):
        figure_row(replace(record, maps=replace(record.maps, activation=None)), "conv5", [], to_display, str)


def test_label_changes_by_hand(record):
    other = replace(record, maps=replace(record.maps, clean_label=4))
    assert label_changes([record]) == pytest.approx(100 * 3 / 36)
    assert label_changes([record, other]) == pytest.approx(50)


def test_the_box_of_an_object_is_that_of_its_mask(random_maps):
    maps, mask = random_maps(1), torch.zeros(20, 20, dtype=torch.bool)
    assert localize_object(maps, None) == (None, None)
    assert localize_object(maps, mask) == (None, None)
    mask[4:11, 6] = True
    mask[5, 6:13] = True
    assert localize_object(maps, mask) == (localize(maps, mask), (4, 6, 11, 13))


def test_the_control_is_another_map_and_networks_without_relu_have_no_faithfulness(caplog):
    torch.manual_seed(0)
    net, image = zfnet(5, input_size=64, width=0.2, init="he").eval(), torch.randn(3, 64, 64)
    maps = occlude(net, image, 1, size=20, stride=11, layer="conv2")
    number, count = maps.map, net.get_submodule("conv2.filter").out_channels
    found = selected_projections(net, image, maps, "conv2", count, seed=3)
    other = (number + 1 + int(np.random.default_rng(3).integers(count - 1))) % count
    assert other != number
    expected = map_projections(net, image, "conv2", number, other)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    linear = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(2 * 6 * 6, 2))
    image = torch.randn(3, 8, 8)
    maps = occlude(linear, image, 1, size=2, stride=2, layer="0")
    with caplog.at_level(logging.INFO):
        assert selected_projections(linear, image, maps, "0", 2, seed=0) is None
    assert "Sequential has no projections, so claims 1, 2, 3 and 18 are left out" in caplog.text


def test_arrays_and_numbers_of_several_images(record, tmp_path, random_maps):
    mask = torch.zeros(20, 20, dtype=torch.bool)
    mask[5:9, 5:9] = True
    maps = replace(random_maps(2), label=record.maps.label)
    second = replace(record, index=9, image_id="nine", maps=maps, localization=localize(maps, mask))
    save_maps([record, second], "conv5", tmp_path / "maps.npz")
    with np.load(tmp_path / "maps.npz") as arrays:
        assert arrays["images"].tolist() == [7, 9]
        assert arrays["image_ids"].tolist() == ["seven", "nine"]
        assert arrays["tops"].tolist() == [0, 3, 6, 9, 12, 15]
        assert np.array_equal(arrays["activation"][1], maps.activation.numpy())
        assert arrays["clean_activation"].tolist() == [4.0, 4.0]
    result = occlusion_result([record, second], "net", "conv5", 3, has_figure=True)
    hits = 100.0 * second.localization.hit
    assert [(number.name, number.value) for number in result.numbers] == [
        ("images", 2),
        ("positions where the label changes", pytest.approx(100 * 3 / 36)),
        ("pointing game: largest drop is on the object", hits),
    ]
    assert [claim.number for claim in result.claims] == [17]
    assert (result.title, result.reproduces, result.figures[0].file) == (
        "Occlusion sensitivity",
        "Fig 7",
        "occlusion.png",
    )
    assert "An occluder of 5 px slides over the image with a stride of 3 px" in result.text
