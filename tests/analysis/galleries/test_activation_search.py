"""A search that is interrupted, and one that several processes share."""

import itertools
import tempfile
from pathlib import Path
from unittest.mock import patch

import pytest
import torch
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from convlens.analysis.galleries.top_activations import ActivationSearch, numbered_batches, top_activations
from convlens.errors import InputError

LAYERS = ["1", "4"]


def net() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 5, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(5, 7, 3), nn.ReLU()
    return nn.Sequential(*layers).eval()


def loader(count: int = 23, batch_size: int = 4) -> DataLoader:
    images = torch.randn(count, 3, 12, 12, generator=torch.Generator().manual_seed(count))
    return DataLoader(TensorDataset(images), batch_size)


def same(first: dict, second: dict) -> bool:
    return all(
        torch.equal(getattr(first[layer], name), getattr(second[layer], name))
        for layer in LAYERS
        for name in ("values", "images", "positions")
    )


@pytest.mark.parametrize("stop", [0, 1, 3, 5])
def test_an_interrupted_search_goes_on_where_it_was(stop, tmp_path):
    network = net()
    broken = ActivationSearch(network, LAYERS, 4)
    take, calls = ActivationSearch._update, iter(range(99))

    def interrupted(self, images: Tensor, numbers: Tensor) -> None:
        if next(calls) == stop:
            raise KeyboardInterrupt
        take(self, images, numbers)

    with patch.object(ActivationSearch, "_update", interrupted), pytest.raises(KeyboardInterrupt):
        broken.run(loader(), progress=False)
    torch.save(broken.state(), tmp_path / "state.pt")
    search = ActivationSearch(network, LAYERS, 4)
    search.load(torch.load(tmp_path / "state.pt", weights_only=True))
    with patch.object(ActivationSearch, "_update", autospec=True, side_effect=take) as taken:
        search.run(loader(), progress=False)
    assert taken.call_count == 6 - stop
    assert same(search.top(), top_activations(network, loader(), LAYERS, 4, progress=False))


def test_the_state_can_be_kept_along_the_way():
    search, states = ActivationSearch(net(), LAYERS, 4), []
    with patch("convlens.analysis.galleries.top_activations.SECONDS_BETWEEN_CHECKPOINTS", 0.0):
        search.run(loader(), progress=False, checkpoint=lambda: states.append(search.state()["done"]))
    assert states == [1, 2, 3, 4, 5, 6]


def test_a_state_of_another_number_of_processes_is_not_continued():
    first = ActivationSearch(net(), LAYERS, 4)
    first.run(loader(), progress=False)
    second = ActivationSearch(net(), LAYERS, 4, world_size=2)
    second.load(first.state())
    assert second.done == 0


COUNTS = (23, 9)


def _share(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    for count in COUNTS:
        search = ActivationSearch(net(), LAYERS, 4, rank=rank, world_size=2)
        search.run(loader(count), progress=False)
        torch.save({x: vars(top) for x, top in search.top().items()}, f"{folder}/{rank}-{count}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.essential
def test_two_processes_find_what_one_does():
    """Of images whose number does not divide, none is lost or counted twice."""
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(_share, (folder,), nprocs=2)
        for count, rank in itertools.product(COUNTS, range(2)):
            alone = top_activations(net(), loader(count), LAYERS, 4, progress=False)
            found = torch.load(Path(folder) / f"{rank}-{count}.pt", weights_only=True)
            for layer in LAYERS:
                for name in ("values", "images", "positions"):
                    assert torch.equal(found[layer][name], getattr(alone[layer], name)), (rank, layer, name)


def test_more_processes_than_batches_are_refused_by_each():
    for rank in range(3):
        with pytest.raises(InputError, match="2 batches for 3 processes: give fewer, or a smaller batch_size"):
            ActivationSearch(net(), LAYERS, 4, rank=rank, world_size=3).run(loader(7), progress=False)


@pytest.mark.parametrize("whole", [True, False])
def test_shares_of_the_batches_are_all_of_them(whole):
    source = loader(10, 3) if whole else [batch[0] for batch in loader(10, 3)]
    found = [
        number for first in range(2) for _, numbers in numbered_batches(source, first, 2) for number in numbers.tolist()
    ]
    assert sorted(found) == list(range(10))


def test_images_of_several_sizes_are_refused_with_the_one_that_differs():
    batches = [torch.zeros(2, 3, 12, 12), torch.zeros(2, 3, 12, 14)]
    with pytest.raises(InputError, match=r"image 2 is \[3, 12, 14\] after images of \[3, 12, 12\]: scale or crop"):
        top_activations(net(), batches, LAYERS, progress=False)


def test_images_of_several_sizes_in_one_batch_are_refused():
    mixed = DataLoader([torch.zeros(3, 12, 12), torch.zeros(3, 14, 12)], 2)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="images of different sizes in one batch: scale or crop all to one size"):
        top_activations(net(), mixed, LAYERS, progress=False)
