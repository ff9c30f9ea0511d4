"""``task=transfer`` on the command line: the table, cached features and fits, the sweep, and mistakes."""

import csv
import errno
import json
import shutil
import sys
from pathlib import Path
from unittest import mock

import hydra
import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image
from sklearn.metrics import balanced_accuracy_score
from sklearn.svm import LinearSVC

from convlens.runs.conf_files import conf_dir
from convlens.runs.subject import instantiate, load_network
from convlens.transfer.features import extract_features
from tests.data.sources.test_voc import devkit

SEARCH = ("task=transfer", "run=run", "task.layers=[1,5]", "task.images_per_class=[1,3]", "task.folds=[0,1]")
SMALL = (*SEARCH, "task.C=1")


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


def test_a_fit_equals_scikit_learn(convlens, run):
    outcome = convlens(*SMALL, "task.random_weights_control=true")
    assert (outcome.code, outcome.err) == (0, ""), outcome
    folder = run / "results" / "transfer_parts"
    found = table(folder)
    assert len(found) == 2 * 2 * 2 * 2 * 2  # weights, layers, probes, sizes, folds
    config = OmegaConf.load(run / "config.yaml")
    config.run = str(run)
    network = load_network(config, [])
    features = extract_features(network.net, network.data.pool_dataloader(), ["layer5"])["layer5"].double()
    features /= features.norm(dim=1, keepdim=True)
    protocol = network.data.protocol
    train, test = protocol.split(3, 1)
    probe = LinearSVC(C=1.0, tol=1e-8, max_iter=10**6).fit(features[train], protocol.labels[train])
    score = 100 * balanced_accuracy_score(protocol.labels[test], probe.predict(features[test]))
    row = found["trained", "layer5", "svm", "3", "1"]
    assert float(row["score"]) == pytest.approx(score, abs=1e-3)
    assert (int(row["train"]), int(row["test"]), float(row["c"])) == (len(train), len(test), 1.0)
    written = (folder / "splits/3_per_class/fold_1/train.txt").read_text().splitlines()
    assert [line.split("\t")[0] for line in written] == [protocol.names[i] for i in train]


def test_result_has_tables_figures_and_claims(convlens, run):
    assert convlens(*SEARCH, "task.random_weights_control=true").code == 0
    folder = run / "results" / "transfer_parts"
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
    assert [claim["number"] for claim in found["claims"]] == [25]


@pytest.mark.slow
@pytest.mark.essential
def test_cached_fits_are_reused_unless_settings_change(convlens, run, caplog):
    assert convlens(*SMALL).code == 0
    cells = sorted((run / "results/transfer_parts/cells/trained").glob("*/*.json"))
    before = [path.stat().st_mtime_ns for path in cells]
    cells[3].unlink()
    first = table(run / "results/transfer_parts")
    outcome = convlens(*SMALL)
    assert "trained: 15 of 16 fits are cached" in outcome.out
    assert [path.stat().st_mtime_ns for path in cells][:3] == before[:3]
    again = table(run / "results/transfer_parts")
    assert {key: row["score"] for key, row in again.items()} == {key: row["score"] for key, row in first.items()}
    other = convlens(*SMALL, "task.normalize=none").out
    assert "of 16 fits are cached" not in other
    assert "trained: 16 fits with other settings are kept for their own command" in other
    assert table(run / "results/transfer_parts") != again
    assert "trained: 16 of 16 fits are cached" in convlens(*SMALL).out
    assert table(run / "results/transfer_parts") == again
    assert "trained: 16 fits in" in convlens(*SMALL, "force=true").out


@pytest.mark.slow
def test_sweep_gives_the_table_of_one_job(convlens, run, tmp_path):
    shutil.copytree(run, tmp_path / "other")
    assert convlens(*SEARCH, "task.images_per_class=[3]", "task.probes=[svm]", "task.folds=[0]").code == 0
    sweep = ("-m", "experiment=transfer", "run=other", "layer=1,5", "images_per_class=3", "fold=0", "probe=svm")
    assert convlens(*sweep).code == 0
    one, many = (table(tmp_path / name / "results/transfer_parts") for name in ("run", "other"))
    assert {key: row["score"] for key, row in one.items()} == {key: row["score"] for key, row in many.items()}
    assert len(many) == 2


@pytest.fixture
def photos(tmp_path) -> Path:
    """Folders as in Caltech-101: three classes of nine images and a background."""
    for label, name in enumerate(("BACKGROUND_Google", "ant", "bee", "cat")):
        folder = tmp_path / "caltech/101_ObjectCategories" / name
        folder.mkdir(parents=True)
        for number in range(9):
            pixels = np.random.default_rng(10 * label + number).integers(0, 256, (8, 8, 3), np.uint8)
            pixels[:, :, label % 3] //= 4
            Image.fromarray(pixels).resize((64, 64)).save(folder / f"image_{number:04d}.jpg")
    return tmp_path / "caltech"


CALTECH = (
    *("data=caltech101", "data.source.root=caltech", "data.image_size=64"),
    *("data.source.train_per_class=3", "data.source.max_train_per_class=3"),
)
PHOTOS = (
    *CALTECH,
    "task=transfer",
    "run=run",
    "task.layers=5",
    "task.images_per_class=3",
    "task.folds=[0,1]",
    "task.C=1",
)


def test_baseline_of_runs_on_the_same_classes(convlens, run, photos):
    trained = (*CALTECH, "data.val_share=0", "model.net.width=0.1", "callbacks=none")
    assert convlens(*trained, "recipe.max_epochs=1", "run_dir=scratch").code == 0
    arrays = np.load(photos.parent / "scratch/results/test/predictions.npz")
    score = 100 * balanced_accuracy_score(arrays["labels"], arrays["top5"][:, 0])
    outcome = convlens(*PHOTOS, "+task.baselines.scratch=[scratch,scratch]")
    assert outcome.code == 0, outcome
    found = json.loads((run / "results/transfer_caltech-101/result.json").read_text())
    assert ["scratch", f"{score:.1f} ± 0.0", f"{score:.1f} ± 0.0"] in found["tables"][0]["rows"]
    (claim,) = [one for one in found["claims"] if one["number"] == 24]
    assert claim["about"].endswith(", 3 images per class, less scratch")
    # A baseline with other classes is refused before the work begins.
    outcome = convlens(
        *PHOTOS, "task.layers=4", "data.source.include_background=true", "+task.baselines.scratch=scratch"
    )
    assert outcome.code == 2
    assert "scratch was trained on 3 classes (ant, ...), the data have 4 (BACKGROUND_Google, ...)" in outcome.err
    assert not (run / "results/transfer_caltech-101-with-background").exists()


@pytest.mark.slow
def test_fits_to_other_images_are_not_reused(convlens, run, photos, tmp_path):
    (tmp_path / "out.txt").write_text("101_ObjectCategories/ant/image_0001.jpg\n")
    folder = run / "results/transfer_caltech-101"
    assert convlens(*PHOTOS).code == 0
    assert {row["test"] for row in table(folder).values()} == {"18"}
    for typed, tests in (("data.exclude=out.txt", "17"), ("data.source.test_per_class=2", "6")):
        outcome = convlens(*PHOTOS, typed)
        assert "fits are cached" not in outcome.out
        assert {row["test"] for row in table(folder).values()} == {tests}
        lists = [path.read_text().splitlines() for path in folder.glob("splits/3_per_class/*/test.txt")]
        assert {str(len(lines)) for lines in lists} == {tests}
    assert "4 of 4 fits are cached" in convlens(*PHOTOS, "data.source.test_per_class=2").out
    before = (folder / "splits/3_per_class/fold_0/train.txt").read_text()
    assert "fits are cached" not in convlens(*PHOTOS, "data.source.test_per_class=2", "data.source.seed=1").out
    assert (folder / "splits/3_per_class/fold_0/train.txt").read_text() != before


def test_the_test_images_are_the_same_for_all_numbers_of_training_images(convlens, run, photos):
    assert convlens(*PHOTOS, "task.images_per_class=[1,2,3]").code == 0
    folder = run / "results/transfer_caltech-101"
    for fold in (0, 1):
        lists = {(folder / f"splits/{k}_per_class/fold_{fold}/test.txt").read_text() for k in (1, 2, 3)}
        assert len(lists) == 1
    assert {row["test"] for row in table(folder).values()} == {"18"}
    found = json.loads((folder / "result.json").read_text())
    assert "layer5 with softmax is chosen by " in found["text"] or "layer5 with svm is chosen by " in found["text"]


def test_voc_has_the_files_of_its_devkit(convlens, run, tmp_path):
    devkit(tmp_path, 2012, hidden=True)
    rng = np.random.default_rng(0)
    for path in (tmp_path / "VOC2012/JPEGImages").iterdir():
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8)).save(path)
    own = ("data=voc", "data.source.root=.", "task=transfer", "run=run", "task.layers=5", "task.C=1", "task.folds=[0]")
    outcome = convlens(*own, "task.images_per_class=[null]", "task.probes=[softmax,sigmoid]")
    assert (outcome.code, outcome.err) == (0, ""), outcome
    folder = run / "results/transfer_voc2012"
    assert "submission of the test images: run/results/transfer_voc2012/submission" in outcome.out
    files = sorted((folder / "submission").iterdir())
    assert len(files) == 20
    assert files[0].name == "comp1_cls_test_aeroplane.txt"
    for file in files:
        assert [line.split()[0] for line in file.read_text().splitlines()] == ["000006", "000007"]
    assert {row["test"] for row in table(folder).values()} == {"2"}  # those of val, whose classes are known
    (shown,) = [one for one in json.loads((folder / "result.json").read_text())["tables"] if "by class" in one["title"]]
    assert shown["columns"][-4:] == ["Sande et al. 2012", "Yan et al. 2012", "Oquab et al. 2014", "softmax, paper"]


def test_each_data_set_has_its_own_result(convlens, run, photos):
    assert convlens(*SMALL).code == 0
    before = (run / "results/transfer_parts/table.csv").read_bytes()
    assert convlens(*PHOTOS).code == 0
    assert (run / "results/transfer_parts/table.csv").read_bytes() == before
    found = json.loads((run / "results/transfer_caltech-101/result.json").read_text())
    assert found["analysis"] == "transfer_caltech-101"
    assert found["title"].endswith("caltech-101")


def test_other_data_use_the_mean_image_of_the_run(convlens, run, photos):
    config = OmegaConf.load(run / "config.yaml")
    assert config.data.mean == "train"
    trained = instantiate(config.data).stored_mean
    np.testing.assert_array_equal(np.load(run / "mean.npy"), trained.numpy())
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = hydra.compose("config", [f"run={run}", "data=caltech101", f"data.source.root={photos}"])
    network = load_network(cfg, ["data=caltech101"])
    assert torch.equal(network.data.stored_mean, trained)


CHANGES = (
    "task.view=ten",
    "data.image_size=80",
    "data.resize_mode=squeeze",
    "data.mean=[1,2,3]",
    "data.std=2",
    "task.pooling=max",
    "task.pool_size=3",
    "model.net.width=0.2",
    "seed=1",
)


@pytest.mark.slow
def test_features_with_other_settings_are_extracted_again(convlens, photos):
    own = [given for given in PHOTOS if given != "run=run"]
    own += ["task.pool_size=2", "model.net.width=0.1", "data.stored_size=80", "task.probes=svm", "run_dir=out"]
    features = "extracted features of 27 images, 1 layers"
    assert features in convlens(*own, "cache_dir=kept").out
    assert features not in convlens(*own, "cache_dir=kept").out
    for change in CHANGES:
        assert features in convlens(*own, change, "cache_dir=kept").out, change


def test_networks_that_differ_only_in_settings_have_their_own_features(convlens, photos, tmp_path):
    (tmp_path / "mine.py").write_text(
        "import torch\nfrom torch import nn\n\n\n"
        "class Net(nn.Sequential):\n"
        "    def __init__(self, scale=1.0):\n"
        "        torch.manual_seed(0)\n"
        "        super().__init__(nn.Conv2d(3, 4, 9, 4), nn.ReLU(), nn.Flatten(), nn.LazyLinear(3))\n"
        "        self.scale = scale\n\n"
        "    def forward(self, x):\n"
        "        return super().forward(self.scale * x + self.scale)\n"
    )
    own = [*CALTECH, "task=transfer", "model=torchvision", "model.net._target_=mine.Net", "~model.net.name"]
    own += [
        "model.name=mine",
        "task.layers=0",
        "task.images_per_class=3",
        "task.folds=0",
        "task.pool_size=2",
        "run_dir=out",
    ]
    with mock.patch.object(sys, "path", [*sys.path, str(tmp_path)]):
        assert convlens(*own).code == 0
        outcome = convlens(*own, "+model.net.scale=3")
    assert "extracted features of 27 images" in outcome.out
    assert "mine has random weights: give run=DIR or model.weights=FILE" in outcome.out + outcome.err
    assert {key[0] for key in table(tmp_path / "out/results/transfer_caltech-101")} == {"untrained"}


@pytest.mark.slow
def test_jobs_with_other_settings_use_another_directory(convlens, photos, tmp_path):
    own = ("-m", "experiment=transfer", *CALTECH, "model.net.width=0.1", "layer=5", "images_per_class=3")
    outcome = convlens(*own, "fold=0,1", "probe=svm", "data.resize_mode=crop,squeeze", "task.C=1")
    assert "4 jobs: 4 done" in outcome.out, outcome
    tables = [table(path.parent) for path in tmp_path.glob("outputs/transfer/*/results/transfer_caltech-101/table.csv")]
    assert [len(one) for one in tables] == [2, 2]


def test_null_images_per_class_is_the_number_of_the_data_set(convlens, refused, run, photos):
    assert "task.images_per_class=[0]: give a list of whole numbers of at least 1 or null" in refused(
        *PHOTOS, "task.images_per_class=[0]"
    )
    assert convlens(*PHOTOS, "task.images_per_class=[null,3]").code == 0
    assert {key[3] for key in table(run / "results/transfer_caltech-101")} == {"3"}


def test_too_little_disk_space_is_refused(refused, run, monkeypatch):
    full = mock.Mock(side_effect=OSError(errno.ENOSPC, "No space left on device"))
    monkeypatch.setattr("convlens.io.memory_maps.os.posix_fallocate", full)
    said = refused(*SMALL, "task.features=small")
    assert said.startswith("small/layer1.npy needs 0.0 GB and ")
    assert not list((run.parent / "small").glob("*.npy"))


@pytest.mark.essential
def test_parallel_jobs_wait_for_the_features_and_all_are_in_the_table(convlens, run, photos):
    sweep = (
        "-m",
        "experiment=transfer",
        "run=run",
        *CALTECH,
        "layer=3,4,5",
        "images_per_class=3",
        "fold=0",
        "probe=svm",
    )
    outcome = convlens(*sweep, "task.extract_all_layers=false", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    assert outcome.code == 0, outcome
    assert "3 jobs: 3 done" in outcome.out
    assert {key[1] for key in table(run / "results/transfer_caltech-101")} == {"layer3", "layer4", "layer5"}
    without = [given for given in sweep if given != "run=run"]
    outcome = convlens(*without, "model.net.width=0.1", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    assert "3 jobs: 3 done" in outcome.out, outcome
    folder = next(run.parent.glob("outputs/transfer/*/results/transfer_caltech-101"))
    assert {key[1] for key in table(folder)} == {"layer3", "layer4", "layer5"}


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("task.images_per_class=[100000]", "class "),
        ("task.images_per_class=[0]", "task.images_per_class=[0]: give a list of whole numbers of at least 1 or null"),
        ("task.folds=[]", "task.folds is empty: give at least one"),
        ("task.folds=[-1]", "task.folds=[-1]: give a list of whole numbers of at least 0"),
        ("task.probes=[svn]", "task.probes=[svn]: give a list of svm or softmax or sigmoid"),
        ("task.layers=[9]", "task.layers: there is no layer 9: 1, 2, 3, 4, 5, 6, 7, or a name, such as fc7"),
        ("task.layers=[conv9]", "unknown layer 'conv9'"),
        ("task.normalize=max", "task.normalize=max: give l2 or standardize or none"),
        ("task.pool_size=0", "task.pool_size=0: give a whole number of at least 1 or null"),
        ("task.C=-1", "task.C=-1: give a number above 0 or {svm or softmax or sigmoid: value}, a value being a number"),
        ("task.C=0", "task.C=0: give a number above 0"),
        ("task.C={knn:1}", "task.C={knn: 1}: give a number above 0 or {svm or softmax or sigmoid: value}"),
        ("task.C={svm:10,softmax:0}", "task.C={svm: 10, softmax: 0}: give a number above 0"),
        ("task.C={svm:low}", "task.C={svm: low}: give a number above 0"),
        ("task.cv_folds=1", "task.cv_folds=1: give a whole number of at least 2"),
        ("task.folds=[0.5]", "task.folds=[0.5]: give a list of whole numbers"),
        ("task.images_per_class=[a]", "task.images_per_class=[a]: give a list of whole numbers of at least 1 or null"),
        ("task.pool_size=2.5", "task.pool_size=2.5: give a whole number of at least 1 or null"),
        ("task.random_weights_control=perhaps", "task.random_weights_control=perhaps: give true or false"),
        ("task.baselines=foo", "task.baselines=foo: give {name: value}, a value being text or a list of names"),
        ("+task.baselines.scratch=nowhere", "nowhere is not a run directory (no config.yaml)"),
    ],
)
def test_mistakes_are_refused_and_nothing_is_written(refused, run, typed, said):
    assert refused(*SMALL, typed).startswith(said)
    assert not (run / "results/transfer_parts/result.json").exists()


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
