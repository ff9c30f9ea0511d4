"""A run that was killed and started again by the same command ends bit for bit like one that was left alone."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

SMALL = [
    "task=train",
    "data=parts",
    "data.source.train=96",
    "data.source.test=24",
    "data.image_size=64",
    "model.net.width=0.1",
    "recipe.max_epochs=4",
    "recipe.batch_size=16",
]

# From the paper's initial weights next to nothing moves in four epochs; a plateau comes at once with patience 0.
RECIPES = {
    "modern": ["recipe=modern"],
    "paper": [
        *("recipe=paper", "recipe.init=he", "recipe.input_std=64.0", "recipe.max_filter_rms=0.08"),
        "recipe.scheduler.patience=0",
    ],
}
CALLBACKS = {
    "none": ["callbacks=none"],
    "paper": [
        "callbacks=paper",
        *("callbacks.projections.layers=[conv1,conv2]", "callbacks.projections.maps=2"),
        *("callbacks.evolution.layers=[conv1,conv2]", "callbacks.evolution.maps=2", "callbacks.evolution.images=24"),
    ],
}

# The command line, with the power cut at a chosen moment; epochs and batches from 0.
CUT = {
    "before the first step": """
        from convlens.systems import Classifier
        Classifier.training_step = lambda self, batch, batch_idx: die()
    """,
    "in the first epoch": """
        from convlens.systems import Classifier
        step = Classifier.training_step
        def cut(self, batch, batch_idx):
            if batch_idx == 1:
                die()
            return step(self, batch, batch_idx)
        Classifier.training_step = cut
    """,
    "in the third epoch": """
        from convlens.systems import Classifier
        step = Classifier.training_step
        def cut(self, batch, batch_idx):
            if (self.current_epoch, batch_idx) == (2, 3):
                die()
            return step(self, batch, batch_idx)
        Classifier.training_step = cut
    """,
    "after the validation of the third epoch": """
        from convlens.systems import Classifier
        end = Classifier.on_train_epoch_end
        def cut(self):
            if self.current_epoch == 2:
                die()
            end(self)
        Classifier.on_train_epoch_end = cut
    """,
    "right after the third epoch's checkpoint": """
        from lightning.pytorch.callbacks import ModelCheckpoint
        end = ModelCheckpoint.on_train_epoch_end
        def cut(self, trainer, pl_module):
            end(self, trainer, pl_module)
            if self.filename == "last" and trainer.current_epoch == 2:
                die()
        ModelCheckpoint.on_train_epoch_end = cut
    """,
    "right after the last epoch's checkpoint": """
        from lightning.pytorch.callbacks import ModelCheckpoint
        end = ModelCheckpoint.on_train_epoch_end
        def cut(self, trainer, pl_module):
            end(self, trainer, pl_module)
            if self.filename == "last" and trainer.current_epoch == 3:
                die()
        ModelCheckpoint.on_train_epoch_end = cut
    """,
    "in the test": """
        from convlens.systems import Classifier
        Classifier.test_step = lambda self, batch, batch_idx: die()
    """,
}


def start(run_dir: Path, overrides: list[str], cut: str | None = None) -> subprocess.Popen:
    lines = [line.removeprefix(8 * " ") for line in CUT[cut].splitlines()] if cut else []
    script = "\n".join(
        [
            "import os, signal",
            "def die(): os.kill(os.getpid(), signal.SIGKILL)",
            *lines,
            "from convlens.cli.main import main",
            "main()",
        ]
    )
    own = [*SMALL, *overrides, f"run_dir={run_dir}", f"cache_dir={run_dir.parent / 'cache'}"]
    return subprocess.Popen(
        [sys.executable, "-c", script, *own],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        cwd=run_dir.parent,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def finish(process: subprocess.Popen, code: int = 0) -> str:
    output = process.communicate(timeout=240)[0]
    assert process.returncode == code, output
    return output


def state(run_dir: Path, name: str) -> dict[str, torch.Tensor]:
    content = torch.load(run_dir / "checkpoints" / f"{name}.ckpt", weights_only=True)
    return content["state_dict"] | {"epoch": torch.tensor(content["epoch"])}


def assert_same_run(ours: Path, theirs: Path) -> None:
    for name in ("last", "best"):
        a, b = state(ours, name), state(theirs, name)
        assert a.keys() == b.keys()
        assert [key for key in a if not torch.equal(a[key], b[key])] == []
    assert (ours / "metrics.csv").read_text() == (theirs / "metrics.csv").read_text()
    assert (ours / "metrics.json").read_text() == (theirs / "metrics.json").read_text()
    a, b = (np.load(run / "results" / "test" / "predictions.npz") for run in (ours, theirs))
    assert all(np.array_equal(a[key], b[key]) for key in b.files)


def assert_trained(run_dir: Path) -> None:
    """Or else equality would mean little: every epoch has its row, and moved every layer."""
    rows = (run_dir / "metrics.csv").read_text().splitlines()
    assert [row.partition(",")[0] for row in rows] == ["epoch", "1", "2", "3", "4"]
    losses = [row.split(",")[rows[0].split(",").index("train/loss")] for row in rows[1:]]
    assert len(set(losses)) == 4
    optimizer = torch.load(run_dir / "checkpoints" / "last.ckpt", weights_only=True)["optimizer_states"][0]
    for moments in optimizer["state"].values():
        assert all(moments[key].any() for key in ("exp_avg", "momentum_buffer") if key in moments)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The uninterrupted run of a recipe and callbacks, made once."""
    made: dict[tuple[str, ...], Path] = {}

    def run(*overrides: str) -> Path:
        if overrides not in made:
            run_dir = tmp_path_factory.mktemp("whole") / "run"
            finish(start(run_dir, list(overrides)))
            made[overrides] = run_dir
        return made[overrides]

    return run


def interrupted(tmp_path: Path, overrides: list[str], moment: str) -> tuple[Path, str]:
    run_dir = tmp_path / "run"
    finish(start(run_dir, overrides, moment), -signal.SIGKILL)
    assert json.loads((run_dir / "run.json").read_text())["status"] == "running"
    return run_dir, finish(start(run_dir, overrides))


@pytest.mark.essential
def test_a_killed_run_ends_like_one_that_was_left_alone(tmp_path, whole):
    overrides = [*RECIPES["modern"], *CALLBACKS["none"]]
    run_dir, said = interrupted(tmp_path, overrides, "in the third epoch")
    assert "from epoch 3" in said
    assert json.loads((run_dir / "run.json").read_text())["status"] == "finished"
    assert_trained(run_dir)
    assert_same_run(run_dir, whole(*overrides))


@pytest.mark.slow
@pytest.mark.parametrize("moment", [moment for moment in CUT if moment != "in the third epoch"])
def test_the_moment_of_the_kill_makes_no_difference(tmp_path, whole, moment):
    overrides = [*RECIPES["modern"], *CALLBACKS["none"]]
    run_dir, _ = interrupted(tmp_path, overrides, moment)
    assert_same_run(run_dir, whole(*overrides))


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["in the third epoch", "right after the third epoch's checkpoint"])
def test_the_papers_recipe_can_be_killed_too(tmp_path, whole, moment):
    overrides = [*RECIPES["paper"], *CALLBACKS["none"]]
    run_dir, _ = interrupted(tmp_path, overrides, moment)
    assert_trained(run_dir)
    assert_same_run(run_dir, whole(*overrides))
    rows = [row.split(",") for row in (run_dir / "metrics.csv").read_text().splitlines()]
    assert len({row[rows[0].index("lr")] for row in rows[1:]}) > 1  # the plateau came


@pytest.mark.slow
def test_what_the_callbacks_drew_is_neither_lost_nor_repeated(tmp_path, whole):
    overrides = [*RECIPES["modern"], *CALLBACKS["paper"]]
    run_dir, _ = interrupted(tmp_path, overrides, "in the third epoch")
    reference = whole(*overrides)
    assert_same_run(run_dir, reference)
    files = [sorted(p.relative_to(run) for p in run.rglob("*") if p.is_file()) for run in (run_dir, reference)]
    assert files[0] == files[1]
    assert {p.name for p in (run_dir / "results" / "projections").iterdir()} == {
        *("epoch_001", "epoch_002", "epoch_004"),
        "result.json",
    }
    for path in files[1]:
        if path.suffix == ".png" and path.parts[0] == "results":
            assert (run_dir / path).read_bytes() == (reference / path).read_bytes(), path
        if path.suffix == ".json" and path.parts[0] == "results":
            ours, theirs = (json.loads((run / path).read_text()) for run in (run_dir, reference))
            measured = {"seconds": 0, "checksum": ""}  # the checksum is that of the seconds, too
            assert ours | measured == theirs | measured, path
        if path.suffix == ".npz":
            ours, theirs = np.load(run_dir / path), np.load(reference / path)
            assert all(np.array_equal(ours[key], theirs[key]) for key in theirs.files), path
    # The callbacks leave the training itself alone.
    for name in ("last", "best"):
        plain, drawn = state(whole(*RECIPES["modern"], *CALLBACKS["none"]), name), state(reference, name)
        assert all(torch.equal(plain[key], drawn[key]) for key in plain)


@pytest.mark.essential
def test_an_earlier_run_is_kept_if_the_new_one_is_killed_before_its_first_step(tmp_path):
    run_dir = tmp_path / "run"
    old = ["callbacks=none", "recipe.max_epochs=1"]
    finish(start(run_dir, old))
    before = {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file() and path.name != "run.log"}
    finish(start(run_dir, [*old, "seed=1", "force=true"], "before the first step"), -signal.SIGKILL)
    assert "finished meanwhile: reused" in finish(start(run_dir, old))
    after = {path: path.read_bytes() for path in run_dir.rglob("*") if path.is_file() and path.name != "run.log"}
    assert after == before


@pytest.mark.slow
def test_force_begins_again_and_leaves_nothing_of_the_old_run(tmp_path, whole):
    overrides = [*RECIPES["modern"], *CALLBACKS["none"]]
    run_dir = tmp_path / "run"
    finish(start(run_dir, [*RECIPES["paper"], *CALLBACKS["paper"], "recipe.max_epochs=5"]))
    # Killed before its first epoch is over, and continued without force: nothing may be taken from the old run.
    finish(start(run_dir, [*overrides, "force=true"], "in the first epoch"), -signal.SIGKILL)
    finish(start(run_dir, overrides))
    assert_same_run(run_dir, whole(*overrides))
    assert sorted(p.name for p in (run_dir / "checkpoints").iterdir()) == ["best.ckpt", "last.ckpt"]
    assert not (run_dir / "results" / "projections").exists()
