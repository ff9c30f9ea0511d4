"""Test scores of training runs as baselines of transfer."""

from unittest import mock

import numpy as np
import pytest
import torch

from convlens.data import Protocol
from convlens.errors import InputError
from convlens.runs.baselines import read_baseline, read_class_scores
from convlens.transfer.targets import Targets

RESNET = "_target_: torchvision.models.get_model, name: resnet18"


def test_runs_on_images_of_several_classes_are_scored_by_average_precision(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    targets, scores = rng.choice([-1, 0, 1], (40, 3)).astype(np.int8), rng.dirichlet(np.ones(3), 40)
    names, rows = [f"{number}.jpg" for number in range(40)], rng.permutation(40)[:30]
    folder = tmp_path / "results/test"
    folder.mkdir(parents=True)
    (tmp_path / "config.yaml").write_text("data: {_target_: convlens.data.ImageData}\n")
    np.savez(folder / "predictions.npz", images=np.array(names)[rows], labels=rows % 3, top5=np.argsort(-scores[rows]))
    np.savez(folder / "probabilities.npz", probabilities=scores[rows])
    protocol = mock.Mock(spec=Protocol, names=names, class_names=("a", "b", "c"))
    monkeypatch.setattr("convlens.runs.baselines.instantiate", lambda node: protocol)
    truth = Targets(torch.zeros(40, dtype=torch.int64), 3, torch.from_numpy(targets))
    size, per_class = read_class_scores(tmp_path, truth, protocol)
    known = targets[rows] != 0
    expected = []
    for k in range(3):
        own, by_score = targets[rows][known[:, k], k], scores[rows][known[:, k], k]
        right = (own == 1)[np.argsort(-by_score)]
        precision = right.cumsum() / np.arange(1, len(right) + 1)
        # VOC: at each image that shows the class, the best precision from there on.
        expected.append(100 * np.mean([precision[place:].max() for place in np.flatnonzero(right)]))
    assert size is None
    assert per_class == pytest.approx(expected, abs=1e-3)
    protocol.names = names[:5]
    with pytest.raises(InputError, match="which is not among the data"):
        read_class_scores(tmp_path, truth, protocol)


@pytest.mark.parametrize(
    ("settings", "from_scratch"),
    [
        (f"model: {{weights: null, pretrained: null, net: {{{RESNET}}}}}", True),
        ("model: {weights: null, pretrained: outputs/train/zfnet, net: {_target_: convlens.nets.zfnet}}", False),
        (f"model: {{weights: null, pretrained: null, net: {{{RESNET}, weights: DEFAULT}}}}", False),
        ("", True),
    ],
)
def test_runs_that_began_with_other_weights_are_not_from_scratch(tmp_path, monkeypatch, settings, from_scratch):
    scores = {"one": 10.0, "two": 20.0}
    monkeypatch.setattr(
        "convlens.runs.baselines.read_class_scores", lambda path, *more: (30, np.full(2, scores[path.name]))
    )
    for name in scores:
        (tmp_path / name).mkdir()
        own = "model: {net: {_target_: convlens.nets.zfnet}}" if name == "one" or not settings else settings
        (tmp_path / name / "config.yaml").write_text(f"data: {{_target_: convlens.data.ImageData}}\n{own}\n")
    dirs = [str(tmp_path / name) for name in scores]
    found = read_baseline(dirs, mock.Mock(spec=Targets), mock.Mock(spec=Protocol))
    assert found.from_scratch is from_scratch  # one of the runs is enough
    assert found.scores[30].tolist() == [10, 20]
