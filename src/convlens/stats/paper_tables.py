"""The paper's numbers: Tables 2 and 3, errors in percent by network and ablation."""

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

TABLE_2_FIVE_NETS: dict[tuple[str, str], tuple[float, float]] = {
    ("alexnet", "none"): (38.1, 16.4),
    ("zfnet", "none"): (36.7, 15.3),
}
"""Top-1 and top-5 error of five networks together (Table 2)."""

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
