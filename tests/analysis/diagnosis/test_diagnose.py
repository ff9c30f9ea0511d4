import numpy as np
import pytest
import torch
from torch import nn

import convlens
from convlens.analysis.diagnosis.diagnose import diagnose
from convlens.analysis.diagnosis.shift_error import shift_errors
from convlens.analysis.diagnosis.spectra import grid_peak
from convlens.errors import InputError
from convlens.nets import zfnet
from convlens.ops.receptive_field import ReceptiveField

# ---- shifts -----------------------------------------------------------------------------------------------------


class Sampled(nn.Module):
    """Every so many pixels of the image, smoothed or not."""

    def __init__(self, stride: int, smooth: bool) -> None:
        super().__init__()
        size = 4 * stride + 1 if smooth else 1
        self.a = nn.Conv2d(1, 1, size, stride, size // 2, bias=False)
        ramp = torch.minimum(torch.arange(1.0, size + 1), torch.arange(size, 0.0, -1)) if smooth else torch.ones(1)
        self.a.weight.data = (ramp[:, None] * ramp)[None, None] / ramp.sum() ** 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.a(x)


def error(stride: int, smooth: bool, images: torch.Tensor, shifts=(1, 2, 3)) -> np.ndarray:
    net = Sampled(stride, smooth)
    size = net.a.kernel_size[0]
    field = ReceptiveField((size, size), (stride, stride), (-(size // 2), -(size // 2)))
    return shift_errors(net, list(images), 32, {"a": field}, shifts=shifts)["a"].error


def test_a_layer_at_stride_1_moves_with_the_image():
    torch.manual_seed(0)
    assert error(1, False, torch.rand(3, 1, 40, 40)).max() < 1e-6


def test_a_shift_by_the_stride_is_a_shift_by_a_place():
    torch.manual_seed(0)
    assert error(2, False, torch.rand(3, 1, 40, 40), shifts=(2, 4)).max() < 1e-6


def test_coarse_sampling_of_noise_changes_more_than_the_stride_explains_and_smoothing_cures_it():
    torch.manual_seed(0)
    noise = torch.rand(6, 1, 40, 40)
    assert error(4, False, noise).mean() > 0.7
    assert error(4, True, noise).mean() < 0.5 * error(4, False, noise).mean()


def test_images_too_small_to_move_are_refused():
    field = ReceptiveField((1, 1), (1, 1), (0, 0))
    with pytest.raises(InputError, match="images of 33 px leave no room to shift a crop of 32 px"):
        shift_errors(Sampled(1, False), [torch.zeros(1, 33, 33)], 32, {"a": field})


# ---- the whole --------------------------------------------------------------------------------------------------


def test_a_network_is_diagnosed():
    torch.manual_seed(0)
    net = zfnet(5, input_size=64, width=0.2, init="he").eval()
    with torch.no_grad():
        weight = net.get_submodule("conv1.filter").weight
        weight[0] *= 30
        weight[1] = 0
    images = torch.randn(6, 3, 64, 64)
    larger = [torch.rand(3, 74, 74) for _ in range(3)]
    found = diagnose(net, images, larger=larger, names=("conv1", "conv2"), preprocess=lambda x: x * 50)
    assert (found.layer, found.kernel, found.stride, found.second) == ("conv1", 7, 2, "conv2")
    assert found.health.spread > 20
    assert torch.equal(found.filters, weight)
    assert found.projections.shape[1:] == (3, 27, 27)  # the receptive field of the second layer
    assert 0 < len(found.projections) <= 64
    assert found.peak == grid_peak(found.projections, 2)
    assert set(found.shifts) == {"conv1", "conv2"}
    assert found.shifts["conv1"].stride == 2
    assert len(repr(found)) < 800
    assert "FilterHealth(rms=[" in repr(found)
    said = [finding.change for finding in found.findings]
    assert said[0].startswith("renormalise filters whose RMS exceeds 0.1")
    assert convlens.diagnose is diagnose
    with pytest.raises(InputError, match="Sequential has 1 convolutions: a diagnosis needs two"):
        diagnose(nn.Sequential(nn.Conv2d(3, 2, 3)), images)
    with pytest.raises(InputError, match="at least one image"):
        diagnose(net, images[:0])
