import json

import numpy as np
import pytest

from convlens.stats.claims import Claim, claim
from convlens.stats.estimates import Estimate, mean_of
from convlens.stats.verdicts import Control
from tests import claims_list


def test_a_claim_is_decided_by_its_rule():
    values = np.random.default_rng(0).normal(0.5, 0.1, 20)
    found = claim(17, mean_of(values), about="parts")
    assert (found.verdict, found.about) == ("supports", "parts")
    assert claim(17, mean_of(-values)).verdict == "refutes"
    assert claim(17, mean_of(values / 100)).verdict == "no effect"
    same = Control(mean_of(values), mean_of(values * 0 + np.resize([-0.1, 0.1], 20)))
    assert claim(17, mean_of(values), control=same).verdict == "architecture"


def test_a_claim_says_what_it_found_and_what_would_have_refuted_it():
    estimate = Estimate(0.9, 0.8, 1.0, 16, 0.05, 0.2, 15)
    found = Claim(5, "conv3", estimate, "supports", 1e-7, details={"patches": "0.6"})
    assert repr(found) == "Claim(5, conv3: supports, 0.900 (0.800 to 1.000))"
    content = found.as_json()
    json.dumps(content, allow_nan=False)
    assert content["claim"] == "the nine projections of a map are of one kind"
    assert content["estimate"] == "0.900 (0.800 to 1.000)"
    assert (content["value"], content["low"], content["high"], content["units"]) == (0.9, 0.8, 1.0, 16)
    assert content["effect_size"] == pytest.approx(4.5)
    assert content["p"] < 1e-6
    assert content["control"] == {"randomized weights": "not measured"}
    assert content["controls"] == {"patches": "0.6"}
    assert content["refuted_if"] == "two projections of one map are no more alike than two of different maps"


def test_unknown_numbers_are_null():
    content = claim(17, mean_of(np.array([0.5]))).as_json()
    json.dumps(content, allow_nan=False)
    assert content["p"] is content["low"] is content["effect_size"] is content["detectable"] is None
    assert content["verdict"] == "can't tell"


def test_a_number_without_a_claim_is_refused():
    with pytest.raises(ValueError, match="there is no claim 99"):
        Claim(99, "", mean_of(np.arange(6.0)), "supports")


def test_the_readme_lists_the_claims_as_they_are_decided():
    """`make map` writes the list."""
    assert claims_list.README.read_text().partition(claims_list.HEADING)[2] == claims_list.render()
