import numpy as np
import pytest
import torch
from PIL import Image

from convlens.analysis.invariance.curves import Invariance
from convlens.analysis.invariance.result import draw_images, draw_means, invariance_result, save_curves


def curves_of(kind: str, values: list[float]) -> Invariance:
    rows = torch.arange(2.0 * len(values)).reshape(2, len(values))
    distance = {
        layer: {"raw": rows * factor, "relative": rows * factor / 10, "unit": rows * factor / 100}
        for layer, factor in (("a", 1), ("b", 2), ("c", 3))
    }
    labels = torch.zeros(2, len(values), dtype=torch.int64)
    labels[0, 1:] = 1
    return Invariance(
        kind, np.array(values), distance, {"a": 1.0, "b": 2.0, "c": 3.0}, rows / 10, labels, torch.ones(2), labels[:, 0]
    )


@pytest.fixture
def by_kind() -> dict[str, Invariance]:
    return {"scale": curves_of("scale", [1.0, 1.5, 2.0]), "translation": curves_of("translation", [-3.0, 0.0])}


def test_numbers_and_table_by_hand(by_kind):
    result = invariance_result(by_kind, distance="unit", border="reflect", side=20, symmetric=None, figures=[])
    numbers = [(number.name, number.value, number.unit) for number in result.numbers]
    assert numbers[0] == ("label changes, scale", pytest.approx(100 * 2 / 6), "%")
    assert numbers[1] == ("label changes, translation", 25.0, "%")
    (table,) = result.tables
    assert table.columns == ["layer", "scale", "translation"]
    means = [[row[0], *np.round(row[1:], 6)] for row in table.rows]
    assert means == [["a", 0.25, 0.15], ["b", 0.5, 0.3], ["c", 0.75, 0.45]]
    assert "Pixels from outside the image: reflect." in result.text
    assert "they are drawn unit" in result.text
    assert (result.title, result.reproduces) == ("Invariance to translation, scale and rotation", "Fig 5")
    assert {claim.number for claim in result.claims} == {10, 11}


def test_arrays_are_named_by_distance_and_layer(by_kind, tmp_path):
    save_curves(by_kind["scale"], ["x", "y"], [3, 4], tmp_path / "scale.npz")
    with np.load(tmp_path / "scale.npz") as arrays:
        assert arrays["relative/b"].tolist() == by_kind["scale"].distance["b"]["relative"].tolist()
        assert float(arrays["pair_distance/c"]) == 3.0
        assert arrays["values"].tolist() == [1.0, 1.5, 2.0]
        assert (arrays["image_ids"].tolist(), arrays["targets"].tolist()) == (["x", "y"], [3, 4])


def test_figures_of_means_and_of_single_images(by_kind, tmp_path):
    figures = draw_means(by_kind, "relative", "net", tmp_path)
    sources = {kind: ([torch.rand(3, 20, 20) * 255], "black") for kind in by_kind}
    figures.append(draw_images(by_kind, sources, ["cat"], "relative", 20, "net", tmp_path))
    assert [figure.file for figure in figures] == ["layers.png", "output.png", "images.png"]
    assert figures[0].caption == "distance by layer (relative), mean of all images"
    for figure in figures:
        with Image.open(tmp_path / figure.file) as picture:
            assert min(picture.size) > 100
