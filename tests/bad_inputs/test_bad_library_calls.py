"""Every bad call of the library is answered with one line."""

import re
from typing import Any

import pytest

import convlens
from convlens.errors import InputError
from tests.bad_inputs import commands, library_calls

pytestmark = pytest.mark.usefixtures("as_users_have_it")

TYPES = {
    "Diagnosis",
    "InputError",
    "Invariance",
    "OcclusionMaps",
    "PartConsistency",
    "ReceptiveField",
    "TopActivations",
}


@pytest.fixture(scope="module")
def names() -> dict[str, Any]:
    return library_calls.names()


@pytest.mark.parametrize(("call", "message"), library_calls.ROWS, ids=[call for call, _ in library_calls.ROWS])
def test_a_bad_call_is_refused_in_one_line(names, call, message):
    with pytest.raises(InputError, match=re.escape(message)) as error:
        eval(call, dict(names))
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 400


@pytest.mark.parametrize("verb", library_calls.valid_calls())
def test_the_call_that_the_rows_change_is_valid(names, verb):
    names[verb]()


def test_every_verb_has_rows_and_the_table_is_long():
    verbs = set(convlens.__all__) - TYPES - {"InputError"}
    assert verbs == set(library_calls.valid_calls())
    for verb in verbs:
        assert sum(call.startswith(f"{verb}(") for call, _ in library_calls.ROWS) >= 10, verb
    calls, typed = (
        [call for call, _ in library_calls.ROWS],
        [command for command, _ in [*commands.ROWS, *commands.UNUSABLE]],
    )
    assert len(calls) == len(set(calls))
    assert len(typed) == len(set(typed))
    assert len(calls) + len(typed) + len(commands.SETTINGS) >= 250
