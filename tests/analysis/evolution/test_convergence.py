"""Similarity of states of a training to its last one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convlens.analysis.evolution.convergence import convergence, correlations, epoch_reached, linear_cka, overlaps


def test_the_correlation_of_a_map_is_pearsons():
    rng = np.random.default_rng(0)
    first, last = rng.normal(size=(2, 5, 30))
    expected = [np.corrcoef(a, b)[0, 1] for a, b in zip(first, last, strict=True)]
    assert correlations(first, last) == pytest.approx(expected)
    assert correlations(np.array([[1.0, 2, 3]]), np.array([[2.0, 2, 8]])) == pytest.approx([np.sqrt(3) / 2])


def test_a_constant_map_is_unlike_the_last_state_and_has_none_if_it_is_constant_in_the_end():
    varied, constant = np.array([[1.0, 2, 4]]), np.full((1, 3), 7.0)
    assert correlations(constant, varied).tolist() == [0.0]
    assert np.isnan(correlations(varied, constant)).all()
    assert np.isnan(correlations(constant, constant)).all()


def literal_cka(first: np.ndarray, second: np.ndarray) -> float:
    """HSIC of linear kernels over the roots of their own, entry by entry (Kornblith et al. 2019, equations 3 and 4)."""
    n = len(first)

    def kernel(x: np.ndarray) -> np.ndarray:
        gram = np.array([[sum(a * b for a, b in zip(p, q, strict=True)) for q in x] for p in x])
        centre = np.eye(n) - np.ones((n, n)) / n
        return centre @ gram @ centre

    def hsic(k: np.ndarray, m: np.ndarray) -> float:
        return sum(k[i, j] * m[j, i] for i in range(n) for j in range(n)) / (n - 1) ** 2

    k, m = kernel(first), kernel(second)
    return hsic(k, m) / np.sqrt(hsic(k, k) * hsic(m, m))


def test_linear_cka_is_that_of_its_definition():
    rng = np.random.default_rng(1)
    first = rng.normal(size=(12, 3))
    for second in (rng.normal(size=(12, 5)), first + 0.3 * rng.normal(size=(12, 3)), first[:, :1]):
        assert linear_cka(first, second) == pytest.approx(literal_cka(first, second))


def test_linear_cka_by_hand():
    # Centred columns (-1, 0, 1) and (1, -2, 1) are orthogonal, their sum has the squares 2 and 6 of them.
    line, bend = np.array([[1.0], [2], [3]]), np.array([[1.0], [-2], [1]])
    assert linear_cka(line, bend) == pytest.approx(0.0)
    assert linear_cka(line, line + bend) == pytest.approx(2 / 8)
    assert linear_cka(line, np.ones((3, 2))) == 0.0


def test_linear_cka_does_not_see_rotations_and_factors():
    rng = np.random.default_rng(2)
    values = rng.normal(size=(40, 6))
    rotation = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    assert linear_cka(values, 3 * values @ rotation + 5) == pytest.approx(1.0)
    assert linear_cka(values, values * [1, 1, 1, 1, 1, 20]) < 0.9


def test_the_shared_strongest_images_are_counted_by_the_last_list():
    tops = np.array([[4, 1, 9], [4, 1, 9], [7, -1, -1], [1, 2, 3]])
    last = np.array([[9, 8, 4], [1, -1, -1], [-1, -1, -1], [5, 6, 7]])
    assert overlaps(tops, last)[[0, 1, 3]] == pytest.approx([2 / 3, 1.0, 0.0])  # -1 in both is no image
    assert np.isnan(overlaps(tops, last)[2])


@pytest.mark.parametrize(
    ("similarity", "expected"),
    [
        ([0.0, 0.5, 0.9, 1.0, 1.0], 4.5),  # half of the way from 0.9 to 1, between epochs 4 and 5
        ([0.0, 0.95, 0.99, 1.0, 1.0], 1.0),  # reached at a record
        ([0.97, 0.99, 1.0, 1.0, 1.0], 0.0),  # never below
        ([0.0, 0.99, 0.75, 1.0, 1.0], 4.8),  # left again: the last time counts
        ([0.0, 0.0, 0.0, 0.0, 1.0], 5.0 + 0.95 * 3),
        ([-1.0, 0.95, 1.0, 1.0, 1.0], 1.0),
    ],
)
def test_the_epoch_at_which_a_curve_arrives(similarity, expected):
    assert epoch_reached(np.array([0, 1, 4, 5, 8]), np.array(similarity)) == pytest.approx(expected)


def test_a_curve_without_values_arrives_nowhere():
    assert np.isnan(epoch_reached(np.arange(3), np.full(3, np.nan)))


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=6))
def test_a_curve_arrives_within_its_epochs_and_stays(curve):
    values = np.array([*curve, 1.0])
    epochs = np.cumsum(np.arange(1, len(values) + 1))
    reached = epoch_reached(epochs, values)
    assert epochs[0] <= reached <= epochs[-1]
    assert (values[epochs > reached + 1e-9] >= 0.95).all()
    assert reached == epochs[0] or (values[epochs < reached - 1e-9][-1:] < 0.95).all()


def test_a_layer_is_compared_with_its_last_record():
    rng = np.random.default_rng(3)
    start, end = rng.normal(size=(2, 4, 50))
    end[3] = 0.0  # silent in the end
    states = [((1 - share) * start + share * end).astype(np.float16) for share in (0.0, 0.5, 1.0)]
    tops = [None, np.array([[1, 2], [3, 4], [5, 6], [7, 8]]), np.array([[1, 9], [3, 4], [-1, -1], [-1, -1]])]
    found = convergence([0, 2, 3], states, tops)
    assert found.epochs.tolist() == [0, 2, 3]
    assert found.correlation[:2, 2] == pytest.approx([1.0, 1.0])
    assert np.isnan(found.correlation[2:]).all()  # no image activates map 2 in the end, and map 3 is constant
    half = (start[0] + end[0]) / 2
    assert found.correlation[0, 1] == pytest.approx(np.corrcoef(half, end[0])[0, 1], abs=2e-3)
    assert found.cka[2] == pytest.approx(1.0)
    assert found.cka[0] == pytest.approx(literal_cka(start.T, end.T), abs=2e-3)
    assert found.overlap[:2, 1:].tolist() == [[0.5, 1.0], [1.0, 1.0]]
    assert np.isnan(found.overlap[:, 0]).all()
    assert found.moved.tolist() == [True, True, False, False]
    assert found.reached[0] == pytest.approx(epoch_reached(np.array([0, 2, 3]), found.correlation[0]))


def test_a_map_that_was_constant_meanwhile_has_not_arrived_there():
    varied = np.array([[0.0, 1, 3, 1]])
    found = convergence([0, 1, 2], [varied, np.zeros((1, 4)), varied], [None, None, None])
    assert found.correlation[0] == pytest.approx([1.0, 0.0, 1.0])
    assert found.reached[0] == pytest.approx(1.95)
