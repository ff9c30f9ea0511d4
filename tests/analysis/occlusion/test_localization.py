import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from convlens.analysis.occlusion.localization import box_sums, localize


def test_localization_equals_a_literal_version(random_maps):
    maps, object_mask = random_maps(1), torch.zeros(20, 20, dtype=torch.bool)
    object_mask[4:11, 6:13] = True
    found = localize(maps, object_mask)
    inside, outside, drops, flags = [], [], [], []
    for i, top in enumerate(maps.tops.tolist()):
        for j, left in enumerate(maps.lefts.tolist()):
            drop = 0.9 - float(maps.probability[i, j])
            flag = bool(object_mask[top + 2, left + 2])
            drops.append(drop)
            flags.append(flag)
            if flag:
                inside.append(drop)
            if not object_mask[top : top + 5, left : left + 5].any():
                outside.append(drop)
    assert found.drop_inside == pytest.approx(np.mean(inside))
    assert found.drop_outside == pytest.approx(np.mean(outside))
    assert found.hit == flags[int(np.argmax(drops))]
    assert found.chance == pytest.approx(np.mean(flags))
    assert found.auc == pytest.approx(roc_auc_score(flags, drops))


def test_an_object_that_is_everywhere_or_nowhere_has_no_localization(random_maps):
    assert localize(random_maps(1), torch.ones(20, 20, dtype=torch.bool)) is None
    assert localize(random_maps(1), torch.zeros(20, 20, dtype=torch.bool)) is None


def test_box_sums_are_sums_over_boxes():
    values = torch.rand(9, 12)
    tops, lefts = torch.tensor([0, 4]), torch.tensor([0, 3, 7])
    found = box_sums(values, tops, lefts, 5)
    for i, top in enumerate(tops):
        for j, left in enumerate(lefts):
            assert float(found[i, j]) == pytest.approx(float(values[top : top + 5, left : left + 5].sum()), rel=1e-6)
