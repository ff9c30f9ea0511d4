# ruff: noqa: RUF001 (the minus sign and the dash are what is tested)
import math

import pytest

from convlens.report.format import column, duration, listing, number, percent, plural, spread


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "–"),
        ("supported", "supported"),
        (True, "yes"),
        (62357608, "62,357,608"),
        (-3, "−3"),
        (4.2, "4.20"),
        (0.06789, "0.0679"),
        (1234.56, "1,235"),
        (0.0, "0"),
        (1.5e-7, "1.50e−07"),
        (2.5e12, "2.50e+12"),
        (math.nan, "NaN"),
        (-math.inf, "−∞"),
        ([1], "[1]"),
    ],
)
def test_numbers(value: object, shown: str):
    assert number(value) == shown


@pytest.mark.parametrize(
    ("value", "beside", "shown"),
    [
        (0.021, "0.422", "±\N{NARROW NO-BREAK SPACE}0.021"),
        (0.5, "4.20", "±\N{NARROW NO-BREAK SPACE}0.50"),
        (0.04, "4.2", "±\N{NARROW NO-BREAK SPACE}0.0400"),  # rounds to 0.0 with one place
        (0.06, "4.2", "±\N{NARROW NO-BREAK SPACE}0.1"),
        (0.0004, "4.20", "±\N{NARROW NO-BREAK SPACE}0.000400"),
        ([0.1, 0.136], "0.118", "[0.100, 0.136]"),
        (None, "4.20", ""),
    ],
)
def test_a_spread_has_the_places_of_its_value(value: object, beside: str, shown: str):
    assert spread(value, beside) == shown


@pytest.mark.parametrize(
    ("cells", "texts", "numeric"),
    [
        ([44.84, 66.2, 9], ["44.8", "66.2", "9.0"], True),
        ([0.067, 0.1074, None], ["0.067", "0.107", "–"], True),
        ([0.0001, 44.8], ["0.000100", "44.8"], True),
        ([3, 4], ["3", "4"], True),
        (["conv1", 2.0], ["conv1", "2.00"], False),
        ([True, 1.0], ["yes", "1.00"], False),
        ([None], ["–"], False),
        ([math.nan, 2.25], ["NaN", "2.25"], True),
    ],
)
def test_a_column_has_common_places(cells: list, texts: list, numeric: bool):
    assert column(cells) == (texts, numeric)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (None, "–"),
        (math.nan, "–"),
        (0.04, "0.0 s"),
        (9.96, "10 s"),
        (59.6, "1 min 00 s"),
        (81.2, "1 min 21 s"),
        (3599.7, "1 h 00 min"),
        (7530, "2 h 06 min"),
        (12 * 86400, "288 h 00 min"),
    ],
)
def test_durations(seconds: float | None, shown: str):
    assert duration(seconds) == shown.replace(" ", "\N{NO-BREAK SPACE}")


def test_words():
    assert percent(12.349) == "12.3"
    assert percent(None) == "–"
    assert [plural(n, "part") for n in (0, 1, 2)] == ["0 parts", "1 part", "2 parts"]
    assert plural(2, "analysis") == "2 analyses"
    assert listing(["a"]) == "a"
    assert listing(["a", "b", "c"]) == "a, b and c"
    assert listing(list("abcde"), most=3) == "a, b, c and 2 more"
