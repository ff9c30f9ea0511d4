import numpy as np
import pytest

from convlens.errors import InputError
from convlens.runs.predictions import Predictions, ensemble_of, read_predictions, read_probabilities
from tests.runs.finished_runs import CLASSES, IMAGES, make_run


def test_wrong_images_by_hand():
    predictions = Predictions(np.array(["a", "b"]), np.array([3, 1]), np.array([[3, 0, 1, 2, 4], [0, 2, 3, 1, 4]]))
    assert [predictions.wrong(k).tolist() for k in (1, 3, 4)] == [[False, True], [False, True], [False, False]]
    assert repr(predictions).startswith("Predictions(images=[2] ")


def test_predictions_of_other_images_or_labels_are_not_the_same(tmp_path):
    one = read_predictions(make_run(tmp_path / "one", 0, 0.2))
    assert one.same_images(read_predictions(make_run(tmp_path / "two", 1, 0.4)))
    assert not one.same_images(read_predictions(make_run(tmp_path / "three", 0, 0.2, images="others")))
    assert not one.same_images(Predictions(one.images, one.labels[::-1], one.top5))
    assert one.wrong().sum() == 8


def test_networks_are_averaged_by_their_probabilities(tmp_path):
    runs = [make_run(tmp_path / str(seed), seed, 0.2 + 0.2 * seed) for seed in range(3)]
    total = sum(np.load(run / "results/test/probabilities.npz")["probabilities"].astype(float) for run in runs)
    labels = np.arange(IMAGES) % CLASSES
    found = ensemble_of(runs)
    assert found.top1_error == pytest.approx(100 * np.mean(total.argmax(1) != labels))
    best_five = np.argsort(-total, 1)[:, :5]
    assert found.top5_error == pytest.approx(
        100 * np.mean([label not in row for label, row in zip(labels, best_five, strict=True)])
    )
    assert ensemble_of(runs[:1]).top1_error == pytest.approx(20)
    assert repr(ensemble_of(runs[:1])) == "EnsembleErrors(top1_error=20.00 %, top5_error=5.00 %)"


def test_what_cannot_be_read_is_refused(tmp_path):
    run = make_run(tmp_path / "run", 0, 0.2)
    with pytest.raises(InputError, match="no runs to average"):
        ensemble_of([])
    with pytest.raises(InputError, match="were tested on different images"):
        ensemble_of([run, make_run(tmp_path / "other", 0, 0.2, images="others")])
    (run / "results/test/probabilities.npz").write_bytes(b"PK cut short")
    with pytest.raises(
        InputError, match=r"results/test/probabilities.npz is damaged \(.+\): give the command of the run again"
    ):
        read_probabilities(run)
    (run / "results/test/predictions.npz").write_bytes(b"no zip")
    with pytest.raises(
        InputError, match=r"results/test/predictions.npz is damaged \(it holds pickled objects, which are not read\)"
    ):
        read_predictions(run)
    with pytest.raises(InputError, match=r"no val predictions at .+/results/val/predictions.npz: give the directory"):
        read_predictions(run, "val")
