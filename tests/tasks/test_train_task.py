import csv
import json
import shutil
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
import yaml
from omegaconf import OmegaConf

import convlens as package
from convlens.callbacks import FirstFilters
from convlens.data import ImageData
from convlens.io.json_files import load_json
from convlens.nets.weights import load_weights
from convlens.runs.subject import build_data_and_net
from convlens.systems import Classifier


def read(run: Path, name: str) -> dict:
    return load_json(run / name)


def contents(run: Path) -> dict[str, bytes]:
    """The files of a run, without its log."""
    files = (path for path in run.rglob("*") if path.is_file() and path.name != "run.log")
    return {str(path.relative_to(run)): path.read_bytes() for path in files}


@pytest.fixture
def copied(trained, tmp_path) -> Path:
    """The finished run, to be changed."""
    shutil.copytree(trained, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def same(small) -> tuple[str, ...]:
    """The overrides that made the finished run."""
    return (*small, "callbacks.projections.maps=2", "callbacks.evolution.maps=2", "run_dir=run", "job_name=tiny zfnet")


# ---- what a run leaves ------------------------------------------------------------------------------------------


def test_a_run_says_how_far_it_is_and_where_its_results_are(first_run):
    run, outcome = first_run
    assert outcome.err == ""
    said = outcome.out.splitlines()
    metrics = read(run, "metrics.json")
    assert said[0] == "parts: 36 train, 12 val, 24 test images in 12 classes"
    assert [line.split(",")[0] for line in said[1:-1]] == ["epoch 1/2", "epoch 2/2"]
    assert said[-1] == (
        f"test top-1 error {metrics['test/top1_error']:.2f} %, top-5 error {metrics['test/top5_error']:.2f} %; "
        "results in run"
    )


def test_the_metrics_are_those_of_the_predictions_that_are_kept(trained):
    metrics = read(trained, "metrics.json")
    kept = np.load(trained / "results/test/predictions.npz")
    labels, top5 = kept["labels"], kept["top5"]
    assert (labels.shape, top5.shape) == ((24,), (24, 5))
    assert sorted(set(labels)) == list(range(12))
    assert all(len(set(row)) == 5 for row in top5)
    hit = top5 == labels[:, None]
    assert metrics["test/top1_error"] == pytest.approx(100 * (1 - hit[:, 0].mean()), abs=1e-4)
    assert metrics["test/top5_error"] == pytest.approx(100 * (1 - hit.any(1).mean()), abs=1e-4)
    by_class = [hit[labels == label, 0].mean() for label in range(12)]
    assert metrics["test/mean_class_accuracy"] == pytest.approx(100 * np.mean(by_class), abs=1e-4)
    assert metrics["test/loss"] > 0


def test_the_metrics_say_what_was_tested(trained):
    metrics = read(trained, "metrics.json")
    with (trained / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    errors = [float(row["val/top1_error"]) for row in rows]
    assert metrics["best_epoch"] == 1 + int(np.argmin(errors))
    assert metrics["epochs"] == 2
    weights = torch.load(trained / "checkpoints/best.ckpt", weights_only=True)["state_dict"]
    assert metrics["parameters"] == sum(v.numel() for k, v in weights.items() if k.startswith("net."))
    assert metrics["val/top1_error"] == pytest.approx(min(errors), abs=1e-3)
    measures = {
        f"{s}/{m}" for s in ("test", "train_eval") for m in ("loss", "top1_error", "top5_error", "mean_class_accuracy")
    }
    numbers = {"best_epoch", "epochs", "parameters", "conv_parameters"}
    assert set(metrics) == measures | numbers | {"val/top1_error"}


def test_seen_is_what_the_test_would_find_on_the_first_training_images(trained, cache):
    data, net = build_data_and_net(OmegaConf.load(trained / "config.yaml"))
    load_weights(net, trained / "checkpoints/best.ckpt")
    images = data.dataset("train", "ten", 24)
    with torch.no_grad():
        mean = [net.eval()(images[i][0]).softmax(1).mean(0) for i in range(24)]
    wrong = [int(mean[i].argmax()) != int(images[i][1]) for i in range(24)]
    assert read(trained, "metrics.json")["train_eval/top1_error"] == pytest.approx(100 * np.mean(wrong), abs=1e-4)


def test_the_record_says_what_was_done(trained):
    record = read(trained, "run.json")
    assert record.pop("seconds") > 0
    command = record.pop("command")
    assert command.startswith("convlens data.source.train=48 ")
    assert "'job_name=tiny zfnet'" in command  # can be typed as it is
    assert len(record.pop("settings")) == 16
    assert len(record.pop("author")) == 64
    assert {"config.yaml", "metrics.csv", "metrics.json", "checkpoints/best.ckpt"} <= set(record.pop("states"))
    files = {str(path.relative_to(trained)) for path in trained.rglob("*") if path.is_file()}
    assert set(record.pop("files")) == files - {"run.log"}
    assert (record.pop("num_classes"), record.pop("class_names")[:2]) == (12, ["bear", "bug"])
    assert record == {
        "task": "train",
        "name": "tiny zfnet",
        "status": "finished",
        "error": None,
        "version": package.__version__,
        "choices": {"model": "zfnet", "ablation": "none", "data": "parts", "recipe": "modern"},
    }


def test_the_configuration_is_kept_resolved(trained):
    text = (trained / "config.yaml").read_text()
    assert "${" not in text
    config = yaml.safe_load(text)
    assert config["model"]["net"]["input_size"] == config["data"]["image_size"] == 64
    assert config["trainer"]["max_epochs"] == 2


def test_nothing_half_written_is_left(trained):
    assert {p.name for p in (trained / "checkpoints").iterdir()} == {"best.ckpt", "last.ckpt"} | {
        f"epoch_{epoch:03d}.ckpt" for epoch in (1, 2)
    }
    assert not [path for path in trained.rglob("*") if path.name.endswith((".partial", ".tmp"))]
    files = {".run.json", "config.yaml", "mean.npy", "metrics.csv", "metrics.json", "run.json", "run.log"}
    assert {p.name for p in trained.iterdir()} == {*files, "checkpoints", "results"}


def test_the_callbacks_drew_their_pictures(trained):
    results = {path.parent.name for path in trained.glob("results/*/result.json")}
    assert {"projections", "evolution"} <= results
    assert (trained / "results/filters/epoch_002.png").exists()


# ---- the same command again -------------------------------------------------------------------------------------


def test_a_finished_run_is_reused_and_that_is_said_in_one_line(convlens, copied, same):
    before = {path: path.stat().st_mtime_ns for path in copied.rglob("*") if path.name != "run.log"}
    outcome = convlens(*same)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == "run is finished: reused (force=true trains it anew)\n"
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_finished_run_is_reused_with_another_logger_or_device(convlens, copied, same):
    assert "reused" in convlens(*same, "logger.csv.save_dir=elsewhere", "trainer.accelerator=cpu").out


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("seed=1", "run holds a run with data.seed=0, not 1: choose another run_dir, or force=true to train it anew"),
        ("recipe.max_epochs=3", "run holds a run with recipe.max_epochs=2, not 3"),
        ("trainer.max_epochs=3", "run holds a run with trainer.max_epochs=2, not 3"),
        ("model=alexnet", "run holds a run with model.name=zfnet, not alexnet"),
    ],
)
def test_a_run_directory_of_other_settings_is_refused(refused, copied, same, setting, said):
    before = (copied / "config.yaml").read_text()
    assert refused(*same, setting).startswith(said)
    assert (copied / "config.yaml").read_text() == before


def test_force_does_a_finished_run_anew_and_leaves_nothing_of_it(convlens, copied, small):
    (copied / "metrics.csv").write_text("epoch,train/loss\n7,1.0\n")
    (copied / "run.json").write_text(json.dumps(read(copied, "run.json") | {"seconds": 1000.0}))
    (copied / "results" / "evolution" / "epoch_009.npz").touch()
    metrics = read(copied, "metrics.json")
    outcome = convlens(*small, "run_dir=run", "callbacks=none", "recipe.max_epochs=1", "force=true")
    assert outcome.code == 0, outcome
    with (copied / "metrics.csv").open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1"]
    assert {path.name for path in (copied / "results").iterdir()} == {"train_eval", "test", "evolution"}
    assert [path.name for path in (copied / "results/evolution").iterdir()] == ["epoch_009.npz"]  # not the run's
    assert read(copied, "metrics.json") != metrics
    assert read(copied, "metrics.json")["epochs"] == 1
    assert read(copied, "run.json")["seconds"] < 1000  # those of the cleared run are not counted
    assert yaml.safe_load((copied / "config.yaml").read_text())["recipe"]["max_epochs"] == 1


def test_what_is_stopped_before_it_begins_anew_leaves_the_finished_run(convlens, copied, same, monkeypatch):
    before = contents(copied)
    with monkeypatch.context() as patched:
        patched.setattr(ImageData, "setup", Mock(side_effect=KeyboardInterrupt))
        assert convlens(*same, "force=true", "seed=5").code == 130
    assert contents(copied) == before


@pytest.mark.parametrize(
    "setting",
    [
        "trainer.strategy=nonsense",
        "trainer.precision=nonsense",
        "trainer.val_check_interval=1000",
        "system.optimizer.lr=-1",
        "+system.optimizer.nonsense=1",
        "+system.scheduler.nonsense=1",
        "+logger.csv.nonsense=1",
    ],
)
def test_a_setting_that_is_refused_late_leaves_the_finished_run(convlens, copied, same, setting):
    before = contents(copied)
    assert convlens(*same, "force=true", setting).code != 0
    assert contents(copied) == before


@pytest.mark.parametrize(("batches", "kept"), [(0, True), (1, False)])
def test_an_error_leaves_the_finished_run_until_the_first_step(convlens, copied, same, monkeypatch, batches, kept):
    before, steps = contents(copied), iter(range(batches))

    def training_step(*_: object) -> torch.Tensor:
        if next(steps, None) is None:
            raise RuntimeError("out of memory")
        return torch.zeros((), requires_grad=True)

    monkeypatch.setattr(Classifier, "training_step", training_step)
    assert convlens(*same, "force=true").code == 2
    assert (contents(copied) == before) is kept
    assert read(copied, "run.json")["status"] == ("finished" if kept else "failed")


def test_what_another_process_does_meanwhile_is_seen(convlens, refused, copied, same, monkeypatch):
    with monkeypatch.context() as patched:  # as it was when the command was typed
        patched.setattr("convlens.tasks.train.check_same", Mock())
        patched.setattr("convlens.tasks.train.is_finished", Mock(return_value=False))
        outcome = convlens(*same)
        assert outcome.out.splitlines()[-1] == "run was finished meanwhile: reused"
        assert "run holds a run with data.seed=0, not 1" in refused(*same, "seed=1")
    assert read(copied, "run.json")["status"] == "finished"


def test_a_typing_error_beside_force_leaves_the_finished_run_alone(refused, copied, same):
    before = {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()}
    assert "too small" in refused(*same, "force=true", "data.image_size=32")
    assert {path: path.read_bytes() for path in before} == before


def test_the_same_run_gives_the_same_numbers(convlens, trained, small, tmp_path):
    # Other pictures are drawn meanwhile, and none of that may touch the training.
    outcome = convlens(*small, "callbacks=none", "run_dir=again")
    assert outcome.code == 0, outcome
    assert read(tmp_path / "again", "metrics.json") == read(trained, "metrics.json")


# ---- rules of the drawings --------------------------------------------------------------------------------------


def test_drawings_take_the_rules_of_the_command_also_from_a_run_of_the_old_names(convlens, small, tmp_path):
    own = [
        *("callbacks.projections.maps=1", "callbacks.projections.layers=conv1", "callbacks.projections.images=12"),
        *("callbacks.evolution.maps=1", "callbacks.evolution.layers=conv1"),
    ]
    rules = ("+callbacks.projections.rules={rule:guided,signal:one}", "+callbacks.evolution.rules.rule=gradient")
    command = (*small, *own, *rules, "recipe.max_epochs=1", "run_dir=run")
    outcome = convlens(*command)
    assert outcome.code == 0, outcome
    run = tmp_path / "run"
    assert "guided" in read(run, "results/projections/result.json")["text"]
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["callbacks"]["projections"]["rules"] == {"rule": "guided", "signal": "one"}
    config["callbacks"]["projections"]["rules"] = {"rule": "guided", "seed": "one"}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    record = {key: value for key, value in read(run, "run.json").items() if key != "states"}  # as of version 0.1
    (run / "run.json").write_text(json.dumps(record))
    assert "run is finished: reused" in convlens(*command).out


# ---- failures ---------------------------------------------------------------------------------------------------


def test_a_run_that_fails_says_so_and_keeps_the_traceback(convlens, small, tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("the pen is empty\nand more")

    monkeypatch.setattr(FirstFilters, "act", fail)
    outcome = convlens(*small, "callbacks.projections.maps=1", "callbacks.evolution.maps=1", "run_dir=run")
    assert outcome.code == 1
    assert "the pen is empty" in outcome.err
    record = read(tmp_path / "run", "run.json")
    assert (record["status"], record["error"]) == ("failed", "RuntimeError: the pen is empty")
    trace = (tmp_path / "run" / "traceback.txt").read_text()
    assert trace.startswith("Traceback (most recent call last)")
    assert "in fail" in trace
    assert not (tmp_path / "run" / "metrics.json").exists()


def test_settings_that_never_trained_bind_nobody(convlens, refused, small, tmp_path):
    refused(*small, "run_dir=run", "callbacks.projections.epochs=[99]")
    assert not (tmp_path / "run").exists()
    outcome = convlens(*small, "run_dir=run", "callbacks=none", "recipe.max_epochs=1")
    assert outcome.code == 0, outcome
    assert read(tmp_path / "run", "run.json")["status"] == "finished"


# ---- several runs -----------------------------------------------------------------------------------------------


def test_a_sweep_makes_a_directory_for_each_run_and_reuses_them_all(convlens, small, tmp_path):
    sweep = ("-m", *small[:-1], "recipe.max_epochs=1", "callbacks=none", "output_root=out", "seed=0,1")
    assert convlens(*sweep).code == 0
    folders = sorted((tmp_path / "out" / "train").iterdir())
    assert len(folders) == 2
    assert {yaml.safe_load((folder / "config.yaml").read_text())["seed"] for folder in folders} == {0, 1}
    assert read(folders[0], "metrics.json")["test/loss"] != read(folders[1], "metrics.json")["test/loss"]
    outcome = convlens(*sweep)
    assert outcome.code == 0
    assert outcome.out.count("is finished: reused") == 2


# ---- any network ------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.essential
def test_any_network_trains_with_the_callbacks_that_draw(convlens, small, tmp_path):
    own = [override for override in small if not override.startswith("model")]
    network = ("model=torchvision", "model.net.name=squeezenet1_1", "recipe.max_epochs=1", "run_dir=run")
    outcome = convlens(*own, *network, "callbacks.projections.maps=1", "callbacks.evolution.maps=1")
    assert outcome.code == 0, outcome
    assert len(list((tmp_path / "run/results/projections/epoch_001").glob("features.*.png"))) == 9
    assert (tmp_path / "run/results/evolution/evolution.png").exists()


def test_a_network_with_fewer_outputs_than_classes_is_refused(refused, small):
    own = [override for override in small if not override.startswith("model")]
    said = refused(*own, "model=torchvision", "model.net.name=squeezenet1_1", "+model.net.num_classes=5", "run_dir=run")
    assert "SqueezeNet gives 5 values for an image and the data have 12 classes" in said


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed=abc", "seed=abc: give a whole number from 0"),
        ("seed=-1", "seed=-1: give a whole number from 0"),
        ("recipe.optimizer.lr=abc", "recipe.optimizer.lr=abc: give a number"),
        ("recipe.optimizer.lr=nan", "recipe.optimizer cannot be made from its settings: Invalid learning rate"),
        (
            "+recipe.scheduler.pct_start=3",
            "recipe.scheduler cannot be made from its settings: Expected float between 0",
        ),
        ("callbacks.evolution.layers=[conv9]", "unknown layer 'conv9'"),
        ("callbacks.projections.layers=[conv9]", "unknown layer 'conv9'"),
        ("data.val_share=0", "TopProjections searches the split 'val', which holds no image: raise data.val_share"),
    ],
)
def test_settings_that_do_not_work_are_refused_before_an_epoch_and_leave_nothing(
    refused, small, tmp_path, override, message
):
    assert message in refused(*small, override, "run_dir=run")
    assert not (tmp_path / "run").exists()
