from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Number
from pathlib import Path
from typing import Annotated, Any, Literal, SupportsFloat, TypedDict

import pytest
import torch
from torch import Tensor, nn

from convlens.errors import InputError
from convlens.runs.foreign_types import convert_foreign
from convlens.runs.type_conversion import MismatchError, convert, described, shown
from convlens.runs.typed_settings import from_settings
from convlens.runs.value_bounds import Above, AtLeast, Between, Count, Matching, Positive


@pytest.mark.parametrize(
    ("value", "declared", "found"),
    [
        ("no", bool, False),
        ("On", bool, True),
        (0, bool, False),
        ("1", bool, True),
        (3, int, 3),
        (3, float, 3),
        (2012, str, "2012"),
        (2012, Path, "2012"),
        (None, int | None, None),
        ("x", str | Sequence[str] | None, "x"),
        (["x", 2], str | Sequence[str] | None, ["x", "2"]),
        ("x", Sequence[str], ["x"]),
        ([1, 2], tuple[int, int], [1, 2]),
        ((1, 2, 3), tuple[int, ...], [1, 2, 3]),
        ({"a": 1}, Mapping[str, int], {"a": 1}),
        (124, Literal["grey", "mean"] | float, 124),
        ("grey", Literal["grey", "mean"] | float, "grey"),
        (10, Literal[1, 10], 10),
        (1.0, Literal[1, 10], 1),
        (0, Count, 0),
        ("0,1", Annotated[str, Matching(r"\d+,\d+", "0,1")], "0,1"),
        ({"_target_": "x"}, nn.Module, {"_target_": "x"}),
        ({"_target_": "x"}, Callable[..., int], {"_target_": "x"}),
        ("no", bool | str, "no"),  # the type that it has already
        ("anything", Any, "anything"),
    ],
)
def test_values_are_converted_to_what_is_declared(value, declared, found):
    converted = convert(value, declared)
    assert converted == found
    assert type(converted) is type(found)


@pytest.mark.parametrize(
    ("value", "declared"),
    [
        ("abc", bool),
        (2, bool),
        (None, bool),
        (1.5, int),
        (True, int),
        ("1", int),
        (float("nan"), float),
        (float("inf"), float),
        (True, str),
        (["x"], str),
        (None, str),
        (-1, Count),
        (0, Positive),
        (0, Annotated[float, Above(0)]),
        (1.5, Annotated[float, Between(0, 1)]),
        (-1, Positive | Sequence[int]),  # a number that is out of range is no list of one
        ("0,", Annotated[str, Matching(r"\d+,\d+", "0,1")]),
        (True, Literal[1, 10]),
        ("gray", Literal["grey", "mean"] | float),
        ([1, 2, 3], tuple[int, int]),
        ({"a": "b"}, Mapping[str, int]),
        (["a"], Mapping[str, int]),
        ({"a": 1}, Sequence[int]),
        ({"a": 1}, nn.Module),
        ("abc", nn.Module),
        ("abc", Callable[..., int]),
    ],
)
def test_values_that_are_something_else_are_refused(value, declared):
    with pytest.raises(MismatchError):
        convert(value, declared)


@pytest.mark.parametrize(
    ("value", "declared", "found"),
    [
        ("no", bool, False),
        (2.5, int, 2.5),
        (float("nan"), float, float("nan")),
        (None, float | None, None),
        (0.1, float | Tensor, 0.1),
        (3, str, "3"),
        (3, str | float, 3),
        (3, Sequence[int], [3]),
        (3, Number, 3),
        (3, SupportsFloat, 3),
        (True, int | bool, True),
        ("anything", object, "anything"),
        ("2 days", torch.device | dict[str, int], "2 days"),
        ([1, 2], Literal["all"] | list[int], [1, 2]),
    ],
)
def test_a_constructor_of_another_library_gets_what_it_may_take(value, declared, found):
    assert repr(convert_foreign(value, declared)) == repr(found)


@pytest.mark.parametrize(
    ("value", "declared"),
    [
        ("abc", float | Tensor),
        ("abc", bool),
        ("abc", int | None),
        ([1], float),
        (["x"], list[float]),
        ({"x": 1}, int | str),
        ({"x": 1}, torch.device | str),
        ("none", Literal["all"] | None),
        (True, int),
        (True, float | Tensor),
        (True, str | Sequence[int]),
        (None, float | list[float]),
        (None, bool),
        (None, Callable[..., int]),
        (2, bool),
        (3, tuple[float | Tensor, float | Tensor]),
        (3, nn.Module | list[nn.Module] | None),
        (3, Callable[..., int]),
        (7, Literal["16", 64] | None),
    ],
)
def test_a_constructor_of_another_library_is_spared_what_it_cannot_take(value, declared):
    with pytest.raises(MismatchError):
        convert_foreign(value, declared)


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        (bool, "true or false"),
        (Positive, "a whole number of at least 1"),
        (Annotated[float, AtLeast(0.5)], "a number of at least 0.5"),
        (Annotated[int, Between(0, 2**32 - 1)], "a whole number from 0 to 4294967295"),
        (Annotated[float, Above(0)] | None, "a number above 0 or null"),
        (str | Sequence[str] | None, "text or a list of names or null"),
        (Literal["l2", "none"] | float, "l2 or none or a number"),
        (tuple[int, int], "a list of 2: a whole number, a whole number"),
        (Mapping[str, int], "{name: value}, a value being a whole number"),
        (nn.Module, "settings with a _target_"),
        (float | Tensor, "a number"),
    ],
)
def test_types_are_described_in_words(declared, words):
    assert described(declared) == words


def test_values_are_shown_as_they_are_typed():
    assert [shown(value) for value in (None, True, "a", ["x", 1], {"a": 2})] == [
        "null",
        "true",
        "a",
        "[x, 1]",
        "{a: 2}",
    ]


@dataclass(frozen=True)
class Inner:
    name: str
    share: Annotated[float, Between(0, 1)] = 0.5


class Options(TypedDict, total=False):
    rule: Literal["a", "b"]
    size: Count


@dataclass(frozen=True)
class Outer:
    inner: Inner
    more: Sequence[Inner]
    last: Inner | None
    options: Options | None = None


def test_nested_tables_become_dataclasses():
    values = {"inner": {"name": 7}, "more": [{"name": "a", "share": 1}], "last": None}
    assert from_settings(Outer, values, "task") == Outer(Inner("7"), [Inner("a", 1)], None)
    assert from_settings(Outer, values | {"options": {"rule": "b"}}, "task").options == {"rule": "b"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"inner": {"name": "a", "share": 2}}, "task.inner.share=2: give a number from 0 to 1"),
        (
            {"more": [{"name": "a"}, {"nme": "b"}]},
            r"more\[1\].nme is no setting: did you mean task.more\[1\].name\?",
        ),
        ({"more": [{"share": 1}]}, r"task.more\[0\].name is missing: give text"),
        ({"last": 3}, "task.last=3: give values for name, share or null"),
        ({"options": {"size": -1}}, "task.options.size=-1: give a whole number of at least 0"),
        ({"options": {"sze": 1}}, r"task.options.sze is no setting: did you mean task.options.size\?"),
        ({"options": 3}, "task.options=3: give values for rule, size or null"),
        ({"lost": 3}, r"task.lost is no setting: did you mean task.last\?"),
    ],
)
def test_mistakes_in_nested_tables_are_named_with_their_place(change, said):
    values = {"inner": {"name": "a"}, "more": [], "last": None} | change
    with pytest.raises(InputError, match=said):
        from_settings(Outer, values, "task")
