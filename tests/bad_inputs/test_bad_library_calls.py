"""Every bad call of the library is answered with one line."""

import re
from collections.abc import Iterator
from typing import Any

import jaxtyping
import pytest

import convlens
from convlens.errors import InputError
from tests.bad_inputs import commands, library

TYPES = {
    "Diagnosis",
    "InputError",
    "Invariance",
    "OcclusionMaps",
    "PartConsistency",
    "ReceptiveField",
    "TopActivations",
}


@pytest.fixture(autouse=True)
def _as_users_have_it() -> Iterator[None]:
    """Without the checks of types that tests add."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)


@pytest.fixture(scope="module")
def names() -> dict[str, Any]:
    return library.names()


@pytest.mark.parametrize(("call", "message"), library.ROWS, ids=[call for call, _ in library.ROWS])
def test_a_bad_call_is_refused_in_one_line(names, call, message):
    with pytest.raises(InputError, match=re.escape(message)) as error:
        eval(call, dict(names))
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize("verb", library.valid_calls())
def test_the_call_that_the_rows_change_is_valid(names, verb):
    names[verb]()


def test_every_verb_has_rows_and_the_table_is_long():
    verbs = set(convlens.__all__) - TYPES - {"InputError"}
    assert verbs == set(library.valid_calls())
    for verb in verbs:
        assert sum(call.startswith(f"{verb}(") for call, _ in library.ROWS) >= 10, verb
    calls, typed = [call for call, _ in library.ROWS], [command for command, _ in [*commands.ROWS, *commands.UNUSABLE]]
    assert len(calls) == len(set(calls))
    assert len(typed) == len(set(typed))
    assert len(calls) + len(typed) + len(commands.SETTINGS) >= 250
