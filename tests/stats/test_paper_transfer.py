"""The paper's transfer scores against its printed tables."""

import numpy as np
import pytest

from convlens.stats.paper_transfer import PRETRAINED, SCRATCH, TABLE_6, TABLE_7, paper_classes, paper_row, paper_score


def test_the_papers_numbers_are_those_of_its_tables():
    assert paper_score("caltech-101", "layer5", "svm", 30) == "86.2 ± 0.8"
    assert paper_score("caltech-256", "fc7", "softmax", 60) == "72.6 ± 0.1"
    assert paper_score("caltech-101", "layer5", "svm", 15) == paper_score("parts", "layer5", "svm", 30) == ""
    assert paper_row("caltech-101 with background", "pretrained", "softmax", 15) == "83.8 ± 0.5"
    assert paper_row("caltech-256", "from scratch", "softmax", 60) == "38.8 ± 1.4"
    assert paper_row("caltech-256", "from scratch", "svm", 60) == ""
    assert (len(TABLE_7), len(PRETRAINED), len(SCRATCH)) == (2, 6, 6)
    assert np.mean(list(TABLE_6.values())) == pytest.approx(79.0, abs=0.05)  # the mean that Table 6 prints
    classes = paper_classes("voc2012", ["cat", "aeroplane"])
    assert classes is not None
    assert classes.tolist() == [91.2, 96.0]
    assert paper_classes("voc2007", ["cat"]) is None
