"""The wheel as installed: its files and metadata, the command and its configuration, without this checkout."""

import email
import json
import os
import site
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.essential
ROOT = Path(__file__).resolve().parents[1]
SMALL = ("data.source.train=24", "data.source.test=12", "model.net.width=0.1", "recipe.max_epochs=1", "callbacks=none")


def run(*command: object, **options) -> subprocess.CompletedProcess[str]:
    # PYTHONPATH would put this checkout before what is installed.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run([*map(str, command)], capture_output=True, text=True, env=environment, **options)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    done = run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", folder, ROOT)
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel, which sees the libraries of the tests' own environment."""
    environment = tmp_path_factory.mktemp("environment")
    assert run(sys.executable, "-m", "venv", "--without-pip", environment).returncode == 0
    python = environment / "bin" / "python"
    done = run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel)
    assert done.returncode == 0, done.stderr
    (packages,) = environment.glob("lib/python*/site-packages")
    # After the environment's own packages, and without the .pth files there, of which one leads to this checkout.
    (packages / "libraries.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    return environment


def test_the_wheel_holds_the_configuration_the_templates_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    conf = {f"convlens/conf/{path.relative_to(ROOT / 'conf')}" for path in (ROOT / "conf").rglob("*.yaml")}
    assert len(conf) > 30
    assert conf == {name for name in names if name.endswith(".yaml")}
    sources = {f"convlens/{path.relative_to(ROOT / 'src/convlens')}" for path in (ROOT / "src").rglob("*.py")}
    assert sources == {name for name in names if name.endswith(".py")}
    assert {"convlens/report/report.html.jinja", "convlens/report/report.css", "convlens/py.typed"} <= set(names)
    rest = [name for name in names if not name.startswith("convlens/")]
    assert all(name.startswith("convlens-") and ".dist-info/" in name for name in rest)
    assert not [name for name in names if "__pycache__" in name or name.startswith("tests")]


def test_the_wheel_says_who_made_it_under_which_licence_and_how_it_is_started(wheel):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    with zipfile.ZipFile(wheel) as archive:
        folder = next(name.partition("/")[0] for name in archive.namelist() if ".dist-info/" in name)
        metadata = email.message_from_bytes(archive.read(f"{folder}/METADATA"))
        entry_points = archive.read(f"{folder}/entry_points.txt").decode()
        assert archive.read(f"{folder}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
    assert (metadata["Version"], metadata["License-Expression"]) == (project["version"], "MIT")
    assert metadata["Author"] == "convlens developers"
    assert "Typing :: Typed" in metadata.get_all("Classifier")
    assert {url.partition(",")[0] for url in metadata.get_all("Project-URL")} == set(project["urls"])
    assert entry_points.split() == ["[console_scripts]", "convlens", "=", "convlens.cli.main:main"]


def test_the_package_comes_from_the_wheel(installed, tmp_path):
    code = (
        "import convlens, convlens.runs.conf_files as m, torch; print(convlens.__file__, m.conf_dir(), torch.__file__)"
    )
    done = run(installed / "bin" / "python", "-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    package, conf, torch_file = (Path(path) for path in done.stdout.split())
    assert package.is_relative_to(installed)
    assert conf == package.parent / "conf"
    assert not torch_file.is_relative_to(installed)


def test_the_command_shows_its_help_and_its_configuration_from_any_folder(installed, tmp_path):
    command = installed / "bin" / "convlens"
    done = run(command, "--help", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    experiments = sorted(path.stem for path in (ROOT / "conf/experiment").glob("*.yaml"))
    assert f"experiment: {', '.join(experiments)}\n" in done.stdout
    done = run(command, "--cfg", "job", "recipe=paper", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "max_epochs: 70\n" in done.stdout
    assert not list(tmp_path.iterdir())


def test_the_command_trains_and_reports_from_any_folder(installed, tmp_path):
    command = installed / "bin" / "convlens"
    done = run(command, "task=train", *SMALL, "run_dir=run", "cache_dir=cache", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "finished"
    assert "test/top1_error" in json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert {path.name for path in tmp_path.iterdir()} == {"run", "cache"}
    done = run(command, "task=report", "run=run", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "run" / "report.html").exists()
