import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import hydra
import numpy as np
import pytest
import torch

from convlens.runs.conf_files import conf_dir
from convlens.runs.subject import load_network
from convlens.systems import Classifier

pytest.importorskip("litdata")
DATA = ("data.source.train=160", "data.source.test=25")
TRAIN = (
    *("data=shards", "data.root=packed", "data.image_size=64", "model.net.width=0.1", "recipe.max_epochs=3"),
    *("callbacks=none", "recipe.batch_size=16", "checkpoint_every=2"),
)


@pytest.fixture
def packed(convlens) -> None:
    outcome = convlens("task=write_shards", *DATA, "task.output=packed", "task.workers=1", "task.shard_bytes=400KB")
    assert outcome.code == 0, outcome
    assert "185 images of 73 px" in outcome.out


@pytest.mark.parametrize(
    "workers",
    [pytest.param(0, marks=pytest.mark.slow), pytest.param(2, marks=[pytest.mark.slow, pytest.mark.essential])],
)
def test_a_training_that_is_stopped_within_an_epoch_goes_on_with_the_next_batch(
    convlens, packed, monkeypatch, tmp_path, workers
):
    seen: list[tuple[int, int, tuple[int, ...]]] = []
    stop_at: list[int] = []
    original = Classifier.training_step

    def watched(self, batch, batch_idx):
        if self.global_step in stop_at:
            raise KeyboardInterrupt
        seen.append((self.current_epoch, batch_idx, tuple(batch[1].tolist())))
        return original(self, batch, batch_idx)

    monkeypatch.setattr(Classifier, "training_step", watched)
    own = (*TRAIN, f"data.num_workers={workers}")
    assert convlens(*own, "run_dir=whole").code == 0
    whole, steps = list(seen), json.loads((tmp_path / "whole/metrics.json").read_text())["epochs"] * 10
    assert len(whole) == steps
    seen.clear()
    stop_at.append(14)  # after the checkpoint of step 14, which is the fourth batch of the second epoch
    assert convlens(*own, "run_dir=stopped").code == 130
    assert seen == whole[:14]
    stop_at.clear()
    outcome = convlens(*own, "run_dir=stopped")
    assert outcome.code == 0, outcome
    assert "continuing stopped within epoch 2, after 4 batches" in outcome.out
    assert seen == whole
    # With dropout, too, the weights are the same, and all that was measured.
    assert (tmp_path / "stopped/metrics.csv").read_text() == (tmp_path / "whole/metrics.csv").read_text()
    ends = [torch.load(tmp_path / name / "checkpoints/last.ckpt")["state_dict"] for name in ("whole", "stopped")]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


@pytest.mark.slow
def test_a_training_that_is_stopped_in_validation_measures_that_epoch(convlens, packed, monkeypatch, tmp_path):
    own = (*TRAIN, "recipe.max_epochs=2")
    assert convlens(*own, "run_dir=whole").code == 0
    with monkeypatch.context() as patched:
        patched.setattr(Classifier, "on_validation_epoch_start", Mock(side_effect=KeyboardInterrupt), raising=False)
        assert convlens(*own, "run_dir=stopped").code == 130
    outcome = convlens(*own, "run_dir=stopped")
    assert "continuing stopped within epoch 1, after 8 batches" in outcome.out  # 10 are an epoch
    for name in ("metrics.csv", "metrics.json"):
        assert (tmp_path / "stopped" / name).read_text() == (tmp_path / "whole" / name).read_text()


def test_other_data_are_read_with_the_mean_of_the_shards(convlens, packed, tmp_path, cache):
    assert convlens(*TRAIN, "recipe.max_epochs=1", "run_dir=run").code == 0
    expected = np.array(json.loads((tmp_path / "packed/about.json").read_text())["mean"], np.float32)
    kept = np.load(tmp_path / "run/mean.npy")
    np.testing.assert_array_equal(kept, expected.reshape(3, 73, 73))
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = hydra.compose("config", [f"run={tmp_path / 'run'}", "data=parts", f"cache_dir={cache}", *DATA])
    data = load_network(cfg, ["data=parts"]).data
    assert torch.equal(data.stored_mean, torch.from_numpy(kept))
    assert data.stored_size == 73


def sharded(folder: Path, cache: Path, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "convlens.cli.main", *arguments, f"cache_dir={cache}"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.essential
def test_two_processes_train_and_test_from_shards(convlens, packed, tmp_path, cache):
    # The test images are of an odd number, and fewer than a batch of each process.
    own = (*TRAIN, "recipe.max_epochs=1", "recipe.dropout=0", "trainer.accelerator=cpu", "recipe.batch_size=64")
    assert convlens(*own, "run_dir=one").code == 0
    two = sharded(tmp_path, cache, *own, "run_dir=two", "trainer.devices=2")
    assert two.returncode == 0, two.stderr
    tests = [np.load(tmp_path / name / "results/test/predictions.npz") for name in ("one", "two")]
    assert tests[0]["images"].tolist() == tests[1]["images"].tolist() == [f"test/{i}" for i in range(25)]
    assert tests[0]["labels"].tolist() == tests[1]["labels"].tolist()
    trained_on = np.load(tmp_path / "two/results/train_eval/predictions.npz")["images"]
    assert trained_on.tolist() == [f"train/{i}" for i in range(25)]


@pytest.mark.slow
def test_two_processes_that_are_killed_within_an_epoch_go_on_with_the_next_batch(packed, tmp_path, cache):
    """With dropout."""
    (tmp_path / "killed.py").write_text(
        "import os, signal\n"
        "from convlens.cli.main import main\n"
        "from convlens.systems import Classifier\n"
        "step = Classifier.training_step\n"
        "def cut(self, batch, batch_idx):\n"
        "    if self.global_step == 7 and 'KILL' in os.environ:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return step(self, batch, batch_idx)\n"
        "Classifier.training_step = cut\n"
        "main()\n"
    )
    own = (*TRAIN, "recipe.max_epochs=1", "trainer.accelerator=cpu", "trainer.devices=2", f"cache_dir={cache}")

    def run(folder: str, **environment: str) -> str:
        done = subprocess.run(
            [sys.executable, "killed.py", *own, f"run_dir={folder}"],
            cwd=tmp_path,
            env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == (-signal.SIGKILL if environment else 0), done
        return done.stdout

    run("whole")
    run("killed", KILL="1")
    assert "within epoch 1, after 6 batches" in run("killed")
    ends = [torch.load(tmp_path / name / "checkpoints/last.ckpt")["state_dict"] for name in ("whole", "killed")]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])
    assert (tmp_path / "killed/metrics.csv").read_text() == (tmp_path / "whole/metrics.csv").read_text()


def test_more_processes_than_images_are_refused_before_they_start(refused, packed, small):
    said = refused(*TRAIN, "trainer.devices=200", "trainer.accelerator=cpu")
    assert said == "200 processes for 12 val images: use at most 12 devices"
    few = [given for given in small if not given.startswith("data.source.test")]
    said = refused(*few, "data.source.test=2", "trainer.devices=3", "trainer.accelerator=cpu")
    assert said == "3 processes for 2 test images: use at most 2 devices"
    assert "trainer.devices=0: give a whole number of at least 1" in refused(*small, "trainer.devices=0")
    assert "trainer.accumulate_grad_batches=two" in refused(*small, "trainer.accumulate_grad_batches=two")


def test_other_data_go_on_by_epochs_only(refused, small):
    assert "checkpoint_every is for data=shards" in refused(*small, "checkpoint_every=5", "run_dir=run")


def test_what_cannot_be_packed_or_read_is_refused(refused, packed):
    assert "task=write_shards needs a folder to write to" in refused("task=write_shards", *DATA)
    assert "task.shard_bytes=abc: give a size such as 64MB" in refused(
        "task=write_shards", *DATA, "task.output=x", "task.shard_bytes=abc"
    )
    said = refused("task=write_shards", "data.source.train=100", "data.source.test=24", "task.output=packed")
    assert said == "packed/train holds other images: remove it, or choose another folder"
    assert "data=shards are shards already" in refused(
        "task=write_shards", "data=shards", "data.root=packed", "task.output=x"
    )
    assert "nowhere holds no shards" in refused(*TRAIN, "data.root=nowhere")
    assert "add callbacks=none" in refused(*TRAIN, "callbacks=paper", "run_dir=drawn")
