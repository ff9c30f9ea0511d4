import numpy as np
import pytest

from convlens.stats.estimates import Estimate, mean_of
from convlens.stats.multiplicity import decided_together
from convlens.stats.rules import IMAGES, MIN_RUNS, MIN_UNITS, RULES, RUNS, Rule
from convlens.stats.statements import STATEMENTS
from convlens.stats.verdicts import (
    ARCHITECTURE,
    NO_EFFECT,
    OPEN,
    REFUTES,
    SUPPORTS,
    Control,
    decide,
    p_of_verdict,
    paired_control,
)

RULE = Rule("a statistic", IMAGES, 0.1)


def estimate(low: float, high: float, count: int = 20) -> Estimate:
    """An estimate with this interval by Student's t."""
    middle = (low + high) / 2
    return Estimate(middle, low, high, count, (high - low) / 2 / 2.09, 1.0, 19)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.2, 0.6, SUPPORTS),
        (-0.6, -0.2, REFUTES),
        (-0.2, 0.3, OPEN),
        (-0.05, 0.08, NO_EFFECT),
        (0.01, 0.09, NO_EFFECT),  # above zero, and smaller than the smallest effect of interest
        (0.01, 0.2, SUPPORTS),
        (-0.0001, -0.00001, NO_EFFECT),  # the output of shuffled weights never changes
    ],
)
def test_an_interval_decides(low, high, verdict):
    assert decide(RULE, estimate(low, high)) == verdict


def test_a_verdict_has_the_p_value_of_the_estimates_that_it_rests_on():
    clear, barely, below = estimate(0.4, 0.6), estimate(0.01, 0.6), estimate(-0.6, -0.2)
    p = {id(one): one.p_value(0.0) for one in (clear, barely, below)}
    assert p[id(clear)] < p[id(below)] < p[id(barely)]
    # supports: all of them
    assert p_of_verdict(SUPPORTS, RULE, clear, required=[(barely, 0.0)]) == p[id(barely)]
    assert p_of_verdict(SUPPORTS, RULE, clear, control=Control(below, barely)) == p[id(barely)]
    assert p_of_verdict(ARCHITECTURE, RULE, clear, control=Control(barely, below)) == p[id(barely)]
    # refutes: one of two, whatever the primary says
    assert p_of_verdict(REFUTES, RULE, barely, required=[(below, 0.0)]) == pytest.approx(2 * p[id(below)])
    unclear = estimate(-0.2, 0.3)
    assert p_of_verdict(OPEN, RULE, unclear, required=[(below, 0.0)]) == unclear.p_value(0.0)


def test_a_verdict_alone_is_kept_when_it_is_read_with_itself():
    rng, decided = np.random.default_rng(1), 0
    for _ in range(200):
        required = [(mean_of(rng.normal(rng.normal(0, 0.5), 1, 20)), 0.0) for _ in range(rng.integers(0, 4))]
        primary = mean_of(rng.normal(rng.normal(0, 0.5), 1, 20))
        control = Control(*(mean_of(rng.normal(0.3, 1, 20)) for _ in range(2))) if rng.random() < 0.5 else None
        verdict = decide(RULE, primary, required=required, control=control)
        if verdict in (SUPPORTS, REFUTES, ARCHITECTURE):
            decided += 1
            assert p_of_verdict(verdict, RULE, primary, required=required, control=control) <= 0.05 + 1e-9
    assert decided > 50


def test_too_few_units_decide_nothing():
    assert decide(RULE, estimate(0.2, 0.6, count=MIN_UNITS - 1)) == OPEN
    runs = Rule("a statistic", RUNS, 0.1)
    assert decide(runs, estimate(0.2, 0.6, count=MIN_RUNS)) == SUPPORTS
    assert decide(runs, estimate(0.2, 0.6, count=MIN_RUNS - 1)) == OPEN


def test_all_required_estimates_must_be_above():
    above, below, unclear = estimate(0.2, 0.6), estimate(-0.6, -0.2), estimate(-0.2, 0.3)
    assert decide(RULE, above, required=[(above, 0.0)]) == SUPPORTS
    assert decide(RULE, above, required=[(unclear, 0.0)]) == OPEN
    assert decide(RULE, above, required=[(below, 0.0)]) == REFUTES
    assert decide(RULE, above, required=[(unclear, -0.5)]) == SUPPORTS


def test_one_of_five_that_is_barely_below_does_not_refute():
    """Five null statistics would have one below in 12 % of the cases; Holm's correction asks it for p = 0.01."""
    barely = estimate(-0.42, -0.02)
    assert barely.p_value(0) == pytest.approx(0.033, abs=0.005)
    assert decide(RULE, barely) == REFUTES
    assert decide(RULE, estimate(0.2, 0.6), required=[(estimate(0.2, 0.6), 0.0)] * 3 + [(barely, 0.0)]) == OPEN


@pytest.mark.parametrize(
    ("control", "gain", "verdict"),
    [
        (estimate(-0.3, 0.2), estimate(0.1, 0.7), SUPPORTS),
        (estimate(0.2, 0.6), estimate(-0.2, 0.2), ARCHITECTURE),
        (estimate(0.2, 0.6), estimate(-0.9, -0.2), ARCHITECTURE),
        (estimate(0.2, 0.6), estimate(0.1, 0.7), SUPPORTS),  # it holds without training, and training adds to it
        (estimate(-0.3, 0.5), estimate(-0.1, 0.9), OPEN),  # nothing is known of the control
    ],
)
def test_the_control_network_is_part_of_the_verdict(control, gain, verdict):
    assert decide(RULE, estimate(0.2, 0.6), control=Control(control, gain)) == verdict


def test_a_control_does_not_help_a_claim():
    good = Control(estimate(0.2, 0.6), estimate(0.2, 0.6))
    assert decide(RULE, estimate(-0.6, -0.2), control=good) == REFUTES
    assert decide(RULE, estimate(-0.2, 0.4), control=good) == OPEN


def test_the_control_of_units_is_paired():
    rng = np.random.default_rng(0)
    own = rng.normal(1, 5, 30)
    found = paired_control(own, own - 0.5 + rng.normal(0, 0.01, 30))
    assert found.gain.value == pytest.approx(0.5, abs=0.01)
    assert found.gain.high - found.gain.low < 0.02
    assert paired_control(own, None) is None


def test_null_data_with_several_estimates_are_rarely_decided():
    rng = np.random.default_rng(1)
    verdicts = []
    for _ in range(400):
        drawn = [mean_of(rng.normal(size=20)) for _ in range(5)]
        verdicts.append(decide(Rule("a", IMAGES, 0.0), drawn[0], required=[(one, 0.0) for one in drawn[1:]]))
    assert sum(verdict != OPEN for verdict in verdicts) / 400 <= 0.07


def test_every_claim_of_the_paper_has_a_statement_and_a_rule():
    assert list(STATEMENTS) == list(RULES) == list(range(1, 27))
    for rule in RULES.values():
        assert rule.statistic
        assert rule.smallest_effect >= 0
        assert rule.command.startswith("convlens ")


def test_verdicts_are_read_together_by_benjamini_and_hochbergs_procedure():
    # By hand, of four: 0.01 <= 0.05 / 4, 0.02 <= 0.05 * 2 / 4, 0.04 > 0.05 * 3 / 4, 0.9.
    assert decided_together([0.04, 0.01, None, 0.9, 0.02, float("nan")]) == [False, True, False, False, True, False]
    assert decided_together([]) == []
    assert decided_together([0.04]) == [True]
