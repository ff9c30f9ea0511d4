"""Names that are not UTF-8, as file systems give them, can be kept, read back, digested and shown."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from convlens.io.hashing import digest_json, digest_lines, digest_named_arrays, hash_to_int, short_sha256
from convlens.io.json_files import load_json, write_json
from convlens.io.names import name_bytes, read_names, readable
from convlens.io.tables import write_tables

LATIN = b"caf\xe9".decode(errors="surrogateescape")
ANY = st.text(st.one_of(st.characters(), st.characters(categories=["Cs"])))


@given(ANY)
def test_any_text_has_bytes_a_digest_and_a_readable_form(text):
    assert isinstance(name_bytes(text), bytes)
    assert isinstance(readable(text).encode(), bytes)
    assert hash_to_int(text) >= 0
    named = [(text, np.zeros(1))]
    assert all([short_sha256(text, 6), digest_lines([text]), digest_named_arrays(named), digest_json({text: text})])


@pytest.mark.parametrize("text", [LATIN, "né", "a\\udce9"])
def test_json_gives_back_what_it_was_given(tmp_path, text):
    write_json(tmp_path / "a.json", {"name": text, text: [text]})
    assert load_json(tmp_path / "a.json") == {"name": text, text: [text]}


def test_a_list_has_the_bytes_of_the_disk_and_a_table_what_can_be_shown(tmp_path):
    path = tmp_path / "list.txt"
    path.write_bytes(name_bytes(f"{LATIN}\n"))
    assert path.read_bytes() == b"caf\xe9\n"
    assert read_names(path) == f"{LATIN}\n"
    write_tables(tmp_path, "table", [{"name": LATIN}])
    assert (tmp_path / "table.csv").read_text("utf-8") == "name\ncaf\\udce9\n"
