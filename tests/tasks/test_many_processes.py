import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from convlens.io.json_files import load_json

TWO = ("trainer.accelerator=cpu", "trainer.devices=2")
# The test images do not divide by two; 88 training images do: else one is trained on twice. Dropout draws other numbers
# in each process.
DATA = ("data.source.train=100", "data.source.test=27", "model.net.width=0.1")
TRAIN = (*DATA, "recipe.max_epochs=2", "callbacks=none", "recipe.dropout=0", "recipe.batch_size=16")


@pytest.fixture
def type_in(tmp_path, cache):
    """A command as typed, which may start other processes."""

    def call(*arguments: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "convlens.cli.main", *arguments, f"cache_dir={cache}"]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done
        return done

    return call


def read(run: Path) -> tuple[dict, dict]:
    kept = np.load(run / "results/test/predictions.npz")
    return load_json(run / "metrics.json"), {name: kept[name] for name in kept.files}


def test_two_processes_train_and_test_as_one_does(convlens, type_in, tmp_path):
    assert convlens(*TRAIN, "run_dir=one").code == 0
    done = type_in(*TRAIN, *TWO, "run_dir=two")
    assert done.stdout.count("epoch 2/2") == 1  # one of them speaks
    assert "Traceback" not in done.stderr
    (one, predicted), (two, predicted_too) = read(tmp_path / "one"), read(tmp_path / "two")
    assert two == pytest.approx(one, rel=1e-4)
    for name in ("labels", "images", "top5"):
        assert np.array_equal(predicted[name], predicted_too[name]), name
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == sorted(
        path.name for path in (tmp_path / "one").iterdir()
    )


@pytest.mark.parametrize("images", [64, 60, 58])  # the last step: whole, of fewer parts, and one of these smaller
@pytest.mark.essential
def test_gradients_of_parts_of_a_step_add_up_to_those_of_the_step(convlens, tmp_path, images):
    steps = (*TRAIN, f"data.source.train={images}", "data.val_share=0", "recipe=paper")
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
