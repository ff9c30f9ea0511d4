"""Files of a run that were cut short, emptied or changed: told, made again by the run's command, else refused."""

import io
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from convlens.io.json_files import load_json
from convlens.nets.weights import read_checkpoint
from convlens.runs.damage import CHECKED


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def emptied(content: bytes) -> bytes:
    return b""


def flipped(content: bytes) -> bytes:
    changed = bytearray(content)
    changed[len(content) // 3] ^= 1
    return bytes(changed)


DAMAGES: dict[str, Callable[[bytes], bytes]] = {"cut": cut, "emptied": emptied, "flipped": flipped}
QUICK = (("checkpoints/last.ckpt", "cut"),)


def cases() -> list:
    names = [*CHECKED, "run.json"]
    pairs = [(name, damage) for name in names for damage in DAMAGES]
    return [pytest.param(*pair, marks=() if pair in QUICK else pytest.mark.slow) for pair in pairs]


@pytest.fixture
def run(trained, tmp_path) -> Path:
    shutil.copytree(trained, tmp_path / "run")
    return tmp_path / "run"


def damage(path: Path, how: str) -> None:
    path.write_bytes(DAMAGES[how](path.read_bytes()))


def files(run: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}


def content(run: Path) -> dict[str, object]:
    """What a run computed: metrics, predictions and weights."""
    found: dict[str, object] = {"metrics": load_json(run / "metrics.json")}
    for path in sorted(run.glob("results/t*/*.npz")):
        with np.load(path) as arrays:
            found[path.parent.name + path.name] = {name: arrays[name].tolist() for name in arrays.files}
    for name in ("best", "last"):
        state = read_checkpoint(run / "checkpoints" / f"{name}.ckpt")["state_dict"]
        found[name] = {key: value.tolist() for key, value in state.items()}
    return found


@pytest.mark.parametrize(("name", "how"), cases())
def test_the_command_of_a_damaged_run_makes_it_whole(run, convlens, trained, small, name, how):
    if not (run / name).exists():
        pytest.skip("these data give no such file")
    before = content(trained)
    damage(run / name, how)
    pictures = [f"callbacks.{name}.maps=2" for name in ("projections", "evolution")]
    outcome = convlens(*small, *pictures, "run_dir=run", "job_name=tiny zfnet")
    assert outcome.code == 0, outcome
    assert f"{name} is damaged" in outcome.out
    assert content(run) == before
    again = convlens(*small, *pictures, "run_dir=run", "job_name=tiny zfnet")
    assert again.code == 0
    if name != "run.json":  # of which only the file stays as it is until the run is continued
        assert "damaged" not in again.out
    assert "is finished: reused" in again.out


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("name", ["config.yaml", "checkpoints/best.ckpt"])
def test_an_analysis_of_a_damaged_run_is_refused(run, refused, name, how):
    damage(run / name, how)
    before = files(run)
    line = refused("task=invariance", "run=run", "task.images=3")
    assert name in line
    assert "damaged" in line
    assert files(run) == before


@pytest.mark.slow
@pytest.mark.essential
def test_a_gallery_with_a_damaged_file_is_made_again(run, convlens):
    command = ("task=project", "run=run", "task.layers=[conv1]", "task.maps=2", "task.controls=0", "task.keep=true")
    assert convlens(*command).code == 0
    folder = run / "results" / "projections"
    names = ("conv1.projections.npy", "conv1.npz", "conv1.png")
    before = {name: (folder / "best" / name).read_bytes() for name in names}
    assert "reused" in convlens(*command).out
    for name in names:
        damage(folder / "best" / name, "flipped")
        outcome = convlens(*command)
        assert outcome.code == 0, outcome
        assert f"{name} is damaged: the gallery is made again" in outcome.out
        after = {name: (folder / "best" / name).read_bytes() for name in ("conv1.npz", "conv1.png")}
        assert after == {name: before[name] for name in after}
        assert np.array_equal(np.load(folder / "best" / names[0]), np.load(io.BytesIO(before[names[0]])))
