"""Submission files of the VOC devkit, read back as its evaluation reads them."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from convlens.metrics.average_precision import average_precision
from convlens.transfer.dataset import Submission, TransferDataset
from convlens.transfer.fit_cache import FitCache
from convlens.transfer.grid import ProbeConfig, fit_grid
from convlens.transfer.probe_result import GridPoint
from convlens.transfer.score_table import ScoreTable
from convlens.transfer.submission import submit, write_submission
from convlens.transfer.targets import Targets

CLASSES, TRAIN, TEST = ("cat", "dog", "bus"), 60, 30
LABELS = torch.arange(TRAIN + TEST) % 3
GENERATOR = torch.Generator().manual_seed(0)
MULTILABEL = torch.where(torch.rand(TRAIN + TEST, 3, generator=GENERATOR) < 0.2, 1, -1).to(torch.int8)
MULTILABEL[torch.arange(TRAIN + TEST), LABELS] = 1
FEATURES = torch.randn(TRAIN + TEST, 8, generator=GENERATOR)
FEATURES += MULTILABEL.float() @ torch.randn(3, 8, generator=GENERATOR)


class OneFit(FitCache):
    """The fit of one probe."""

    def __init__(self, result) -> None:
        self._result = result

    def results(self):
        return [self._result]


def dataset(probe: str, submission: Submission) -> tuple[TransferDataset, ScoreTable]:
    targets = Targets(LABELS, 3, MULTILABEL)

    def split(size, fold):
        return torch.arange(TRAIN), torch.arange(TRAIN, TRAIN + TEST)

    config = ProbeConfig("none", C=0.5)
    (result,) = fit_grid(lambda layer: FEATURES, targets, split, [GridPoint("top", probe, None, 0)], config)
    images = TransferDataset("voc", CLASSES, targets, split, lambda rows: np.zeros(0), submission)
    return images, ScoreTable({"trained": OneFit(result)}, ["top"])


def read(path) -> tuple[list[str], torch.Tensor]:
    """As the devkit does: textscan(file, '%s %f')."""
    lines = [line.split(" ") for line in path.read_text().splitlines()]
    return [image for image, _ in lines], torch.tensor([float(score) for _, score in lines])


@pytest.mark.parametrize("probe", ["softmax", "sigmoid", "svm"])
def test_the_files_have_the_average_precisions_of_the_table(tmp_path, probe):
    names = [f"2008_{number:06d}" for number in range(TEST)]
    listed = Submission("val", torch.arange(TRAIN), torch.arange(TRAIN, TRAIN + TEST), names)
    images, table = dataset(probe, listed)
    paths = submit(tmp_path / "submission", lambda layer: FEATURES, table, images, ProbeConfig("none", C=0.5))
    assert [path.name for path in paths] == [f"comp1_cls_val_{name}.txt" for name in CLASSES]
    assert sorted(paths) == sorted((tmp_path / "submission").iterdir())
    (result,) = table.results[table.chosen()]
    for column, path in enumerate(paths):
        found, scores = read(path)
        assert found == names
        precision = average_precision(scores, MULTILABEL[TRAIN:, column])
        assert float(precision) == pytest.approx(float(result.metrics.per_class[column]), abs=1e-4)


def test_hidden_images_are_scored_by_a_fit_to_all_others(tmp_path):
    hidden, trained = torch.tensor([70, 3]), torch.cat([torch.arange(10, 60), torch.arange(75, 90)])
    images, table = dataset("softmax", Submission("test", trained, hidden, ["b", "a"]))
    paths = submit(tmp_path, lambda layer: FEATURES, table, images, ProbeConfig("none", C=0.5))
    theirs = LogisticRegression(C=0.5, tol=1e-9, max_iter=1000).fit(FEATURES[trained], LABELS[trained])
    expected = theirs.predict_log_proba(FEATURES[hidden])
    for column, path in enumerate(paths):
        assert path.name == f"comp1_cls_test_{CLASSES[column]}.txt"
        found, scores = read(path)
        assert found == ["b", "a"]
        np.testing.assert_allclose(scores, expected[:, column], atol=5e-3)


def test_files_of_another_list_do_not_stay(tmp_path):
    listed = Submission("val", torch.arange(3), torch.arange(2), ["a", "b"])
    write_submission(tmp_path, listed, CLASSES, torch.zeros(2, 3))
    (tmp_path / "mine.txt").touch()
    other = Submission("test", torch.arange(3), torch.arange(2), ["a", "b"])
    write_submission(tmp_path, other, CLASSES[:2], torch.tensor([[1.5, -2e-7], [0.25, 3.0]]))
    names = ["comp1_cls_test_cat.txt", "comp1_cls_test_dog.txt", "mine.txt"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert (tmp_path / names[1]).read_text() == "a -2.00000002e-07\nb 3\n"


def test_a_name_that_is_not_utf_8_is_written_as_the_list_has_it(tmp_path):
    name = b"2012_\xe9".decode(errors="surrogateescape")
    listed = Submission("test", torch.arange(3), torch.arange(1), [name])
    (path,) = write_submission(tmp_path, listed, CLASSES[:1], torch.ones(1, 1))
    assert path.read_bytes() == b"2012_\xe9 1\n"
