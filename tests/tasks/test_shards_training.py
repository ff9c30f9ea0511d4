import json

import pytest

from convlens.systems import Classifier

pytest.importorskip("litdata")
DATA = ("data.source.train=160", "data.source.test=24")
TRAIN = (
    *("data=shards", "data.root=packed", "data.image_size=64", "model.net.width=0.1", "recipe.max_epochs=3"),
    *("callbacks=none", "recipe.batch_size=16", "checkpoint_every=2"),
)


@pytest.fixture
def packed(convlens) -> None:
    outcome = convlens("task=pack", *DATA, "task.output=packed", "task.workers=1", "task.shard_bytes=400KB")
    assert outcome.code == 0, outcome
    assert "184 images of 73 px" in outcome.out


@pytest.mark.parametrize("workers", [0, 2])
def test_a_training_that_is_stopped_within_an_epoch_goes_on_with_the_next_batch(
    convlens, packed, monkeypatch, tmp_path, workers
):
    seen: list[tuple[int, int, tuple[int, ...]]] = []
    stop_at: list[int] = []
    original = Classifier.training_step

    def watched(self, batch, batch_idx):
        if self.global_step in stop_at:
            raise KeyboardInterrupt
        seen.append((self.current_epoch, batch_idx, tuple(batch[1].tolist())))
        return original(self, batch, batch_idx)

    monkeypatch.setattr(Classifier, "training_step", watched)
    own = (*TRAIN, f"data.num_workers={workers}")
    assert convlens(*own, "run_dir=whole").code == 0
    whole, steps = list(seen), json.loads((tmp_path / "whole/metrics.json").read_text())["epochs"] * 10
    assert len(whole) == steps
    seen.clear()
    stop_at.append(14)  # after the checkpoint of step 14, which is the fourth batch of the second epoch
    assert convlens(*own, "run_dir=stopped").code == 130
    assert seen == whole[:14]
    stop_at.clear()
    outcome = convlens(*own, "run_dir=stopped")
    assert outcome.code == 0, outcome
    assert seen == whole


def test_other_data_go_on_by_epochs_only(refused, small):
    assert "checkpoint_every is for data=shards" in refused(*small, "checkpoint_every=5", "run_dir=run")


def test_what_cannot_be_packed_or_read_is_refused(refused, packed):
    assert "task=pack needs a folder to write to" in refused("task=pack", *DATA)
    assert "packs images of a data set" in refused("task=pack", "data=shards", "data.root=packed", "task.output=x")
    assert "nowhere holds no shards" in refused(*TRAIN, "data.root=nowhere")
    assert "add callbacks=none" in refused(*TRAIN, "callbacks=paper", "run_dir=drawn")
