"""Features of several layers from one pass, in memory and on disk."""

import copy
import threading

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from convlens.errors import InputError
from convlens.transfer.extract import Extraction, extract_distributed, extract_to
from convlens.transfer.feature_store import FeatureStore, weights_hash
from convlens.transfer.features import extract_features


class Net(nn.Module):
    """Two convolutions and a linear layer; counts its passes."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 6, 3, stride=2)
        self.last = nn.Linear(6, 5)
        self.drop = nn.Dropout(0.5)
        self.passes = 0

    def forward(self, x):
        self.passes += 1
        x = self.second(F.relu(self.first(x), inplace=True))
        return self.last(self.drop(F.relu(x, inplace=True).mean((2, 3))))


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Net()


def loader(count=7, views=None, size=9):
    generator = torch.Generator().manual_seed(1)
    shape = (count, 3, size, size) if views is None else (count, views, 3, size, size)
    images = torch.randn(shape, generator=generator)
    return [(part, torch.zeros(len(part))) for part in images.split(3)]


def test_layers_equal_the_modules_outputs_from_one_pass(net):
    found = extract_features(net, loader(), ["second", "first", "last"])
    assert net.passes == 3 + 1  # one image of the first batch is read once more to check the layers
    assert net.training
    images = torch.cat([batch for batch, _ in loader()])
    net.eval()
    first = net.first(images)
    second = net.second(first.relu())
    torch.testing.assert_close(found["first"], first.flatten(1))
    torch.testing.assert_close(found["second"], second.flatten(1))
    torch.testing.assert_close(found["last"], net(images))


def test_large_maps_are_pooled(net):
    found = extract_features(net, loader(), ["first", "second", "last"], pool_size=5, pooling="max")
    images = torch.cat([batch for batch, _ in loader()])
    first = net.eval().first(images)
    torch.testing.assert_close(found["first"], F.adaptive_max_pool2d(first, 5).flatten(1))
    assert found["second"].shape == (7, 6 * 4 * 4)
    assert found["last"].shape == (7, 5)
    mean = extract_features(net, loader(), ["first"], pool_size=3)["first"]
    # By hand: nine positions in three cells of three.
    torch.testing.assert_close(mean.view(7, 4, 3, 3), first.view(7, 4, 3, 3, 3, 3).mean((3, 5)))


def test_views_are_averaged(net):
    found = extract_features(net, loader(4, views=10), ["second"])["second"]
    images = torch.cat([batch for batch, _ in loader(4, views=10)])
    alone = torch.stack([extract_features(net, [images[i]], ["second"])["second"].mean(0) for i in range(4)])
    torch.testing.assert_close(found, alone)


def test_bad_input_is_refused(net):
    with pytest.raises(InputError, match="unknown layer 'frist'"):
        extract_features(net, loader(), ["frist"])
    with pytest.raises(InputError, match="no layer"):
        extract_features(net, loader(), [])
    with pytest.raises(InputError, match="gave no images"):
        extract_features(net, [], ["first"])
    with pytest.raises(InputError, match="pool_size=0"):
        extract_features(net, loader(), ["first"], pool_size=0)
    with pytest.raises(InputError, match="pooling='sum' is unknown: choose average, max"):
        extract_features(net, loader(), ["first"], pooling="sum")


def batches_from(stop=None):
    images = torch.cat([batch for batch, _ in loader()])

    def batches(start):
        for number in range(start, len(images), 3):
            if number == stop:
                raise KeyboardInterrupt
            yield images[number : number + 3]

    return batches


def extracted(net, folder, layers, stop=None, count=7, **about):
    store = FeatureStore(folder, {"weights": weights_hash(net), **about}, count)
    return store, extract_to(store, layers, Extraction(net, batches_from(stop), None, "average"))


def test_interrupted_extraction_is_resumed(net, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        extracted(net, tmp_path, ["first", "last"], stop=6)
    store, done = extracted(net, tmp_path, ["first", "last"])
    assert done == 1
    whole = extract_features(net, loader(), ["first", "last"])
    for layer in whole:
        torch.testing.assert_close(store.read(layer), whole[layer], rtol=0, atol=0)
    passes = net.passes
    assert extracted(net, tmp_path, ["last"])[1] == 0
    assert net.passes == passes
    # A layer that is new is extracted alone, and the others stay.
    store, done = extracted(net, tmp_path, ["first", "second"])
    assert done == 7
    torch.testing.assert_close(store.read("first"), whole["first"], rtol=0, atol=0)


def test_features_of_other_weights_are_refused(net, tmp_path):
    extracted(net, tmp_path, ["last"], view="centre")
    with torch.no_grad():
        net.first.weight[0, 0, 0, 0] += 1
    with pytest.raises(InputError, match=r"holds features with weights=\w+, not \w+: choose another folder"):
        extracted(net, tmp_path, ["last"], view="centre")
    (tmp_path / "features.json").write_text('{"features": 3}')
    with pytest.raises(InputError, match=r"features.json is no record of features: choose another folder"):
        extracted(net, tmp_path, ["last"], view="centre")


@pytest.mark.parametrize("text", ['["my list"]', "my features: see the other folder", ""])
def test_files_of_the_user_are_no_damaged_features(net, tmp_path, text):
    (tmp_path / "features.json").write_text(text)
    np.save(tmp_path / "last.npy", np.arange(5))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(InputError, match="choose another folder"):
        extracted(net, tmp_path, ["last"])
    assert {name: (tmp_path / name).read_bytes() for name in before}["last.npy"] == before["last.npy"]
    assert not text or (tmp_path / "features.json").read_text() == text


def test_features_with_a_damaged_record_are_extracted_again(net, tmp_path):
    extracted(net, tmp_path, ["last"])
    for text in ("", (tmp_path / "features.json").read_text()[:-40]):
        (tmp_path / "features.json").write_text(text)
        assert extracted(net, tmp_path, ["last"])[1] == 7


def test_incomplete_features_are_refused(net, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        extracted(net, tmp_path, ["last"], stop=3)
    store = FeatureStore(tmp_path, {"weights": weights_hash(net)}, 7)
    with pytest.raises(InputError, match="has 3 of 7 images"):
        store.read("last")
    with pytest.raises(InputError, match="7 of 9 images were read"):
        extracted(net, tmp_path / "other", ["last"], count=9)


def test_weights_hash_depends_on_values_types_and_shapes(net):
    before = weights_hash(net)
    assert weights_hash(net.double()) != before
    assert weights_hash(net.float()) == before
    assert np.unique([weights_hash(nn.Linear(2, 3)), weights_hash(nn.Linear(3, 2))]).size == 2


def test_settings_in_messages_have_their_present_names(net, tmp_path):
    extracted(net, tmp_path, ["last"], cells=2)
    with pytest.raises(InputError, match="holds features with pool_size=2, not 3"):
        extracted(net, tmp_path, ["last"], cells=3)


def test_weights_hash_is_that_of_version_0_1():
    net = nn.Linear(2, 1)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[1.0, 2.0]]))
        net.bias.zero_()
    assert weights_hash(net) == "00ebafb63732029fa38d7eeb13e84fc6"


def test_blocks_of_several_processes_are_joined(net, tmp_path):
    """Two processes as threads that wait for each other."""
    barrier = threading.Barrier(2)
    done = [0, 0]

    def work(rank):
        store = FeatureStore(tmp_path, {"weights": "x"}, 7)
        extraction = Extraction(copy.deepcopy(net), batches_from(), None, "average")
        done[rank] = extract_distributed(
            store, ["first", "last"], extraction, rank=rank, world_size=2, barrier=barrier.wait
        )

    threads = [threading.Thread(target=work, args=(rank,)) for rank in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == [3, 4]
    whole = extract_features(net, loader(), ["first", "last"])
    store = FeatureStore(tmp_path, {"weights": "x"}, 7)
    for layer in whole:
        torch.testing.assert_close(store.read(layer), whole[layer])
    assert not list(tmp_path.glob("part_*"))
