"""Few open files and little memory, as the system itself limits them."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from convlens.systems import Classifier
from tests.faults.commands import QUICK
from tests.tasks.conftest import SMALL_DATA

RUN = (*SMALL_DATA[:-1], *QUICK, "run_dir=out")


def type_with_limit(folder: Path, cache: Path, kind: int, value: int, *arguments: str) -> str:
    """Run the command in a process with a limit; return what it says last, after a check that it was refused."""
    command = [sys.executable, "-m", "convlens.cli.main", *arguments, f"cache_dir={cache}"]
    done = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(kind, (value, value)),
        timeout=300,
    )
    assert done.returncode == 2, done
    assert "Traceback" not in done.stderr + done.stdout
    said = done.stderr.splitlines()
    assert [line.startswith("convlens: ") for line in said].count(True) == 1, done.stderr
    assert not list(folder.rglob("*.partial"))
    return said[-1]


@pytest.mark.slow
@pytest.mark.parametrize("files", [14, 24])
def test_few_open_files(convlens, cache, trained, tmp_path, files):
    said = type_with_limit(tmp_path, cache, resource.RLIMIT_NOFILE, files, *RUN, "data.num_workers=2")
    assert said.startswith(f"convlens: too many open files (this process may open {files}): raise the limit with ")
    assert "`ulimit -n`, or lower data.num_workers" in said
    assert convlens(*RUN).code == 0


@pytest.mark.slow
def test_little_memory(convlens, cache, trained, tmp_path):
    many = ("data.source.train=600", "data.source.test=24", *QUICK, "recipe.batch_size=512", "run_dir=out")
    said = type_with_limit(tmp_path, cache, resource.RLIMIT_AS, 3_600_000 * 1024, *many)
    assert said.startswith("convlens: out of memory (asked for ")
    assert "lower data.batch_size" in said


@pytest.mark.slow
def test_memory_that_does_not_hold_the_libraries(cache, tmp_path):
    said = type_with_limit(tmp_path, cache, resource.RLIMIT_AS, 1_500_000 * 1024, *RUN)
    assert said.startswith("convlens: out of memory: ")


@pytest.mark.slow
@pytest.mark.parametrize("allocate", [torch.empty, np.empty])
def test_a_training_without_memory_names_the_batch_size_and_goes_on_when_there_is_some(
    convlens, tmp_path, monkeypatch, allocate
):
    with monkeypatch.context() as patch:
        patch.setattr(Classifier, "validation_step", lambda *_: allocate(10**15))
        outcome = convlens(*RUN)
    assert outcome.code == 2
    assert outcome.err.startswith("convlens: out of memory (asked for ")
    assert outcome.err.endswith("more): lower data.batch_size, or free some memory\n")
    assert not (tmp_path / "out" / "traceback.txt").exists()
    assert convlens(*RUN).code == 0
