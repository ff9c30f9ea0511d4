"""A thousand calls of each verb leave nothing behind: memory, open files, threads, hooks, the state of generators."""

import gc
import os
import random
import threading
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from tests.bad_inputs.library_calls import valid_calls

CALLS, WARM_UP = 1000, 100
MEGABYTES = 8
"""Growth of the memory that the allocator of the system may keep."""


def resident_megabytes() -> float:
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def hooks(net: nn.Module) -> int:
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks", "_state_dict_hooks")
    return sum(len(getattr(module, kind)) for module in net.modules() for kind in kinds)


def state(net: nn.Module) -> dict[str, object]:
    """What a call must leave as it was."""
    return {
        "files": len(os.listdir("/proc/self/fd")),
        "threads": threading.active_count(),
        "hooks": hooks(net),
        "training": [module.training for module in net.modules()],
        "gradients": [parameter.requires_grad for parameter in net.parameters()],
        "grad enabled": torch.is_grad_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "torch": torch.random.get_rng_state().tolist(),
        "numpy": [str(part) for part in np.random.get_state()],  # noqa: NPY002
        "python": random.getstate(),
        "weights": [value.sum().item() for value in net.state_dict().values()],
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(valid_calls()))
def test_a_verb_leaves_nothing_behind(name):
    call = valid_calls()[name]
    assert isinstance(call, partial)
    net = call.args[1]["net"]
    net.train()  # which a call must restore
    for _ in range(WARM_UP):
        call()
    before, memory = state(net), resident_megabytes()
    for _ in range(CALLS):
        call()
    assert state(net) == before
    assert resident_megabytes() - memory < MEGABYTES
