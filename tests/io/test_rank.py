"""Which process writes: the environments of torchrun, Lightning and SLURM, and stray variables."""

import os

import pytest

from convlens.io.rank import is_rank_zero

MASTER = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}


def torchrun(rank: int, local: int, node: int, world: int) -> dict[str, str]:
    ranks = {"RANK": rank, "LOCAL_RANK": local, "GROUP_RANK": node, "WORLD_SIZE": world}
    return MASTER | {name: str(value) for name, value in ranks.items()}


TABLE = {
    "nothing": ({}, True),
    "torchrun first": (torchrun(0, 0, 0, 4), True),
    "torchrun second on the node": (torchrun(1, 1, 0, 4), False),
    "torchrun first of the second node": (torchrun(2, 0, 1, 4), False),
    "torchrun alone": (torchrun(0, 0, 0, 1), True),
    "Lightning parent": (MASTER | {"NODE_RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2"}, True),
    "Lightning child": (MASTER | {"NODE_RANK": "0", "LOCAL_RANK": "1", "WORLD_SIZE": "2"}, False),
    "Lightning, first of the second node": (MASTER | {"NODE_RANK": "1"}, False),
    "Lightning, first node before the start": (MASTER | {"NODE_RANK": "0"}, True),
    "srun first": ({"SLURM_PROCID": "0", "SLURM_NTASKS": "2"}, True),
    "srun second": ({"SLURM_PROCID": "1", "SLURM_NTASKS": "2"}, False),
    "sbatch without srun": ({"SLURM_PROCID": "0", "SLURM_NTASKS": "1", "SLURM_JOB_ID": "7"}, True),
    "stray RANK": ({"RANK": "1"}, True),
    "stray RANK of one": (torchrun(1, 0, 0, 1), True),
    "stray RANK with WORLD_SIZE": ({"RANK": "1", "WORLD_SIZE": "2"}, True),
    "stray LOCAL_RANK": ({"LOCAL_RANK": "3"}, True),
    "stray NODE_RANK": ({"NODE_RANK": "2"}, True),
    "stray SLURM_PROCID": ({"SLURM_PROCID": "3"}, True),
    "RANK of a job of one task": ({"SLURM_PROCID": "1", "SLURM_NTASKS": "1"}, True),
    "no number": (MASTER | {"RANK": "x", "WORLD_SIZE": "2"}, True),
}


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    for name in list(os.environ):
        if name.endswith("RANK") or name.startswith("SLURM_") or name in ("WORLD_SIZE", *MASTER):
            monkeypatch.delenv(name)


@pytest.mark.parametrize("case", TABLE)
def test_rank_zero_by_environment(monkeypatch, case):
    environment, expected = TABLE[case]
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert is_rank_zero() is expected


def test_a_stray_rank_does_not_silence_loggers(monkeypatch):
    from lightning.pytorch.utilities import rank_zero_only

    from convlens.runs.lightning_logging import quiet_lightning

    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(rank_zero_only, "rank", 1)  # as Lightning reads it at its import
    quiet_lightning()
    assert rank_zero_only.rank == 0
