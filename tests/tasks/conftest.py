import contextlib
import io
import json
import logging
import os
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from unittest import mock

import pytest
import torch
from filelock import FileLock
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig

from convlens.cli.main import main
from convlens.errors import InputError
from convlens.runs.dispatch import dispatch
from tests.composed_job import job_config

SMALL_DATA = ("data.source.train=48", "data.source.test=24", "model.net.width=0.1", "recipe.max_epochs=2")


@dataclass(frozen=True)
class Outcome:
    """What a command left behind in the terminal."""

    code: int
    out: str
    err: str


def call_main(folder: Path, *arguments: str) -> Outcome:
    """`convlens` with these arguments, as typed in a folder, but in this process."""
    out, err = io.StringIO(), io.StringIO()
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    GlobalHydra.instance().clear()
    code: object = 0
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.redirect_stdout(out))
        stack.enter_context(contextlib.redirect_stderr(err))
        stack.enter_context(contextlib.chdir(folder))
        stack.enter_context(mock.patch.object(sys, "argv", ["convlens", *arguments]))
        stack.enter_context(mock.patch.dict(os.environ))
        try:
            main()
        except SystemExit as stop:
            code = stop.code
        finally:
            for handler in root.handlers:
                if handler not in handlers:
                    handler.close()
            root.handlers[:], root.level = handlers, level
            GlobalHydra.instance().clear()
            HydraConfig.instance().cfg = None
    assert not torch.are_deterministic_algorithms_enabled()  # or later jobs of a sweep would have them
    assert isinstance(code, int)
    return Outcome(code, out.getvalue(), err.getvalue())


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of all worker processes of this run of the tests."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def cache(shared: Path) -> Path:
    """Where all tests keep the images that were drawn once."""
    return shared / "cache"


@pytest.fixture(scope="session")
def convlens_in(cache: Path) -> Callable[..., Outcome]:
    """Calls `convlens` in a folder, with the cache of all tests."""
    return lambda folder, *arguments: call_main(folder, *arguments, f"cache_dir={cache}")


@pytest.fixture
def convlens(convlens_in: Callable[..., Outcome], tmp_path: Path) -> Callable[..., Outcome]:
    """Calls `convlens` in the test's own folder."""
    return lambda *arguments: convlens_in(tmp_path, *arguments)


@pytest.fixture
def refused(tmp_path: Path, cache: Path) -> Callable[..., str]:
    """Composes and dispatches what cannot be done, in this process, and gives the one line of its error."""

    def call(*arguments: str) -> str:
        with (
            contextlib.chdir(tmp_path),
            pytest.raises(InputError) as caught,
            job_config(*arguments, f"cache_dir={cache}") as (cfg, overrides),
        ):
            dispatch(cfg, overrides)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return call


@pytest.fixture
def refused_command(convlens: Callable[..., Outcome]) -> Callable[..., str]:
    """Calls `convlens` with what it cannot do, and gives the one line that it prints."""

    def call(*arguments: str) -> str:
        outcome = convlens(*arguments)
        assert outcome.code == 2, outcome
        assert outcome.err.startswith("convlens: "), outcome.err
        assert outcome.err.count("\n") == 1, outcome.err
        assert "Traceback" not in outcome.out
        return outcome.err.removeprefix("convlens: ").strip()

    return call


@pytest.fixture(scope="session")
def small() -> tuple[str, ...]:
    """Overrides of a run that takes seconds."""
    return SMALL_DATA


@pytest.fixture(scope="session")
def first_run(shared: Path, convlens_in: Callable[..., Outcome]) -> tuple[Path, Outcome]:
    """A finished training run that nobody changes, and what was said while it was made; one for all workers."""
    folder, said = shared / "trained", shared / "trained.json"
    with FileLock(shared / "trained.lock"):
        if not said.exists():
            folder.mkdir()
            pictures = [f"callbacks.{name}.maps=2" for name in ("projections", "evolution")]
            outcome = convlens_in(folder, *SMALL_DATA, *pictures, "run_dir=run", "job_name=tiny zfnet")
            said.write_text(json.dumps(asdict(outcome)))
    return folder / "run", Outcome(**json.loads(said.read_text()))


@pytest.fixture(scope="session")
def trained(first_run: tuple[Path, Outcome]) -> Path:
    """The directory of a finished training run that nobody changes."""
    assert first_run[1].code == 0, first_run[1]
    return first_run[0]
