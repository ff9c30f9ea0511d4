"""A run directory that version 0.1 wrote: `tests/runs/old_run` holds the text files of one, with the keys of then."""

import json
import shutil
from pathlib import Path

import pytest
import torch
import yaml

from convlens.callbacks import FirstFilters
from convlens.io.json_files import load_json
from convlens.runs.run_config import read_config

OLD = Path(__file__).parents[1] / "runs" / "old_run"
# What its checkpoints held, beside tensors: a run is continued from these.
OLD_CHECKPOINT = {
    *("epoch", "global_step", "pytorch-lightning_version", "state_dict", "loops", "callbacks"),
    *("optimizer_states", "lr_schedulers", "backbone", "within_epoch"),
}
OLD_CALLBACKS = {
    f"{name}{{'monitor': {monitor!r}, 'mode': 'min', 'every_n_train_steps': 0, 'every_n_epochs': 1, "
    "'train_time_interval': None}"
    for name, monitor in (("BestCheckpoint", "val/top1_error"), ("EpochCheckpoint", None))
}


@pytest.fixture
def same(small) -> tuple[str, ...]:
    """The overrides that made the run."""
    return (*small, "callbacks.projections.maps=2", "callbacks.evolution.maps=2", "run_dir=run", "job_name=tiny zfnet")


@pytest.fixture
def old_run(trained, tmp_path) -> Path:
    """The run as version 0.1 left it: its text files, and the weights and predictions, which are the same now."""
    run = tmp_path / "run"
    shutil.copytree(trained / "checkpoints", run / "checkpoints")
    shutil.copytree(trained / "results/test", run / "results/test")
    shutil.copytree(trained / "results/train_eval", run / "results/seen")
    shutil.copy(trained / "mean.npy", run)
    for file in OLD.iterdir():
        shutil.copy(file, run)
    return run


def read(run: Path, name: str) -> dict:
    return load_json(run / name)


def test_the_present_version_computes_what_was_recorded_then(trained):
    now, then = read(trained, "metrics.json"), read(OLD, "metrics.json")
    then = {key.replace("seen/", "train_eval/"): value for key, value in then.items()}
    assert now == pytest.approx(then, rel=1e-5)


def test_a_checkpoint_is_laid_out_as_it_was_then(trained):
    checkpoint = torch.load(trained / "checkpoints/last.ckpt", weights_only=True)
    assert set(checkpoint) == OLD_CHECKPOINT | {"metrics_rows"}
    assert set(checkpoint["callbacks"]) == OLD_CALLBACKS


def test_old_keys_are_read_by_their_present_names(trained):
    old, new = (read_config(run) for run in (OLD, trained))
    written = yaml.safe_load((OLD / "config.yaml").read_text())
    assert {"fit", "corrupt"} <= written["data"].keys()
    assert "init" in written["model"]
    for section in ("data", "model", "recipe", "system", "callbacks", "trainer"):
        own = {key: value for key, value in old[section].items() if key != "cache_dir"}
        assert own == {key: value for key, value in new[section].items() if key != "cache_dir"}, section


def test_it_is_reused_as_finished(convlens, old_run, same):
    before = {path: path.read_bytes() for path in old_run.rglob("*") if path.is_file()}
    outcome = convlens(*same)
    assert (outcome.code, outcome.out) == (0, "run is finished: reused (force=true trains it anew)\n")
    assert before == {path: path.read_bytes() for path in before}


def test_other_settings_are_refused(refused, old_run, same):
    assert refused(*same, "data.resize_mode=squeeze").startswith("run holds a run with data.resize_mode=crop, not squ")


def test_it_is_analysed_with_its_own_and_with_other_images(convlens, old_run):
    few = ("task=diagnose", "run=run", "task.images=4", "task.shift_images=0")
    assert convlens(*few).code == 0
    assert (old_run / "results/filters/result.json").exists()
    assert read(old_run, "run.json") == read(OLD, "run.json")
    other = convlens(*few, "data=parts", "data.source.train=48", "data.source.test=24", "data.source.seed=3")
    assert other.code == 0, other


def test_it_is_compared_grouped_and_reported(convlens, old_run, trained, tmp_path):
    assert convlens("task=compare", f"task.run_dirs=[run,{trained}]", "run_dir=compared").code == 0
    text = read(tmp_path, "compared/results/compare/result.json")["text"]
    assert "+0.00" in text
    shutil.copytree(trained, tmp_path / "again")
    record = read(tmp_path, "again/run.json") | {"command": "convlens"}
    (tmp_path / "again/run.json").write_text(json.dumps(record))
    outcome = convlens("task=collect", "sweep=.")
    assert outcome.code == 0, outcome
    table = read(tmp_path, "results/collect/result.json")["tables"][0]
    assert len(table["rows"]) == 1  # both have the same settings
    assert convlens("task=report", "run=run").code == 0
    assert "tiny zfnet" in (old_run / "report.html").read_text()


def test_it_is_continued_where_it_was_killed(convlens, same, trained, tmp_path, monkeypatch):
    def stop_in_the_second(self, trainer, *_):
        if trainer.current_epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(FirstFilters, "on_train_epoch_start", stop_in_the_second)
        assert convlens(*same).code == 130
    run = tmp_path / "run"
    (run / "config.yaml").write_bytes((OLD / "config.yaml").read_bytes())
    (run / "run.json").write_text(json.dumps(read(OLD, "run.json") | {"status": "running", "seconds": 100.0}))
    outcome = convlens(*same)
    assert outcome.code == 0, outcome
    assert "continuing run from epoch 2" in outcome.out
    assert read(run, "metrics.json") == read(trained, "metrics.json")
    assert read(run, "run.json")["seconds"] > 100
    assert read_config(run)["data"]["resize_mode"] == "crop"
