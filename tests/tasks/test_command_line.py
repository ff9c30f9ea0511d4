import contextlib
import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from lightning.pytorch.utilities.exceptions import SIGTERMException
from PIL import Image

from convlens.io import atomic as files
from convlens.runs.conf_files import options
from convlens.runs.dispatch import check
from convlens.systems import Classifier
from tests.composed_job import job_config
from tests.tasks.conftest import call_main

COMMAND = [sys.executable, "-c", "from convlens.cli.main import main; main()"]


def type_in(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`convlens` in a process of its own, as a user has it."""
    return subprocess.run([*COMMAND, *arguments], cwd=folder, capture_output=True, text=True)


@pytest.fixture
def images(tmp_path) -> Callable[..., Path]:
    """A folder of small pictures, `count` of each class."""

    def make(**count: int) -> Path:
        rng = np.random.default_rng(0)
        for name, number in count.items():
            folder = tmp_path / "images" / name
            folder.mkdir(parents=True)
            for i in range(number):
                Image.fromarray(rng.integers(0, 256, (72, 72, 3), np.uint8)).save(folder / f"{i}.png")
        return tmp_path / "images"

    return make


# ---- what is quick ----------------------------------------------------------------------------------------------

HEAVY = ("torch", "lightning", "torchvision", "numpy", "matplotlib", "wandb", "PIL")


def test_a_question_loads_nothing_heavy_and_writes_nothing(tmp_path):
    questions = [["--help"], ["--cfg", "job"], ["--info", "defaults"], ["recipe.max_epoch=1"]]
    code = (
        "import contextlib, sys, time\n"
        "from hydra.core.global_hydra import GlobalHydra\n"
        "from convlens.cli.main import main\n"
        f"for question in {questions}:\n"
        "    sys.argv[1:], began = question, time.monotonic()\n"
        "    GlobalHydra.instance().clear()\n"
        "    with contextlib.suppress(SystemExit):\n        main()\n"
        f"    print('HEAVY', [name for name in {HEAVY} if name in sys.modules], time.monotonic() - began < 10)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    # half a second each on an idle machine; torch alone takes four
    assert [line for line in done.stdout.splitlines() if line.startswith("HEAVY")] == ["HEAVY [] True"] * 4
    assert "recipe.max_epoch=1: there is no max_epoch" in done.stderr
    assert not list(tmp_path.iterdir())


def test_help_shows_the_groups_with_their_options_and_how_to_go_on(tmp_path):
    said = call_main(tmp_path, "--help").out
    assert f"task: {', '.join(options('task'))}\n" in said
    assert "convlens study" in said
    assert "convlens --cfg job" in said
    assert "$" not in said  # nothing of the template is left


@pytest.mark.parametrize("typed", [["train", "--cfg", "job", "seed=1"], ["seed=1", "-c", "job", "task=train"]])
def test_flags_may_stand_between_overrides(tmp_path, typed):
    outcome = call_main(tmp_path, *typed)
    assert outcome.code == 0, outcome
    assert outcome.out.startswith("seed: 1\n")


# ---- commands that cannot be composed ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        (
            "model=zfnett",
            "model=zfnett is unknown: did you mean zfnet or zfnet_wide? "
            "there is alexnet, torchvision, zfnet, zfnet_wide",
        ),
        (
            "experiment=smok",
            "experiment=smok is unknown: did you mean smoke? there is ablation, filter_clipping, first_layer, "
            "first_layer_search, imagenet, paper, smoke, transfer, without_duplicates",
        ),
        ("task=wobble", f"task=wobble is unknown: there is {', '.join(options('task'))}"),
        ("task=oclude", "task=oclude is unknown: did you mean occlude? there is collect, "),
        (
            "model=resnet18",
            "model=resnet18 is unknown: did you mean model=torchvision model.net.name=resnet18? there is",
        ),
        ("model=resnet19", "model=resnet19 is unknown: did you mean model=torchvision model.net.name=resnet"),
        (
            "recipe.max_epoch=3",
            "recipe.max_epoch=3: there is no max_epoch in recipe: did you mean max_epochs? there is init, dropout, "
            "max_filter_rms, batch_size, max_epochs, input_std, backbone_lr_scale, optimizer, scheduler",
        ),
        ("task.wobble=1", "task.wobble=1: there is no wobble in task: there is nothing to set"),
        ("task.size=30", "task.size=30: the task has no size: choose one that has it, task=occlude"),
        ("trian", "'trian' is no task: did you mean train"),
        ("task=train,", "cannot read 'task=train,': write key=value, such as task=train; "),
        ("seed=[", "cannot read 'seed=[': write key=value, "),
    ],
)
def test_what_cannot_be_composed_is_said_in_one_line(refused, tmp_path, argument, said):
    assert refused(argument).startswith(said)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("ablaton=wide", "there is no ablaton in the configuration: did you mean ablation?"),
        ("modle.net.width=2", "there is no modle in the configuration: did you mean model?"),
        ("+model=alexnet", "Multiple values for model."),
        ("~recipe.foo", "'recipe.foo' does not exist"),
        ("output_root=${nowhere}", "output_root=${nowhere}: Interpolation key 'nowhere' not found"),
        ("seed=${seed}", "seed=${seed}: it refers to itself"),
        ("data.seed=${no.such.place}", "data.seed=${no.such.place}: Interpolation key 'no.such.place' not found"),
        ("+forse=true", "forse is no setting: did you mean force? there are seed, run,"),
        ("+data.batchsize=3", "data.batchsize is no setting: did you mean data.batch_size?"),
        ("+recipe.optimizer.momentum=3", "recipe.optimizer.momentum is no setting: there are params, lr, betas"),
        (
            "model.net._target_=convlens.nets.wobble",
            "model.net._target_=convlens.nets.wobble cannot be imported (",
        ),
        ("data=shards", "data.root is missing: give text"),
        ("model.net.name=resnet19", "model.net.name=resnet19 is unknown: did you mean model.net.name=resnet"),
    ],
)
def test_rarer_mistakes_are_one_line_too(refused, tmp_path, argument, said):
    assert said in refused(*(["model=torchvision"] if argument.startswith("model.net.name") else []), argument)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("argument", ["modle.net.width=2", "seed=1,2", "force=abc", "seed=${seed}"])
def test_mistakes_of_a_whole_command_are_one_line(refused_command, tmp_path, argument):
    refused_command(argument)
    assert not list(tmp_path.iterdir())


def test_a_run_directory_that_is_a_file_is_refused(refused_command, tmp_path):
    (tmp_path / "taken").write_text("mine")
    assert refused_command("run_dir=taken") == "run_dir=taken: taken is a file: give a directory"
    assert refused_command("run_dir=taken/run") == "run_dir=taken/run: taken is a file: give a directory"
    assert (tmp_path / "taken").read_text() == "mine"


def test_a_name_added_for_an_interpolation_is_taken(tmp_path):
    with contextlib.chdir(tmp_path), job_config("+mine=3", "seed=${mine}") as (cfg, overrides):
        check(cfg, overrides)
        assert cfg.seed == 3


def test_hydras_own_account_is_there_for_who_asks(tmp_path, monkeypatch):
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    outcome = call_main(tmp_path, "task=trian")
    assert outcome.code == 1
    assert "Traceback" in outcome.err
    assert "MissingConfigException" in outcome.err


# ---- settings that do not work ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["data.image_size=32"], "images of 32 px are too small for this network: give at least 47 px"),
        (["model.net.width=0"], "width=0 is not possible: give a factor above 0, such as 0.5"),
        (["model.net.width=abc"], "model.net.width=abc: give a number"),
        (["ablation=wide", "model=torchvision"], "model.net cannot be made from its settings ("),
        (["recipe.max_epochs=0"], "recipe.max_epochs=0: give a whole number of at least 1"),
        (["recipe.max_epochs=abc"], "recipe.max_epochs=abc: give a whole number of at least 1"),
        (["data.val_share=1"], "data.val_share is 1: give a share from 0 to below 1"),
        (["data.source.train=5"], "data.source.train=5, data.source.test=24: give train from 12 (one of each class)"),
        (["model.weights=no.ckpt"], "no weights at no.ckpt: give a checkpoint of a run, or a safetensors or pth file"),
        (["run=nowhere"], "nowhere is not a run directory (no config.yaml): "),
        (["task=project", "run=nowhere"], "nowhere is not a run directory (no config.yaml): "),
        (["task=diagnose", "run=nowhere"], "nowhere is not a run directory (no config.yaml): "),
        (["task=report"], "task=report: give run=DIR (a run or a study), or task.run_dirs=[DIR,DIR] to compare runs"),
        (["task=report", "run=nowhere"], "nowhere: found neither a study.json nor a run directory"),
        (["task=study", "model=alexnet"], "task=study trains alexnet and zfnet itself: leave out model="),
    ],
)
def test_settings_that_do_not_work_are_refused_before_anything_is_written(refused, small, tmp_path, arguments, said):
    if arguments[0].startswith("ablation"):
        small = small[:2]  # torchvision's networks have no width
    said_now = refused(*small, *arguments)
    assert said_now.startswith(said)
    assert not list(tmp_path.iterdir())


def test_epochs_beyond_the_run_are_refused_before_the_first(refused, small, tmp_path):
    said = refused(*small, "callbacks.projections.epochs=[99]", "run_dir=run")
    assert said.startswith("TopProjections: epoch 99 is outside the run's epochs 1..2: change the callback's epochs")
    assert not list(tmp_path.rglob("*.ckpt"))
    assert not list(tmp_path.rglob("*.png"))


# ---- data sets --------------------------------------------------------------------------------------------------


def test_a_missing_folder_of_images_is_named_with_the_layout_that_would_be_right(refused, tmp_path):
    said = refused("data=image_folder", "data.source.root=nowhere")
    assert said.startswith("nowhere is missing; <root>/train/<class>/*.jpg and ")
    assert not list(tmp_path.iterdir())


def test_an_empty_folder_of_images_is_named(refused, tmp_path):
    (tmp_path / "images").mkdir()
    assert refused("data=image_folder", "data.source.root=images").startswith("images has no class folders; <root>/")
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


def test_a_class_without_an_image_is_named(refused, images, tmp_path):
    images(cat=3, dog=0, newt=0)
    said = refused("data=image_folder", "data.source.root=images", "run_dir=run", "model.net.width=0.1")
    assert said == "class folders without an image in images: dog, newt; fill or remove them"
    assert not list(tmp_path.rglob("*.ckpt"))


# ---- run directories --------------------------------------------------------------------------------------------


@pytest.fixture
def copied(trained, tmp_path) -> Path:
    shutil.copytree(trained, tmp_path / "run")
    return tmp_path / "run"


def contents(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.name != "run.log"}


@pytest.mark.parametrize("asked", ["[conv9]", "conv9", "[conv1,conv9]"])
def test_an_unknown_layer_is_answered_with_those_there_are_near_names_first(refused, copied, asked):
    before = contents(copied)
    said = refused("task=project", "run=run", f"task.layers={asked}")
    assert said.startswith(
        "unknown layer 'conv9' in ConvNet: did you mean conv5 or conv4 or conv3? its layers are conv1,"
    )
    assert contents(copied) == before


def test_an_unknown_split_is_answered_with_those_there_are(refused, copied):
    assert refused("task=diagnose", "run=run", "task.split=dev") == (
        "data.split is 'dev': choose one of train, val, test, all"
    )


def test_weights_of_another_network_are_refused(refused, trained, small, tmp_path):
    said = refused(*small, "model=alexnet", f"model.weights={trained}/checkpoints/best.ckpt")
    assert f"{trained}/checkpoints/best.ckpt is of another network: conv1.filter.weight is (8, 3, 7, 7) there" in said
    assert "(8, 3, 11, 11) in ConvNet" in said
    assert not list(tmp_path.iterdir())


def test_a_damaged_checkpoint_is_refused(refused, copied):
    file = copied / "checkpoints" / "best.ckpt"
    file.write_bytes(file.read_bytes()[:5000])
    before = contents(copied)
    said = refused("task=project", "run=run")
    assert said.startswith("run/checkpoints/best.ckpt is damaged (")
    assert said.endswith("): give the command of the run again, which goes on from what is whole")
    assert contents(copied) == before


def test_a_folder_that_is_no_run_is_refused_and_left_as_it_is(refused, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "me.jpg").touch()
    said = refused("task=project", "run=photos")
    assert said.startswith("run=photos: the directory holds me.jpg and no run of convlens: ")
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["me.jpg"]


@pytest.mark.parametrize(
    ("runs", "said"),
    [
        ("[]", "task.run_dirs=[]: give the directories of two finished runs"),
        ("[run]", "task.run_dirs=[run]: give the directories of two finished runs"),
        ("run", "task.run_dirs=[run]: give the directories of two finished runs"),
        ("[run,nowhere]", "no test predictions at nowhere/results/test/predictions.npz: give the directory of a "),
    ],
)
def test_a_comparison_needs_two_runs(refused, copied, runs, said):
    assert refused("task=compare", f"task.run_dirs={runs}").startswith(said)


# ---- the disk ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["metrics.json", ".png", ".npz", ".ckpt"])
def test_a_full_disk_ends_the_run_in_one_line_and_leaves_nothing_half_written(
    refused, small, tmp_path, monkeypatch, kind
):
    replace = os.replace

    def full(source, target):
        if str(target).endswith(kind):
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(files.os, "replace", full)
    pictures = [f"callbacks.{name}.maps=1" for name in ("projections", "evolution")]
    said = refused(*small, *pictures, "recipe.max_epochs=1", "run_dir=run")
    assert said.startswith("the disk is full while writing to run")
    assert said.endswith("make room or choose another run_dir")
    left = [path.name for path in (tmp_path / "run").rglob("*")]
    assert "metrics.json" not in left
    assert not [name for name in left if name.endswith((".partial", ".tmp", kind))]


# ---- several jobs, and the process ------------------------------------------------------------------------------


def test_a_sweep_gives_each_job_a_directory_and_goes_on_after_a_mistake(convlens, small, tmp_path):
    options = ["callbacks=none", "recipe.max_epochs=1", "output_root=out"]
    outcome = convlens("-m", *small[:-1], *options, "model.net.width=0,0.1")
    assert outcome.code == 2
    assert outcome.err == "convlens: width=0 is not possible: give a factor above 0, such as 0.5\n"
    made = [path.name for path in (tmp_path / "out" / "train").iterdir()]
    assert len(made) == 1
    assert "width_0.1" in made[0]


@pytest.mark.parametrize(("stop", "code"), [(SIGTERMException, 143), (KeyboardInterrupt, 130)])
def test_a_run_that_is_stopped_neither_succeeded_nor_failed(convlens, small, tmp_path, monkeypatch, stop, code):
    def raise_it(*_):
        raise stop

    monkeypatch.setattr(Classifier, "validation_step", raise_it)
    outcome = convlens(*small, "callbacks=none", "run_dir=run")
    assert (outcome.code, outcome.err) == (code, "convlens: stopped; the same command continues from there\n")
    assert not (tmp_path / "run" / "traceback.txt").exists()


@pytest.mark.essential
def test_in_a_process_of_its_own_bad_input_is_one_line_as_well(tmp_path, cache):
    done = type_in(tmp_path, "data.image_size=32", f"cache_dir={cache}")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("convlens: images of 32 px are too small")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_in_a_process_of_its_own_a_run_says_nothing_but_its_progress(tmp_path, cache, small):
    done = type_in(tmp_path, *small, "callbacks=none", f"cache_dir={cache}")
    assert (done.returncode, done.stderr) == (0, "")
    said = done.stdout.splitlines()
    assert [line.split(" ")[0] for line in said] == ["parts:", "epoch", "epoch", "test"]


# ---- directories that are not ours ------------------------------------------------------------------------------


@pytest.mark.parametrize("job", [[], ["force=true"], ["task=project"], ["task=occlude", "force=true"], ["task=study"]])
@pytest.mark.parametrize("theirs", ["config.yaml", "results/a.txt", "wandb/run/b", "metrics.csv", "run.json", "notes"])
def test_a_directory_of_the_user_is_refused_before_anything_is_written(refused_command, tmp_path, job, theirs):
    (tmp_path / "mine" / theirs).parent.mkdir(parents=True)
    (tmp_path / "mine" / theirs).write_text("{}")
    said = refused_command(*job, "run_dir=mine")
    entry = theirs.partition("/")[0]
    assert said == (
        f"run_dir=mine: the directory holds {entry} and no run of convlens: give a new or an empty directory"
    )
    assert [path.name for path in (tmp_path / "mine").rglob("*") if path.is_file()] == [Path(theirs).name]
    assert {path.name for path in tmp_path.iterdir()} == {"mine"}


@pytest.mark.parametrize(("given", "said"), [(".", "run_dir=.: the directory holds a.txt"), ("''", "run_dir is empty")])
def test_the_working_directory_is_no_run(refused_command, tmp_path, given, said):
    (tmp_path / "a.txt").touch()
    assert refused_command(f"run_dir={given}", "force=true").startswith(said)
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_sweep_into_a_directory_of_the_user_leaves_it(convlens, tmp_path):
    (tmp_path / "mine/results").mkdir(parents=True)
    (tmp_path / "mine/results/a.txt").touch()
    outcome = convlens("-m", "run_dir=mine", "seed=0", "force=true")
    assert outcome.code == 2, outcome
    assert "run_dir=mine: the directory holds results and no run of convlens" in outcome.err
    assert [str(path.relative_to(tmp_path / "mine")) for path in (tmp_path / "mine").rglob("*")] == [
        "results",
        "results/a.txt",
    ]
