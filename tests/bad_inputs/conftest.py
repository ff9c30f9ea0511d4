"""Fixtures of the tests of bad input."""

from collections.abc import Iterator

import jaxtyping
import pytest


@pytest.fixture
def as_users_have_it() -> Iterator[None]:
    """Without the checks of types that tests add."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", before)
