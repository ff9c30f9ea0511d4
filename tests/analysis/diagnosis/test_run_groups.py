import pytest
import torch

from convlens.analysis.diagnosis.run_groups import (
    CLIP,
    DiagnosedNetwork,
    compared_clips,
    compared_strides,
    not_compared,
    run_groups,
)
from tests.analysis.diagnosis.planted import diagnosed


def runs(
    architecture: str, kernel: int, stride: int, seeds: int = 3, clip: float | None = None, **settings
) -> list[DiagnosedNetwork]:
    given = {"model.net.kernel": kernel, "recipe.max_epochs": 8, **settings}
    if clip is not None:
        given |= {CLIP: clip, "recipe.max_filter_rms": clip}
    filters = torch.ones(2, 1, kernel, kernel)
    return [
        diagnosed(seed, filters=filters, stride=stride, settings=given, architecture=architecture)
        for seed in range(seeds)
    ]


def counted(pair) -> list[str] | None:
    return pair and [group.counted for group in pair]


ALEXNET, ZFNET = runs("alexnet", 11, 4), runs("zfnet", 7, 2)


def test_runs_of_one_network_that_differ_in_the_seed_are_a_group():
    mixed = [*ALEXNET, *ZFNET, *runs("alexnet", 11, 4, 2, **{"recipe.max_epochs": 9}), *runs("wide", 11, 4, 1)]
    groups = run_groups(mixed)
    assert [group.counted for group in groups] == [
        *("alexnet 11x11/4 (3 runs)", "zfnet 7x7/2 (3 runs)"),
        *("alexnet 11x11/4 (2 runs)", "wide 11x11/4 (1 run)"),
    ]
    assert groups[0].found == [network.found for network in ALEXNET]


def test_a_run_counts_once_and_a_network_without_a_run_not_at_all():
    again = [*ALEXNET, *ALEXNET[:2], DiagnosedNetwork("mine", ALEXNET[0].found, "alexnet")]
    assert [group.counted for group in run_groups(again)] == ["alexnet 11x11/4 (3 runs)"]


def test_the_papers_layers_are_compared_and_the_others_named():
    groups = run_groups([*runs("alexnet", 7, 1), *ZFNET, *runs("alexnet", 11, 2), *ALEXNET])
    pair = compared_strides(groups)
    assert counted(pair) == ["alexnet 11x11/4 (3 runs)", "zfnet 7x7/2 (3 runs)"]
    assert not_compared(groups, pair) == "alexnet 7x7/1 (3 runs), alexnet 11x11/2 (3 runs)"


@pytest.mark.parametrize(
    ("networks", "expected"),
    [
        # The largest against the smallest stride, and the largest against the smallest kernel.
        (
            [*runs("a", 9, 3), *runs("a", 7, 1), *runs("a", 9, 2), *runs("a", 5, 1), *runs("a", 5, 3)],
            ["a 9x9/3 (3 runs)", "a 5x5/1 (3 runs)"],
        ),
        # Three runs a side before all else.
        ([*ALEXNET, *runs("zfnet", 7, 2, 1), *runs("a", 5, 3)], ["alexnet 11x11/4 (3 runs)", "a 5x5/3 (3 runs)"]),
        # Of two recipes the one that both networks were trained with; of two networks the same one.
        (
            [*runs("b", 11, 4, **{"recipe.lr": 1}), *ALEXNET, *runs("zfnet", 7, 2, **{"recipe.lr": 1}), *ZFNET[:2]],
            ["b 11x11/4 (3 runs)", "zfnet 7x7/2 (3 runs)"],
        ),
        ([*ALEXNET, *ZFNET, *runs("alexnet", 7, 2)], ["alexnet 11x11/4 (3 runs)", "alexnet 7x7/2 (3 runs)"]),
        ([*ALEXNET, *runs("wide", 11, 4)], None),
        (ALEXNET[:1], None),
        ([], None),
    ],
)
def test_the_choice_of_two_groups(networks, expected):
    assert counted(compared_strides(run_groups(networks))) == expected


def test_clipping_is_compared_within_one_network_and_recipe():
    groups = run_groups(
        [
            *runs("alexnet", 11, 4),
            *runs("zfnet", 7, 2, clip=0.1),
            *runs("alexnet", 11, 4, clip=0.1, **{"recipe.max_epochs": 9}),
        ]
    )
    assert compared_clips(groups) is None
    few, many = runs("alexnet", 11, 4, 2, clip=0.1), runs("alexnet", 11, 4, 4, clip=0.2)
    pair = compared_clips([*groups, *run_groups([*few, *many])])
    assert counted(pair) == ["alexnet 11x11/4 (3 runs)", "alexnet 11x11/4 (4 runs)"]
    assert pair[1].settings[CLIP] == 0.2
