"""Every parameter of every verb takes a strange value, or refuses it in one line; so do networks of strange kinds."""

import inspect
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import convlens
from convlens import transfer
from convlens.errors import InputError
from tests.bad_inputs import library_calls

pytestmark = pytest.mark.usefixtures("as_users_have_it")


class NoName:
    def __repr__(self) -> str:
        raise RuntimeError("no name")


class NoItems:
    def __iter__(self) -> Iterator[object]:
        raise RuntimeError("no items")


X = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(1))
STRANGE: dict[str, Any] = {
    "None": None, "True": True, "-1": -1, "0": 0, "1.5": 1.5, "nan": float("nan"), "inf": float("inf"), "1j": 1j,
    "10**400": 10**400, "a fraction": Fraction(1, 3), "a word": "a", "no word": "", "bytes": b"3", "no list": [],
    "no dict": {}, "a set": {"3"}, "a range": range(3), "a list of None": [None], "twice": ["3", "3"],
    "numbers": [0.5, 10**400], "lists": [[[0]]], "a dict": {"a": X}, "images": X, "a batch": [X], "three": [X[0]] * 3,
    "a class": list, "a function": lambda: X, "no name": NoName(), "no items": NoItems(), "a module": torch.nn,
    "an array": np.array([1, 2]), "a word in an array": np.array("3"), "words": np.array(["3"]),
    "objects": np.array([None]), "a scalar": torch.tensor(float("nan")), "a vector": torch.tensor([1.0, 2.0]),
    "bits": torch.tensor([True]), "complex": X + 0j, "meta": X.to("meta"), "sparse": X.to_sparse(),
    "nested": torch.nested.nested_tensor([X[0], X[1]]), "quantized": torch.quantize_per_tensor(X, 0.1, 0, torch.qint8),
    "eighths": X.to(torch.float8_e4m3fn), "halves": X.half(), "huge": torch.full_like(X, 3e38),
}  # fmt: skip


class Mean(nn.Module):
    """A network whose scores are what a function makes of [n, 4]."""

    def __init__(self, change: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.change = change
        self.convolutions = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3))
        self.last = nn.ReLU()
        self.calls = 0

    def forward(self, images: Tensor) -> Any:
        self.calls += 1
        return self.change(self.last(self.convolutions(images)).mean((2, 3)))


def one_only(scores: Tensor) -> Tensor:
    assert len(scores) == 1, "one image only"
    return scores


def shrinking() -> nn.Module:
    net = Mean(lambda scores: scores[:, : 1 + net.calls % 3])
    return net


def detached() -> nn.Module:
    net = Mean(lambda scores: scores)
    net.forward = torch.no_grad()(net.forward)  # type: ignore[method-assign]
    return net


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "tuple": lambda: Mean(lambda scores: (scores,)), "dict": lambda: Mean(lambda scores: {"a": scores}),
    "None": lambda: Mean(lambda scores: None), "integers": lambda: Mean(lambda scores: scores.long()),
    "bits": lambda: Mean(lambda scores: scores > 0), "complex": lambda: Mean(lambda scores: torch.fft.fft(scores)),
    "one row": lambda: Mean(lambda scores: scores[:1]), "rows twice": lambda: Mean(lambda scores: scores.repeat(2, 1)),
    "one image only": lambda: Mean(one_only), "shrinking": shrinking, "no gradient": detached,
    "a number": lambda: Mean(lambda scores: scores.mean()), "numpy": lambda: Mean(lambda scores: scores.numpy()),
    "script": lambda: torch.jit.script(library_calls.network()),
    "with a script": lambda: nn.Sequential(library_calls.network()[:3], torch.jit.script(library_calls.network()[3:])),
    "half": lambda: library_calls.network().half(), "double": lambda: library_calls.network().double(),
    "complex weights": lambda: nn.Sequential(nn.Conv2d(3, 4, 3, dtype=torch.complex64)),
    "list": lambda: nn.ModuleList([library_calls.network()]), "empty": nn.Sequential, "identity": nn.Identity,
    "lazy": lambda: nn.LazyConv2d(4, 3),
}  # fmt: skip


def trouble(call: Callable[[], object]) -> str:
    """What a call raised that is no refusal in one short line; empty if nothing."""
    try:
        call()
    except InputError as error:
        return "" if len(str(error).splitlines()) == 1 and len(str(error)) < 400 else f"InputError {error}"
    except Exception as error:
        return f"{type(error).__name__} {error}".splitlines()[0]
    return ""


def parameters(verb: str) -> list[str]:
    return list(inspect.signature(getattr(convlens, verb, None) or getattr(transfer, verb)).parameters)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("verb", library_calls.valid_calls())
def test_a_verb_takes_or_refuses_a_strange_value(verb):
    call = library_calls.valid_calls()[verb]
    found = {
        f"{verb}({name}={kind})": said
        for name in parameters(verb)
        for kind, value in STRANGE.items()
        if (said := trouble(partial(call, **{name: value})))
    }
    assert found == {}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("verb", library_calls.fits())
def test_a_fit_takes_or_refuses_a_strange_value(verb):
    call = library_calls.fits()[verb]
    names = ["features"] if verb == "scores" else parameters(verb)
    found = {
        f"{verb}({name}={kind})": said
        for name in names
        for kind, value in STRANGE.items()
        if (said := trouble(partial(call, **{name: value})))
    }
    assert found == {}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", NETWORKS)
def test_a_verb_takes_or_refuses_a_strange_network_and_leaves_no_hook(kind):
    found = {}
    for verb, call in library_calls.valid_calls().items():
        for layer in {"project": ("last", None), "occlude": ("last", None)}.get(verb, ("last",)):
            net = NETWORKS[kind]()
            own = next((name for name, _ in reversed(list(net.named_modules())) if name), "0")
            layer = own if layer == "last" and not hasattr(net, "last") else layer
            changed = {"layer": layer} if "layer" in parameters(verb) else {"layers": [layer]}
            changed |= {"units": [(0, 0), (1, 1), (2, 0)]} if verb == "project" and layer is None else {}
            if said := trouble(partial(call, net=net, **({} if verb == "diagnose" else changed))):
                found[f"{verb}({layer})"] = said
            if any(module._forward_hooks for module in net.modules()):
                found[f"{verb}({layer}) hooks"] = "left"
    assert found == {}
