from pathlib import Path

import pytest

from convlens.report.paper_index import ITEMS, _has, paper_index
from convlens.report.sections import make_sections
from convlens.report.study_record import Result, Run
from convlens.stats.results import Number


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Tables 4, 5 and 7, Fig 9", {"Table 4", "Table 5", "Table 7", "Fig 9"}),
        ("Tables 2 and 3", {"Table 2", "Table 3"}),
        ("Table 3, AlexNet and ZFNet rows", {"Table 3"}),
        ("Fig 2", {"Fig 2"}),
        ("", set()),
    ],
)
def test_a_result_says_what_of_the_paper_it_has(text, names):
    assert {item.name for item in ITEMS if _has(text, item.name)} == names


def test_every_figure_and_table_has_a_row_with_the_papers_numbers_and_ours():
    numbers = [Number("label changes, rotation", 12.345, "%"), Number("images", 100)]
    run = Run("zfnet", Path("zfnet"), results=[Result("invariance", "Invariance", "Fig 5", "", numbers, [], [], [])])
    rows = {row.item.name: row for row in paper_index([run], make_sections([run], []))}
    assert list(rows)[:3] == ["Fig 2", "Fig 4", "Fig 5"]
    assert len(rows) == 13
    assert rows["Fig 5"].anchors == [("analysis-1", "Invariance")]
    assert rows["Fig 5"].ours == ["zfnet: label changes, rotation 12.3 %; images 100"]
    assert rows["Fig 7"].anchors == []
    assert all(row.item.paper and row.item.command.startswith("convlens ") for row in rows.values())
