"""The tasks of the paper's second half, as typed: what they write, and what they answer to mistakes."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from convlens.analysis.occlusion.occlude import occlude
from convlens.analysis.occlusion.occluders import occluder_value
from convlens.runs.subject import LoadedNetwork, load_network

FEW = ("task.images=3", "task.only_correct=false")
OCCLUDE = ("task=occlude", "run=run", *FEW, "task.stride=16", "task.num_examples=2", "task.search_images=8")
INVARIANCE = ("task=invariance", "run=run", *FEW, "task.steps=9", "task.layers=[conv1,fc7]", "task.num_examples=2")
CORRESPOND = ("task=correspond", "run=run", "task.images=4", "task.num_examples=2")


@pytest.fixture
def run(trained, tmp_path) -> Path:
    shutil.copytree(trained, tmp_path / "run")
    return tmp_path / "run"


def result(run: Path, analysis: str) -> dict:
    folder = run / "results" / analysis
    found = json.loads((folder / "result.json").read_text())
    for figure in found["figures"]:
        with Image.open(folder / figure["file"]) as picture:
            assert min(picture.size) > 100
    return found


def load(run: Path) -> LoadedNetwork:
    config = OmegaConf.load(run / "config.yaml")
    config.run = str(run)
    return load_network(config, [])


def test_occlusion_of_a_run(convlens, run):
    outcome = convlens(*OCCLUDE)
    assert (outcome.code, outcome.err) == (0, ""), outcome
    assert outcome.out.splitlines()[-1] == "results in run/results/occlusion"
    found = result(run, "occlusion")
    assert [claim["number"] for claim in found["claims"]][-1] == 17
    assert {claim["verdict"] for claim in found["claims"]} == {"can't tell"}  # of three images
    arrays = np.load(run / "results/occlusion/maps.npz")
    network = load(run)
    index = int(arrays["images"][1])
    image = network.data.dataset("test")[index][0]
    size, value = int(arrays["size"]), (124 - network.data.mean) / network.data.std[:, None, None]
    expected = occlude(
        network.net, image, int(arrays["targets"][1]), size=size, stride=16, value=value, layer=str(arrays["layer"])
    )
    assert size == 14  # 50 of 224 pixels, of 64
    np.testing.assert_allclose(arrays["probability"][1], expected.probability.numpy(), atol=1e-6)
    np.testing.assert_allclose(arrays["activation"][1], expected.activation.numpy(), rtol=1e-5)
    assert int(arrays["map"][1]) == expected.map
    assert arrays["image_ids"][1] == network.data.image_id("test", index)


@pytest.mark.parametrize("occluder", ["mean", "blur", "noise", "30", "30.5"])
def test_occluders_of_each_kind(convlens, run, occluder):
    job = (
        "task=occlude",
        "run=run",
        "task.images=1",
        "task.only_correct=false",
        "task.stride=25",
        "task.num_examples=1",
    )
    assert convlens(*job, f"task.occluder={occluder}", "task.search_images=0", "task.layer=conv3").code == 0
    arrays, network = np.load(run / "results/occlusion/maps.npz"), load(run)
    image = network.data.dataset("test")[0][0]
    kind = float(occluder) if occluder[0].isdigit() else occluder
    value = occluder_value(kind, image, mean=network.data.mean, std=network.data.std, seed=0)
    expected = occlude(network.net, image, int(arrays["targets"][0]), size=14, stride=25, value=value)
    np.testing.assert_allclose(arrays["probability"][0], expected.probability.numpy(), atol=1e-6)


def test_invariance_of_a_run(convlens, run):
    outcome = convlens(*INVARIANCE)
    assert (outcome.code, outcome.err) == (0, ""), outcome
    found = result(run, "invariance")
    assert {claim["number"] for claim in found["claims"]} == {10, 11, 12}
    arrays = np.load(run / "results/invariance/rotation.npz")
    assert {0, 90, 180, 270, 360} <= set(arrays["values"].round().astype(int).tolist())
    assert arrays["raw/conv1"].shape == arrays["probability"].shape == (3, len(arrays["values"]))
    # Nothing changes where nothing is done, and a full turn is nothing.
    still = [0, -1]
    assert arrays["relative/fc7"][:, still].max() < 1e-3
    np.testing.assert_allclose(arrays["probability"][:, 0], arrays["clean_probability"], atol=1e-5)


@pytest.mark.parametrize("border", ["reflect", "source"])
def test_other_borders(convlens, run, border):
    job = (
        "task=invariance",
        "run=run",
        "task.images=1",
        "task.only_correct=false",
        "task.steps=3",
        "task.layers=[conv1,conv2]",
    )
    assert convlens(*job, f"task.border={border}", "task.transforms=[translation]", "task.num_examples=1").code == 0


def test_correspondence_of_a_run(convlens, run):
    outcome = convlens(*CORRESPOND)
    assert (outcome.code, outcome.err) == (0, ""), outcome
    found = result(run, "correspondence")
    assert [claim["number"] for claim in found["claims"]] == [19]
    rows = found["tables"][0]["rows"]
    assert [row[0] for row in rows] == ["right_eye", "left_eye", "nose", "random"]
    assert rows[0][-1] == "0.067, 0.069"
    arrays = np.load(run / "results/correspondence/signs.npz")
    assert arrays["masks"].shape[:2] == (4, 6)
    assert set(np.unique(arrays["signs/layer5"])) <= {-1, 0, 1}
    network = load(run)
    index = [network.data.image_id("test", i) for i in range(24)].index(str(arrays["image_ids"][0]))
    assert (arrays["masks"][0, 2] == network.data.regions("test", index)["nose"].numpy()).all()


def test_several_runs_are_diagnosed_side_by_side(convlens, run, tmp_path):
    shutil.copytree(run, tmp_path / "other")
    file = tmp_path / "other/checkpoints/best.ckpt"
    content = torch.load(file, weights_only=True)
    content["state_dict"]["net.conv1.filter.weight"][0] *= 50
    torch.save(content, file)
    for folder, clip in ((run, 0.1), (tmp_path / "other", None)):
        config = OmegaConf.load(folder / "config.yaml")
        config.system.max_filter_rms = config.recipe.max_filter_rms = clip
        OmegaConf.save(config, folder / "config.yaml")
    outcome = convlens(
        "task=diagnose",
        "task.run_dirs=[run,other]",
        "task.images=6",
        "task.shift_images=4",
        "run_dir=here",
        "trust=true",  # the configurations were edited
    )
    assert (outcome.code, outcome.err) == (0, ""), outcome
    found = result(tmp_path / "here", "filters")
    names = [row[0] for row in found["tables"][0]["rows"]]
    assert names == ["run", "other", "run, randomized weights", "other, randomized weights"]
    assert found["tables"][0]["rows"][0][1] == "7x7 / 2"
    error = json.loads((run / "metrics.json").read_text())["test/top1_error"]
    assert found["tables"][0]["rows"][0][2] == pytest.approx(error, abs=0.01)
    (claim,) = found["claims"]
    assert (claim["number"], claim["verdict"], claim["units"]) == (16, "can't tell", 1)
    assert claim["about"] == "zfnet 7x7/2: 1 without clipping, 1 clipped at 0.1"
    assert claim["controls"]["three runs a side would decide"] == "convlens experiment=filter_clipping"
    assert claim["value"] > 0
    assert any("other" in row and "renormalise" in row[3] for row in found["tables"][1]["rows"])
    assert "try renormalise filters" in outcome.out


def test_runs_count_once_and_the_control_can_be_left_out(convlens, run, tmp_path):
    outcome = convlens(
        "task=diagnose",
        "task.run_dirs=[run,run]",
        "task.images=4",
        "task.control=none",
        "task.shift_images=0",
        "run_dir=here",
    )
    assert (outcome.code, outcome.err) == (0, ""), outcome
    found = result(tmp_path / "here", "filters")
    assert [row[0] for row in found["tables"][0]["rows"]] == ["run", "run-2"]
    assert found["claims"] == []  # one kind of run


def test_the_report_has_the_board_of_all_claims(convlens, run):
    assert convlens(*CORRESPOND).code == 0
    assert convlens("task=report", "run=run").code == 0
    page = (run / "report.html").read_text()
    assert "Claims of the paper" in page
    assert "parts correspond at layer 5, less at layer 7" in page
    assert "Refuted if covering the same part changes layer 5 no more consistently" in page


@pytest.mark.parametrize(
    ("job", "message"),
    [
        (
            (*OCCLUDE, "task.size=65"),
            "an occluder of 65 px does not fit in an image of 64 px: give a size from 1 to 64",
        ),
        ((*OCCLUDE, "task.stride=0"), "task.stride=0: give a whole number of at least 1 or null"),
        ((*OCCLUDE, "task.label=99"), "task.label=99 is no class of the data: give a name or 0 to 11"),
        ((*OCCLUDE, "task.label=unicorn"), "task.label=unicorn is no class of the data"),
        ((*OCCLUDE, "task.target=mine"), "task.target=mine: give label or predicted"),
        (
            (*OCCLUDE, "task.occluder=red"),
            "task.occluder=red: give grey or mean or blur or noise or a number from 0 to 255",
        ),
        (
            (*OCCLUDE, "task.occluder=256"),
            "task.occluder=256: give grey or mean or blur or noise or a number from 0 to 255",
        ),
        ((*OCCLUDE, "task.num_examples=-1"), "task.num_examples=-1: give a whole number of at least 0"),
        ((*OCCLUDE, "task.layer=conv9"), "unknown layer 'conv9' in ConvNet"),
        ((*OCCLUDE, "task.class_map=[1,2]"), "task.class_map has 2 numbers for 12 classes of the data"),
        ((*OCCLUDE, "task.images=0"), "task.images=0: give a whole number of at least 1"),
        ((*INVARIANCE, "task.distance=cosine"), "task.distance=cosine: give raw or relative or unit"),
        (
            (*INVARIANCE, "task.transforms=[shear]"),
            "task.transforms=[shear]: give a list of translation or scale or rotation",
        ),
        ((*INVARIANCE, "task.transforms=[]"), "task.transforms is empty: give translation, scale or rotation"),
        ((*INVARIANCE, "task.symmetric=[unicorn]"), "task.symmetric: 'unicorn' is no class of the data"),
        ((*INVARIANCE, "task.border=white"), "task.border=white: give black or reflect or source"),
        ((*INVARIANCE, "task.steps=2"), "task.steps=2: give a whole number from 3 to 10000"),
        ((*CORRESPOND, "task.images=1"), "task.images=1: give a whole number of at least 2"),
        (
            (*CORRESPOND, "task.parts=[wing]"),
            "0 test images show wing of an object: at least two are needed; known are",
        ),
        ((*CORRESPOND, "task.layers=[conv5]"), "task.layers=[conv5]: give two layers, the claim compares a lower with"),
        ((*CORRESPOND, "task.parts=[]"), "task.parts is empty: give names of parts"),
        ((*CORRESPOND, "task.random_regions=0"), "task.random_regions=0: give a whole number from 1 to 1000"),
        ((*CORRESPOND, "task.occluder=red"), "task.occluder=red: give grey or mean or blur or noise or a number from"),
        ((*CORRESPOND, "task.label=unicorn"), "task.label=unicorn is no class of the data"),
        (("task=diagnose", "task.run_dirs=[nowhere]"), "nowhere is not a run directory"),
        (("task=diagnose", "task.run_dirs=[]"), "task.run_dirs is empty: give directories of runs, or run=DIR"),
        (("task=diagnose", "task.shift_images=-1"), "task.shift_images=-1: give a whole number of at least 0"),
    ],
)
def test_mistakes_are_answered_by_one_line(refused, run, job, message):
    assert refused(*job, *(("run_dir=new",) if "run=run" not in job else ())).startswith(message)
    assert not any((run / "results" / name).exists() for name in ("occlusion", "invariance", "correspondence"))


def test_a_class_that_is_never_predicted_is_said(convlens, run):
    network = load(run)
    with torch.no_grad():
        said = {
            label
            for images, _ in network.data.plain_dataloader("test")
            for label in network.net(images).argmax(1).tolist()
        }
    never = min(set(range(12)) - said)  # after one epoch there is such a class
    outcome = convlens("task=occlude", "run=run", "task.images=3", f"task.label={never}", "task.search_images=0")
    assert outcome.code == 2
    assert "correctly: choose another task.label, or task.only_correct=false" in outcome.err


def test_networks_of_other_classes_say_how_to_go_on(convlens, tmp_path):
    job = ("task=occlude", "model=torchvision", "model.net.name=squeezenet1_1", "+model.net.num_classes=20")
    job = (*job, "data.source.train=48", "data.source.test=24", "run_dir=here", "task.images=1", "task.search_images=0")
    outcome = convlens(*job)
    assert outcome.code == 2
    assert "squeezenet1_1 has 20 classes and the data have 12: map them with task.class_map=[...]" in outcome.err
    assert convlens(*job, "task.target=predicted", "task.stride=25", "task.layer=features.3").code == 0
