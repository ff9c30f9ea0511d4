import contextlib
import csv
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from convlens.io.json_files import load_json

CPU = "trainer.accelerator=cpu"
TWO = (CPU, "trainer.devices=2")
# Neither the 27 test images nor the 81 training images divide by two; the last batch of an epoch is of one image.
DATA = ("data.source.train=93", "data.source.test=27", "model.net.width=0.1")
TRAIN = (*DATA, "recipe.max_epochs=2", "callbacks=none", "recipe.batch_size=16")
LISTENING = "0A"


@pytest.fixture
def type_in(tmp_path, cache):
    """A command as typed, which may start other processes; none of them may listen beyond this machine."""

    def call(*arguments: str) -> str:
        command = [sys.executable, "-m", "convlens.cli.main", *arguments, f"cache_dir={cache}"]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        started = subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        addresses: dict[int, set[str]] = {}
        while True:
            for pid in family(started.pid):
                addresses.setdefault(pid, set()).update(listening(pid))
            try:
                said = started.communicate(timeout=0.1)[0]
                break
            except subprocess.TimeoutExpired:
                continue
        assert started.returncode == 0, said
        assert "Traceback" not in said
        heard = [found for found in addresses.values() if found]
        assert len(heard) == 2 * ("trainer.devices=2" in arguments) + 4 * ("trainer.devices=4" in arguments)
        assert set().union(*heard) <= {"127.0.0.1"}
        return said

    return call


def family(pid: int) -> list[int]:
    """A process and those that it started."""
    found = [pid]
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += [one for child in children.read_text().split() for one in family(int(child))]
    return found


def listening(pid: int) -> set[str]:
    """The addresses at which a process listens, as /proc knows them."""
    sockets = set()
    with contextlib.suppress(OSError):
        for entry in os.scandir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                sockets.add(os.readlink(entry.path))
    found = set()
    for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        for row in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = row.split()
            if fields[3] == LISTENING and f"socket:[{fields[9]}]" in sockets:
                words = bytes.fromhex(fields[1].partition(":")[0])  # of four bytes each, in the machine's order
                address = b"".join(words[at : at + 4][::-1] for at in range(0, len(words), 4))
                found.add(socket.inet_ntop(family, address))
    return found


def read(run: Path) -> tuple[dict, dict, dict]:
    kept = np.load(run / "results/test/predictions.npz")
    weights = torch.load(run / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
    return load_json(run / "metrics.json"), {name: kept[name] for name in kept.files}, weights


def assert_same(ours: Path, theirs: Path) -> None:
    """All numbers of two runs are the same but for rounding."""
    (one, predicted, weights), (two, predicted_too, weights_too) = read(ours), read(theirs)
    assert two == pytest.approx(one, rel=1e-5)
    for name in ("labels", "images", "top5"):
        assert np.array_equal(predicted[name], predicted_too[name]), name
    for name, value in weights.items():
        torch.testing.assert_close(weights_too[name], value, rtol=1e-5, atol=1e-5 * float(value.abs().max()))
    rows, rows_too = (list(csv.DictReader((run / "metrics.csv").open())) for run in (ours, theirs))
    for row, row_too in zip(rows, rows_too, strict=True):
        numbers, numbers_too = ({name: float(text) for name, text in one.items() if text} for one in (row, row_too))
        assert numbers_too == pytest.approx(numbers, rel=1e-4)


@pytest.mark.parametrize(
    "count", [pytest.param(2, marks=pytest.mark.essential), pytest.param(4, marks=pytest.mark.slow)]
)
def test_several_processes_train_and_test_as_one_does(convlens, type_in, tmp_path, count):
    """With dropout."""
    assert convlens(*TRAIN, "run_dir=one").code == 0
    said = type_in(*TRAIN, CPU, f"trainer.devices={count}", "run_dir=several")
    assert said.count("epoch 2/2") == 1  # one of them speaks
    assert_same(tmp_path / "one", tmp_path / "several")
    assert sorted(path.name for path in (tmp_path / "several").iterdir()) == sorted(
        path.name for path in (tmp_path / "one").iterdir()
    )


@pytest.mark.slow
def test_a_network_of_the_user_trains_the_same_with_two_processes(convlens, type_in, tmp_path):
    """With batch normalization and dropout of several kinds, from SGD: Adam makes steps of rounding errors."""
    (tmp_path / "own_net.py").write_text(
        "from torch import nn\n"
        "from torchvision.ops import StochasticDepth\n"
        "def net(num_classes=12):\n"
        "    first = [nn.Conv2d(3, 8, 5, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout2d(0.2), nn.Conv2d(8, 16, 3, 2)]\n"
        "    then = [nn.BatchNorm2d(16), nn.SELU(), StochasticDepth(0.3, 'row'), nn.AdaptiveAvgPool2d(2)]\n"
        "    last = [nn.AlphaDropout(0.2), nn.Flatten(), nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU()]\n"
        "    return nn.Sequential(*first, *then, *last, nn.Dropout(0.5), nn.Linear(32, num_classes))\n"
    )
    own = (
        *("data.source.train=97", "data.source.test=27", "recipe=paper", "recipe.max_epochs=2", "recipe.batch_size=16"),
        *("callbacks=none", "model=torchvision", "~model.net.name", "model.name=own", "model.net._target_=own_net.net"),
    )
    assert convlens(*own, "run_dir=one").code == 0
    assert "random numbers" not in type_in(*own, *TWO, "run_dir=two")
    assert_same(tmp_path / "one", tmp_path / "two")


@pytest.mark.parametrize("images", [64, 60, 58])  # the last step: whole, of fewer parts, and one of these smaller
@pytest.mark.essential
def test_gradients_of_parts_of_a_step_add_up_to_those_of_the_step(convlens, tmp_path, images):
    steps = (*TRAIN, "recipe.dropout=0", f"data.source.train={images}", "data.val_share=0", "recipe=paper")
    assert convlens(*steps, "run_dir=one").code == 0
    assert convlens(*steps, "run_dir=parts", "trainer.accumulate_grad_batches=4").code == 0
    one, parts = (torch.load(tmp_path / run / "checkpoints/last.ckpt")["state_dict"] for run in ("one", "parts"))
    assert all(torch.allclose(parts[name], value, atol=1e-5) for name, value in one.items())


@pytest.mark.essential
def test_two_processes_extract_the_features_that_one_does(convlens, type_in, tmp_path):
    own = ("task=transfer", *DATA, "seed=3", "task.images_per_class=[3]", "task.folds=[0]", "task.probes=[svm]")
    assert convlens(*own, "run_dir=one", "task.features=f1").code == 0
    type_in(*own, *TWO, "run_dir=two", "task.features=f2")
    names = sorted(path.name for path in (tmp_path / "f1").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "f2").iterdir())
    for name in names[1:]:
        one, two = (np.load(tmp_path / folder / name) for folder in ("f1", "f2")) if name.endswith("npy") else (0, 0)
        assert two == pytest.approx(one, rel=1e-5, abs=1e-6), name
    tables = [(tmp_path / run / "results/transfer_parts/table.csv").read_text() for run in ("one", "two")]
    assert [line.split(",")[:5] for line in tables[0].splitlines()] == [
        line.split(",")[:5] for line in tables[1].splitlines()
    ]


@pytest.mark.essential
def test_a_batch_that_two_devices_cannot_share_is_refused(tmp_path, cache):
    command = [sys.executable, "-m", "convlens.cli.main", *TRAIN, *TWO, "recipe.batch_size=15", f"cache_dir={cache}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done
    assert (
        "convlens: recipe.batch_size=15 cannot be divided evenly between 2 devices: give a multiple of 2" in done.stderr
    )
