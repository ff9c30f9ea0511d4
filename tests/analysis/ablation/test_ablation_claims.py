import numpy as np
import pytest

from convlens.analysis.ablation.claims import AblationErrors, ablation_claims


def drawn(error: float, seeds: int = 3, images: int = 400, seed: int = 0) -> dict[int, np.ndarray]:
    """Images that are wrong with this probability, those of smaller errors among those of greater ones."""
    return dict(enumerate(np.random.default_rng(seed).random((seeds, images)) < error))


PAPER = {
    "none": 0.405, "no_layers_3_4": 0.454, "no_layer_7": 0.40, "no_layers_6_7": 0.448, "no_layers_3_4_6_7": 0.713,
    "fc_2048": 0.417, "fc_8192": 0.40, "wide": 0.36, "wide_fc_8192": 0.383,
}  # fmt: skip
TRAIN = {"wide": 0.188, "wide_fc_8192": 0.10}


def errors_of(test: dict[str, float], train: dict[str, float] = TRAIN, share: float = 0.96) -> AblationErrors:
    errors = {
        name: {key: drawn(p, images=2000) for key, p in kind.items()} for name, kind in (("t", test), ("s", train))
    }
    return AblationErrors("alexnet", errors["t"], errors["s"], share)


def verdicts(test: dict[str, float], **others) -> dict[int, str]:
    return {claim.number: claim.verdict for claim in ablation_claims({"alexnet": errors_of(test, **others)}, "")}


def test_errors_as_in_the_paper_support_its_claims():
    networks = {"alexnet": errors_of(PAPER), "zfnet": errors_of({"none": 0.35})}
    assert {c.number: c.verdict for c in ablation_claims(networks, "")} == dict.fromkeys((20, 21, 22, 23), "supports")


@pytest.mark.parametrize(
    ("number", "change"),
    [
        (21, {"no_layers_3_4_6_7": 0.45}),  # less than the sum of the two
        (21, {"no_layers_3_4": 0.1, "no_layers_6_7": 0.1, "no_layers_3_4_6_7": 0.3}),  # more than the sum, but no cost
        (22, {"no_layers_6_7": 0.6}),
        (22, {"fc_8192": 0.25}),
        (23, {"wide": 0.5}),
    ],
)
def test_other_errors_refute_them(number, change):
    assert verdicts(PAPER | change)[number] == "refutes"


def test_few_parameters_in_dense_layers_refute_claim_22_and_a_gap_that_shrinks_claim_23():
    assert verdicts(PAPER, share=0.3)[22] == "refutes"
    assert verdicts(PAPER, train={"wide": 0.1, "wide_fc_8192": 0.25})[23] == "refutes"


def test_a_row_of_other_images_leaves_the_other_claims():
    some = errors_of(PAPER)
    test = some.test | {"wide": {0: some.test["wide"][0][:-1]}}
    found = ablation_claims({"alexnet": AblationErrors("alexnet", test, some.train_eval, 0.96)}, "")
    assert {claim.number for claim in found} == {21, 22}


def test_equal_networks_decide_nothing_and_missing_rows_are_passed_over():
    same = {"alexnet": errors_of({"none": 0.4}), "zfnet": errors_of({"none": 0.4})}
    assert {c.number: c.verdict for c in ablation_claims(same, "")} == {20: "can't tell"}
