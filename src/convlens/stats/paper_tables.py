"""The paper's numbers: Tables 2 and 3, errors in percent by network and ablation."""

from collections.abc import Mapping
from typing import NamedTuple

TABLE_3: dict[tuple[str, str], tuple[float | None, float, float]] = {
    ("alexnet", "none"): (35.1, 40.5, 18.1),
    ("alexnet", "no_layers_3_4"): (41.8, 45.4, 22.1),
    ("alexnet", "no_layer_7"): (27.4, 40.0, 18.4),
    ("alexnet", "no_layers_6_7"): (27.4, 44.8, 22.4),
    ("alexnet", "no_layers_3_4_6_7"): (71.1, 71.3, 50.1),
    ("alexnet", "fc_2048"): (40.3, 41.7, 18.8),
    ("alexnet", "fc_8192"): (26.8, 40.0, 18.1),
    ("zfnet", "none"): (33.1, 38.4, 16.5),
    ("zfnet", "fc_2048"): (38.2, 40.2, 17.6),
    ("zfnet", "fc_8192"): (22.0, 38.8, 17.0),
    ("zfnet", "wide"): (18.8, 37.5, 16.0),
    ("zfnet", "wide_fc_8192"): (10.0, 38.3, 16.9),
    ("zfnet_wide", "none"): (None, 37.5, 16.0),  # Table 2, network (b)
}
"""Top-1 error of training images, top-1 and top-5 error of validation images."""


class Table2Row(NamedTuple):
    """A row of Table 2: errors in percent on ImageNet's validation and test images; None where none is printed."""

    name: str
    val_top1: float | None
    val_top5: float | None
    test_top5: float | None


ALEXNET, ZFNET, WIDE = "alexnet", "zfnet", "zfnet_wide"
TABLE_2: Mapping[Table2Row, Mapping[str, int]] = {
    Table2Row("Gunji et al. 2012", None, None, 26.2): {},
    Table2Row("Krizhevsky et al. 2012, 1 net", 40.7, 18.2, None): {},
    Table2Row("Krizhevsky et al. 2012, 5 nets", 38.1, 16.4, 16.4): {ALEXNET: 5},
    Table2Row("Krizhevsky et al. 2012, 1 net, trained on ImageNet 2011, too", 39.0, 16.6, None): {},
    Table2Row("Krizhevsky et al. 2012, 7 nets, trained on ImageNet 2011, too", 36.7, 15.4, 15.3): {},
    Table2Row("AlexNet, the paper's replication, 1 net", 40.5, 18.1, None): {ALEXNET: 1},
    Table2Row("ZFNet, 1 net", 38.4, 16.5, None): {ZFNET: 1},
    Table2Row("ZFNet, 5 nets (a)", 36.7, 15.3, 15.3): {ZFNET: 5},
    Table2Row("ZFNet with 512, 1024, 512 maps in layers 3 to 5, 1 net (b)", 37.5, 16.0, 16.1): {WIDE: 1},
    Table2Row("6 nets, (a) and (b)", 36.0, 14.7, 14.8): {ZFNET: 5, WIDE: 1},
}
"""The rows of Table 2 with the networks of each, as far as they can be trained here; the errors of several networks are
those of the mean of their probabilities. The three rows of the ECCV version alone are left out."""


def kind_of(model: str, ablation: str) -> str:
    """Return the name of a network among those of ``TABLE_2``, given those of the network and of its ablation."""
    if ablation == "none":
        return model
    return WIDE if (model, ablation) == (ZFNET, "wide") else f"{model}, {ablation}"


def table_2_row(networks: Mapping[str, int]) -> Table2Row | None:
    """Return the row of Table 2 of the same networks; None if there is none.

    Args:
        networks: number of networks by name as `kind_of` gives it. Another number above 1 is compared with the row of
            several.
    """
    several = {name: number > 1 for name, number in networks.items()}
    rows = [row for row, own in TABLE_2.items() if own and own.keys() == networks.keys()]
    exact = [row for row in rows if TABLE_2[row] == networks]
    alike = [row for row in rows if len(networks) > 1 or {name: n > 1 for name, n in TABLE_2[row].items()} == several]
    return next(iter([*exact, *alike]), None)


ABLATION_ORDER = (
    "none",
    "no_layers_3_4",
    "no_layer_7",
    "no_layers_6_7",
    "no_layers_3_4_6_7",
    "fc_2048",
    "fc_8192",
    "wide",
    "wide_fc_8192",
)
"""Order of the rows of Table 3."""
