"""Verdicts of claims 4 to 7 from statistics with a planted truth, and what is written about them."""

from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest

from convlens.analysis.galleries.claims import gallery_claims
from convlens.analysis.galleries.gallery_result import gallery_result
from convlens.analysis.galleries.grouping import Grouping
from convlens.analysis.galleries.job import GalleryFiles, GalleryJob
from convlens.analysis.galleries.network_statistics import NetworkStatistics
from convlens.analysis.galleries.purity import StrongestImages
from convlens.analysis.galleries.statistics_tables import draw_statistics, statistics_tables
from convlens.analysis.galleries.switches import SwitchChanges
from convlens.figures.line_plots import curves
from convlens.io.arrays import DamagedError
from convlens.ops.depth import Depth

DEPTHS = {f"conv{number}": Depth(number, min(number - 1, 2)) for number in (1, 2, 3)}
IMAGES, CLASSES = 120, 6


def spread(mean: float, count: int = 8) -> np.ndarray:
    """Values around a mean."""
    return mean + 0.02 * np.linspace(-1, 1, count) ** 3


def network(
    auc: float, gain: float, purest: str | None, seed: int = 0, switches: float | None = 0.5
) -> NetworkStatistics:
    """Statistics with an AUC over its null and a likeness over that of patches; one layer shows pure classes."""
    grouping = {
        layer: Grouping(spread(0.55 + auc), spread(0.55), spread(0.4 + gain), spread(0.4))
        if layer != "conv1"
        else Grouping(*(np.full(8, value) for value in (1.0, 0.5, 1.0, 0.4)))
        for layer in DEPTHS
    }
    rng = np.random.default_rng(seed)
    labels = np.arange(IMAGES) % CLASSES
    rows = [
        rng.choice(np.flatnonzero(labels == number % CLASSES) if layer == purest else IMAGES, 9, replace=False)
        for layer in DEPTHS
        for number in range(20)
    ]
    strongest = StrongestImages(np.array(rows), np.repeat(list(DEPTHS), 20), np.repeat([0, 0.5, 1], 20), labels)
    changed = {}
    if switches is not None:
        changed = {layer: SwitchChanges(spread(switches), spread(0.9)) for layer in ("conv2", "conv3")}
    return NetworkStatistics(DEPTHS, grouping, strongest, changed)


def verdicts(own: NetworkStatistics, control: NetworkStatistics | None = None) -> dict[int, str]:
    return {claim.number: claim.verdict for claim in gallery_claims(own, control)}


CHANCE = network(0.0, 0.0, None, seed=1, switches=None)


@pytest.mark.parametrize(
    ("own", "control", "expected"),
    [
        (network(0.2, 0.2, "conv3"), CHANCE, ["supports"] * 4),
        (network(0.2, 0.2, "conv3"), None, ["supports"] * 4),
        (network(0.2, 0.2, "conv3"), network(0.2, 0.2, "conv3", 1), ["supports", *["architecture"] * 3]),
        (network(0.2, 0.2, "conv3"), network(0.3, 0.3, "conv3", 1), ["supports", *["architecture"] * 3]),
        (network(-0.2, -0.2, "conv1"), CHANCE, ["supports", *["refutes"] * 3]),
        (network(0.0, 0.0, None, switches=0.01), CHANCE, [*["no effect"] * 3, "can't tell"]),
    ],
)
def test_verdicts_come_out_as_planted(own, control, expected):
    assert list(verdicts(own, control).values()) == expected
    assert list(verdicts(own, control)) == [4, 5, 6, 7]


def test_each_claim_votes_once_and_the_first_layer_does_not_count():
    claims = {claim.number: claim for claim in gallery_claims(network(0.1, 0.1, "conv3"), CHANCE)}
    five = claims[5]
    assert (five.about, five.estimate.count) == ("conv2 to conv3", 16)
    assert five.estimate.value == pytest.approx(0.1)
    assert five.control.estimate.value == pytest.approx(0)
    assert five.control.gain.value == pytest.approx(0.1)
    assert five.details["AUC, conv1"] == "1.000"
    assert five.details["AUC"].startswith("0.650 (")
    assert five.details["AUC, phase-randomized"].startswith("0.550 (")
    six = claims[6]
    assert (six.about, six.estimate.value) == ("conv2 to conv3", pytest.approx(0.1))
    assert six.details["difference, conv1"] == "0.600"
    seven = claims[7]
    assert seven.about == "conv1 to conv3"
    assert seven.details["chance"] == f"{19 / 119:.3f}"
    assert seven.details["purity, conv3"] == "1.000"
    four = claims[4]
    assert (four.about, four.control) == ("conv2 to conv3", None)
    assert four.details["against values at the centres of the windows"].startswith("0.900 (")


def test_what_cannot_be_decided_is_left_out():
    own = network(0.2, 0.2, "conv3")
    assert list(verdicts(replace(own, switches={}))) == [5, 6, 7]
    unlabelled = replace(own.strongest, labels=np.zeros(IMAGES, int))
    assert list(verdicts(replace(own, strongest=unlabelled))) == [4, 5, 6]
    assert list(verdicts(replace(own, grouping={"conv1": own.grouping["conv1"]}))) == [4, 7]


def test_a_control_without_active_maps_leaves_the_claims_open():
    dead = replace(CHANCE, grouping={}, strongest=replace(CHANCE.strongest, images=CHANCE.strongest.images * 0 - 1))
    found = verdicts(network(0.2, 0.2, "conv3"), dead)
    assert (found[5], found[6]) == ("can't tell", "can't tell")


def test_more_strongest_images_are_shown_as_a_detail():
    own = network(0.2, 0.2, "conv3")
    longer = replace(own.strongest, images=np.tile(np.arange(100), (60, 1)))
    details = next(claim for claim in gallery_claims(replace(own, strongest=longer)) if claim.number == 7).details
    counts = np.bincount(np.arange(100) % CLASSES)
    assert details["top 100, conv2"] == f"{(counts * (counts - 1)).sum() / (100 * 99):.3f}"
    assert "top 100, conv2" not in gallery_claims(own)[-1].details


def test_statistics_of_a_control_are_read_as_they_were_written(tmp_path):
    own = network(0.2, 0.1, "conv2")
    path = tmp_path / "control0.npz"
    own.write(path)
    found = NetworkStatistics.read(path, DEPTHS)
    assert list(found.grouping) == list(own.grouping)
    assert str([claim.as_json() for claim in gallery_claims(found)]) == str(
        [claim.as_json() for claim in gallery_claims(replace(own, switches={}))]
    )
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(DamagedError):
        NetworkStatistics.read(path, DEPTHS)


def test_the_result_has_claims_tables_and_a_figure_with_the_control(tmp_path):
    files = GalleryFiles(
        statistics=network(0.2, 0.2, "conv3"), control_statistics={"from fc8 up": CHANCE, "all": CHANCE}
    )
    result = gallery_result(files, Path(), "test images", GalleryJob(list(DEPTHS), "test", 16, controls=8))
    assert [claim.verdict for claim in result.claims] == ["supports"] * 4
    by_control, grouping, switches, classes = result.tables
    assert [row[0] for row in by_control.rows] == ["none", "from fc8 up", "all"]
    assert by_control.columns == ["randomized", "claim 5", "claim 6", "claim 7"]
    error = f"({spread(0).std(ddof=1) / np.sqrt(8):.3f})"
    assert grouping.rows[1][:3] == ["conv2", 8, f"0.750 {error}"]
    assert grouping.rows[1][4].startswith("0.550 (")
    assert switches.rows[0] == ["conv2", 8, f"0.500 {error}", f"0.900 {error}"]
    assert [row[0] for row in classes.rows] == list(DEPTHS)
    assert classes.rows[2][1] == "1.000"
    alone = statistics_tables(files.statistics, None)
    assert alone[0].rows[0][4] is None
    assert alone[2].rows[0][2] is None
    nothing = replace(CHANCE, grouping={}, strongest=replace(CHANCE.strongest, labels=np.zeros(IMAGES, int)))
    assert draw_statistics(nothing, {}, "title", tmp_path) is None
    with patch("convlens.analysis.galleries.statistics_tables.curves", side_effect=curves) as drawn:
        path = draw_statistics(files.statistics, files.control_statistics, "title", tmp_path)
    assert path == tmp_path / "statistics.png"
    areas, shares = drawn.call_args.args[0].values()
    assert [(curve.group, curve.kind) for curve in areas] == [
        (name, kind) for name in ("network", "random weights") for kind in ("measured", "phase-randomized")
    ]
    assert [curve.y[1] for curve in areas] == pytest.approx([0.75, 0.55, 0.55, 0.55])
    assert [(curve.group, curve.y[2]) for curve in shares[::2]] == [
        ("network", 1.0),
        ("chance", pytest.approx(19 / 119)),
    ]


def test_a_gallery_without_comparisons_has_no_claims():
    result = gallery_result(GalleryFiles(), Path(), "epoch 1", GalleryJob(["conv1"], "val", 16))
    assert (list(result.claims), list(result.tables)) == ([], [])
