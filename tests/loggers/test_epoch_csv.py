import csv
import errno
import math
import os
from pathlib import Path

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from convlens.errors import InputError
from convlens.loggers.epoch_csv import EpochCSV
from convlens.systems import Classifier


def read(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_an_epoch_is_a_row_whatever_comes_in_how_many_calls(tmp_path):
    logger = EpochCSV(str(tmp_path))
    logger.log_metrics({"val/loss": 2.0, "epoch": 1.0}, step=9)
    logger.log_metrics({"train/loss": 1 / 3, "epoch": 1.0, "lr": 1e-05}, step=9)
    logger.log_metrics({"val/loss": 1.5, "epoch": 2.0}, step=19)
    assert (tmp_path / "metrics.csv").read_text() == ("epoch,lr,train/loss,val/loss\n1,1e-05,0.333333,2\n2,,,1.5\n")


def test_the_epoch_comes_first_and_the_rest_in_the_order_of_the_alphabet(tmp_path):
    EpochCSV(str(tmp_path)).log_metrics({"val/loss": 1, "a": 2, "epoch": 3, "lr": 4})
    assert list(read(tmp_path)[0]) == ["epoch", "a", "lr", "val/loss"]


def test_a_column_that_comes_later_is_empty_before(tmp_path):
    logger = EpochCSV(str(tmp_path))
    logger.log_metrics({"epoch": 1, "train/loss": 3})
    logger.log_metrics({"epoch": 2, "train/loss": 2, "filters/conv1_rms_spread": 1.5})
    assert read(tmp_path) == [
        {"epoch": "1", "filters/conv1_rms_spread": "", "train/loss": "3"},
        {"epoch": "2", "filters/conv1_rms_spread": "1.5", "train/loss": "2"},
    ]


def test_metrics_without_an_epoch_have_no_row(tmp_path):
    logger = EpochCSV(str(tmp_path))
    logger.log_metrics({"train/loss": 3.0}, step=1)
    assert not (tmp_path / "metrics.csv").exists()


def test_a_continued_run_keeps_earlier_rows_and_replaces_those_it_repeats(tmp_path):
    killed = EpochCSV(str(tmp_path))
    for epoch in (1, 2, 3):
        killed.log_metrics({"epoch": epoch, "train/loss": 10 - epoch, "val/loss": 20 - epoch})
    continued = EpochCSV(str(tmp_path))
    assert [row["epoch"] for row in read(tmp_path)] == ["1", "2", "3"]
    continued.log_metrics({"epoch": 3, "train/loss": 0.5})
    continued.log_metrics({"epoch": 4, "train/loss": 0.25})
    assert [(row["epoch"], row["train/loss"], row["val/loss"]) for row in read(tmp_path)] == [
        ("1", "9", "19"),
        ("2", "8", "18"),
        ("3", "0.5", "17"),
        ("4", "0.25", ""),
    ]


def test_rows_stand_in_the_order_of_the_epochs_not_of_their_names(tmp_path):
    logger = EpochCSV(str(tmp_path))
    for epoch in (10, 2, 1):
        logger.log_metrics({"epoch": epoch, "lr": 1})
    assert [row["epoch"] for row in read(EpochCSV(str(tmp_path)).path.parent)] == ["1", "2", "10"]


def test_a_diverged_run_says_nan_and_inf(tmp_path):
    EpochCSV(str(tmp_path)).log_metrics({"epoch": 1, "train/loss": math.nan, "val/loss": math.inf})
    assert read(tmp_path) == [{"epoch": "1", "train/loss": "nan", "val/loss": "inf"}]
    assert math.isnan(float(read(tmp_path)[0]["train/loss"]))


def test_a_full_disk_leaves_the_rows_there_were(tmp_path, monkeypatch):
    logger = EpochCSV(str(tmp_path))
    logger.log_metrics({"epoch": 1, "lr": 1})

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(InputError, match="the disk is full"):
        logger.log_metrics({"epoch": 2, "lr": 1})
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.csv"]
    assert [row["epoch"] for row in read(tmp_path)] == ["1"]


def test_a_training_run_has_a_row_per_epoch_with_all_its_columns(tmp_path):
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3))
    system = Classifier(net, lambda parameters: torch.optim.SGD(parameters, lr=0.5))
    data = DataLoader(TensorDataset(torch.randn(12, 3, 2, 2), torch.arange(12) % 3), 4)
    trainer = L.Trainer(
        max_epochs=3,
        accelerator="cpu",
        logger=EpochCSV(str(tmp_path)),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
    )
    trainer.fit(system, data, data)
    rows = read(tmp_path)
    split = ("loss", "top1_error", "top5_error")
    train, val = ([f"{part}/{name}" for name in split] for part in ("train", "val"))
    assert sorted(rows[0]) == sorted(["epoch", "lr", *train, *val, "val/mean_class_accuracy"])
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert all(cell for row in rows for cell in row.values())
    assert float(rows[-1]["val/loss"]) == pytest.approx(float(trainer.callback_metrics["val/loss"]), rel=1e-5)
