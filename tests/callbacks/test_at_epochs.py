import functools
import logging

import lightning as L
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, TensorDataset

from convlens.callbacks import AtEpochs, FilterHealthLog, Snapshots, TopProjections, paper_epochs
from convlens.callbacks.progress import RunProgress
from convlens.errors import InputError
from convlens.systems import Classifier


class Note(AtEpochs):
    def __init__(self, epochs=None) -> None:
        super().__init__(epochs)
        self.acted: list[int] = []
        self.steps: list[int] = []

    def act(self, trainer, pl_module, epoch):
        self.acted.append(epoch)
        self.steps.append(trainer.global_step)


def trainer(epochs: int, *callbacks, **options) -> L.Trainer:
    return L.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        callbacks=list(callbacks),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )


def fit(epochs: int, *callbacks, **options) -> L.Trainer:
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3))
    system = Classifier(net, functools.partial(torch.optim.SGD, lr=0.1))
    data = DataLoader(TensorDataset(torch.zeros(6, 3, 2, 2), torch.arange(6) % 3), 2)
    made = trainer(epochs, *callbacks, **options)
    made.fit(system, data, data)
    return made


def test_the_papers_epochs_are_those_of_its_figure_and_the_last():
    assert paper_epochs(70) == [1, 2, 5, 10, 20, 30, 40, 64, 70]


def test_the_papers_epochs_are_scaled_to_the_run():
    assert paper_epochs(140) == [2, 4, 10, 20, 40, 60, 80, 128, 140]
    assert paper_epochs(35) == [1, 2, 5, 10, 15, 20, 32, 35]
    assert paper_epochs(10) == [1, 3, 4, 6, 9, 10]
    assert paper_epochs(8) == [1, 2, 3, 5, 7, 8]
    assert paper_epochs(1) == [1]


@given(st.integers(1, 500))
def test_the_scaled_epochs_are_in_the_run_each_once_and_in_order(length):
    epochs = paper_epochs(length)
    assert epochs == sorted(set(epochs))
    assert 1 <= epochs[0] <= epochs[-1] == length
    for epoch in (1, 2, 5, 10, 20, 30, 40, 64):
        assert min(abs(found - epoch * length / 70) for found in epochs) <= max(0.5, 1 - epoch * length / 70)


def test_it_acts_at_the_end_of_the_chosen_epochs_counted_from_one():
    note = Note([4, 2])
    fit(5, note)
    assert note.acted == [2, 4]
    assert note.steps == [6, 12]  # three steps an epoch: the epoch is over


def test_an_epoch_named_twice_counts_once_and_none_is_none():
    twice, never = Note([3, 1, 3, 1]), Note([])
    run = fit(3, twice, never)
    assert (twice.acted, never.acted) == ([1, 3], [])
    assert (twice.epochs(run), never.epochs(run)) == ([1, 3], [])


def test_without_a_choice_it_acts_at_the_papers_epochs():
    note = Note()
    fit(10, note)
    assert note.acted == [1, 3, 4, 6, 9, 10]


@pytest.mark.parametrize(("epochs", "named"), [([2, 6], 6), ([0, 2], 0), ([-1], -1)])
def test_an_epoch_outside_the_run_is_refused_before_anything_is_trained(epochs, named):
    every = Note([1, 2, 3, 4, 5])
    with pytest.raises(InputError, match=f"Note: epoch {named} is outside the run's epochs 1..5: change"):
        fit(5, every, Note(epochs))
    assert every.acted == []


@pytest.mark.parametrize("kind", [Snapshots, FilterHealthLog, TopProjections])
def test_every_kind_refuses_it(kind):
    with pytest.raises(InputError, match=f"{kind.__name__}: epoch 9"):
        fit(2, kind([9]))


def test_it_never_acts_during_the_sanity_check():
    note = Note([1])
    fit(1, note, num_sanity_val_steps=2)
    assert note.steps == [3]


def test_only_the_first_process_acts(monkeypatch):
    monkeypatch.setattr(L.Trainer, "is_global_zero", False)
    note = Note([1])
    fit(1, note)
    assert note.acted == []


def test_drawing_callbacks_say_that_they_need_the_data_module():
    with pytest.raises(InputError, match=r"need trainer\.fit\(datamodule="):
        fit(1, TopProjections([1], layers=["0"]))


def test_filter_health_is_of_every_epoch_unless_some_are_chosen():
    assert list(FilterHealthLog().epochs(trainer(4))) == [1, 2, 3, 4]
    assert FilterHealthLog([2]).epochs(trainer(4)) == [2]
    assert FilterHealthLog([]).epochs(trainer(4)) == []


def test_the_progress_of_a_run_is_a_line_per_epoch_counted_from_one(caplog):
    with caplog.at_level(logging.INFO, logger="convlens.callbacks.progress"):
        fit(3, RunProgress())
    lines = [record.getMessage() for record in caplog.records if record.name == "convlens.callbacks.progress"]
    assert [line.partition(",")[0] for line in lines] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
    assert all("val top-1 error" in line and "s per epoch" in line for line in lines)
    assert lines[-1].endswith(" 0 s left")
