import torch
from torch import nn

from convlens.ops.randomize import randomize_weights


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6), nn.ReLU()).eval()


def test_weights_are_the_same_numbers_in_another_order():
    net, images = network(), torch.randn(8, 3, 9, 9)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    other = randomize_weights(net, images)
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    assert not other.training
    for name in ("0.weight", "2.weight"):
        own, shuffled = before[name].flatten(), other.state_dict()[name].flatten()
        assert not torch.equal(own, shuffled)
        assert torch.equal(own.sort().values, shuffled.sort().values)
    assert torch.equal(other[0].bias, net[0].bias)
    # The batch norm has the statistics of its inputs in the randomized network.
    with torch.no_grad():
        inputs = other[2](other[1](other[0](images)))
    torch.testing.assert_close(other[3].running_mean, inputs.mean((0, 2, 3)))
    torch.testing.assert_close(other[3].running_var, inputs.var((0, 2, 3)))


def test_the_seed_decides_the_order():
    net, images = network(), torch.randn(8, 3, 9, 9)
    weights = [randomize_weights(net, images, seed)[0].weight for seed in (0, 0, 1)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_one_image_is_enough_for_a_layer_of_one_value():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()
    other = randomize_weights(net, torch.randn(1, 3, 3, 3))
    assert other[1].running_var.isfinite().all()
