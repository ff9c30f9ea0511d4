"""The paper's transfer scores against its printed tables."""

import numpy as np
import pytest

from convlens.stats.paper_transfer import (
    BO,
    PRETRAINED,
    SCRATCH,
    SYSTEMS_6,
    TABLE_6,
    TABLE_7,
    fixed_baseline,
    paper_classes,
    paper_curves,
    paper_row,
    paper_score,
)


def test_the_papers_numbers_are_those_of_its_tables():
    assert str(paper_score("caltech-101", "layer5", "svm", 30)) == "86.2 ± 0.8"
    assert str(paper_score("caltech-256", "fc7", "softmax", 60)) == "72.6 ± 0.1"
    assert paper_score("caltech-101", "layer5", "svm", 15) is paper_score("parts", "layer5", "svm", 30) is None
    assert str(paper_row("caltech-101 with background", "paper, pretrained", "softmax", 15)) == "83.8 ± 0.5"
    assert str(paper_row("caltech-256", "paper, from scratch", "softmax", 60)) == "38.8 ± 1.4"
    assert paper_row("caltech-256", "paper, from scratch", "svm", 60) is None
    assert (len(TABLE_7), len(PRETRAINED), len(SCRATCH), len(BO)) == (2, 14, 6, 5)


def test_other_systems_stand_beside_every_probe():
    for probe in ("svm", "softmax"):
        assert str(paper_row("caltech-256", "Bo et al. 2013", probe, 60)) == "55.2 ± 0.3"
        assert str(paper_row("caltech-256", "Sohn et al. 2011", probe, 15)) == "35.1"
        assert str(paper_row("caltech-101", "Yang et al. 2009", probe, 15)) == "73.2"
    assert paper_row("caltech-101", "Bo et al. 2013", "svm", 15) is None  # Table 4 has no number


def test_six_images_are_the_fewest_that_beat_the_dashed_line_of_figure_9():
    curve = paper_curves("caltech-256")["paper, pretrained"]
    name, goal = fixed_baseline("caltech-256 with background")
    assert min(size for size, score in curve.items() if score.mean > goal) == 6
    assert goal == BO["caltech-256", 60].mean
    assert "Bo" in name
    assert {str(curve[size]) for size in (15, 30, 45, 60)} == {"65.7 ± 0.2", "70.6 ± 0.2", "72.7 ± 0.4", "74.2 ± 0.3"}
    assert fixed_baseline("parts") is None
    assert paper_curves("parts") == {}
    assert set(paper_curves("caltech-101")) == {
        *("paper, pretrained", "paper, from scratch", "Bo et al. 2013", "Yang et al. 2009"),
    }


def test_table_6_has_the_means_that_it_prints():
    means = np.mean(list(TABLE_6.values()), axis=0)
    assert means[3] == pytest.approx(79.0, abs=0.05)
    assert means[:2] == pytest.approx([74.03, 82.33], abs=0.005)  # it prints 74.3 and 82.2: two cells are misprinted
    classes = paper_classes("voc2012", ["cat", "aeroplane"])
    assert list(classes) == list(SYSTEMS_6)
    assert classes["softmax, paper"].tolist() == [91.2, 96.0]
    assert classes["Yan et al. 2012"].tolist() == [89.3, 97.3]
    assert paper_classes("voc2007", ["cat"]) == {}
