"""What an ablation study says of the paper's claims 20 to 23 (section 5.1, Table 3)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from convlens.stats.claims import Claim, Estimate, verdict
from convlens.stats.seed_contrast import Wrong, contrast

LITTLE = 0.25
"""A change is little if it is less than this share of the base network's error (paper: 4.3 of 40.5 points, a tenth,
without layers 6 and 7; 30.8, three quarters, without 3, 4, 6 and 7)."""


@dataclass(frozen=True)
class Rows:
    """A base network with its ablations.

    Attributes:
        name: of the base network.
        test: by ablation, which test images were wrong.
        seen: the same of images that were trained on.
        dense_share: of the base network's parameters, how many are not in convolutions, from 0 to 1.
    """

    name: str
    test: Mapping[str, Wrong]
    seen: Mapping[str, Wrong]
    dense_share: float


def claims(networks: Mapping[str, Rows], about: str) -> list[Claim]:
    """All that can be decided with the rows there are."""
    found: list[Claim] = []
    wrong = {f"{name} {row}": seeds for name, rows in networks.items() for row, seeds in rows.test.items()}
    if paired(("alexnet none", "zfnet none"), wrong):
        found.append(_better_first_layer(wrong, about))
    for rows in networks.values():
        found.extend(_of_network(rows, f"{rows.name}, {about}"))
    return found


def _better_first_layer(wrong: Mapping[str, Wrong], about: str) -> Claim:
    """Claim 20."""
    gap = contrast({"alexnet none": 1, "zfnet none": -1}, wrong)
    statistic = "AlexNet's top-1 error less ZFNet's, points, above 0"
    return Claim(20, about, statistic, gap, verdict(gap.against(0)), paper="2.1 (40.5 - 38.4)")


def _of_network(rows: Rows, about: str) -> Iterator[Claim]:
    if paired(("none", "no_layers_3_4", "no_layers_6_7", "no_layers_3_4_6_7"), rows.test):
        yield _depth(rows, about)
    if paired(("none", "no_layers_6_7", "fc_2048", "fc_8192"), rows.test):
        yield _dense(rows, about)
    if paired(("none", "wide", "wide_fc_8192"), rows.test) and paired(("wide", "wide_fc_8192"), rows.seen):
        yield _wide(rows, about)


def paired(names: Sequence[str], wrong: Mapping[str, Wrong]) -> bool:
    """Whether networks are all there and were tested on as many images."""
    return set(names) <= wrong.keys() and len({len(images) for name in names for images in wrong[name].values()}) == 1


def _depth(rows: Rows, about: str) -> Claim:
    """Claim 21."""
    both = {"no_layers_3_4_6_7": 1.0, "no_layers_3_4": -1.0, "no_layers_6_7": -1.0, "none": 1.0}
    more = contrast(both, rows.test)
    cost = contrast({"no_layers_3_4_6_7": 1, "none": -1}, rows.test)
    alone = {
        f"without layers {name}, points": str(contrast({key: 1, "none": -1}, rows.test))
        for name, key in (("3, 4", "no_layers_3_4"), ("6, 7", "no_layers_6_7"), ("3, 4, 6, 7", "no_layers_3_4_6_7"))
    }
    return Claim(
        21,
        about,
        "rise of the top-1 error without layers 3, 4, 6, 7 less those without 3, 4 and without 6, 7, points, above 0; "
        "and it does rise",
        more,
        verdict(more.against(0), cost.against(0)),
        paper="+21.6 (71.3 - 45.4 - 44.8 + 40.5, AlexNet)",
        controls=alone,
    )


def _dense(rows: Rows, about: str) -> Claim:
    """Claim 22: each statistic is what is little less what was measured."""
    rises = {
        "without layers 6, 7": {"no_layers_6_7": 1.0, "none": -1.0},
        "2048 instead of 4096 units": {"fc_2048": 1.0, "none": -1.0},
        "8192 instead of 4096 units": {"fc_8192": 1.0, "none": -1.0},
    }
    spare = [
        contrast({key: LITTLE * (key == "none") - sign * weight for key, weight in rise.items()}, rows.test)
        for name, rise in rises.items()
        for sign in ((1,) if name.startswith("without") else (1, -1))  # a width may matter both ways
    ]
    tightest: Estimate = min(spare, key=lambda estimate: estimate.value)
    share = "above" if rows.dense_share > 0.5 else "below"
    return Claim(
        22,
        about,
        f"{LITTLE} of the top-1 error, less its rise without layers 6, 7 and its change with other widths of them (the "
        "smallest of these), points, above 0; and layers 6, 7 and the classifier hold most parameters",
        tightest,
        verdict(share, *(estimate.against(0) for estimate in spare)),
        paper="+5.8 (AlexNet: a quarter of 40.5, less 4.3); 96 % of the parameters",
        controls={
            "parameters outside of convolutions": f"{100 * rows.dense_share:.1f} %",
            **{f"{name}, points": str(contrast(rise, rows.test)) for name, rise in rises.items()},
        },
    )


def _wide(rows: Rows, about: str) -> Claim:
    """Claim 23: the wider middle is better, and wider dense layers beside it fit the training images more closely."""
    gain = contrast({"none": 1, "wide": -1}, rows.test)
    wrong = {f"test {name}": values for name, values in rows.test.items()}
    # Seen and test images are not the same ones: as many of each are drawn by the same places.
    wrong |= {f"seen {name}": values for name, values in rows.seen.items()}
    names = [f"{split} {name}" for split in ("test", "seen") for name in ("wide", "wide_fc_8192")]
    fewest = min(len(values) for name in names for values in wrong[name].values())
    some = {name: {seed: values[:fewest] for seed, values in wrong[name].items()} for name in names}
    growth = contrast({"test wide_fc_8192": 1, "seen wide_fc_8192": -1, "test wide": -1, "seen wide": 1}, some)
    return Claim(
        23,
        about,
        "top-1 error less that with 512, 1024, 512 maps in layers 3 to 5, points, above 0; and the gap from seen to "
        "test images grows with 8192 units beside them",
        gain,
        verdict(gain.against(0), growth.against(0)),
        paper="+0.9 (38.4 - 37.5); the gap grows by 9.6 (18.7 to 28.3)",
        controls={"growth of the gap, points": str(growth)},
    )
