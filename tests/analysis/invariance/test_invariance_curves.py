import numpy as np
import pytest
import torch
from torch import Tensor

import convlens
from convlens.analysis.invariance.curves import invariance
from convlens.errors import InputError
from convlens.nets import zfnet


def test_distances_equal_a_literal_version():
    torch.manual_seed(0)
    net = zfnet(5, input_size=64, width=0.1, init="he").eval()
    images, values = [torch.rand(3, 64, 64) * 255 for _ in range(3)], np.array([-5.0, 0.0, 8.0])
    ours = invariance(
        net, images, [1, 2, 0], ["conv1", "fc7"], "translation", values, preprocess=lambda x: x - 100, batch_size=2
    )
    net = net.double()
    outputs: dict[str, Tensor] = {}
    for layer in ("conv1", "fc7"):
        net.get_submodule(layer).register_forward_hook(
            lambda m, a, out, layer=layer: outputs.update({layer: out[0].flatten().clone()})
        )
    originals: dict[str, list[Tensor]] = {"conv1": [], "fc7": []}
    with torch.no_grad():
        for i, image in enumerate(images):
            clean = net(image.double()[None] - 100)[0].softmax(0)
            own = dict(outputs)
            for layer in originals:
                originals[layer].append(own[layer])
            assert float(ours.clean_probability[i]) == pytest.approx(float(clean[[1, 2, 0][i]]), abs=1e-5)
            assert int(ours.clean_label[i]) == int(clean.argmax())
            for j, down in enumerate(values.astype(int)):
                moved = torch.zeros(3, 64, 64, dtype=torch.float64)
                for row in range(64):
                    if 0 <= row - down < 64:
                        moved[:, row] = image.double()[:, row - down]
                output = net(moved[None] - 100)[0].softmax(0)
                assert float(ours.probability[i, j]) == pytest.approx(float(output[[1, 2, 0][i]]), abs=1e-5)
                assert int(ours.label[i, j]) == int(output.argmax())
                for layer in originals:
                    x, y = own[layer], outputs[layer]
                    raw, unit = (x - y).norm(), (x / x.norm() - y / y.norm()).norm()
                    got = ours.distance[layer]
                    assert float(got["raw"][i, j]) == pytest.approx(float(raw), rel=1e-4, abs=1e-3)
                    assert float(got["relative"][i, j]) == pytest.approx(float(raw / x.norm()), rel=1e-4, abs=1e-5)
                    assert float(got["unit"][i, j]) == pytest.approx(float(unit), rel=1e-4, abs=1e-5)
    for layer, features in originals.items():
        pairs = [(a - b).square().sum() for i, a in enumerate(features) for j, b in enumerate(features) if i != j]
        assert ours.pair_distance[layer] == pytest.approx(float(torch.stack(pairs).mean().sqrt()), rel=1e-4)


@pytest.mark.parametrize(
    ("images", "targets", "message"),
    [
        ([], [], "0 images with 0 targets"),
        ([torch.zeros(3, 64, 64)], [9], "label 9 is out of range: the network has the classes 0 to 4"),
        ([torch.zeros(3, 64, 64)], [], "1 images with 0 targets: give a target for each"),
        ([torch.zeros(3, 40, 40)], [1], "cannot read images of shape"),
    ],
)
def test_invalid_arguments_are_refused(images, targets, message):
    net = zfnet(5, input_size=64, width=0.1).eval()
    with pytest.raises(InputError, match=message):
        invariance(net, images, targets, ["conv1"], "scale", np.array([1.0, 1.5]))


def test_a_bound_on_the_batch_changes_nothing_and_targets_may_be_of_any_kind():
    torch.manual_seed(0)
    net, images = zfnet(5, input_size=64, width=0.1, init="he").eval(), torch.rand(2, 3, 64, 64)
    values, counts = np.linspace(0, 360, 7), list[int]()
    expected = invariance(net, images, [1, 4], ["conv1"], "rotation", values)
    for targets in (np.array([1, 4]), torch.tensor([1, 4]), [np.uint8(1), torch.tensor(4)]):
        found = invariance(net, images, targets, ["conv1"], "rotation", values, batch_size=3, on_progress=counts.append)
        torch.testing.assert_close(found.probability, expected.probability)
        torch.testing.assert_close(found.distance["conv1"]["raw"], expected.distance["conv1"]["raw"])
    assert counts == [3, 3, 1] * 6


def test_features_of_zero_norm_have_no_relative_distance():
    net = zfnet(5, input_size=64, width=0.1, init="he").eval()
    torch.nn.init.zeros_(net.get_submodule("conv1.filter").weight)
    found = invariance(net, torch.rand(2, 3, 64, 64), [1, 4], ["conv1"], "rotation", np.array([0.0, 90.0]))
    assert found.distance["conv1"]["raw"].eq(0).all()
    assert found.distance["conv1"]["relative"].isnan().all()
    assert found.distance["conv1"]["unit"].eq(0).all()
    assert "probability=[2, 2] " in repr(found)
    assert "tensor(" not in repr(found)


def test_invariance_is_a_verb_of_the_library():
    assert convlens.invariance is invariance
