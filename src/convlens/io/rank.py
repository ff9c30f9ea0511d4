"""The rank of this process among those of a distributed job, from the environment."""

import os


def is_rank_zero() -> bool:
    """Return whether this process is the one that writes files.

    A rank counts only with the other variables of its launcher, so that a stray variable changes nothing:

    ==================================  =======================================  ==============================
    variable                            counts if                                set by
    ==================================  =======================================  ==============================
    RANK, LOCAL_RANK                    MASTER_ADDR is set and WORLD_SIZE > 1    torchrun, Lightning
    NODE_RANK, GROUP_RANK               MASTER_ADDR is set and WORLD_SIZE is     the user or cluster on each
                                        not 1                                    node, torchrun
    SLURM_PROCID                        SLURM_NTASKS > 1                         srun
    ==================================  =======================================  ==============================
    """
    world_size = _number("WORLD_SIZE")
    counted: list[str] = []
    if os.environ.get("MASTER_ADDR"):
        counted += ["RANK", "LOCAL_RANK"] if (world_size or 1) > 1 else []
        counted += ["NODE_RANK", "GROUP_RANK"] if world_size != 1 else []
    if (_number("SLURM_NTASKS") or 1) > 1:
        counted.append("SLURM_PROCID")
    return not any(_number(name) for name in counted)


def _number(name: str) -> int | None:
    """Return a variable's whole number; None if it is unset or no number."""
    text = os.environ.get(name, "")
    return int(text) if text.isdecimal() else None
