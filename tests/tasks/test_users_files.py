"""Files of the user, beside a command's and planted while it works: refused, kept, and never taken for a run's."""

import shutil
from pathlib import Path
from unittest.mock import patch

import pytest

from convlens.io.json_files import load_json, write_json
from convlens.runs.record_file import read_record, write_record


@pytest.fixture
def run(trained, tmp_path) -> Path:
    shutil.copytree(trained, tmp_path / "run")
    return tmp_path / "run"


def files(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file() and ".lock" not in path.name]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def plant(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"{name} of the user")


COMMANDS = {
    "train": ("task=train",),
    "occlude": ("task=occlude",),
    "compare": ("task=compare", "task.run_dirs=[run,run]"),
    "report": ("task=report",),
    "transfer": ("task=transfer",),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_folder_that_is_no_run_is_refused_as_one(command, run, refused, small, tmp_path):
    plant(tmp_path / "mine", "config.yaml", "run.json", "metrics.csv", "results/occlusion/a.png")
    (tmp_path / "mine/config.yaml").write_text("mine: 1\n")
    (tmp_path / "mine/run.json").write_text('{"mine": 1}')
    before = files(tmp_path)
    said = refused(*COMMANDS[command], "run=mine", *(small if command == "train" else ()))
    assert said == ("run=mine: the directory holds config.yaml and no run of convlens: give the directory of a run")
    assert files(tmp_path) == before


@pytest.mark.parametrize("name", ["run.log", "traceback.txt", "report.html"])
def test_a_file_of_the_user_with_a_name_of_ours_is_kept_by_a_refused_command(name, refused_command, small, tmp_path):
    plant(tmp_path / "mine", name)
    before = files(tmp_path)
    said = refused_command("task=occlude", *small[:-1], "run_dir=mine", "task.layer=nosuch")
    assert said.startswith(f"run_dir=mine: the directory holds {name} and no run of convlens")
    assert files(tmp_path) == before


def test_a_refused_command_removes_no_checkpoint(run, refused, small):
    (run / "checkpoints/best.ckpt").write_bytes((run / "checkpoints/best.ckpt").read_bytes()[:1000])
    before = files(run)
    own = ("callbacks.projections.maps=2", "callbacks.evolution.maps=2", "run_dir=run", "job_name=tiny zfnet")
    said = refused(*small, *own, "trainer.devices=64", "trainer.accelerator=cpu")
    assert "64 processes for" in said
    assert files(run) == before


PLANTED = ("results/paper_figures/fig1.pdf", "checkpoints/my_copy.ckpt", "results/filters/mine.png", "wandb/notes.txt")


def test_files_that_are_planted_while_an_analysis_works_are_not_the_runs(run, convlens):
    def planting(*arguments: object, **options: object) -> None:
        plant(run, *PLANTED)
        return write_json(*arguments, **options)

    with patch("convlens.stats.results.write_json", planting):
        assert convlens("task=diagnose", "run=run", "task.images=2").code == 0
    listed = read_record(run)["files"]
    assert not set(PLANTED) & set(listed)
    assert "results/filters/result.json" in listed


def test_files_that_are_planted_while_a_training_works_are_not_the_runs(convlens, small, tmp_path):
    made, seen = tmp_path / "made", []

    def planting(*arguments: object, **options: object) -> None:
        plant(made, *PLANTED)
        seen.append(read_record(made)["files"])
        return write_json(*arguments, **options)

    own = (*small, "recipe.max_epochs=1", "callbacks=none", "run_dir=made")
    with patch("convlens.runs.training.write_json", planting):
        assert convlens(*own).code == 0
    assert "checkpoints/last.ckpt" in seen[0]  # the run would be known if it were killed here
    assert not set(PLANTED) & {*seen[0], *read_record(made)["files"]}
    assert convlens(*own, "force=true").code == 0
    assert {name: (made / name).read_text() for name in PLANTED} == {name: f"{name} of the user" for name in PLANTED}


def test_results_that_are_made_again_leave_the_users_files_beside_them(run, convlens):
    command = ("task=duplicates", "run=run")
    assert convlens(*command).code == 0
    folder = run / "results/duplicates"
    plant(folder, "exclude_other.txt")
    outcome = convlens(*command)
    assert outcome.code == 2
    assert "exclude_other.txt would be overwritten and was not written by convlens" in outcome.err
    assert (folder / "exclude_other.txt").read_text() == "exclude_other.txt of the user"
    (folder / "exclude_other.txt").rename(folder / "names.txt")
    assert convlens(*command).code == 0
    assert (folder / "names.txt").exists()


def test_figures_of_the_user_beside_those_of_a_transfer_are_kept(run, convlens):
    command = (
        *("task=transfer", "run=run", "task.layers=[1]", "task.images_per_class=[1]", "task.folds=[0]", "task.C=1"),
        *("task.random_weights_control=false", "task.num_examples=0"),
    )
    assert convlens(*command).code == 0
    folder = run / "results/transfer_parts"
    figures = {path.name for path in folder.glob("*.png")}
    (folder / "unknown.png").write_text("of the user")
    outcome = convlens(*command)
    assert "unknown.png would be overwritten and was not written by convlens" in outcome.err
    (folder / "unknown.png").rename(folder / "unknown.jpg")
    assert convlens(*command).code == 0
    assert figures <= {path.name for path in folder.iterdir()}
    assert (folder / "unknown.jpg").read_text() == "of the user"


@pytest.mark.parametrize("how", ["emptied", "changed"])
def test_rows_of_a_damaged_table_of_metrics_come_from_the_checkpoint(how, run, convlens, small):
    before, path = (run / "metrics.csv").read_text(), run / "metrics.csv"
    write_record(run, read_record(run) | {"status": "failed", "states": {}})  # as if it had been stopped
    path.write_text("" if how == "emptied" else before.replace("\n2,", "\nz,"))
    own = ("callbacks.projections.maps=2", "callbacks.evolution.maps=2", "run_dir=run", "job_name=tiny zfnet")
    assert convlens(*small, *own).code == 0
    assert path.read_text() == before


def test_a_run_goes_on_whose_record_and_copy_are_empty(run, convlens, small):
    for name in ("run.json", ".run.json"):
        (run / name).write_text("")
    metrics = load_json(run / "metrics.json")
    own = ("callbacks.projections.maps=2", "callbacks.evolution.maps=2", "run_dir=run", "job_name=tiny zfnet")
    outcome = convlens(*small, *own)
    assert outcome.code == 0, outcome
    assert load_json(run / "metrics.json") == metrics
    assert read_record(run)["status"] == "finished"
