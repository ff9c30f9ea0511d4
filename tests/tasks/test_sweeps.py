import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import Mock

import pytest
import wandb
from hydra.errors import MissingConfigException

from convlens.runs.config_errors import explain
from convlens.systems import Classifier
from convlens.tasks.collect import collect

DISABLED = {"mode": "disabled"}  # W&B reads its variables once, maybe in an earlier test
QUICK = ("recipe.max_epochs=1", "callbacks=none", "output_root=out")
COMMAND = [sys.executable, "-m", "convlens.cli.main", "-m"]


@pytest.fixture
def quick(small) -> tuple[str, ...]:
    """Overrides of jobs that take a second."""
    return (*small[:-1], *QUICK)


def metrics(root: Path) -> dict[str, dict]:
    return {file.parent.name: json.loads(file.read_text()) for file in sorted(root.glob("out/train/*/metrics.json"))}


def begin(folder: Path, cache: Path, *arguments: str) -> subprocess.Popen:
    command = [*COMMAND, *arguments, f"cache_dir={cache}"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "RAY_AUTH_MODE": "disabled"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen(command, cwd=folder, env=environment, text=True, **pipes)


def last_line(process: subprocess.Popen) -> str:
    said = process.communicate(timeout=300)[0]
    lines = [line for line in said.splitlines() if " jobs: " in line]
    assert lines, said
    return lines[-1]


# ---- done, skipped, failed ---------------------------------------------------------------------------------------


def test_a_job_that_fails_is_marked_and_the_rest_is_done(convlens, quick, tmp_path, monkeypatch):
    original = Classifier.validation_step

    def fail_for_one(self, *args):
        if self.seed == 1:
            raise RuntimeError("the machine is on fire")
        return original(self, *args)

    monkeypatch.setattr(Classifier, "validation_step", fail_for_one)
    outcome = convlens("-m", *quick, "seed=0,1,2")
    assert outcome.code == 1
    said = outcome.out.splitlines()
    assert said[-2] == "3 jobs: 2 done, 1 failed"
    assert said[-1].startswith(f"failed: {tmp_path}/out/train/zfnet-parts-seed_1-")
    assert "RuntimeError: the machine is on fire; traceback in " in said[-1]
    assert "the machine is on fire" in Path(said[-1].rpartition("traceback in ")[2]).read_text()
    assert len(metrics(tmp_path)) == 2
    monkeypatch.undo()
    again = convlens("-m", *quick, "seed=0,1,2")
    assert (again.code, again.out.splitlines()[-1]) == (0, "3 jobs: 1 done, 2 skipped (finished before)")
    assert len(metrics(tmp_path)) == 3


def test_what_became_of_the_jobs_is_kept(convlens, quick, tmp_path):
    assert convlens("-m", *quick, "model.net.width=0,0.1").code == 2
    (file,) = (tmp_path / "out" / "sweeps").iterdir()
    jobs = json.loads(file.read_text())["jobs"]
    assert [job["state"] for job in jobs] == ["refused", "done"]
    assert jobs[0]["reason"] == "width=0 is not possible: give a factor above 0, such as 0.5"
    assert jobs[1]["objective"] == metrics(tmp_path)[Path(jobs[1]["run_dir"]).name]["val/top1_error"]


FRAGILE = """
import os
import signal

from torch import nn


class Net(nn.Sequential):
    def __init__(self, kind="fine", num_classes=12):
        super().__init__(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, num_classes))
        self.kind = kind

    def forward(self, x):
        if self.training and self.kind == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.training and self.kind == "broken":
            raise RuntimeError("the machine is on fire")
        return super().forward(x)
"""


@pytest.fixture
def fragile(tmp_path, quick) -> tuple[str, ...]:
    """Overrides of jobs whose network ends the process, breaks, or does its work."""
    (tmp_path / "mine.py").write_text(FRAGILE)
    own = [given for given in quick if not given.startswith("model.")]
    return (*own, "model=torchvision", "model.net._target_=mine.Net", "~model.net.name", "model.name=mine")


@pytest.mark.essential
def test_a_job_of_several_devices_that_fails_is_marked_as_failed(fragile, tmp_path, cache):
    devices = ("trainer.devices=2", "trainer.accelerator=cpu", "+model.net.num_classes=12")
    process = begin(tmp_path, cache, *fragile, *devices, "+model.net.kind=killed,broken,fine")
    said = process.communicate(timeout=300)[0]
    assert "3 jobs: 1 done, 2 failed" in said, said
    assert process.returncode == 1
    (file,) = (tmp_path / "out/sweeps").glob("*.json")
    states = [(job["state"], job["code"]) for job in json.loads(file.read_text())["jobs"]]
    assert states == [("failed", 1), ("failed", 1), ("done", 0)]
    assert len(metrics(tmp_path)) == 1  # the processes of a job are its own, and not the sweep again


@pytest.mark.essential
def test_a_refused_job_of_several_devices_is_no_success(quick, tmp_path, cache):
    devices = ("trainer.devices=2", "trainer.accelerator=cpu", "trainer.strategy=nonsense")
    process = begin(tmp_path, cache, *quick, *devices, "seed=0")
    said = process.communicate(timeout=300)[0]
    assert "1 jobs: 1 " in said
    assert "done" not in said.partition("1 jobs:")[2], said
    assert process.returncode != 0


@pytest.mark.essential
def test_a_launcher_that_breaks_ends_in_a_summary(fragile, tmp_path, cache):
    own = (*fragile, "+model.net.kind=killed,fine", "seed=0,1", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    process = begin(tmp_path, cache, *own)
    said = process.communicate(timeout=300)[0]
    assert process.returncode == 1
    assert " jobs: " in said
    assert "begun but never ended" in said
    assert "the sweep broke off (TerminatedWorkerError" in said, said


@pytest.mark.slow
@pytest.mark.essential
def test_a_table_is_made_when_it_is_missing_or_older_than_the_runs(convlens, quick, tmp_path):
    sweep = ("-m", "experiment=ablation", *quick, "model=zfnet", "ablation=none", "seed=0,1")
    assert convlens(*sweep).code == 0
    table = tmp_path / "out/ablation/results/collect/table.csv"
    first = table.read_bytes()
    made = table.stat().st_mtime_ns
    assert "2 skipped" in convlens(*sweep).out
    assert table.stat().st_mtime_ns == made
    shutil.rmtree(table.parent)
    assert "2 skipped" in convlens(*sweep).out
    assert table.read_bytes() == first
    assert convlens(*sweep, "seed=0,1,2").code == 0
    assert table.read_bytes() != first


def test_a_table_that_cannot_be_made_is_no_success(convlens, quick, monkeypatch):
    monkeypatch.setattr("convlens.tasks.collect.collect", Mock(side_effect=AttributeError("odd")))
    outcome = convlens("-m", "experiment=ablation", *quick, "model=zfnet", "ablation=none", "seed=0")
    assert outcome.code == 1, outcome
    assert "convlens: no table: AttributeError: odd" in outcome.err


def test_a_network_that_cannot_be_built_leaves_its_traceback(convlens, quick, tmp_path, monkeypatch):
    (tmp_path / "boom.py").write_text("def build(num_classes=12):\n    raise RuntimeError('no such thing')\n")
    own = [given for given in quick if not given.startswith("model.")]
    own += ["model=torchvision", "model.net._target_=boom.build", "~model.net.name", "model.name=boom"]
    monkeypatch.syspath_prepend(tmp_path)
    outcome = convlens("-m", *own, "seed=0")
    assert outcome.code == 1
    said = outcome.out.splitlines()[-1]
    assert "RuntimeError: no such thing; traceback in " in said
    assert "no such thing" in Path(said.rpartition("traceback in ")[2]).read_text()


@pytest.mark.slow
def test_a_search_goes_on_after_a_trial_that_is_refused(convlens, quick, tmp_path):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    outcome = convlens(
        "-m", "experiment=first_layer_search", *quick, "hydra.sweeper.n_trials=3", "stride=choice(1,500)"
    )
    assert "3 jobs: " in outcome.out
    assert "refused" in outcome.out
    assert (tmp_path / "out/optimization_results.yaml").exists()
    runs = [file.parent.name for file in tmp_path.glob("out/first_layer_search/*/run.json")]
    assert runs
    assert all(name.startswith("alexnet-parts") for name in runs)


def test_directories_that_follow_a_setting_are_each_jobs_own(convlens, quick, tmp_path):
    assert convlens("-m", *quick, "seed=0,1", "run_dir=mine-${seed}").code == 0
    assert (tmp_path / "mine-0/metrics.json").exists()
    assert (tmp_path / "mine-1/metrics.json").exists()


@pytest.mark.parametrize("values", ["0,0", "0,1,1"])
def test_a_job_asked_for_twice_is_refused(refused_command, quick, values):
    assert "is asked for twice: give each value once" in refused_command("-m", *quick, f"seed={values}")


@pytest.mark.parametrize(
    "choice",
    [("seed=0,1", "run_dir=mine"), ("seed=0,1", "logger=csv,wandb"), ("experiment=smoke", "seed=0,1")],
)
def test_two_jobs_with_one_directory_are_refused_before_either_begins(refused_command, quick, tmp_path, choice):
    said = refused_command("-m", *quick, *choice)
    assert " and " in said
    assert "would both write to" in said
    assert not list(tmp_path.rglob("run.json"))


def test_the_second_and_the_third_job_may_not_share_a_directory_either(refused_command, quick):
    said = refused_command("-m", *quick, "model.weights=x,dd/a/b,dd/a_b")
    assert said.startswith("model.weights=dd/a/b and model.weights=dd/a_b would both write to")


def test_a_finished_sweep_is_passed_over_without_anything_heavy(convlens, quick, tmp_path, cache):
    assert convlens("-m", *quick, "seed=0").code == 0
    code = (
        "import sys\nfrom convlens.cli.main import main\n"
        "try:\n    main()\nfinally:\n    print(sorted({'torch', 'lightning', 'numpy'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, "-m", *quick, "seed=0", f"cache_dir={cache}"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-2:] == ["1 jobs: 1 skipped (finished before)", "[]"], done


# ---- killed, and at once -----------------------------------------------------------------------------------------


@pytest.mark.essential
def test_a_sweep_that_was_killed_gives_what_one_that_was_not_gives(convlens_in, quick, tmp_path, cache):
    longer = (*quick[:-3], "recipe.max_epochs=30", *QUICK[1:], "seed=0,1", "model.net.width=0.1")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
    process = begin(killed, cache, *longer)
    deadline = time.monotonic() + 120
    while not list(killed.glob("out/train/*seed_1*/checkpoints/last.ckpt")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert len(metrics(killed)) == 1
    assert "1 done, 1 skipped" in convlens_in(killed, "-m", *longer).out
    assert "2 done" in convlens_in(whole, "-m", *longer).out
    assert metrics(killed) == metrics(whole)
    tables = []
    for folder in (killed, whole):
        collect(folder / "out/train")
        tables.append((folder / "out/train/results/collect/table.csv").read_bytes())
    assert tables[0] == tables[1]


@pytest.mark.essential
def test_two_sweeps_at_once_share_the_jobs(convlens_in, quick, tmp_path, cache):
    sweep = (*quick, "seed=0,1,2,3")
    said = [last_line(process) for process in [begin(tmp_path, cache, *sweep) for _ in range(2)]]
    assert all(line.startswith("4 jobs: ") and "failed" not in line and "refused" not in line for line in said), said
    assert len(metrics(tmp_path)) == 4
    alone = tmp_path / "alone"
    alone.mkdir()
    assert "4 jobs: 4 done" in convlens_in(alone, "-m", *sweep).out
    assert metrics(tmp_path) == metrics(alone)


# ---- launchers and searches --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("launcher", "option"),
    [
        pytest.param("joblib", "hydra.launcher.n_jobs=2", marks=pytest.mark.essential),
        pytest.param("submitit_local", "hydra.launcher.timeout_min=5", marks=pytest.mark.slow),
        pytest.param("ray", "+hydra.launcher.ray.init.num_cpus=2", marks=pytest.mark.slow),
    ],
)
def test_the_same_command_runs_with_other_launchers(convlens, quick, tmp_path, cache, launcher, option):
    sweep = (*quick, "seed=0,1,2,3")
    assert "4 jobs: 4 done" in last_line(begin(tmp_path, cache, *sweep, f"hydra/launcher={launcher}", option))
    assert len(metrics(tmp_path)) == 4
    assert "4 jobs: 4 skipped" in convlens("-m", *sweep).out


@pytest.mark.slow
def test_a_search_makes_the_validation_error_small(convlens, quick, tmp_path):
    trials = ("hydra.sweeper.n_trials=3", "hydra.sweeper.sampler.seed=1")
    outcome = convlens("-m", "experiment=first_layer_search", *quick, *trials)
    assert outcome.code == 0, outcome
    assert "3 jobs: 3 done" in outcome.out
    found = [json.loads(file.read_text()) for file in tmp_path.glob("out/first_layer_search/*/metrics.json")]
    best = (tmp_path / "out" / "optimization_results.yaml").read_text()
    assert f"best_value: {min(run['val/top1_error'] for run in found)}" in best


@pytest.mark.parametrize(
    ("launcher", "library"),
    [
        pytest.param("joblib", "joblib", marks=pytest.mark.essential),
        pytest.param("submitit_local", "submitit", marks=pytest.mark.slow),
        pytest.param("ray", "ray", marks=pytest.mark.slow),
    ],
)
def test_a_launcher_without_its_library_is_said_in_one_line(quick, tmp_path, cache, monkeypatch, launcher, library):
    (tmp_path / "hidden" / library).mkdir(parents=True)
    (tmp_path / "hidden" / library / "__init__.py").write_text(
        f"raise ModuleNotFoundError(\"No module named '{library}'\")"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "hidden"))
    process = begin(tmp_path, cache, *quick, "seed=0,1", f"hydra/launcher={launcher}")
    said = process.communicate(timeout=300)[0].strip()
    assert process.returncode == 2, said
    assert said.count("\n") == 0, said
    assert f"pip install 'convlens[{launcher.partition('_')[0]}]'" in said


@pytest.mark.slow
def test_a_cluster_that_is_not_there_is_said_in_one_line(quick, tmp_path, cache):
    process = begin(tmp_path, cache, *quick, "seed=0,1", "hydra/launcher=submitit_slurm")
    said = process.communicate(timeout=300)[0].strip()
    assert process.returncode == 2, said
    assert said.startswith("convlens: hydra/launcher=submitit_slurm cannot start ("), said
    assert said.count("\n") == 0
    assert not list(tmp_path.rglob("run.json"))


@pytest.mark.parametrize(
    ("choice", "extra"), [("hydra/launcher/submitit_slurm", "submitit"), ("hydra/sweeper/optuna", "optuna")]
)
def test_a_launcher_that_is_not_installed_is_named_with_how_to_install_it(choice, extra):
    group, _, name = choice.rpartition("/")
    said = explain(MissingConfigException("", choice, ["basic"]), [], [])
    assert said == f"{group}={name} is not installed: pip install 'convlens[{extra}]'"


# ---- dashboards --------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_runs_of_a_sweep_are_a_group_and_those_of_another_a_second(convlens, quick, tmp_path, monkeypatch):
    seen: list[dict] = []
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setattr(
        "wandb.init", lambda original=wandb.init, **given: seen.append(given) or original(**given | DISABLED)
    )
    for values in ("0,1", "0,1", "2,3"):
        assert convlens("-m", *quick, f"seed={values}", "logger=wandb", "force=true").code == 0
    assert convlens(*quick, "seed=4", "logger=wandb").code == 0
    groups = [given["group"] for given in seen]
    assert len(groups) == 7
    assert len(set(groups[:4])) == 1
    assert len({groups[0], groups[4], groups[6]}) == 3
    assert groups[6] == "train-parts"
    assert groups[0].startswith("train-parts-")


def test_a_job_of_several_devices_is_in_the_group_of_its_sweep(convlens, quick, monkeypatch):
    typed = Mock(return_value=Mock(returncode=0))
    monkeypatch.setattr("convlens.cli.sweep_jobs.subprocess.run", typed)
    convlens("-m", *quick, "seed=0,1", "logger=wandb", "trainer.devices=2")
    groups = [word for call in typed.call_args_list for word in call.args[0] if word.startswith("logger.wandb.group=")]
    assert len(groups) == 2
    assert len(set(groups)) == 1
    assert groups[0].startswith("logger.wandb.group=train-parts-")


@pytest.mark.slow
def test_the_table_that_ends_a_sweep_goes_to_its_group(convlens, quick, tmp_path, monkeypatch):
    seen: list[dict] = []
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setattr(
        "wandb.init", lambda original=wandb.init, **given: seen.append(given) or original(**given | DISABLED)
    )
    sweep = ("-m", "experiment=ablation", *quick, "model=zfnet", "ablation=none", "seed=0,1", "logger=wandb")
    outcome = convlens(*sweep)
    assert outcome.code == 0, outcome
    assert [given["name"] for given in seen][-1] == "ablation/collect"
    assert len({given["group"] for given in seen}) == 1
