"""Read weights from checkpoints, safetensors and torch files, and load them into networks."""

import zipfile
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from convlens.errors import InputError
from convlens.io.arrays import check_zip, unreadable_is_damaged
from convlens.io.resources import resource_error


def load_weights(net: nn.Module, path: Path) -> None:
    """Load weights from a file; names and shapes must be those of the network.

    Args:
        net: the network, changed in place.
        path: checkpoint of a run, safetensors file, or state dict saved by torch.

    Raises:
        InputError: the file is missing or unreadable, or holds another network's weights.
    """
    state = read_weights(path)
    own = net.state_dict()
    for name in [*own, *state]:
        there, here = _shape_in(state, name), _shape_in(own, name)
        if there != here:
            raise InputError(
                f"{path} is of another network: {name} is {there} there and {here} in {type(net).__name__}: "
                "give this network's checkpoint, or the settings it was trained with"
            )
    net.load_state_dict(state)


@torch.no_grad()
def load_matching(net: nn.Module, path: Path, skip: Container[str]) -> list[str]:
    """Load the tensors that match the network's in name and shape.

    Args:
        net: the network, changed in place.
        path: as for `load_weights`.
        skip: names of tensors that are not loaded.

    Returns:
        The names of the loaded tensors.

    Raises:
        InputError: the file is missing or unreadable, or no tensor matches.
    """
    state, own = read_weights(path), net.state_dict()
    names = [name for name in own if name not in skip]
    loaded = [name for name in names if name in state and _shape_in(state, name) == _shape_in(own, name)]
    if not loaded:
        name = next(iter(names), next(iter(own), "nothing"))
        raise InputError(
            f"nothing in {path} fits {type(net).__name__}: {name} is {_shape_in(state, name)} there and "
            f"{_shape_in(own, name)} here: give weights of the same kind of network"
        )
    for name in loaded:
        value = state[name]
        assert isinstance(value, Tensor)
        own[name].copy_(value)
    return loaded


def read_weights(path: Path) -> dict[str, object]:
    """Read a state dict from a checkpoint of a run, a safetensors file or a file saved by torch.

    Raises:
        InputError: the file is missing or unreadable, or holds no state dict.
    """
    if not path.is_file():  # a pipe would be waited for
        raise InputError(f"no weights at {path}: give a checkpoint of a run, or a safetensors or pth file")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state: object = load_file(path)
        else:
            state = read_checkpoint(path) if zipfile.is_zipfile(path) else torch.load(path, "cpu", weights_only=True)
    except Exception as error:
        if found := resource_error(error):
            raise found from error
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"cannot read weights from {path} ({reason}): give a whole file") from error
    if not isinstance(state, dict):
        raise InputError(f"{path} holds a {type(state).__name__}, not weights: give a checkpoint or a state dict")
    if isinstance(inner := state.get("state_dict"), dict):
        state = {k.removeprefix("net."): v for k, v in inner.items() if k.startswith("net.")}
    return state


def read_checkpoint(path: Path, device: torch.device | str = "cpu") -> Any:
    """Return what torch saved in a zip archive; no pickled code is run.

    Raises:
        DamagedError: the file is cut short or changed.
        OSError: it is missing or cannot be read.
    """
    check_zip(path)  # torch does not look at the checksums
    with unreadable_is_damaged(path):
        return torch.load(path, map_location=device, weights_only=True)


def weight_bytes(net: nn.Module) -> dict[str, np.ndarray]:
    """Return the bytes of each parameter and buffer by name, uint8 [n], for digests."""
    values = net.state_dict().items()
    return {name: value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy() for name, value in values}


def _shape_in(state: Mapping[str, object], name: str) -> tuple[int, ...] | str:
    """Return the shape of a tensor in a state dict, or a text if it is missing or no tensor."""
    if name not in state:
        return "missing"
    value = state[name]
    return tuple(value.shape) if isinstance(value, Tensor) else f"of type {type(value).__name__}"
