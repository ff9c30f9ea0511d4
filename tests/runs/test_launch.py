import pytest
import torch.distributed
from omegaconf import OmegaConf

from convlens.errors import InputError
from convlens.runs.launch import Processes


@pytest.fixture
def processes() -> Processes:
    return Processes(OmegaConf.create({"trainer": {"devices": 1, "num_nodes": 1, "accelerator": "cpu"}}))


def lose_connection() -> None:
    """As a collective operation of torch does when another process is gone."""
    code = "def gather():\n    raise RuntimeError('Connection closed by peer')"
    library: dict = {"__name__": "torch.distributed.distributed_c10d"}
    exec(code, library)
    library["gather"]()


def test_where_another_process_is_gone_this_one_leaves_the_word_to_it(processes):
    processes.world_size = 2
    with pytest.raises(InputError, match="another process stopped"), processes.stop_together():
        lose_connection()


def test_an_error_of_its_own_stays_what_it_is(processes):
    processes.world_size = 2
    with pytest.raises(RuntimeError, match="gloo"), processes.stop_together():
        raise RuntimeError("gloo is the name of my layer")


def test_one_process_has_no_other_to_blame(processes):
    with pytest.raises(RuntimeError, match="Connection closed"), processes.stop_together():
        lose_connection()


def test_one_process_starts_none(processes):
    with processes as started:
        assert (started.rank, started.world_size) == (0, 1)
        assert not torch.distributed.is_initialized()
