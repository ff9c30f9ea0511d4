"""The map of the modules, `src/convlens/README.md`: complete, and in the words of the docstrings."""

import ast
import re

import pytest

from tests.module_map import HEADING, SOURCE, modules, render, summary

MAP = SOURCE / "README.md"


def test_the_map_lists_every_module_by_the_first_line_of_its_docstring():
    assert MAP.read_text().endswith(render()), "src/convlens/README.md is out of date: `make map`"


@pytest.mark.parametrize("path", modules(SOURCE), ids=lambda path: str(path.relative_to(SOURCE)))
def test_the_first_line_of_a_docstring_says_what_is_in_the_module(path):
    line = summary(path)
    assert 10 < len(line) <= 120
    assert line[0] == line[0].upper() or line.startswith("`")
    assert not re.match(r"(What|Where|Whether|How|Which) ", line), "a riddle: name the thing"


def test_every_module_that_the_map_names_in_its_text_is_there():
    text = MAP.read_text().partition(HEADING)[0]
    named = re.findall(r"`([a-z_0-9/]+\.py)`", text)
    assert len(named) > 30
    assert [name for name in named if not (SOURCE / name).is_file()] == []


def test_a_summary_is_the_first_line_without_its_full_stop(tmp_path):
    module = tmp_path / "module.py"
    module.write_text('"""First line.\n\nSecond line."""\n')
    assert summary(module) == "First line"
    assert ast.get_docstring(ast.parse(module.read_text())) == "First line.\n\nSecond line."
