from collections.abc import Callable
from pathlib import Path

import pytest

from convlens.report.load import read_settings
from convlens.report.study_record import Run
from convlens.report.training_settings import training_settings


@pytest.fixture
def run(tmp_path: Path) -> Callable[[str], Run]:
    """Make the record of a run with this text as config.yaml."""

    def make(config: str) -> Run:
        (tmp_path / "config.yaml").write_text(config)
        return Run("net", tmp_path, settings=read_settings(tmp_path))

    return make


def test_rows_stand_in_the_order_of_a_reader_and_what_no_run_has_is_left_out(run):
    first = run("trainer:\n  max_epochs: 8\nsystem:\n  optimizer:\n    _target_: torch.optim.SGD\n    lr: 0.01\n")
    second = run("trainer: {max_epochs: 20}\ndata:\n  batch_size: null\n")
    rows = [(row.name, row.cells) for row in training_settings([first, second])]
    assert rows == [("epochs", ["8", "20"]), ("optimizer", ["SGD", "–"]), ("learning rate", ["0.01", "–"])]  # noqa: RUF001


@pytest.mark.parametrize(
    "config", ["", "just words", "- a\n- list\n", "a: [broken", "data: 7\n", "a: 2012-13-45", "trainer: null\n"]
)
def test_a_configuration_that_is_none_has_no_rows(run, config: str):
    assert training_settings([run(config)]) == []
