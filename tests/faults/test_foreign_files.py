"""Files that are not ours, anywhere beside random commands that end well, fail, are refused, forced or killed."""

import contextlib
import os
import random
import signal
import time
from pathlib import Path

import pytest

from tests.faults.commands_to_kill import SMALL, TRAIN, VICTIMS, Victim, convlens, fresh, prepare
from tests.faults.forked import command, finish, start, stopped

PLACES = (".", "run", "run/results", "run/results/occlusion", "run/results/projections/best", "run/checkpoints")
PLACES += ("run/results/projections/partial", "run/results/evolution/partial", "run/results/transfer_parts")
PLACES += ("run/wandb", "made", "made/train", "made/results", "results/collect", "made/checkpoints", "mine/deep")
NAMES = ("notes.txt", "config.yaml", "metrics.csv", "photo.png", "data.npz", "last.ckpt", "done.json", "index.json")
NAMES += ("run.json", "result.json", "conv1.npz", "a.bin", ".hidden", "table.csv")
MEANWHILE = ("notes.txt", "photo.png", "data.npz", "copy.ckpt", "fig1.pdf", ".hidden", "conv1 (copy).npy")
"""Names of files that are put there while a command works; none is one that it writes at that moment."""
REFUSED = {
    "unknown layer": ("task=project", "run=run", "task.layers=[conv99]"),
    "unknown setting": ("task=occlude", "run=run", "task.nosuch=1"),
    "refused late": (*TRAIN, "run_dir=made", "trainer.strategy=nonsense", "force=true"),
    "here": (*TRAIN, "run_dir=."),
    "force here": (*TRAIN, "run_dir=.", "force=true"),
    "a run that is replaced and refused": (*TRAIN, "run_dir=run", "force=true", "recipe.optimizer.lr=abc"),
    "no runs": ("task=compare", "task.run_dirs=[made,run]", "run_dir=made"),
    "a folder that is no run": (*TRAIN, "run=mine", "force=true"),
    "invariance": ("task=invariance", "run=run", "task.images=2", "task.steps=3", "task.layers=[fc7]"),
    "correspond": ("task=correspond", "run=run", "task.images=2", "task.num_examples=1"),
    "diagnose": ("task=diagnose", "run=run", "task.images=2"),
    "duplicates": ("task=duplicates", *SMALL, "run_dir=made"),
    "ensemble": ("task=ensemble", "task.run_dirs=[run]", "run_dir=made"),
    "report": ("task=report", "run=run"),
    "study": ("task=study", "run_dir=made", "model=zfnet"),
}
COMMANDS = VICTIMS | {name: Victim(convlens(*words), "", needs_run=True) for name, words in REFUSED.items()}


@pytest.fixture(scope="module")
def shared(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("shared")
    prepare(folder)
    call = command(*TRAIN, "run_dir=run", f"cache_dir={folder / 'cache'}")
    assert finish(start(call, folder, folder / "log.txt")) == 0, (folder / "log.txt").read_text()
    return folder


def scatter(folder: Path, rng: random.Random, names: tuple[str, ...] = NAMES, most: int = 12) -> dict[Path, bytes]:
    """Write files of a user in random places, beside those of the run; return them."""
    foreign: dict[Path, bytes] = {}
    for _ in range(rng.randint(2, most)):
        path = folder / rng.choice(PLACES) / rng.choice(names)
        if path.exists() or (path.parent == folder / "run" and path.name in ("config.yaml", "metrics.csv", "run.json")):
            continue
        content = rng.randbytes(rng.randint(0, 200))
        with contextlib.suppress(FileNotFoundError):  # a command has removed the empty folder
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            foreign[path] = content
    return foreign


def scatter_meanwhile(pid: int, folder: Path, rng: random.Random, seconds: float) -> dict[Path, bytes]:
    """Write files of a user a few times while a process works; return them."""
    foreign: dict[Path, bytes] = {}
    until = time.monotonic() + seconds
    while time.monotonic() < until and os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        foreign |= scatter(folder, rng, MEANWHILE, 3)
        time.sleep(rng.uniform(0.1, 1))
    return foreign


@pytest.mark.parametrize("seed", [pytest.param(seed, marks=pytest.mark.slow) for seed in range(40)])
def test_foreign_files_are_never_touched(seed, shared, tmp_path):
    rng = random.Random(seed)
    folder = fresh(VICTIMS["project"], tmp_path / "here", shared)
    foreign = scatter(folder, rng)
    names = [list(COMMANDS)[seed % len(COMMANDS)], rng.choice(list(COMMANDS))]
    for name in names:
        pid = start(COMMANDS[name].call(shared), folder, tmp_path / "log.txt")
        if seed % 2:
            foreign |= scatter_meanwhile(pid, folder, rng, rng.uniform(1, 8))
        if rng.random() < 0.4:
            stopped(pid, rng.uniform(0.0, 3.0), rng.choice((signal.SIGKILL, signal.SIGINT, signal.SIGTERM)))
        else:
            finish(pid)
        changed = [path for path, content in foreign.items() if not path.exists() or path.read_bytes() != content]
        assert not changed, f"{name}: {changed}\n{(tmp_path / 'log.txt').read_text()[-800:]}"
