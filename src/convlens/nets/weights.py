"""Weights from files into networks."""

from collections.abc import Container
from pathlib import Path
from typing import Any

import torch
from torch import nn

from convlens.errors import InputError


def load_weights(net: nn.Module, path: Path) -> None:
    """Load a checkpoint of ours, a safetensors file or a state dict saved by torch, strictly.

    Raises:
        InputError: missing, unreadable, or of another network (the first parameter that does not fit is named).
    """
    state = read_weights(path)
    own = net.state_dict()
    for name in [*own, *state]:
        theirs, mine = (_shape(values[name]) if name in values else "missing" for values in (state, own))
        if theirs != mine:
            raise InputError(
                f"{path} is of another network: {name} is {theirs} there and {mine} in {type(net).__name__}: "
                "give this network's checkpoint, or the settings it was trained with"
            )
    net.load_state_dict(state)


@torch.no_grad()
def load_agreeing(net: nn.Module, path: Path, new: Container[str]) -> list[str]:
    """Load what agrees in name and shape, but for the names in ``new``; returns the names that were loaded.

    Raises:
        InputError: missing, unreadable, or nothing agrees (the first that does not is named).
    """
    state, own = read_weights(path), net.state_dict()
    wanted = [name for name in own if name not in new]
    loaded = [name for name in wanted if name in state and _shape(state[name]) == _shape(own[name])]
    if not loaded:
        name = next(iter(wanted), next(iter(own), "nothing"))
        theirs, mine = (_shape(values[name]) if name in values else "missing" for values in (state, own))
        raise InputError(
            f"nothing in {path} fits {type(net).__name__}: {name} is {theirs} there and {mine} here: "
            "give weights of the same kind of network"
        )
    for name in loaded:
        own[name].copy_(state[name])
    return loaded


def read_weights(path: Path) -> dict[str, Any]:
    """The state dict in a checkpoint of ours, a safetensors file or a file saved by torch.

    Raises:
        InputError: missing or unreadable.
    """
    if not path.exists():
        raise InputError(f"no weights at {path}: give a checkpoint of a run, or a safetensors or pth file")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"cannot read weights from {path} ({reason}): give a whole file") from error
    if not isinstance(state, dict):
        raise InputError(f"{path} holds a {type(state).__name__}, not weights: give a checkpoint or a state dict")
    if isinstance(inner := state.get("state_dict"), dict):
        state = {k.removeprefix("net."): v for k, v in inner.items() if k.startswith("net.")}
    return state


def _shape(value: Any) -> tuple[int, ...] | str:
    return tuple(value.shape) if isinstance(value, torch.Tensor) else f"of type {type(value).__name__}"
