"""Training that begins from trained weights, with a new last layer."""

import copy
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file

from convlens.runs import training as train_task
from convlens.systems import Classifier

SMALL = ("model.net.width=0.1", "recipe.max_epochs=1", "callbacks=none", "run_dir=tuned")


@pytest.fixture
def photos(tmp_path) -> tuple[str, ...]:
    """Three classes, with the image size of the run that is begun from."""
    rng = np.random.default_rng(0)
    for name in ("cat", "dog", "newt"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(8):
            Image.fromarray(rng.integers(0, 256, (72, 72, 3), np.uint8)).save(tmp_path / "photos" / name / f"{i}.png")
    return ("data=image_folder", "data.source.root=photos", "data.image_size=64")


def state(path: Path) -> dict[str, torch.Tensor]:
    content = torch.load(path, weights_only=True)["state_dict"]
    return {k.removeprefix("net."): v for k, v in content.items() if k.startswith("net.")}


@pytest.mark.parametrize("name", ["", "/checkpoints/last.ckpt"])
def test_all_but_the_classifier_begins_as_in_the_run(convlens, trained, photos, tmp_path, name):
    """Frozen, so that what was loaded is still there to be seen."""
    outcome = convlens(*SMALL, *photos, f"model.init={trained}{name}", "recipe.backbone_lr_scale=0")
    assert (outcome.code, outcome.err) == (0, ""), outcome
    path = trained / "checkpoints" / ("last.ckpt" if name else "best.ckpt")
    assert f"14 of 16 tensors begin as in {path}; new: fc8.weight, fc8.bias\n" in outcome.out
    theirs, ours = state(path), state(tmp_path / "tuned/checkpoints/last.ckpt")
    assert ours["fc8.weight"].shape[0] == 3
    assert [key for key in theirs if not key.startswith("fc8") and not torch.equal(theirs[key], ours[key])] == []


def test_with_as_many_classes_as_before_the_last_layer_is_new_all_the_same(convlens, trained, small, tmp_path):
    options = (*small, "callbacks=none", "recipe.max_epochs=1", "recipe.optimizer.lr=1e-12", "run_dir=tuned", "seed=7")
    assert "14 of 16 tensors" in convlens(*options, f"model.init={trained}").out
    theirs, ours = state(trained / "checkpoints/best.ckpt"), state(tmp_path / "tuned/checkpoints/last.ckpt")
    assert torch.allclose(ours["conv1.filter.weight"], theirs["conv1.filter.weight"])
    assert ours["fc8.weight"].shape == theirs["fc8.weight"].shape
    assert not torch.allclose(ours["fc8.weight"], theirs["fc8.weight"], atol=1e-2)
    assert ours["fc8.weight"].std() > 0.01


def test_the_new_layer_is_the_one_that_the_seed_gives(convlens, trained, photos, tmp_path, monkeypatch):
    """Building a second network to compare with must not draw numbers."""
    begun = []
    original = train_task.begin

    def watched(cfg, net, classes):
        begun.append(copy.deepcopy(net.fc8.weight))
        found = original(cfg, net, classes)
        begun.append(torch.rand(3))
        return found

    monkeypatch.setattr(train_task, "begin", watched)
    for init in ("null", trained):
        convlens(*SMALL, *photos, f"model.init={init}", "force=true")
    assert torch.equal(begun[0], begun[2])
    assert torch.equal(begun[1], begun[3])


def test_a_network_of_torchvision_begins_from_a_safetensors_file(convlens, photos, tmp_path):
    torch.manual_seed(3)
    pretrained = torchvision.models.get_model("resnet18", num_classes=10)
    save_file(pretrained.state_dict(), tmp_path / "w.safetensors")
    options = (
        "model=torchvision",
        "recipe.max_epochs=1",
        "callbacks=none",
        "run_dir=tuned",
        "model.init=w.safetensors",
    )
    outcome = convlens(*photos, *options, "recipe.backbone_lr_scale=0")
    assert (outcome.code, outcome.err) == (0, ""), outcome
    assert "120 of 122 tensors begin as in w.safetensors; new: fc.weight, fc.bias" in outcome.out
    theirs, ours = pretrained.state_dict(), state(tmp_path / "tuned/checkpoints/last.ckpt")
    # With the statistics of the batch normalisation.
    assert [key for key in theirs if not key.startswith("fc.") and not torch.equal(theirs[key], ours[key])] == []


def test_a_continued_run_does_not_need_what_it_began_from(convlens, refused, trained, photos, tmp_path, monkeypatch):
    shutil.copytree(trained, tmp_path / "before")
    own = [*photos, "model.net.width=0.1", "callbacks=none", "recipe.max_epochs=2"]
    begun = (*own, "model.init=before", "recipe.backbone_lr_scale=0.5")
    assert convlens(*begun, "run_dir=whole").code == 0
    step = Classifier.training_step

    def cut(self, batch, batch_idx):
        if self.current_epoch == 1:
            raise KeyboardInterrupt
        return step(self, batch, batch_idx)

    with monkeypatch.context() as patched:
        patched.setattr(Classifier, "training_step", cut)
        assert convlens(*begun, "run_dir=tuned").code == 130
    assert refused(*own, "run_dir=tuned").startswith("tuned holds a run with model.init=before, not None")
    shutil.rmtree(tmp_path / "before")
    again = convlens(*begun, "run_dir=tuned")
    assert (again.code, again.err) == (0, ""), again
    assert "continuing tuned from epoch 2" in again.out
    assert "tensors begin as" not in again.out
    ours, theirs = (state(tmp_path / run / "checkpoints/last.ckpt") for run in ("tuned", "whole"))
    assert [key for key in theirs if not torch.equal(ours[key], theirs[key])] == []


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (("model.init=nowhere",), "no weights at nowhere: give a checkpoint of a run"),
        (("model.init=photos",), "no checkpoint 'best' in photos/checkpoints"),
        (
            ("model.init={run}", "model.net.width=0.3"),
            "nothing in {run}/checkpoints/best.ckpt fits ConvNet: conv1.filter.weight is (8, 3, 7, 7) there and "
            "(32, 3, 7, 7) here",
        ),
        (("model.init={run}", "model.weights=x"), "model.init and model.weights are both given: "),
        (("recipe.backbone_lr_scale=0.1",), "recipe.backbone_lr_scale=0.1 is for loaded layers: give model.init"),
        (("model.init={run}", "recipe.backbone_lr_scale=-1"), "recipe.backbone_lr_scale=-1: give a number"),
        (("model.init={run}", "task=project"), "model.init is what a training begins from: give model.weights"),
    ],
)
def test_what_cannot_be_begun_from_is_said_and_nothing_is_left(refused, trained, photos, tmp_path, settings, said):
    settings = [setting.format(run=trained) for setting in settings]
    assert refused(*SMALL, *photos, *settings).startswith(said.format(run=trained))
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]
