import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image
from torch import nn

from convlens import runs
from convlens.analysis.chosen_maps import default_layers
from convlens.analysis.gallery_store import read_gallery
from convlens.deconv import project, top_activations
from convlens.errors import InputError
from convlens.nets import zfnet

CONVS = ["conv1", "conv2", "conv3", "conv4", "conv5"]
ANY_NET = ("task=project", "model=torchvision", "model.net.name=squeezenet1_1", "data.source.test=24")


@pytest.fixture
def run(trained, tmp_path) -> Path:
    shutil.copytree(trained, tmp_path / "run")
    return tmp_path / "run"


def test_a_runs_convolutional_layers_are_drawn_into_the_run(convlens, run):
    record = (run / "run.json").read_bytes()
    outcome = convlens("task=project", "run=run", "task.maps=2", "task.k=3")
    assert (outcome.code, outcome.err) == (0, ""), outcome
    folder = run / "results" / "projections"
    assert outcome.out.splitlines()[-1] == f"sheets of {', '.join(CONVS)} in run/results/projections/best"
    result = json.loads((folder / "result.json").read_text())
    keys = [figure["key"] for figure in result["figures"]]
    assert keys == [*CONVS, *(f"{x}: where in the images" for x in CONVS), *(f"{x}: controls" for x in CONVS)]
    assert all((folder / figure["file"]).is_file() for figure in result["figures"])
    assert "test images" in result["figures"][0]["caption"]
    assert (run / "run.json").read_bytes() == record  # the run's own record stays


def test_what_is_drawn_is_the_projection_of_the_strongest_activations(convlens, run):
    assert convlens("task=project", "run=run", "task.layers=[conv3]", "task.maps=null", "task.k=1").code == 0
    arrays = read_gallery(run / "results/projections/best", "conv3")
    kept = {name: torch.from_numpy(np.array(arrays[name])) for name in arrays if name != "image_ids"}
    config = OmegaConf.load(run / "config.yaml")
    config.run = str(run)
    subject = runs.subject(config, [])
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
        "task=project", "run=run", "task.layers=conv1", "task.maps=1", "data=parts", "data.source.test=24"
    )
    assert outcome.code == 0, outcome


def test_any_network_is_projected_in_a_directory_of_its_own(convlens, tmp_path):
    outcome = convlens(*ANY_NET, "data.source.train=48", "task.maps=1", "task.k=2", "task.images=6", "output_root=out")
    assert (outcome.code, outcome.err) == (0, ""), outcome
    (folder,) = (tmp_path / "out" / "project").iterdir()
    assert folder.name.startswith("torchvision-parts-")
    record = json.loads((folder / "run.json").read_text())
    assert (record["task"], record["status"]) == ("project", "finished")
    result = json.loads((folder / "results/projections/result.json").read_text())
    layers = [figure["key"] for figure in result["figures"] if ":" not in figure["key"]]
    assert layers[:2] == ["features.0", "features.3"]
    assert [number["name"] for number in result["numbers"]] == [f"maps of {x} that no image excites" for x in layers]
    with np.load(folder / "results/projections/best/features.3.npz") as arrays:
        assert arrays["images"].shape == (1, 2)
        assert arrays["images"].max() < 6
    with Image.open(folder / "results/projections/best/features.3.png") as picture:
        assert min(picture.size) > 10


# ---- the layers that are drawn when none are named --------------------------------------------------------------


def test_our_networks_default_to_their_convolutional_layers():
    assert default_layers(zfnet(10, input_size=64, width=0.1)) == CONVS
    assert default_layers(zfnet(10, input_size=64, width=0.1, removed=[3, 4])) == ["conv1", "conv2", "conv5"]


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3)
        self.relu = nn.ReLU()
        self.layer1 = nn.Sequential(nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU()), nn.Conv2d(4, 4, 1), nn.MaxPool2d(2))
        self.head = nn.Linear(4, 2)


def test_other_networks_default_to_the_outermost_blocks_that_hold_a_convolution():
    assert default_layers(Residual()) == ["stem", "layer1.0", "layer1.1"]


def test_a_network_without_a_convolution_is_answered_with_what_to_do():
    with pytest.raises(InputError, match=r"Sequential has no convolution: name the layers with task\.layers="):
        default_layers(nn.Sequential(nn.Flatten(), nn.Linear(12, 3)))
