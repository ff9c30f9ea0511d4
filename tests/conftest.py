from collections.abc import Iterator

import pytest

from tests.composition_cache import cached_composition


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Essential tests are slow ones that continuous integration runs all the same."""
    for item in items:
        if item.get_closest_marker("essential"):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session", autouse=True)
def _composition() -> Iterator[None]:
    with cached_composition():
        yield
