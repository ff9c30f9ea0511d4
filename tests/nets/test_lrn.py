"""Contrast normalization against a literal implementation, torch's, and values computed by hand."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from convlens.nets import ContrastNorm, lrn


def literal_lrn(x: Tensor, size: int, alpha: float, beta: float, k: float) -> Tensor:
    """Krizhevsky's sum over neighbouring maps, one value at a time."""
    n, maps, h, w = x.shape
    y = torch.zeros_like(x)
    for image in range(n):
        for i in range(maps):
            for row in range(h):
                for column in range(w):
                    energy = 0.0
                    for j in range(max(0, i - size // 2), min(maps - 1, i + (size - 1) // 2) + 1):
                        energy += float(x[image, j, row, column]) ** 2
                    y[image, i, row, column] = float(x[image, i, row, column]) / (k + alpha / size * energy) ** beta
    return y


def test_a_value_worked_out_by_hand():
    # Maps 1, 2, 4 at one place; size 3, alpha 3, k 2, beta 1: energies 1+4, 1+4+16, 4+16.
    x = torch.tensor([1.0, 2.0, 4.0]).view(1, 3, 1, 1)
    y = lrn(x, size=3, alpha=3.0, beta=1.0, k=2.0).flatten().tolist()
    assert y == pytest.approx([1 / 7, 2 / 23, 4 / 22])


def test_the_usual_exponent_by_hand():
    # k + alpha / size * energy = 1 + 3 / 1 * 5 = 16 and 16 ** 0.75 = 8.
    x = torch.full((1, 1, 1, 1), 5.0**0.5)
    assert lrn(x, size=1, alpha=3.0, beta=0.75, k=1.0).item() == pytest.approx(5**0.5 / 8)
    assert lrn(x, size=1, alpha=3.0, beta=0.5, k=1.0).item() == pytest.approx(5**0.5 / 4)


def test_the_layer_has_the_constants_of_the_authors_code():
    # cuda-convnet divides alpha by the size: 100 / (2 + 1e-4 / 5 * 100 ** 2) ** 0.75 for one map of 100.
    x = torch.full((1, 1, 2, 2), 100.0)
    assert ContrastNorm()(x).flatten().tolist() == pytest.approx([100 / 2.2**0.75] * 4)
    assert "size=5, alpha=0.0001, beta=0.75, k=2.0" in repr(ContrastNorm())


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    maps=st.integers(1, 7),
    size=st.integers(1, 9),
    alpha=st.floats(1e-4, 2),
    beta=st.sampled_from([0.5, 0.75, 1.0, 0.6]),
    k=st.floats(0.5, 3),
)
def test_values_are_the_literal_sums_for_odd_and_even_windows_and_few_maps(seed, maps, size, alpha, beta, k):
    x = torch.randn(2, maps, 2, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * 3
    torch.testing.assert_close(lrn(x, size, alpha, beta, k), literal_lrn(x, size, alpha, beta, k), rtol=1e-12, atol=0)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 8, 9])
@pytest.mark.parametrize("maps", [1, 2, 3, 16, 96])
def test_values_are_torchs_to_one_millionth(size, maps):
    x = torch.randn(2, maps, 5, 6, generator=torch.Generator().manual_seed(maps)) * 50
    expected = F.local_response_norm(x, size, 1e-2, 0.75, 2.0)
    torch.testing.assert_close(lrn(x, size, 1e-2, 0.75, 2.0), expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("beta", [0.75, 0.5, 0.9])
@pytest.mark.parametrize(("size", "maps"), [(1, 3), (2, 3), (3, 4), (4, 3), (5, 3), (5, 7), (8, 3)])
def test_the_gradient_is_the_derivative(size, maps, beta):
    x = torch.randn(2, maps, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(lambda x: lrn(x, size, 0.7, beta, 1.5), x.requires_grad_())


def test_the_gradient_is_torchs():
    x = (torch.randn(2, 9, 4, 4, dtype=torch.float64) * 20).requires_grad_()
    signal = torch.randn(2, 9, 4, 4, dtype=torch.float64)
    ours = torch.autograd.grad(lrn(x), x, signal)[0]
    theirs = torch.autograd.grad(F.local_response_norm(x, 5, 1e-4, 0.75, 2.0), x, signal)[0]
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-14)


def test_the_input_is_left_alone():
    x = torch.randn(1, 6, 3, 3)
    before = x.clone()
    lrn(x)
    assert torch.equal(x, before)
