"""Fine-tuning: training that starts from pretrained weights, with a new last layer."""

import copy
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file

from convlens.runs import training
from convlens.systems import Classifier

SMALL = ("model.net.width=0.1", "recipe.max_epochs=1", "callbacks=none", "run_dir=tuned")


@pytest.fixture
def photos(tmp_path) -> tuple[str, ...]:
    """Three classes, with the image size of the pretrained run."""
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
def test_all_layers_but_the_classifier_start_from_the_run(convlens, trained, photos, tmp_path, name):
    """The backbone is frozen, so that the loaded weights are in the last checkpoint."""
    outcome = convlens(*SMALL, *photos, f"model.pretrained={trained}{name}", "recipe.backbone_lr_scale=0")
    assert (outcome.code, outcome.err) == (0, ""), outcome
    path = trained / "checkpoints" / ("last.ckpt" if name else "best.ckpt")
    assert f"14 of 16 tensors loaded from {path}; new: fc8.weight, fc8.bias\n" in outcome.out
    theirs, ours = state(path), state(tmp_path / "tuned/checkpoints/last.ckpt")
    assert ours["fc8.weight"].shape[0] == 3
    assert [key for key in theirs if not key.startswith("fc8") and not torch.equal(theirs[key], ours[key])] == []


def test_last_layer_is_new_even_with_the_same_number_of_classes(convlens, trained, small, tmp_path):
    options = (*small, "callbacks=none", "recipe.max_epochs=1", "recipe.optimizer.lr=1e-12", "run_dir=tuned", "seed=7")
    assert "14 of 16 tensors" in convlens(*options, f"model.pretrained={trained}").out
    theirs, ours = state(trained / "checkpoints/best.ckpt"), state(tmp_path / "tuned/checkpoints/last.ckpt")
    assert torch.allclose(ours["conv1.filter.weight"], theirs["conv1.filter.weight"])
    assert ours["fc8.weight"].shape == theirs["fc8.weight"].shape
    assert not torch.allclose(ours["fc8.weight"], theirs["fc8.weight"], atol=1e-2)
    assert ours["fc8.weight"].std() > 0.01


def test_new_layer_depends_on_the_seed_alone(convlens, trained, photos, tmp_path, monkeypatch):
    """Building a second network for comparison must not draw random numbers."""
    weights = []
    original = training.load_pretrained

    def recording(cfg, net, classes):
        weights.append(copy.deepcopy(net.fc8.weight))
        found = original(cfg, net, classes)
        weights.append(torch.rand(3))
        return found

    monkeypatch.setattr(training, "load_pretrained", recording)
    for pretrained in ("null", trained):
        convlens(*SMALL, *photos, f"model.pretrained={pretrained}", "force=true")
    assert torch.equal(weights[0], weights[2])
    assert torch.equal(weights[1], weights[3])


@pytest.mark.slow
def test_torchvision_network_starts_from_a_safetensors_file(convlens, photos, tmp_path):
    torch.manual_seed(3)
    pretrained = torchvision.models.get_model("resnet18", num_classes=10)
    save_file(pretrained.state_dict(), tmp_path / "w.safetensors")
    options = (
        "model=torchvision",
        "recipe.max_epochs=1",
        "callbacks=none",
        "run_dir=tuned",
        "model.pretrained=w.safetensors",
    )
    outcome = convlens(*photos, *options, "recipe.backbone_lr_scale=0")
    assert (outcome.code, outcome.err) == (0, ""), outcome
    assert "120 of 122 tensors loaded from w.safetensors; new: fc.weight, fc.bias" in outcome.out
    theirs, ours = pretrained.state_dict(), state(tmp_path / "tuned/checkpoints/last.ckpt")
    # The statistics of the batch norms are among them.
    assert [key for key in theirs if not key.startswith("fc.") and not torch.equal(theirs[key], ours[key])] == []


@pytest.mark.slow
def test_continued_run_does_not_need_the_pretrained_weights(convlens, refused, trained, photos, tmp_path, monkeypatch):
    shutil.copytree(trained, tmp_path / "before")
    own = [*photos, "model.net.width=0.1", "callbacks=none", "recipe.max_epochs=2"]
    options = (*own, "model.pretrained=before", "recipe.backbone_lr_scale=0.5")
    assert convlens(*options, "run_dir=whole").code == 0
    step = Classifier.training_step

    def cut(self, batch, batch_idx):
        if self.current_epoch == 1:
            raise KeyboardInterrupt
        return step(self, batch, batch_idx)

    with monkeypatch.context() as patched:
        patched.setattr(Classifier, "training_step", cut)
        assert convlens(*options, "run_dir=tuned").code == 130
    assert refused(*own, "run_dir=tuned").startswith("tuned holds a run with model.pretrained=before, not None")
    shutil.rmtree(tmp_path / "before")
    again = convlens(*options, "run_dir=tuned")
    assert (again.code, again.err) == (0, ""), again
    assert "continuing tuned from epoch 2" in again.out
    assert "tensors loaded from" not in again.out
    ours, theirs = (state(tmp_path / run / "checkpoints/last.ckpt") for run in ("tuned", "whole"))
    assert [key for key in theirs if not torch.equal(ours[key], theirs[key])] == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("model.pretrained=nowhere",), "no weights at nowhere: give a checkpoint of a run"),
        (("model.pretrained=photos",), "no checkpoint 'best' in photos/checkpoints"),
        (
            ("model.pretrained={run}", "model.net.width=0.3"),
            "nothing in {run}/checkpoints/best.ckpt fits ConvNet: conv1.filter.weight is (8, 3, 7, 7) there and "
            "(32, 3, 7, 7) here",
        ),
        (("model.pretrained={run}", "model.weights=x"), "model.pretrained and model.weights are both given: "),
        (("recipe.backbone_lr_scale=0.1",), "recipe.backbone_lr_scale=0.1 is for loaded layers: give model.pretrained"),
        (("model.pretrained={run}", "recipe.backbone_lr_scale=-1"), "recipe.backbone_lr_scale=-1: give a number"),
        (("model.pretrained={run}", "task=project"), "model.pretrained is for fine-tuning: give model.weights"),
    ],
)
def test_unusable_weights_are_refused_and_nothing_is_left(refused, trained, photos, tmp_path, settings, message):
    settings = [setting.format(run=trained) for setting in settings]
    assert refused(*SMALL, *photos, *settings).startswith(message.format(run=trained))
    assert [path for path in tmp_path.rglob("*") if path.is_file() and "photos" not in path.parts] == []
