from collections.abc import Callable

import pytest
import torch

from convlens.analysis.occlusion.occlude import OcclusionMaps, positions


@pytest.fixture
def random_maps() -> Callable[[int], OcclusionMaps]:
    """Occlusion maps of random values, by seed: 6 x 6 positions of an occluder of 5 px in an image of 20 px."""

    def build(seed: int) -> OcclusionMaps:
        rng, corners = torch.Generator().manual_seed(seed), torch.tensor(positions(20, 5, 3))
        probability, activation = torch.rand(2, len(corners), len(corners), generator=rng)
        return OcclusionMaps(
            corners,
            corners,
            5,
            target=0,
            probability=probability,
            activation=activation * 3,
            map=0,
            clean_probability=0.9,
            clean_label=0,
            clean_activation=4.0,
        )

    return build
