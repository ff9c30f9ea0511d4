"""Digests: their values are parts of names on users' disks and must not change."""

import hashlib

import numpy as np
import pytest

from convlens.io.hashing import (
    digest_bytes,
    digest_json,
    digest_lines,
    digest_named_arrays,
    file_checksum,
    hash_to_int,
    short_sha256,
)


def blake(content: bytes, size: int = 16) -> str:
    return hashlib.blake2b(content, digest_size=size).hexdigest()


def test_digests_are_those_of_the_standard_library():
    assert digest_bytes(b"ab", b"c", size=8) == blake(b"abc", 8)
    assert digest_lines(["a", "b"]) == blake(b"a\nb") == "0c84cf75ee142f818515ab54bd107d86"
    assert digest_json({"b": 1, "a": [2]}) == blake(b'{"b": 1, "a": [2]}') == "ac02907829094c81019e3e1f4f9650c0"
    assert digest_json({"b": 1, "a": [2]}, sort_keys=True) == blake(b'{"a": [2], "b": 1}')
    assert short_sha256("a=1", 6) == hashlib.sha256(b"a=1").hexdigest()[:6]
    assert hash_to_int("x") == int.from_bytes(hashlib.blake2b(b"x", digest_size=8).digest(), "little")


def test_named_arrays_depend_on_names_values_and_order():
    first, second = np.arange(6, dtype=np.int16), np.ones(2, np.uint8)
    value = digest_named_arrays([("a", first), ("b", second)])
    assert value == blake(b"a" + first.tobytes() + b"b" + second.tobytes())
    assert digest_named_arrays([("a", first[::2])]) == blake(b"a" + first[::2].tobytes())  # not contiguous
    others = [[("b", second), ("a", first)], [("a", first), ("c", second)], [("a", first + 1), ("b", second)]]
    assert len({value, *(digest_named_arrays(arrays) for arrays in others)}) == 4


@pytest.mark.parametrize("algorithm", ["md5", "sha256"])
def test_a_file_has_the_checksum_of_its_content(tmp_path, algorithm):
    (tmp_path / "a").write_bytes(b"content")
    assert file_checksum(tmp_path / "a", algorithm) == f"{algorithm}:{hashlib.new(algorithm, b'content').hexdigest()}"
