"""Files that are not ours, anywhere beside random commands that end well, fail, are refused, forced or killed."""

import random
import signal
from pathlib import Path

import pytest

from tests.faults.commands_to_kill import SMALL, TRAIN, VICTIMS, Victim, convlens, fresh, prepare
from tests.faults.forked import command, finish, start, stopped

PLACES = (".", "run", "run/results", "run/results/occlusion", "run/results/projections/best", "run/checkpoints")
PLACES += ("run/wandb", "made", "made/train", "made/results", "results/collect", "made/checkpoints", "mine/deep")
NAMES = ("notes.txt", "config.yaml", "metrics.csv", "photo.png", "data.npz", "last.ckpt", "done.json", "index.json")
NAMES += ("run.json", "result.json", "conv1.npz", "a.bin", ".hidden", "table.csv")
REFUSED = {
    "unknown layer": ("task=project", "run=run", "task.layers=[conv99]"),
    "unknown setting": ("task=occlude", "run=run", "task.nosuch=1"),
    "refused late": (*TRAIN, "run_dir=made", "trainer.strategy=nonsense", "force=true"),
    "here": (*TRAIN, "run_dir=."),
    "force here": (*TRAIN, "run_dir=.", "force=true"),
    "a run that is replaced and refused": (*TRAIN, "run_dir=run", "force=true", "recipe.optimizer.lr=abc"),
    "no runs": ("task=compare", "task.run_dirs=[made,run]", "run_dir=made"),
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


def scatter(folder: Path, rng: random.Random) -> dict[Path, bytes]:
    """Write files of a user in random places, beside those of the run; return them."""
    foreign: dict[Path, bytes] = {}
    for _ in range(rng.randint(2, 12)):
        path = folder / rng.choice(PLACES) / rng.choice(NAMES)
        if path.exists() or (path.parent == folder / "run" and path.name in ("config.yaml", "metrics.csv", "run.json")):
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        foreign[path] = rng.randbytes(rng.randint(0, 200))
        path.write_bytes(foreign[path])
    return foreign


@pytest.mark.parametrize("seed", [pytest.param(seed, marks=pytest.mark.slow) for seed in range(40)])
def test_foreign_files_are_never_touched(seed, shared, tmp_path):
    rng = random.Random(seed)
    folder = fresh(VICTIMS["project"], tmp_path / "here", shared)
    foreign = scatter(folder, rng)
    names = [list(COMMANDS)[seed % len(COMMANDS)], rng.choice(list(COMMANDS))]
    for name in names:
        pid = start(COMMANDS[name].call(shared), folder, tmp_path / "log.txt")
        if rng.random() < 0.4:
            stopped(pid, rng.uniform(0.0, 3.0), rng.choice((signal.SIGKILL, signal.SIGINT, signal.SIGTERM)))
        else:
            finish(pid)
        changed = [path for path, content in foreign.items() if not path.exists() or path.read_bytes() != content]
        assert not changed, f"{name}: {changed}\n{(tmp_path / 'log.txt').read_text()[-800:]}"
