from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from convlens.ops.tensor_repr import describe, summary


@dataclass(frozen=True)
class Maps:
    probability: Float[Tensor, "rows columns"]
    size: int
    name: str = "conv1"
    secret: int = field(default=0, repr=False)

    __repr__ = summary


class Pairs(NamedTuple):
    values: Tensor
    share: float

    __repr__ = summary


def test_a_result_shows_shapes_ranges_and_numbers():
    maps = Maps(torch.tensor([[0.25, 0.5, 0.75], [1.0, 0.0, 0.125]]), 50)
    assert repr(maps) == "Maps(probability=[2, 3] 0..1, size=50, name='conv1')"
    assert str(maps) == repr(maps)
    assert repr(Pairs(torch.arange(4), 1 / 3)) == "Pairs(values=[4] 0..3, share=0.3333)"


def test_tensors_of_every_kind_are_short():
    assert describe(torch.tensor([1.0, torch.nan, torch.inf])) == "[3] 1, 2 not finite"
    assert describe(torch.full((2,), torch.nan)) == "[2] not finite"
    assert describe(torch.zeros(0, 4)) == "[0, 4] float32"
    assert describe(torch.tensor([True, False, True])) == "[3] 2 true"
    assert describe(torch.tensor(3.14159265)) == "[] 3.142"
    assert describe(torch.ones(2, dtype=torch.bfloat16, requires_grad=True)) == "[2] 1"
    assert describe(np.array(["a", "b"])) == "[2] <U1"
    assert describe(np.arange(6, dtype=np.int8).reshape(2, 3)) == "[2, 3] 0..5"


def test_containers_are_short():
    assert describe([torch.zeros(2), 0.5]) == "[[2] 0, 0.5]"
    assert describe((1, "a")) == "(1, 'a')"
    assert describe(list(range(100))) == "[100 items]"
    assert describe({"deconvnet": 0.123456}) == "{'deconvnet': 0.1235}"
    assert describe(dict.fromkeys(range(7))) == "{7 items}"
    assert len(describe("x" * 500)) == 80
    assert (
        describe({"maps": Maps(torch.zeros(1, 1), 2)}) == "{'maps': Maps(probability=[1, 1] 0, size=2, name='conv1')}"
    )
