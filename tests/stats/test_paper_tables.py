"""The paper's Tables 2 and 3 by network."""

import pytest

from convlens.stats.paper_tables import TABLE_2, TABLE_3, kind_of, table_2_row


@pytest.mark.parametrize(
    ("networks", "printed"),
    [
        ({"zfnet": 1}, (38.4, 16.5, None)),
        ({"zfnet": 5}, (36.7, 15.3, 15.3)),
        ({"zfnet": 3}, (36.7, 15.3, 15.3)),  # several, so the row of several
        ({"zfnet_wide": 1}, (37.5, 16.0, 16.1)),
        ({"zfnet": 5, "zfnet_wide": 1}, (36.0, 14.7, 14.8)),
        ({"zfnet_wide": 1, "zfnet": 2}, (36.0, 14.7, 14.8)),
        ({"alexnet": 1}, (40.5, 18.1, None)),
        ({"alexnet": 2}, (38.1, 16.4, 16.4)),
    ],
)
def test_own_networks_have_their_row_of_table_2(networks, printed):
    row = table_2_row(networks)
    assert row is not None
    assert row[1:] == printed


@pytest.mark.parametrize("networks", [{}, {"resnet18": 5}, {"alexnet": 1, "zfnet": 1}, {"zfnet_wide": 2}])
def test_networks_that_are_not_in_table_2_have_no_row(networks):
    assert table_2_row(networks) is None


def test_single_networks_have_the_same_errors_in_tables_2_and_3():
    for row, networks in TABLE_2.items():
        if sum(networks.values()) == 1:
            (name,) = networks
            assert TABLE_3[name, "none"][1:] == (row.val_top1, row.val_top5)
    assert TABLE_3["zfnet", "wide"][1:] == TABLE_3["zfnet_wide", "none"][1:]
    assert len(TABLE_2) == 10


def test_names_of_networks():
    assert kind_of("zfnet", "none") == "zfnet"
    assert kind_of("zfnet", "wide") == kind_of("zfnet_wide", "none") == "zfnet_wide"
    assert kind_of("alexnet", "wide") == "alexnet, wide"
