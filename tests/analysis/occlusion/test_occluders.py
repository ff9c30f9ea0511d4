import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from convlens.analysis.occlusion.occluders import occluder_value
from convlens.errors import InputError


def test_values_of_each_kind():
    torch.manual_seed(0)
    pixels, mean, std = torch.rand(3, 32, 32) * 255, torch.full((3, 32, 32), 100.0), torch.tensor([2.0, 4.0, 8.0])
    image = (pixels - mean) / std[:, None, None]
    grey = occluder_value("grey", image, mean=mean, std=std)
    assert grey.flatten(1)[:, 0].tolist() == [12.0, 6.0, 3.0]
    assert torch.equal(occluder_value(100, image, mean=mean, std=std), torch.zeros(3, 32, 32))
    assert occluder_value("mean", image).flatten(1).std(1).max() == 0
    torch.testing.assert_close(occluder_value("mean", image)[:, 3, 5], image.mean((1, 2)))
    noise = occluder_value("noise", image, seed=3)
    assert torch.equal(noise, occluder_value("noise", image, seed=3))
    torch.testing.assert_close(noise.std((1, 2)), image.std((1, 2)), rtol=0.1, atol=0)
    expected = np.stack([gaussian_filter(plane, 2.0, mode="nearest", truncate=3.0) for plane in image.numpy()])
    np.testing.assert_allclose(occluder_value("blur", image).numpy(), expected, atol=1e-4)
    with pytest.raises(
        InputError, match="occluder 'red' is unknown: give grey, mean, blur, noise, or a grey from 0 to 255"
    ):
        occluder_value("red", image)
