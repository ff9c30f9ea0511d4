"""Claims 20 to 23 from an ablation study (paper, section 5.1 and Table 3)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from convlens.stats.claims import Claim, claim
from convlens.stats.estimates import Estimate
from convlens.stats.rules import MIN_RUNS, RULES
from convlens.stats.seed_contrast import WrongBySeed, contrast

ALEXNET, ZFNET = "alexnet none", "zfnet none"
"""The two networks as published: name and ablation."""
TRAIN_BOTH = "convlens -m model=alexnet,zfnet seed=0,1,2"
SMALL_SHARE = 0.25
"""A change is small if it is less than this share of the base network's error. Paper: removing layers 6 and 7 costs 4.3
of 40.5 points, a tenth; removing layers 3, 4, 6 and 7 costs 30.8 points, three quarters."""


@dataclass(frozen=True)
class AblationErrors:
    """Errors of a base network and of its ablations.

    Attributes:
        name: name of the base network.
        test: by ablation, which test images were wrong.
        train_eval: by ablation, which training images, cropped like test images, were wrong.
        dense_share: share of the base network's parameters that are not in convolutions, from 0 to 1.
    """

    name: str
    test: Mapping[str, WrongBySeed]
    train_eval: Mapping[str, WrongBySeed]
    dense_share: float

    def __repr__(self) -> str:
        return f"AblationErrors({self.name}: {', '.join(self.test)}; dense_share={self.dense_share:.3g})"


def ablation_claims(networks: Mapping[str, AblationErrors], about: str) -> list[Claim]:
    """Return all claims that the given networks decide.

    Args:
        networks: base networks by name.
        about: what the networks were trained on.
    """
    found: list[Claim] = []
    wrong = {
        f"{name} {ablation}": seeds for name, errors in networks.items() for ablation, seeds in errors.test.items()
    }
    if can_pair((ALEXNET, ZFNET), wrong):
        found.append(first_layer_claim(wrong, about))
    for errors in networks.values():
        found.extend(_network_claims(errors, f"{errors.name}, {about}"))
    return found


def can_pair(names: Sequence[str], wrong: Mapping[str, WrongBySeed]) -> bool:
    """Return whether all named networks are given and were tested on equally many images."""
    return set(names) <= wrong.keys() and len({len(images) for name in names for images in wrong[name].values()}) == 1


def first_layer_claim(
    wrong: Mapping[str, WrongBySeed], about: str = "", details: Mapping[str, str] | None = None
) -> Claim:
    """Return claim 20: ZFNet, with 7x7 filters at stride 2, has a lower error than AlexNet.

    Args:
        wrong: which test images were wrong, of `ALEXNET`, `ZFNET` and other networks that are trained alike.
        about: what the networks were trained on.
        details: further values, by name.
    """
    gap = contrast({ALEXNET: 1, ZFNET: -1}, wrong)
    shown = dict(details or {})
    if gap.count < MIN_RUNS:
        shown["three seeds of each network would decide"] = f"{TRAIN_BOTH}, then {RULES[20].command}"
    return claim(20, gap, about=about, paper="2.1 (40.5 - 38.4)", details=shown)


def _network_claims(errors: AblationErrors, about: str) -> Iterator[Claim]:
    if can_pair(("none", "no_layers_3_4", "no_layers_6_7", "no_layers_3_4_6_7"), errors.test):
        yield _depth_claim(errors, about)
    if can_pair(("none", "no_layers_6_7", "fc_2048", "fc_8192"), errors.test):
        yield _dense_claim(errors, about)
    wide = ("wide", "wide_fc_8192")
    if can_pair(("none", *wide), errors.test) and can_pair(wide, errors.train_eval):
        yield _width_claim(errors, about)


def _depth_claim(errors: AblationErrors, about: str) -> Claim:
    """Claim 21: removing both sections costs more than the sum of removing each."""
    both = {"no_layers_3_4_6_7": 1.0, "no_layers_3_4": -1.0, "no_layers_6_7": -1.0, "none": 1.0}
    excess = contrast(both, errors.test)
    cost = contrast({"no_layers_3_4_6_7": 1, "none": -1}, errors.test)
    details = {
        f"without layers {layers}, points": str(contrast({name: 1, "none": -1}, errors.test))
        for layers, name in (("3, 4", "no_layers_3_4"), ("6, 7", "no_layers_6_7"), ("3, 4, 6, 7", "no_layers_3_4_6_7"))
    }
    return claim(
        21,
        excess,
        about=about,
        required=[(cost, 0.0)],
        paper="+21.6 (71.3 - 45.4 - 44.8 + 40.5, AlexNet)",
        details=details,
    )


def _dense_claim(errors: AblationErrors, about: str) -> Claim:
    """Claim 22: each statistic is the largest change that counts as small, minus the change measured."""
    rises = {
        "without layers 6, 7": {"no_layers_6_7": 1.0, "none": -1.0},
        "2048 instead of 4096 units": {"fc_2048": 1.0, "none": -1.0},
        "8192 instead of 4096 units": {"fc_8192": 1.0, "none": -1.0},
    }
    margins = [
        contrast({key: SMALL_SHARE * (key == "none") - sign * weight for key, weight in rise.items()}, errors.test)
        for name, rise in rises.items()
        for sign in ((1,) if name.startswith("without") else (1, -1))  # another width may change the error both ways
    ]
    share = 100 * errors.dense_share
    # Known exactly: p = 0 against any other share. An error of 0 would be that of equal units, whose number counts.
    most = Estimate(share, share, share, margins[0].count, 1e-9, freedom=1e9)
    return claim(
        22,
        margins[0],
        about=about,
        required=[*((margin, 0.0) for margin in margins[1:]), (most, 50.0)],
        paper="+5.8 (AlexNet: a quarter of 40.5, minus 4.3); 96 % of the parameters",
        details={
            "parameters outside of convolutions": f"{share:.1f} %",
            **{f"{name}, points": str(contrast(rise, errors.test)) for name, rise in rises.items()},
        },
    )


def _width_claim(errors: AblationErrors, about: str) -> Claim:
    """Claim 23: wider middle layers lower the error; wider dense layers beside them overfit."""
    gain = contrast({"none": 1, "wide": -1}, errors.test)
    wrong = {f"test {name}": values for name, values in errors.test.items()}
    # Training and test images are different ones: as many of each are paired by their positions.
    wrong |= {f"train {name}": values for name, values in errors.train_eval.items()}
    names = [f"{split} {name}" for split in ("test", "train") for name in ("wide", "wide_fc_8192")]
    fewest = min(len(values) for name in names for values in wrong[name].values())
    shortened = {name: {seed: values[:fewest] for seed, values in wrong[name].items()} for name in names}
    growth = contrast({"test wide_fc_8192": 1, "train wide_fc_8192": -1, "test wide": -1, "train wide": 1}, shortened)
    return claim(
        23,
        gain,
        about=about,
        required=[(growth, 0.0)],
        paper="+0.9 (38.4 - 37.5); the gap grows by 9.6 (18.7 to 28.3)",
        details={"growth of the gap, points": str(growth)},
    )
