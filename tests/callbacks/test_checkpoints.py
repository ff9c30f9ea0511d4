import errno
import os

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint

from convlens.callbacks.checkpoints import EpochCheckpoint, WholeCheckpoints
from convlens.errors import InputError
from convlens.loggers.epoch_csv import EpochCSV


class Die(Checkpoint):
    """Stops the run where the checkpoints of its second epoch are written and nothing else is."""

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.current_epoch == 1:
            raise RuntimeError("killed")


def rows_when_killed(train, folder, kind: type[ModelCheckpoint]) -> list[dict[str, str]]:
    last = kind(dirpath=folder, filename="last", save_on_train_epoch_end=True, enable_version_counter=False)
    with pytest.raises(RuntimeError, match="killed"):
        train([last, Die()], folder=folder, loggers=[lambda folder: EpochCSV(str(folder))])
    assert torch.load(folder / "last.ckpt", weights_only=True)["epoch"] == 1
    return list(EpochCSV(str(folder)).rows.values())


def test_a_checkpoint_is_never_ahead_of_the_metrics(train, tmp_path):
    rows = rows_when_killed(train, tmp_path, EpochCheckpoint)
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert all(row[name] for row in rows for name in ("train/loss", "train/top1_error", "val/loss", "lr"))
    # What Lightning's own does, and the reason for ours.
    assert not rows_when_killed(train, tmp_path / "theirs", ModelCheckpoint)[1]["train/loss"]


def test_whole_checkpoints_are_what_torch_reads(tmp_path):
    path = tmp_path / "new" / "a.ckpt"
    WholeCheckpoints().save_checkpoint({"weights": torch.arange(3), "epoch": 2}, str(path))
    content = torch.load(path, weights_only=True)
    assert (content["weights"].tolist(), content["epoch"]) == ([0, 1, 2], 2)
    assert [p.name for p in path.parent.iterdir()] == ["a.ckpt"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_the_old_checkpoint_stays_where_the_new_one_cannot_be_written(tmp_path, monkeypatch, error):
    path = tmp_path / "a.ckpt"
    WholeCheckpoints().save_checkpoint({"epoch": 1}, path)

    def fails(*args):
        raise error

    monkeypatch.setattr(os, "replace", fails)
    with pytest.raises((InputError, KeyboardInterrupt)):
        WholeCheckpoints().save_checkpoint({"epoch": 2}, path)
    assert [p.name for p in tmp_path.iterdir()] == ["a.ckpt"]
    assert torch.load(path, weights_only=True)["epoch"] == 1
