import numpy as np
import pytest
import torch
from torch import Tensor

import convlens
from convlens.analysis.correspondence.claims import correspondence_claim, delta_of_five, delta_ratios, mask_distances
from convlens.analysis.correspondence.delta import (
    NONZERO,
    THREE_VALUED,
    consistency,
    correspondence,
    delta,
    deltas,
    hamming,
    sign_changes,
)
from convlens.analysis.correspondence.random_regions import random_regions
from convlens.errors import InputError
from convlens.nets import zfnet
from convlens.ops.layer_access import OUTPUT


def signs_of(*rows: list[int]) -> Tensor:
    return torch.tensor(rows, dtype=torch.int8)


def test_distances_by_hand():
    found = hamming(signs_of([1, 0, -1, 0]), signs_of([1, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0]))
    # They differ in 1, 3 and 2 of four dimensions; in 2, 3 and 2 of them either is not zero.
    assert found[THREE_VALUED][0].tolist() == [0.25, 0.75, 0.5]
    assert found[NONZERO][0].tolist() == [0.5, 1.0, 1.0]
    assert np.isnan(hamming(signs_of([0, 0]), signs_of([0, 0]))[NONZERO]).all()


def test_delta_is_the_papers_sum_as_a_mean():
    torch.manual_seed(0)
    signs = torch.randint(-1, 2, (5, 40)).to(torch.int8)
    total, pairs = 0.0, 0
    for i in range(5):
        for j in range(5):
            if i != j:
                total += sum(int(a) != int(b) for a, b in zip(signs[i], signs[j], strict=True)) / 40
                pairs += 1
    assert delta(hamming(signs, signs)[THREE_VALUED]) == pytest.approx(total / pairs)
    # An image that is drawn twice is not compared with itself.
    distances = hamming(signs, signs)[THREE_VALUED]
    twice = np.array([[2.0, 0, 0, 1, 0], [1.0, 0, 0, 0, 0], [1.0, 1, 1, 1, 1]])
    found = deltas(distances, twice)
    assert found[0] == pytest.approx((distances[0, 3] + distances[3, 0]) / 2)
    assert np.isnan(found[1])
    assert found[2] == pytest.approx(delta(distances))


def test_signs_are_those_of_whole_images():
    torch.manual_seed(0)
    net, images = zfnet(5, input_size=64, width=0.2, init="he").eval(), [torch.randn(3, 64, 64) for _ in range(3)]
    masks = []
    for number in range(3):
        disc = ((torch.arange(64)[:, None] - 20) ** 2 + (torch.arange(64)[None] - 30) ** 2) < 80 + 10 * number
        corner = torch.zeros(64, 64, dtype=torch.bool)
        corner[:9, 50:] = True
        masks.append([disc, corner])
    ours = sign_changes(net, images, masks, ["conv5", OUTPUT], lambda number: torch.full((3, 64, 64), 0.5 * number))
    kept: list[Tensor] = []
    net.get_submodule("conv5").register_forward_hook(lambda *call: kept.append(call[2].flatten(1).clone()))
    for i, image in enumerate(images):
        for j, mask in enumerate(masks[i]):
            covered = torch.where(mask, torch.tensor(0.5 * i), image)
            with torch.no_grad():
                outputs = net(torch.stack([image, covered]))
            maps = kept.pop()
            for layer, both in (("conv5", maps), (OUTPUT, outputs)):
                change = both[0] - both[1]
                # Where the change is no rounding, its sign is right; where both are zero, so is the sign.
                sure = change.abs() > 1e-5 * both.abs().max()
                assert torch.equal(ours[layer][i, j][sure].float(), change[sure].sign())
                still = (both == 0).all(0)
                assert (ours[layer][i, j][still] == 0).all()


def test_random_places_are_discs_of_that_area_in_the_object():
    inside = torch.zeros(30, 30, dtype=torch.bool)
    inside[:3, :3] = True
    masks = random_regions(inside, [9, 50, 1], seed=1)
    assert [int(mask.sum()) for mask in masks] == [9, 50, 1]
    assert inside[masks[2]].all()
    assert all(torch.equal(a, b) for a, b in zip(masks, random_regions(inside, [9, 50, 1], seed=1), strict=True))
    with pytest.raises(InputError, match="the object's mask is empty"):
        random_regions(torch.zeros(4, 4, dtype=torch.bool), [3], seed=0)


def changes(count: int, alike: float, seed: int, masks: int = 2, size: int = 300) -> Tensor:
    """For each mask signs that agree with one pattern in that share of the dimensions."""
    rng = np.random.default_rng(seed)
    pattern = rng.integers(-1, 2, (masks, size))
    own = rng.integers(-1, 2, (count, masks, size))
    return torch.from_numpy(np.where(rng.random((count, masks, size)) < alike, pattern, own)).to(torch.int8)


def test_random_places_are_inside_where_they_fit_and_nothing_is_made_of_nothing():
    inside = torch.zeros(60, 60, dtype=torch.bool)
    inside[10:40, 15:50] = True
    for seed in range(20):
        (mask,) = random_regions(inside, [100], seed=seed)
        assert int(mask.sum()) == 100
        assert not (mask & ~inside).any()
    nothing = torch.zeros(6, 30, dtype=torch.int8)
    assert np.isnan(consistency(nothing, nothing, NONZERO).p)


def test_a_part_that_does_the_same_is_told_from_random_places():
    part, random = changes(10, 0.8, 0)[:, 0], changes(10, 0.0, 1)[:, 0]
    found = consistency(part, random, THREE_VALUED)
    assert found.delta < 0.4
    assert found.effect > 3
    assert found.p < 0.01
    nothing = consistency(changes(10, 0.0, 2)[:, 0], random, THREE_VALUED)
    assert nothing.p > 0.02
    assert abs(nothing.effect) < 1


def test_effect_is_cohens():
    part, random = changes(6, 0.5, 3)[:, 0], changes(6, 0.1, 4)[:, 0]
    own, other = (
        np.array([one[THREE_VALUED][i, j] for i in range(6) for j in range(6) if i != j])
        for one in (hamming(part, part), hamming(random, random))
    )
    expected = (other.mean() - own.mean()) / np.sqrt((own.var() + other.var()) / 2)
    assert consistency(part, random, THREE_VALUED).effect == pytest.approx(expected)


def test_the_claim_needs_a_lower_layer_that_corresponds_more():
    lower = torch.cat([changes(12, 0.7, 5), changes(12, 0.0, 6)], 1)
    upper = torch.cat([changes(12, 0.2, 7), changes(12, 0.0, 8)], 1)
    parts = ["eye", "nose"]
    claim = correspondence_claim({"a": lower, "b": upper}, parts, "a", "b")
    assert (claim.number, claim.verdict, claim.about) == (19, "supports", "a and b")
    assert correspondence_claim({"a": upper, "b": lower}, parts, "a", "b").verdict == "refutes"
    few = {"a": lower[:5], "b": upper[:5]}
    assert correspondence_claim(few, parts, "a", "b").verdict == "can't tell"
    tables = mask_distances(lower, THREE_VALUED)
    own, other = (np.mean([delta(one) for one in half]) for half in (tables[:2], tables[2:]))
    assert delta_ratios(tables, 2, np.ones((1, 12))) == pytest.approx([other / own])
    means = delta_of_five(tables, draws=300)
    assert [mean for mean, _ in means] == pytest.approx([delta(one) for one in tables], abs=0.01)


def test_bad_input_is_said():
    net, image = zfnet(5, input_size=64, width=0.1).eval(), torch.zeros(3, 64, 64)
    mask = torch.zeros(64, 64, dtype=torch.bool)
    with pytest.raises(InputError, match="1 image: correspondence compares at least two"):
        sign_changes(net, [image], [[mask]], ["conv5"], lambda number: image)
    with pytest.raises(InputError, match="a mask of image 0 is empty"):
        sign_changes(net, [image] * 2, [[mask]] * 2, ["conv5"], lambda number: image)


def test_it_is_a_verb_of_the_library():
    assert convlens.correspondence is correspondence
    torch.manual_seed(0)
    net, images = zfnet(5, input_size=64, width=0.1, init="he").eval(), [torch.randn(3, 64, 64) for _ in range(3)]
    eye = torch.zeros(64, 64, dtype=torch.bool)
    eye[10:18, 20:28] = True
    whole = [torch.ones(64, 64, dtype=torch.bool)] * 3
    found = correspondence(net, images, {"eye": [eye] * 3}, whole, ["conv5", OUTPUT])
    assert set(found) == {"conv5", OUTPUT}
    assert 0 < found["conv5"]["eye"].delta < 1
