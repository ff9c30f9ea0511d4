"""``task=transfer`` as typed: the table, what is reused, the sweep, and what it answers to mistakes."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image
from sklearn.metrics import balanced_accuracy_score
from sklearn.svm import LinearSVC

from convlens import runs
from convlens.tasks.transfer import layer_names
from convlens.transfer.features import extract_features

SMALL = ("task=transfer", "run=run", "task.layers=[1,5]", "task.images_per_class=[1,3]", "task.folds=[0,1]")


@pytest.fixture
def run(trained, tmp_path) -> Path:
    shutil.copytree(trained, tmp_path / "run")
    return tmp_path / "run"


def table(folder: Path) -> dict[tuple, dict]:
    with (folder / "table.csv").open() as file:
        return {
            (row["weights"], row["layer"], row["probe"], row["images_per_class"], row["fold"]): row
            for row in csv.DictReader(file)
        }


def test_a_cell_is_what_one_would_find_by_hand(convlens, run):
    outcome = convlens(*SMALL, "task.c=1", "task.random=true")
    assert (outcome.code, outcome.err) == (0, ""), outcome
    folder = run / "results" / "transfer"
    found = table(folder)
    assert len(found) == 2 * 2 * 2 * 2 * 2  # weights, layers, probes, sizes, folds
    config = OmegaConf.load(run / "config.yaml")
    config.run = str(run)
    looked = runs.subject(config, [])
    features = extract_features(looked.net, looked.data.pool_dataloader(), ["layer5"])["layer5"].double()
    features /= features.norm(dim=1, keepdim=True)
    protocol = looked.data.protocol
    train, test = protocol.split(3, 1)
    probe = LinearSVC(C=1.0, tol=1e-8, max_iter=10**6).fit(features[train], protocol.labels[train])
    score = 100 * balanced_accuracy_score(protocol.labels[test], probe.predict(features[test]))
    row = found["trained", "layer5", "svm", "3", "1"]
    assert float(row["score"]) == pytest.approx(score, abs=1e-3)
    assert (int(row["train"]), int(row["test"]), float(row["c"])) == (len(train), len(test), 1.0)
    written = (folder / "splits/3_per_class/fold_1/train.txt").read_text().splitlines()
    assert [line.split("\t")[0] for line in written] == [protocol.names[i] for i in train]


def test_the_report_has_tables_pictures_and_claims(convlens, run):
    assert convlens(*SMALL, "task.random=true").code == 0
    folder = run / "results" / "transfer"
    found = json.loads((folder / "result.json").read_text())
    assert [figure["file"] for figure in found["figures"]] == [
        "layers.png",
        "sizes.png",
        "confusion.png",
        "classes.png",
    ]
    for figure in found["figures"]:
        with Image.open(folder / figure["file"]) as picture:
            assert min(picture.size) > 100
    names = [row[0] for row in found["tables"][0]["rows"]]
    assert names == ["layer1", "layer5", "layer1, random weights", "layer5, random weights"]
    assert [claim["number"] for claim in found["claims"]] == [25, 24]
    assert found["claims"][1]["statistic"].startswith("score at 3 images per class less that of random weights (layer")


def test_what_is_fitted_is_not_fitted_again_and_what_changed_is(convlens, run, caplog):
    assert convlens(*SMALL).code == 0
    cells = sorted((run / "results/transfer/cells/trained").glob("*.json"))
    before = [path.stat().st_mtime_ns for path in cells]
    cells[3].unlink()
    first = table(run / "results/transfer")
    outcome = convlens(*SMALL)
    assert "trained: 15 of 16 fits are there" in outcome.out
    assert [path.stat().st_mtime_ns for path in cells][:3] == before[:3]
    again = table(run / "results/transfer")
    assert {key: row["score"] for key, row in again.items()} == {key: row["score"] for key, row in first.items()}
    assert "of 16 fits are there" not in convlens(*SMALL, "task.normalise=none").out


def test_a_sweep_ends_with_the_table_of_one_job(convlens, run, tmp_path):
    shutil.copytree(run, tmp_path / "other")
    assert convlens(*SMALL, "task.images_per_class=[3]", "task.probes=[svm]", "task.folds=[0]").code == 0
    sweep = ("-m", "experiment=transfer", "run=other", "layer=1,5", "images_per_class=3", "fold=0", "probe=svm")
    assert convlens(*sweep).code == 0
    one, many = (table(tmp_path / name / "results/transfer") for name in ("run", "other"))
    assert {key: row["score"] for key, row in one.items()} == {key: row["score"] for key, row in many.items()}
    assert len(many) == 2


def test_a_run_on_the_same_classes_is_shown_beside(convlens, run):
    config = OmegaConf.load(run / "config.yaml")
    arrays = np.load(run / "results/test/predictions.npz")
    score = 100 * balanced_accuracy_score(arrays["labels"], arrays["top5"][:, 0])
    config.data.source.train_per_class = 3  # as Caltech's
    (run.parent / "scratch/results/test").mkdir(parents=True)
    OmegaConf.save(config, run.parent / "scratch/config.yaml")
    shutil.copy(run / "results/test/predictions.npz", run.parent / "scratch/results/test")
    assert convlens(*SMALL, "+task.beside.scratch=scratch").code == 0
    found = json.loads((run / "results/transfer/result.json").read_text())
    assert ["scratch", "", f"{score:.1f}", "", f"{score:.1f}"] in found["tables"][0]["rows"]
    assert found["claims"][1]["statistic"].startswith("score at 3 images per class less that of scratch")
    assert convlens(*SMALL, "+task.beside.scratch=[scratch,scratch]").code == 0
    found = json.loads((run / "results/transfer/result.json").read_text())
    assert ["scratch", "", f"{score:.1f} ± 0.0", "", f"{score:.1f} ± 0.0"] in found["tables"][0]["rows"]


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("task.images_per_class=[100000]", "class "),
        ("task.images_per_class=[0]", "images_per_class"),
        ("task.folds=[]", "task.folds is empty: give at least one"),
        ("task.folds=[-1]", "fold"),
        ("task.probes=[svn]", "task.probes='svn': choose among svm, softmax, sigmoid"),
        ("task.layers=[9]", "task.layers: there is no layer 9: 1, 2, 3, 4, 5, 6, 7, or a name, such as fc7"),
        ("task.layers=[conv9]", "unknown layer 'conv9'"),
        ("task.normalise=max", "normalise='max': choose one of l2, standardise, none"),
        ("task.cells=0", "cells=0"),
        ("task.c=-1", "C is -1"),
        ("task.inner_folds=1", "task.inner_folds=1: give a whole number of at least 2"),
        ("+task.beside.scratch=nowhere", "task.beside: no test predictions at nowhere"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(convlens, run, typed, said):
    outcome = convlens(*SMALL, typed)
    assert outcome.code == 2
    assert outcome.err.startswith(f"convlens: {said}")
    assert outcome.err.count("\n") == 1
    assert not (run / "results/transfer/result.json").exists()


def test_features_of_other_weights_are_refused(convlens, run):
    assert convlens(*SMALL, "task.features=kept").code == 0
    path = run / "checkpoints/best.ckpt"
    checkpoint = torch.load(path, weights_only=True)
    name = next(iter(checkpoint["state_dict"]))
    checkpoint["state_dict"][name] += 1
    torch.save(checkpoint, path)
    outcome = convlens(*SMALL, "task.features=kept")
    assert outcome.code == 2
    assert "kept holds features with weights=" in outcome.err


def test_usual_layers():
    from torchvision.models import squeezenet1_0

    from convlens.nets import zfnet

    net = zfnet(3, input_size=64, width=0.1)
    assert layer_names(net, None) == ["layer1", "layer2", "layer3", "layer4", "layer5", "fc6", "fc7"]
    assert layer_names(net, [7, "conv2"]) == ["fc7", "conv2"]
    assert "features.12" in layer_names(squeezenet1_0(), None)
