"""What a process computes of a whole batch is what one process that has all images computes for these, bit for bit."""

import logging
from collections.abc import Callable

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import stochastic_depth

from convlens.systems.batch_share import BatchShare
from convlens.systems.random_draws import whole_batch
from convlens.systems.whole_batch import WholeBatch

# Functions of images [n, c, h, w] and a probability.
DRAWN = {
    "dropout": lambda x, p: F.dropout(x, p),
    "in place": lambda x, p: F.dropout(x * 1, p, True, True),
    "module in place": lambda x, p: nn.Dropout(p, inplace=True)(x * 1),
    "torch.dropout": lambda x, p: torch.dropout(x, p, True),
    "of evaluation": lambda x, p: F.dropout(x, p, training=False),
    "of units": lambda x, p: F.dropout(x.mean((2, 3)), p),
    "of half precision": lambda x, p: F.dropout(x.bfloat16(), p),
    "1d": lambda x, p: F.dropout1d(x.flatten(2), p),
    "2d": lambda x, p: F.dropout2d(x, p),
    "3d": lambda x, p: nn.Dropout3d(p)(x.unsqueeze(2)),
    "alpha": lambda x, p: F.alpha_dropout(x, p, True),
    "alpha in place": lambda x, p: F.alpha_dropout(x * 1, p, True, True),
    "feature alpha": lambda x, p: nn.FeatureAlphaDropout(p)(x),
    "stochastic depth": lambda x, p: stochastic_depth(x, p, "row"),
    "stochastic depth of the batch": lambda x, p: stochastic_depth(x, p, "batch"),
    "drop path": lambda x, p: x * x.new_empty(len(x), 1, 1, 1).bernoulli_(1 - p),
    "bernoulli": lambda x, p: torch.bernoulli(torch.full_like(x, p)),
    "noise": lambda x, p: x + p * torch.randn_like(x) + torch.rand_like(x),
    "noise by size": lambda x, p: x + p * torch.rand(x.shape) + torch.randn(len(x), 1, 1, 1),
    "noise of all": lambda x, p: x * torch.rand(1) * torch.randn(()),
    "groups": lambda x, p: F.dropout(x.flatten(0, 1), p).unflatten(0, x.shape[:2]),
    "images second": lambda x, p: F.dropout(x.flatten(2).permute(2, 0, 1), p).permute(1, 2, 0),
}


def rows_of(x: Tensor, rank: int, world_size: int) -> Tensor:
    rows = x[rank::world_size]
    channels_last = x.is_contiguous(memory_format=torch.channels_last)
    return rows.contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)


@pytest.mark.parametrize("name", DRAWN)
@settings(max_examples=15, deadline=None)
@given(
    st.integers(1, 4), st.integers(2, 5), st.integers(0, 3), st.integers(1, 5),
    st.sampled_from([0.0, 0.3, 0.5, 1.0]), st.booleans(), st.integers(0, 99),
)  # fmt: skip
@example(2, 3, 1, 3, 0.5, False, 0)
def test_a_process_draws_what_one_process_does(name, world_size, rows, missing, channels, p, channels_last, seed):
    total = rows * world_size - min(missing, world_size - 1)
    if total < 2 * world_size:  # one image of each process cannot be told from none
        total = 2 * world_size
    layout = torch.channels_last if channels_last else torch.contiguous_format
    x = torch.randn(total, channels, 7, 11, generator=torch.Generator().manual_seed(seed)).to(memory_format=layout)
    torch.manual_seed(seed)
    expected, after = DRAWN[name](x, p), torch.get_rng_state()
    for rank in range(world_size):
        own = rows_of(x, rank, world_size).requires_grad_()
        torch.manual_seed(seed)
        with WholeBatch(BatchShare(rank, world_size, total)):
            found = DRAWN[name](own, p)
        assert torch.equal(found, expected[rank::world_size])
        assert torch.equal(torch.get_rng_state(), after)


def test_a_gradient_passes_where_the_value_does():
    for name in ("dropout", "alpha", "2d"):
        x = torch.randn(6, 4, 3, 3)
        gradients = []
        for share, rows in ((None, x), (BatchShare(1, 2, 6), x[1::2])):
            leaf = rows.clone().requires_grad_()
            torch.manual_seed(0)
            if share is None:
                out = DRAWN[name](leaf, 0.5)[1::2]
            else:
                with WholeBatch(share):
                    out = DRAWN[name](leaf, 0.5)
            gradients.append(torch.autograd.grad(out.square().sum(), leaf)[0])
        assert gradients[1].any(), name
        torch.testing.assert_close(gradients[1], gradients[0][1::2])


def test_a_process_without_an_image_computes_one_and_stays_in_step():
    share = BatchShare(3, 4, 2)
    assert (share.own, share.rows) == (0, 1)
    torch.manual_seed(0)
    F.dropout(torch.ones(2, 5))
    after = torch.get_rng_state()
    torch.manual_seed(0)
    with WholeBatch(share):
        assert F.dropout(torch.ones(1, 5)).shape == (1, 5)
    assert torch.equal(torch.get_rng_state(), after)


class Net(nn.Module):
    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers, self.norm = nn.Sequential(*layers), nn.InstanceNorm2d(3, track_running_stats=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(self.norm(x))


class Attention(nn.MultiheadAttention):
    def forward(self, x: Tensor) -> Tensor:
        words = x.flatten(2)
        return super().forward(words, words, words)[0]


class Mixed(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x + x[torch.randperm(len(x))]


@pytest.mark.parametrize(
    ("layer", "named"),
    [
        (nn.RReLU(), "rrelu"),
        (Attention(30, 2, dropout=0.5, batch_first=True), "multi_head_attention_forward"),
        (Mixed(), "randperm"),
        (nn.Sequential(nn.Dropout(), nn.Dropout2d(), nn.AlphaDropout(), nn.ReLU()), None),
        (nn.Sequential(Attention(30, 2), nn.RReLU().eval()), None),
    ],
)
def test_random_numbers_that_cannot_be_divided_are_named(caplog, layer, named):
    net, images = Net(layer), torch.randn(4, 3, 5, 6)
    before, state = net.norm.running_mean.clone(), torch.get_rng_state()
    for rank in (0, 1):
        with caplog.at_level(logging.WARNING):
            whole_batch(BatchShare(rank, 2, 8), net, images)
    said = [record.getMessage() for record in caplog.records]
    assert [line.split(" depend")[0] for line in said] == ([f"the random numbers of {named}"] if named else [])
    assert torch.equal(net.norm.running_mean, before)
    assert torch.equal(torch.get_rng_state(), state)


class OfWeights(nn.Module):
    """A layer [n, 6] -> [n, d] whose random numbers are drawn for what a function makes of its weights [8, 6]."""

    def __init__(self, drop: Callable[[Tensor, Tensor], Tensor], before: nn.Module | None = None) -> None:
        super().__init__()
        self.weight, self.drop, self.before = nn.Parameter(torch.randn(8, 6)), drop, before or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(self.drop(self.before(x), self.weight).relu(), 0.3)


WEIGHTS = {
    "weights": lambda x, w: F.linear(x, F.dropout(w)),
    "weights in place": lambda x, w: F.linear(x, F.dropout(w * 1, inplace=True)),
    "turned": lambda x, w: x @ F.dropout(w.T.contiguous()),
    "turned, and images": lambda x, w: F.dropout(x) @ F.dropout(w.T * 1),
    "and images": lambda x, w: F.linear(F.dropout(x), F.dropout(w * 1)),
    "some": lambda x, w: F.linear(x, F.dropout(w[:4])),
    "a mask": lambda x, w: F.linear(x, w * (torch.rand(w.shape) < 0.5)),
    "a mask like them": lambda x, w: F.linear(x, w * torch.rand_like(w)),
    "filled": lambda x, w: F.linear(x, w * torch.empty(8, 6).bernoulli_(0.5)),
    "channels": lambda x, w: x[:, :4] * torch.rand(4),
    "images second": lambda x, w: F.dropout((x @ w.T).T).T,
    "of each image": lambda x, w: F.dropout(w[0].expand(len(x), -1)) + x,
}


def outputs(net: nn.Module, x: Tensor, world_size: int) -> Tensor:
    """What processes with a part of the images each return, in the order of the images."""
    if world_size == 1:
        return net(x)
    found, state = torch.empty(0), torch.get_rng_state()
    for rank in range(world_size):
        own = x[rank::world_size]
        mode = whole_batch(BatchShare(rank, world_size, len(x)), net, own)
        torch.set_rng_state(state)
        with mode:
            part = net(own)
        found = found if len(found) else torch.empty(len(x), *part.shape[1:])
        found[rank::world_size] = part
    return found


@pytest.mark.parametrize("name", WEIGHTS)
@pytest.mark.parametrize("world_size", [2, 4])
def test_random_numbers_of_weights_are_those_of_one_process(caplog, name, world_size):
    net, x = OfWeights(WEIGHTS[name]), torch.randn(8, 6)
    found = []
    for processes in (1, world_size):
        torch.manual_seed(0)
        with torch.no_grad():
            found.append(outputs(net, x, processes))
    torch.testing.assert_close(found[1], found[0])
    assert not caplog.records


def test_random_numbers_of_weights_in_the_shape_of_images_are_said_to_differ(caplog):
    net = OfWeights(lambda x, w: F.linear(x, F.dropout(w * 1)), nn.Dropout())
    for total, said in ((8, False), (32, False), (16, True)):
        whole_batch(BatchShare(0, 2, total), net, torch.randn(total // 2, 6))
        assert bool(caplog.records) == said
    assert "the random numbers of tensors of shape [8, 6] depend on the number of devices" in caplog.text
    own = OfWeights(lambda x, w: F.linear(x, F.dropout(w)), nn.Dropout())  # a parameter is no image
    caplog.clear()
    whole_batch(BatchShare(0, 2, 16), own, torch.randn(8, 6))
    assert not caplog.records
