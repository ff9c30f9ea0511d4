"""Verdicts of claims 8 and 9 on planted truths, planted falsehoods and null data."""

import numpy as np
import pytest

from convlens.analysis.evolution.claims import converged_after, convergence_claim, jump_claim
from convlens.analysis.evolution.convergence import Convergence
from convlens.analysis.evolution.jumps import Jumps
from convlens.stats.estimates import mean_of
from convlens.stats.rules import RULES
from convlens.stats.verdicts import decide

EPOCHS = np.arange(9)
NAN = float("nan")


def layer_of(reached: np.ndarray, epochs: np.ndarray = EPOCHS) -> Convergence:
    """A layer whose maps reach 0.95 at chosen epochs, in a line from the record before to the one after."""
    curves = np.minimum(0.95 + 0.05 * (epochs - np.array(reached, float)[:, None]) / np.diff(epochs)[-1], 1.0)
    curves[:, -1] = 1.0
    return Convergence(epochs, curves, curves.mean(0), np.full(curves.shape, NAN))


def layers_of(rng: np.random.Generator, means: list[float], maps: int = 16) -> dict[str, Convergence]:
    return {
        f"conv{number}": layer_of(np.clip(mean + 0.5 * rng.normal(size=maps), 0.3, 7.0))
        for number, mean in enumerate(means, 1)
    }


# ---- claim 8 ----------------------------------------------------------------------------------------------------


def test_the_share_of_the_training_by_hand():
    shares = converged_after(layer_of(np.array([2.0, 4.0, 6.0]), np.arange(0, 9, 2)))
    assert shares == pytest.approx([0.25, 0.5, 0.75])


def test_lower_layers_that_converge_first_support_it():
    found = convergence_claim(layers_of(np.random.default_rng(0), [1.5, 2.5, 4, 5, 6]))
    assert found.verdict == "supports"
    assert found.estimate.count == 80
    assert found.estimate.value > 0.8
    assert found.about == "conv1 to conv5, epochs up to 8"
    assert found.details["rank correlation of the layers' medians"] == "1.00 (5 layers)"
    assert found.details["conv1, share of the training (median of 16 maps)"] == "18 %"


def test_upper_layers_that_converge_first_refute_it():
    assert convergence_claim(layers_of(np.random.default_rng(1), [6, 5, 4, 2.5, 1.5])).verdict == "refutes"


def test_layers_that_converge_together_are_no_effect():
    same = layer_of(np.linspace(1, 7, 200))
    found = convergence_claim({f"conv{n}": same for n in range(3)})
    assert (found.verdict, found.estimate.value) == ("no effect", pytest.approx(0, abs=1e-9))
    equal = convergence_claim({f"conv{n}": layer_of(np.full(10, 4.0)) for n in range(3)})
    assert (equal.verdict, equal.estimate.value) == ("no effect", 0.0)


def test_maps_that_training_has_not_changed_do_not_count():
    """A frozen lower layer is at its final state at once: it has not converged, it has not learned."""
    rng = np.random.default_rng(4)
    frozen = Convergence(EPOCHS, np.ones((30, 9)), np.ones(9), np.ones((30, 9)))
    upper = layers_of(rng, [4, 4, 4])
    found = convergence_claim({"conv0": frozen, **upper})
    assert found.estimate.count == 48
    assert found.estimate.value == convergence_claim(upper).estimate.value
    assert convergence_claim({"conv0": frozen, "conv1": upper["conv1"]}) is None  # one layer has no depth


def test_dead_maps_do_not_count():
    layers = layers_of(np.random.default_rng(5), [2, 4, 6])
    layers["conv2"].correlation[:5] = NAN
    assert convergence_claim(layers).estimate.count == 43


def test_without_the_state_before_training_all_living_maps_count():
    epochs = np.array([1, 2, 5])
    curves = np.tile([0.97, 0.99, 1.0], (20, 1))  # never leaves 0.95: its first record
    late = np.tile([0.1, 0.4, 1.0], (20, 1))
    found = convergence_claim(
        {name: Convergence(epochs, rows, rows.mean(0), rows) for name, rows in (("conv1", curves), ("conv2", late))}
    )
    assert (found.verdict, found.estimate.count) == ("supports", 40)
    assert found.details["conv1, share of the training (median of 20 maps)"] == "20 %"


def test_too_few_epochs_or_maps_decide_nothing():
    rng = np.random.default_rng(6)
    assert convergence_claim({}) is None
    assert convergence_claim(layers_of(rng, [2, 6], maps=9)) is None  # 18 maps
    assert convergence_claim(layers_of(rng, [2, 6], maps=10)).verdict == "supports"
    two = {f"conv{n}": layer_of(np.full(20, 1.0 + n / 2), np.array([0, 1, 2])) for n in range(2)}
    assert convergence_claim(two) is None  # two epochs of training
    assert convergence_claim({"conv1": layer_of(np.full(20, 1.0), np.array([0, 1, 2, 3]))}) is None


def decided_by_depth_alone(units: int, count: int) -> float:
    """Share of decisions on maps that converge at random times; a rank correlation sees their order only."""
    rng, decided = np.random.default_rng(units), 0
    for _ in range(count):
        times = rng.permutation(np.linspace(0.5, 7.0, units))
        found = convergence_claim({f"conv{n}": layer_of(times[n::5]) for n in range(5)})
        decided += found is not None and found.verdict in ("supports", "refutes")
    return decided / count


@pytest.mark.parametrize("units", [6, 10])
def test_a_few_maps_never_decide_claim_8(units):
    assert decided_by_depth_alone(units, 20) == 0


def test_null_maps_seldom_decide_claim_8():
    assert decided_by_depth_alone(20, 60) <= 0.1


@pytest.mark.slow  # takes a minute: a jackknife of up to fifty maps, many times
@pytest.mark.parametrize(("units", "count"), [(20, 800), (50, 400)])
def test_null_maps_decide_claim_8_in_seven_percent_at_most(units, count):
    assert decided_by_depth_alone(units, count) <= 0.07


# ---- claim 9 ----------------------------------------------------------------------------------------------------


def training(rng: np.random.Generator, maps: int, effect: float, draw=None) -> Jumps:
    """Maps that change much and switch often early in the training, and add an effect where they switch."""
    pace = np.array([0.7, 0.5, 0.3, 0.1, 0.05])
    switched = rng.random((maps, 5)) < np.array([0.95, 0.8, 0.6, 0.4, 0.2])
    noise = draw or (lambda size: 0.03 * rng.normal(size=size))
    change = pace + noise((maps, 5)) + effect * switched
    return Jumps(switched, change, np.where(switched, pace + noise((maps, 5)), NAN))


def claim_of(rng: np.random.Generator, effect: float, maps: int = 6, layers: int = 4):
    first = training(rng, maps, 0.0)
    return jump_claim({"conv1": first} | {f"conv{n + 2}": training(rng, maps, effect) for n in range(layers)})


def test_projections_that_jump_with_the_image_support_it():
    found = claim_of(np.random.default_rng(0), 0.2)
    assert (found.verdict, found.about) == ("supports", "conv2, conv3, conv4, conv5")
    assert found.estimate.value == pytest.approx(0.2, abs=0.02)
    assert found.details["effect, conv1"].startswith(("0.0", "-0.0"))


def test_a_pace_that_slows_down_is_not_taken_for_an_effect_of_the_image():
    """Early epochs change more and switch more: changes with and without a switch differ, and not for the image."""
    found = claim_of(np.random.default_rng(1), 0.0, maps=30)
    with_switch, without = (
        float(found.details[name].split()[0])
        for name in ("change with another image", "change where the image is the same")
    )
    assert with_switch - without > 0.2
    assert found.verdict == "no effect"


def test_projections_that_would_change_more_with_the_former_image_refute_it():
    assert claim_of(np.random.default_rng(2), -0.1).verdict == "refutes"


def test_the_first_layer_does_not_count():
    rng = np.random.default_rng(3)
    upper = {f"conv{n}": training(rng, 6, 0.2) for n in (2, 3)}
    found = [jump_claim({"conv1": training(rng, 6, effect), **upper}).estimate for effect in (-0.5, 0.5)]
    assert found[0] == found[1]
    assert found[0].count == 12
    assert jump_claim({"conv2": upper["conv2"]}) is None
    assert jump_claim({}) is None


def test_maps_without_a_switch_do_not_count():
    rng = np.random.default_rng(4)
    one = training(rng, 8, 0.2)
    one.switched[:3] = False
    one.kept[:3] = NAN
    assert jump_claim({"conv1": one, "conv2": one}).estimate.count == 5


def test_five_maps_do_not_decide_claim_9():
    assert claim_of(np.random.default_rng(5), 0.3, maps=5, layers=1).verdict == "can't tell"
    assert claim_of(np.random.default_rng(5), 0.3, maps=6, layers=1).verdict == "supports"


def test_a_single_step_decides_nothing():
    one = Jumps(np.ones((8, 1), bool), np.full((8, 1), 0.9), np.full((8, 1), 0.1))
    assert jump_claim({"conv1": one, "conv2": one}) is None


def test_the_interval_is_over_maps():
    rng = np.random.default_rng(7)
    layers = {f"conv{n}": training(rng, 6, 0.1) for n in (1, 2, 3)}
    assert jump_claim(layers).estimate == mean_of(np.concatenate([layers["conv2"].effect, layers["conv3"].effect]))


@pytest.mark.parametrize("count", [40, pytest.param(2000, marks=pytest.mark.slow)])  # the latter take two minutes
@pytest.mark.parametrize("units", [6, 10, 20, 50])
@pytest.mark.parametrize("kind", ["normal", "exponential"])
def test_null_maps_seldom_decide_claim_9(units, kind, count):
    rng, decided = np.random.default_rng(0), 0
    draw = {"normal": rng.normal, "exponential": rng.exponential}[kind]
    for _ in range(count):
        effect = draw(size=units) - (kind == "exponential")
        one = Jumps(np.ones((units, 2), bool), np.stack([effect] * 2, 1), np.zeros((units, 2)))
        decided += decide(RULES[9], mean_of(one.effect)) in ("supports", "refutes")
    assert decided / count <= (0.07 if count > 100 else 0.15)
