import itertools
import os
import shutil
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from convlens.analysis.galleries.array_store import read_gallery
from convlens.analysis.galleries.gallery import Gallery
from convlens.analysis.galleries.sheets import TABLE_COLUMNS
from convlens.analysis.galleries.top_activations import top_activations
from convlens.deconv import project
from convlens.io.json_files import load_json
from convlens.io.locks import directory_lock
from convlens.runs.subject import load_network

CONVS = ["conv1", "conv2", "conv3", "conv4", "conv5"]
ANY_NET = ("task=project", "model=torchvision", "model.net.name=squeezenet1_1", "data.source.test=24")


@pytest.fixture
def run(trained, tmp_path) -> Path:
    shutil.copytree(trained, tmp_path / "run")
    return tmp_path / "run"


def test_a_runs_convolutional_layers_are_drawn_into_the_run(convlens, run):
    record = load_json(run / "run.json")
    outcome = convlens("task=project", "run=run", "task.maps=2", "task.k=3")
    assert (outcome.code, outcome.err) == (0, ""), outcome
    folder = run / "results" / "projections"
    assert outcome.out.splitlines()[-1] == "results in run/results/projections"
    result = load_json(folder / "result.json")
    keys = [figure["key"] for figure in result["figures"]]
    assert keys == [
        *CONVS,
        "statistics by layer",
        *(f"{x}: where in the images" for x in CONVS),
        *(f"{x}: controls" for x in CONVS),
    ]
    assert all((folder / figure["file"]).is_file() for figure in result["figures"])
    assert "test images" in result["figures"][0]["caption"]
    after = load_json(run / "run.json")  # the run's own record stays, but for the files that came
    written = {str(path.relative_to(run)) for path in folder.rglob("*") if path.is_file()}
    assert set(after["files"]) == set(record["files"]) | written
    assert after | {"files": 0} == record | {"files": 0}


def test_what_is_drawn_is_the_projection_of_the_strongest_activations(convlens, run):
    assert convlens("task=project", "run=run", "task.layers=[conv3]", "task.maps=null", "task.k=1").code == 0
    arrays = read_gallery(run / "results/projections/best", "conv3")
    kept = {name: torch.from_numpy(np.array(arrays[name])) for name in arrays if name != "image_ids"}
    config = OmegaConf.load(run / "config.yaml")
    config.run = str(run)
    subject = load_network(config, [])
    loader = subject.data.plain_dataloader("test")
    top = top_activations(subject.net, loader, ["conv3"], 1)["conv3"]
    assert kept["maps"].tolist() == list(range(len(top.values)))
    assert torch.equal(kept["values"], top.values)
    alive = [m for m in range(len(top.values)) if top.values[m, 0] > 0]
    image = int(top.images[alive[0], 0])
    unit = (0, *top.unit(alive[0], 0)[1:])
    whole = project(subject.net, loader.dataset[image][0][None], "conv3", [unit])[0]
    top_edge, left, bottom, right = kept["boxes"][alive[0], 0].tolist()
    rows, columns = slice(max(top_edge, 0), min(bottom, 64)), slice(max(left, 0), min(right, 64))
    window = kept["projections"][alive[0], 0][
        :, rows.start - top_edge : rows.stop - top_edge, columns.start - left : columns.stop - left
    ]
    assert window.abs().max() > 0
    torch.testing.assert_close(window, whole[:, rows, columns], atol=1e-3 * float(whole.abs().max()), rtol=0)


def test_one_layer_needs_no_brackets_and_options_of_the_way_down_are_passed_on(convlens, run):
    common = ("task=project", "run=run", "task.layers=conv2", "task.maps=2", "task.k=1")
    drawn = {}
    for rule in ("deconvnet", "gradient"):
        assert convlens(*common, f"task.rules.rule={rule}").code == 0
        drawn[rule] = read_gallery(run / "results/projections/best", "conv2")["projections"]
        # Sheets of other layers, from the training, are of another folder.
        sheets = {path.name for path in (run / "results/projections/best").glob("*.png")}
        assert sheets == {"conv2.png", "conv2-where.png", "conv2-controls.png"}
    assert not np.allclose(drawn["deconvnet"], drawn["gradient"])


def test_other_data_may_be_named_for_a_run(convlens, run):
    outcome = convlens("task=project", "run=run", "task.layers=conv1", "task.maps=1", "data.source.test=30")
    assert outcome.code == 0, outcome
    assert "parts: 36 train, 12 val, 30 test images" in outcome.out


def test_other_data_are_read_as_the_run_was_taught(convlens, small, tmp_path):
    # The recipes differ in what values are divided by; the command's own must not win over the run's.
    assert convlens(*small, "recipe=paper", "recipe.max_epochs=1", "callbacks=none", "run_dir=paper").code == 0
    values = []
    same = [override for override in small if override.startswith("data")]
    for number, data in enumerate(([], ["data=parts", *(o for o in same if o != "data=parts")])):
        looked = ("task=project", "run=paper", "task.layers=conv1", "task.maps=2", *data)
        assert convlens(*looked).code == 0, number
        values.append(np.load(tmp_path / "paper/results/projections/best/conv1.npz")["values"])
    assert values[0].max() > 0
    np.testing.assert_array_equal(values[0], values[1])


def test_a_run_is_looked_at_with_other_images_where_its_own_are_gone(convlens, trained, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    config = OmegaConf.load(run / "config.yaml")
    config.data.source = {"_target_": "convlens.data.ImageFolder", "root": str(tmp_path / "gone")}
    OmegaConf.save(config, run / "config.yaml")
    outcome = convlens(
        *("task=project", "run=run", "task.layers=conv1", "task.maps=1", "task.controls=0"),
        *("data=parts", "data.source.train=24", "data.source.test=24", "trust=true"),  # the configuration was edited
    )
    assert outcome.code == 0, outcome


@pytest.mark.slow
def test_any_network_is_projected_in_a_directory_of_its_own(convlens, tmp_path):
    outcome = convlens(*ANY_NET, "data.source.train=48", "task.maps=1", "task.k=2", "task.images=6", "output_root=out")
    assert (outcome.code, outcome.err) == (0, ""), outcome
    (folder,) = (tmp_path / "out" / "project").iterdir()
    assert folder.name.startswith("torchvision-parts-")
    record = load_json(folder / "run.json")
    assert (record["task"], record["status"]) == ("project", "finished")
    result = load_json(folder / "results/projections/result.json")
    keys = [figure["key"] for figure in result["figures"] if ":" not in figure["key"]]
    layers = [key for key in keys if key != "statistics by layer"]
    assert layers[:2] == ["features.0", "features.3"]
    assert [number["name"] for number in result["numbers"]] == [f"dead maps, {x}" for x in layers]
    with np.load(folder / "results/projections/best/features.3.npz") as arrays:
        assert arrays["images"].shape == (1, 2)
        assert arrays["images"].max() < 6
    with Image.open(folder / "results/projections/best/features.3.png") as picture:
        assert min(picture.size) > 10


# ---- work that is interrupted, reused or shared -----------------------------------------------------------------

SMALL = (
    "task.layers=[conv1,conv3]",
    "task.images=9",
    "task.maps=4",
    "task.controls=2",
    "task.detailed=1",
    "task.max_images=3",
)


TINY = ("task.layers=[conv1]", "task.images=9", "task.maps=2", "task.controls=0", "task.detailed=0")


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_a_finished_gallery_is_reused_until_something_changes(convlens, run):
    folder = run / "results/projections"
    first = convlens("task=project", "run=run", *TINY)
    stamps = {path: path.stat().st_mtime_ns for path in (folder / "best").iterdir()}
    again = convlens("task=project", "run=run", *TINY)
    assert (first.code, again.code) == (0, 0)
    assert again.out.splitlines()[-1] == (
        "run/results/projections holds this gallery: reused (force=true does it again)"
    )
    assert stamps == {path: path.stat().st_mtime_ns for path in (folder / "best").iterdir()}
    for change in ("force=true", "task.k=5", "task.rules.rule=guided"):
        outcome = convlens("task=project", "run=run", *TINY, change)
        assert outcome.code == 0, outcome
        assert "reused" not in outcome.out


@pytest.mark.slow
@pytest.mark.essential
def test_a_gallery_stopped_at_any_time_is_continued(convlens, run):
    assert convlens("task=project", "run=run", *SMALL).code == 0
    expected = files(run / "results/projections/best")
    shutil.rmtree(run / "results/projections")
    stop, calls = 2, itertools.count()
    block = Gallery._make_block

    def interrupted(self, *args):
        if next(calls) == stop:
            raise KeyboardInterrupt
        block(self, *args)

    with patch.object(Gallery, "_make_block", interrupted):
        stopped = convlens("task=project", "run=run", *SMALL)
    assert (stopped.code, stopped.err) == (130, "convlens: stopped; the same command continues from there\n")
    assert (run / "results/projections/best/partial/plan.json").exists()
    # Then while the files are written, with everything projected.
    with (
        patch.object(Gallery, "_make_block", autospec=True, side_effect=block) as blocks,
        patch("convlens.analysis.galleries.sheets.write_arrays", side_effect=KeyboardInterrupt),
    ):
        assert convlens("task=project", "run=run", *SMALL).code == 130
    with patch.object(Gallery, "_make_block", side_effect=AssertionError("nothing is left to project")):
        assert convlens("task=project", "run=run", *SMALL).code == 0
    images = {int(i) for x in ("conv1", "conv3") for i in images_of(run, x)}
    folders = [call.args[0].folder.name for call in blocks.call_args_list]
    assert folders.count("partial") == -(-len(images) // 3) - stop
    assert "control0" in folders
    assert files(run / "results/projections/best") == expected


CLAIMS = (
    *("task=project", "run=run", "task.layers=[conv1,conv2]", "task.images=12", "task.k=4", "task.maps=6"),
    *("task.controls=4", "task.detailed=0", "task.keep=false"),
)


def claims_of(run: Path) -> dict[int, dict]:
    return {claim["number"]: claim for claim in load_json(run / "results/projections/result.json")["claims"]}


def test_the_control_network_takes_part_in_the_verdicts_unless_it_is_turned_off(convlens, run):
    outcome = convlens(*CLAIMS)
    assert outcome.code == 0, outcome
    said = [line for line in outcome.out.splitlines() if line.startswith("claim ")]
    assert [line[:8] for line in said] == ["claim 4 ", "claim 5 ", "claim 6 ", "claim 7 "]
    assert "control networks: " in outcome.out
    with_control = claims_of(run)
    for number in (5, 6, 7):
        assert set(with_control[number]["control"]) == {"randomized weights", "trained minus randomized"}
    assert with_control[4]["control"] is None
    assert convlens(*CLAIMS, "task.control=none").code == 0
    without = claims_of(run)
    assert all(without[number]["control"] == {"randomized weights": "not measured"} for number in (5, 6, 7))
    for number, claim in without.items():
        assert (claim["value"], claim["controls"]) == (with_control[number]["value"], with_control[number]["controls"])
    titles = [table["title"] for table in load_json(run / "results/projections/result.json")["tables"]]
    assert not any("randomized (Adebayo" in title for title in titles)


def test_a_cascade_randomizes_from_the_top_and_leaves_lower_layers_as_they_are(convlens, run):
    assert convlens(*CLAIMS, "task.control=cascade").code == 0
    tables = load_json(run / "results/projections/result.json")["tables"]
    table = next(table for table in tables if "randomized (Adebayo" in table["title"])
    names = [row[0] for row in table["rows"]]
    assert names[:2] == ["none", "from fc8 up"]
    assert names[-1] == "all layers"
    assert len(names) == 9
    # Until conv2 is randomized, both layers are those of the network itself.
    assert table["rows"][1][1:] == table["rows"][0][1:]
    assert table["rows"][-1][1:] != table["rows"][0][1:]


def test_without_comparisons_there_is_no_control_network_and_no_claim(convlens, run):
    with patch("convlens.runs.control_network.randomize_weights", side_effect=AssertionError("it costs nothing")):
        assert convlens("task=project", "run=run", *TINY).code == 0
    assert claims_of(run) == {}


@pytest.mark.slow
def test_a_gallery_stopped_during_the_control_network_is_continued(convlens, run):
    assert convlens(*CLAIMS).code == 0
    expected = claims_of(run)
    shutil.rmtree(run / "results/projections")
    block = Gallery._make_block

    def interrupted(self, *args):
        if self.folder.name == "control0":
            raise KeyboardInterrupt
        block(self, *args)

    with patch.object(Gallery, "_make_block", interrupted):
        assert convlens(*CLAIMS).code == 130
    with patch.object(Gallery, "_make_block", autospec=True, side_effect=block) as blocks:
        assert convlens(*CLAIMS).code == 0
    assert {call.args[0].folder.name for call in blocks.call_args_list} == {"control0"}
    assert claims_of(run) == expected
    assert not (run / "results/projections/best/partial").exists()


def images_of(run: Path, layer: str) -> np.ndarray:
    arrays = read_gallery(run / "results/projections/best", layer)
    return arrays["images"][arrays["values"] > 0]


def test_random_weights_are_the_same_the_next_time_and_what_is_gone_is_done_anew(convlens, tmp_path):
    job = (*ANY_NET, "data.source.train=48", "task.layers=[features.3]", "task.images=6", "task.maps=1", "run_dir=a")
    job = (*job, "task.controls=0", "task.detailed=0")
    assert convlens(*job).code == 0
    assert "reused" in convlens(*job).out
    (tmp_path / "a/results/projections/best/features.3.png").unlink()
    assert "reused" not in convlens(*job).out
    assert (tmp_path / "a/results/projections/best/features.3.png").exists()


def test_other_pictures_under_the_same_names_make_another_gallery(convlens, tmp_path):
    for part, count in (("train", 3), ("test", 3)):
        for name in "ab":
            folder = tmp_path / "images" / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                Image.new("RGB", (40, 40), (number * 20, 10, 200)).save(folder / f"{number}.png")
    job = ("task=project", "run_dir=a", "data=image_folder", "data.source.root=images", "data.image_size=48")
    job = (*job, "model.net.width=0.1", "task.layers=[conv1]", "task.maps=2", "task.controls=0", "task.detailed=0")
    assert convlens(*job).code == 0
    assert "reused" in convlens(*job).out
    Image.new("RGB", (40, 40), "green").save(tmp_path / "images/test/a/0.png")
    assert "reused" not in convlens(*job).out


def test_a_network_without_a_relu_is_told_before_the_search_that_the_controls_need_one(convlens, tmp_path):
    (tmp_path / "smooth.py").write_text(
        "from torch import nn\n\n\ndef net():\n"
        "    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 12))\n"
        "    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.SiLU(), *head)\n"
    )
    job = (*ANY_NET[:2], "~model.net.name", "model.name=smooth", "model.net._target_=smooth.net", *ANY_NET[3:])
    job = (*job, "data.source.train=48", "task.rules.rule=gradient", "run_dir=a")
    outcome = convlens(*job)
    assert outcome.code == 2
    assert outcome.err.endswith("the controls use all rules: task.controls=0 leaves them out\n")
    assert convlens(*job, "task.controls=0", "task.images=4", "task.maps=1").code == 0


def test_what_was_begun_with_other_settings_is_done_anew(convlens, run):
    with patch.object(Gallery, "make", side_effect=KeyboardInterrupt):
        assert convlens("task=project", "run=run", *SMALL).code == 130
    assert convlens("task=project", "run=run", *SMALL, "task.k=4").code == 0
    assert read_gallery(run / "results/projections/best", "conv3")["values"].shape == (4, 4)


@pytest.mark.essential
def test_two_processes_make_the_gallery_of_one(run, tmp_path):
    command = [sys.executable, "-m", "convlens.cli.main", "task=project", "run=run", *SMALL, "data.batch_size=7"]
    found = []
    for devices in (1, 2):
        outcome = subprocess.run(
            [*command, f"trainer.devices={devices}", "trainer.accelerator=cpu", "force=true"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            timeout=300,
        )
        assert outcome.returncode == 0, outcome.stderr
        folder = run / "results/projections/best"
        pictures = {path.name: np.asarray(Image.open(path), int) for path in folder.glob("*.png")}
        found.append(
            (files(folder).keys(), pictures, {name: read_gallery(folder, name) for name in ("conv1", "conv3")})
        )
    (names, pictures, galleries), (two_names, two_pictures, two_galleries) = found
    assert names == two_names
    # Batches are cut elsewhere, and a convolution may round otherwise in another batch.
    for name, picture in pictures.items():
        assert np.abs(picture - two_pictures[name]).max() <= 1, name
    for name, arrays in galleries.items():
        assert arrays.keys() == two_galleries[name].keys()
        for key, array in arrays.items():
            other = two_galleries[name][key]
            if array.dtype.kind == "f":
                np.testing.assert_allclose(other, array, rtol=1e-4, atol=1e-5 * np.abs(array).max(), err_msg=key)
            else:
                np.testing.assert_array_equal(other, array, err_msg=key)


def test_the_table_of_a_gallery_goes_to_the_loggers(convlens, run):
    with patch("convlens.tasks.project.log_table") as table, patch("convlens.tasks.project.log_image") as picture:
        assert convlens("task=project", "run=run", *SMALL, "logger=tensorboard").code == 0
    (loggers, key, columns, rows, epoch), _ = table.call_args
    assert (len(loggers), key, columns, epoch) == (1, "projections/top", TABLE_COLUMNS, 0)
    assert {row[0] for row in rows} == {"conv1", "conv3"}
    assert [call.args[1] for call in picture.call_args_list] == ["projections/conv1", "projections/conv3"]


def test_the_arrays_name_images_labels_and_boxes(convlens, run):
    assert convlens("task=project", "run=run", *SMALL, "task.keep=false").code == 0
    arrays = read_gallery(run / "results/projections/best", "conv3")
    assert "projections" not in arrays
    assert sorted(p.suffix for p in (run / "results/projections/best").iterdir()).count(".npy") == 0
    config = OmegaConf.load(run / "config.yaml")
    config.run = str(run)
    data = load_network(config, []).data
    for row, rank in np.argwhere(arrays["values"] > 0).tolist():
        number = int(arrays["images"][row, rank])
        assert arrays["image_ids"][row, rank] == data.image_id("test", number)
        assert arrays["labels"][row, rank] == int(data.dataset("test").labels[number])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("task.maps=0", "task.maps=0: give a whole number of at least 1 or null"),
        ("task.maps=1.5", "task.maps=1.5: give a whole number of at least 1 or null"),
        ("task.k=abc", "task.k=abc: give a whole number from 1 to 1000000"),
        ("task.images=true", "task.images=true: give a whole number of at least 1 or null"),
        ("task.control=shuffled", "task.control=shuffled: give random or cascade or none"),
        ("task.controls=-1", "task.controls=-1: give a whole number of at least 0 or null"),
        ("task.max_images=0", "task.max_images=0: give a whole number of at least 1 or null"),
        ("task.rules=null", "task.rules=null: give values for rule, signal, unpool, lrn"),
        ("+task.rules.bogus=3", "task.rules.bogus is no setting"),
        ("task.rules.rule=relu", "task.rules.rule=relu: give deconvnet or gradient or guided"),
        ("task.keep=perhaps", "task.keep=perhaps: give true or false"),
        ("task.layers=[conv9]", "unknown layer 'conv9' in ConvNet: did you mean conv"),
        ("task.split=tset", "data.split is 'tset': choose one of train, val, test, all"),
        ("task.split=all", "split=all needs splits of one source, these come from 2: choose one of train, val, test"),
    ],
)
def test_what_cannot_be_drawn_is_said_in_one_line(convlens, run, override, message):
    outcome = convlens("task=project", "run=run", "task.layers=[conv1]", "task.maps=2", override)
    assert outcome.code == 2
    assert outcome.err.startswith(f"convlens: {message}")
    assert len(outcome.err.splitlines()) == 1
    assert not (run / "results/projections/best").exists() or not list((run / "results/projections/best").glob("*.png"))


# ---- two at once -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "folder"),
    [
        ("project", "projections"),
        ("occlude", "occlusion"),
        ("invariance", "invariance"),
        ("correspond", "correspondence"),
        ("diagnose", "filters"),
    ],
)
def test_a_second_analysis_of_one_kind_harms_nothing(refused, run, task, folder):
    with directory_lock(run, folder):
        (run / "results" / folder).mkdir(exist_ok=True)
        (run / "results" / folder / "work").write_text("hours")
        said = refused(f"task={task}", "run=run")
        assert said.startswith(f"another process (pid {os.getpid()}, host ")
        assert said.endswith(f"works on {folder} in run: wait for it")
        assert (run / "results" / folder / "work").read_text() == "hours"
    with directory_lock(run, "another"):  # other analyses of the run may go on
        assert "unknown layer" in refused("task=project", "run=run", "task.layers=[conv9]")
