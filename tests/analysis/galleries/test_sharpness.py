import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from convlens.analysis.galleries.sharpness import edge_coherence, gini


def literal_gini(values: list[float]) -> float:
    """Mean absolute difference of all pairs over twice the mean."""
    n = len(values)
    return sum(abs(a - b) for a in values for b in values) / (2 * n * sum(values))


def test_gini_by_hand():
    # Of magnitudes 0, 0, 0, 4 three quarters would have to change hands.
    found = gini(torch.tensor([[[[0.0, 0.0], [0.0, -4.0]]], [[[1.0, -1.0], [1.0, 1.0]]]]))
    assert found.tolist() == pytest.approx([0.75, 0.0])


@given(st.lists(st.floats(-9, 9).filter(lambda v: abs(v) > 1e-3), min_size=2, max_size=12))
def test_gini_is_the_literal_one(values):
    found = gini(torch.tensor(values, dtype=torch.float64)[None, None, None])
    assert found.item() == pytest.approx(literal_gini([abs(v) for v in values]), abs=1e-9)


def test_gini_of_nothing_is_no_number():
    assert math.isnan(gini(torch.zeros(1, 1, 2, 2)).item())


def literal_coherence(picture: torch.Tensor) -> float:
    """Loops over places and neighbourhoods, eigenvalues by torch.linalg."""
    channels, height, width = picture.shape
    gradient = torch.zeros(height - 2, width - 2, 2, 2, dtype=torch.float64)
    for c in range(channels):
        for y in range(1, height - 1):
            for x in range(1, width - 1):
                dy = (picture[c, y + 1, x] - picture[c, y - 1, x]) / 2
                dx = (picture[c, y, x + 1] - picture[c, y, x - 1]) / 2
                d = torch.tensor([dy, dx], dtype=torch.float64)
                gradient[y - 1, x - 1] += torch.outer(d, d)
    above = below = 0.0
    for y in range(height - 2):
        for x in range(width - 2):
            near = gradient[max(0, y - 2) : y + 3, max(0, x - 2) : x + 3].sum((0, 1)) / 25
            low, high = torch.linalg.eigvalsh(near).tolist()
            above, below = above + high - low, below + high + low
    return above / below


def test_coherence_is_the_literal_one():
    picture = torch.randn(2, 3, 9, 8, generator=torch.Generator().manual_seed(0))
    assert edge_coherence(picture).tolist() == pytest.approx([literal_coherence(p) for p in picture], rel=1e-5)


def test_straight_edges_are_coherent_and_noise_is_not():
    ramp = torch.arange(32.0).expand(1, 1, 32, 32)
    noise = torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    assert edge_coherence(ramp).item() == pytest.approx(1)
    assert edge_coherence(ramp.transpose(2, 3)).item() == pytest.approx(1)
    assert edge_coherence(noise).item() < 0.35
    assert math.isnan(edge_coherence(torch.ones(1, 1, 8, 8)).item())
