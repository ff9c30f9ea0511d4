"""Likeness of a map's pictures, on pictures with planted structure and on noise (claims 5 and 6)."""

import itertools

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from convlens.analysis.galleries.grouping import Grouping, measure_grouping
from convlens.analysis.galleries.similarity import pairs_across, phase_randomized, similarity, spectra
from convlens.stats.estimates import mean_of
from convlens.stats.rules import RULES
from convlens.stats.verdicts import decide


def smooth(count: int, side: int, width: float, rng: np.random.Generator) -> Tensor:
    """Unrelated pictures of noise, smoothed by a Gaussian, cut out of larger ones."""
    margin = int(4 * width) + 1
    noise = gaussian_filter(rng.standard_normal((count, 3, side + 2 * margin, side + 2 * margin)), (0, 0, width, width))
    return torch.from_numpy(noise[..., margin:-margin, margin:-margin].astype(np.float32))


def noisy_maps(maps: int, count: int, side: int, rng: np.random.Generator) -> list[Tensor]:
    """Maps of unrelated noise, each with a smoothness of its own: the counter-example to the plain AUC."""
    return [smooth(count, side, float(np.exp(rng.uniform(np.log(0.5), np.log(3)))), rng) for _ in range(maps)]


def planted(maps: int, count: int, side: int, rng: np.random.Generator, strength: float) -> list[Tensor]:
    """Noise of one smoothness, with a small picture of the map's own at a random place in each."""
    found = []
    for _ in range(maps):
        pictures = smooth(count, side, 1.0, rng)
        scale = pictures.std()
        own = smooth(1, side // 2, 1.0, rng)[0] / scale
        for picture in pictures:
            picture /= scale
            y, x = rng.integers(0, side // 4, 2) + side // 8
            picture[:, y : y + side // 2, x : x + side // 2] += strength * own
        found.append(pictures)
    return found


def verdict(found: Grouping, number: int = 5) -> str:
    values = found.auc - found.null_auc if number == 5 else found.projections - found.patches
    return decide(RULES[number], mean_of(values))


def literal_auc(spectrum: list[Tensor], number: int) -> float:
    own = spectrum[number]
    across = pairs_across(spectrum, number)
    wins = [
        1.0 if value > other else 0.5 if value == other else 0.0
        for value in (
            similarity(own[i : i + 1], own[j : j + 1])[0] for i, j in itertools.combinations(range(len(own)), 2)
        )
        for other in across
    ]
    return float(np.mean(wins))


def test_the_statistics_are_the_literal_ones():
    rng = np.random.default_rng(0)
    maps, patches = noisy_maps(3, 4, 8, rng), [100 + 20 * pictures for pictures in noisy_maps(3, 4, 8, rng)]
    found = measure_grouping(maps, patches, seed=5)
    generator = torch.Generator().manual_seed(5)
    own = [spectra(pictures) for pictures in maps]
    null = [phase_randomized(spectrum, generator) for spectrum in own]
    for number in range(3):
        assert found.auc[number] == pytest.approx(literal_auc(own, number))
        assert found.null_auc[number] == pytest.approx(literal_auc(null, number))
        for values, pictures in ((found.projections, maps), (found.patches, patches)):
            shown = (
                pictures[number]
                if pictures is maps
                else pictures[number] - pictures[number].mean((1, 2, 3), keepdim=True)
            )
            likeness = [
                similarity(spectra(shown[i : i + 1]), spectra(shown[j : j + 1])).item()
                for i, j in itertools.combinations(range(4), 2)
            ]
            assert values[number] == pytest.approx(np.mean(likeness), abs=1e-5)


def test_unrelated_noise_of_different_smoothness_is_not_of_one_kind():
    """The plain AUC against one half would find it so in most runs."""
    rng = np.random.default_rng(1)
    runs = 25
    verdicts, plain = [], 0
    for run in range(runs):
        maps = noisy_maps(16, 9, 16, rng)
        found = measure_grouping(maps, maps, seed=run)
        verdicts.append(verdict(found))
        plain += mean_of(found.auc).low > 0.5
    assert plain > 0.6 * runs
    assert verdicts.count("supports") <= 0.07 * runs


@pytest.mark.slow
@pytest.mark.parametrize(("maps", "side"), [(48, 16), (16, 27)])
def test_nor_is_it_with_as_many_maps_as_a_network_has(maps, side):
    rng = np.random.default_rng(2)
    runs = 60
    verdicts = []
    for run in range(runs):
        pictures = noisy_maps(maps, 9, side, rng)
        verdicts.append(verdict(measure_grouping(pictures, pictures, seed=run)))
    assert verdicts.count("supports") <= 0.07 * runs


def test_pictures_with_a_part_in_common_are_of_one_kind():
    rng = np.random.default_rng(3)
    found = [measure_grouping(maps, maps) for maps in (planted(8, 6, 16, rng, 2.0) for _ in range(5))]
    assert [verdict(one) for one in found] == ["supports"] * 5


def test_pictures_that_are_less_alike_than_others_are_not():
    """A map's pictures share nothing, but each has a twin in all other maps."""
    rng = np.random.default_rng(4)
    parts = smooth(4, 12, 1.0, rng)
    maps = [parts + 0.3 * smooth(4, 12, 1.0, rng) for _ in range(20)]
    assert verdict(measure_grouping(maps, maps)) == "refutes"


def test_projections_vary_less_than_patches_where_they_do():
    rng = np.random.default_rng(5)
    alike, unlike = planted(8, 6, 16, rng, 2.0), [smooth(6, 16, 1.0, rng) for _ in range(8)]
    assert verdict(measure_grouping(alike, unlike), 6) == "supports"
    assert verdict(measure_grouping(unlike, alike), 6) == "refutes"
    assert verdict(measure_grouping(unlike, [100 + 30 * pictures for pictures in unlike]), 6) == "no effect"
