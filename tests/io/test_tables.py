import csv

from convlens.io.tables import write_tables


def test_rows_are_written_as_csv_in_full_and_as_markdown_with_two_decimals(tmp_path):
    rows = [{"name": "a|b", "error": 1 / 3, "seeds": 2}, {"name": "c, d", "error": None, "seeds": 1}]
    write_tables(tmp_path / "folder", "table", rows)
    assert {path.name for path in (tmp_path / "folder").iterdir()} == {"table.csv", "table.md"}
    with (tmp_path / "folder/table.csv").open() as file:
        first, second = csv.DictReader(file)
    assert first == {"name": "a|b", "error": str(1 / 3), "seeds": "2"}
    assert second == {"name": "c, d", "error": "", "seeds": "1"}
    assert (tmp_path / "folder/table.md").read_text().splitlines() == [
        "| name | error | seeds |", "| --- | --- | --- |", "| a\\|b | 0.33 | 2 |", "| c, d |  | 1 |",
    ]  # fmt: skip
