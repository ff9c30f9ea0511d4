import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor, nn
from torch.nn import functional as F

from convlens.analysis.occlusion.faithfulness import (
    EDGES,
    OTHER,
    faithfulness,
    faithfulness_claims,
    map_projections,
    peak_unit,
    projection_energies,
)
from convlens.analysis.occlusion.localization import box_sums, localization_claim, localize
from convlens.analysis.occlusion.occlude import OcclusionMaps, occlude
from convlens.deconv import project
from convlens.nets import zfnet


def test_faithfulness_equals_scipy(random_maps):
    maps = random_maps(2)
    energies = {name: torch.rand(20, 20) for name in ("deconvnet", "gradient", OTHER, EDGES)}
    found = faithfulness(maps, energies)
    drop = 1 - maps.activation.double().flatten().numpy() / 4.0
    inside = {name: box_sums(e, maps.tops, maps.lefts, 5).flatten().numpy() for name, e in energies.items()}
    for name, energy in inside.items():
        assert found.correlation[name] == pytest.approx(stats.spearmanr(energy, drop).statistic, abs=1e-6)
    for name, energy in inside.items():
        order = np.argsort(-energy)
        contrast = drop[order[: len(order) // 10]].mean() - drop[order[len(order) // 2 :]].mean()
        assert found.drop_contrast[name] == pytest.approx(contrast)
    expected = stats.pearsonr(maps.activation.flatten(), maps.probability.flatten()).statistic
    assert found.agreement == pytest.approx(expected, abs=1e-6)


def test_a_map_that_is_zero_or_never_changes_has_no_faithfulness(random_maps):
    maps = random_maps(2)
    zero = OcclusionMaps(maps.tops, maps.lefts, 5, activation=maps.activation, clean_activation=0.0)
    constant = OcclusionMaps(maps.tops, maps.lefts, 5, activation=maps.activation * 0 + 4, clean_activation=4.0)
    energies = {"deconvnet": torch.rand(20, 20)}
    assert faithfulness(zero, energies) is None
    assert faithfulness(constant, energies) is None


def test_energies_are_those_of_projections():
    torch.manual_seed(0)
    net, image = zfnet(5, input_size=64, width=0.2, init="he").eval(), torch.randn(3, 64, 64)
    unit = peak_unit(net, image, "conv2", 4)
    found = projection_energies(map_projections(net, image, "conv2", 4, 7), image)
    for rule in ("deconvnet", "gradient", "guided"):
        expected = project(net, image[None], "conv2", [unit], rule=rule)[0].abs().sum(0)
        torch.testing.assert_close(found[rule], expected)
    other = project(net, image[None], "conv2", [(0, 7, *unit[2:])], signal="one")[0].abs().sum(0)
    torch.testing.assert_close(found[OTHER], other)
    brightness = image.mean(0)
    assert float(found[EDGES][5, 6]) == pytest.approx(
        float((brightness[6, 6] - brightness[5, 6]).abs() + (brightness[5, 7] - brightness[5, 6]).abs()), rel=1e-5
    )


class Bright(nn.Module):
    """A network whose first logit depends on the centre of the image only."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(1, 2, 3, padding=1, bias=False)
        nn.init.constant_(self.a.weight, 0.1)

    def forward(self, x: Tensor) -> Tensor:
        maps = F.relu(self.a(x))
        return torch.stack([maps[:, 0, 8:16, 8:16].mean((1, 2)) * 5, maps[:, 0, 0, 0] * 0 + 1], 1)


def claims_of(count: int):
    net = Bright()
    object_mask = torch.zeros(24, 24, dtype=torch.bool)
    object_mask[8:16, 8:16] = True
    local, faithful = [], []
    for seed in range(count):
        image = torch.rand(1, 24, 24, generator=torch.Generator().manual_seed(seed)) * 0.3
        image[:, 8:16, 8:16] += 1
        maps = occlude(net, image, 0, size=6, stride=2, layer="a")
        local.append(localize(maps, object_mask))
        energies = {"deconvnet": image[0] ** 2, OTHER: torch.rand(24, 24), EDGES: torch.rand(24, 24)}
        faithful.append(faithfulness(maps, energies))
    return localization_claim(local, ""), faithfulness_claims(faithful, "a")


def test_a_network_that_uses_the_object_supports_the_claims_with_enough_images():
    seventeen, others = claims_of(8)
    assert (seventeen.number, seventeen.verdict) == (17, "supports")
    assert [(claim.number, claim.verdict) for claim in others] == [(1, "supports"), (2, "supports"), (18, "refutes")]
    assert seventeen.details["AUC of the drop against the object"].startswith("1.000")
    few, others = claims_of(3)
    assert few.verdict == "can't tell"
    assert {claim.verdict for claim in others} == {"can't tell"}
