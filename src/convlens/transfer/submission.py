"""Submission files of the VOC devkit: for each class a file with the score of each image of a list (Table 6)."""

from collections.abc import Callable, Sequence
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from convlens.io.atomic import write_bytes
from convlens.io.claims import remove_own
from convlens.io.names import name_bytes
from convlens.transfer.dataset import Submission, TransferDataset
from convlens.transfer.grid import ProbeConfig
from convlens.transfer.probes.fit import fit_probe
from convlens.transfer.probes.normalize import NormalizedFeatures
from convlens.transfer.score_table import ScoreTable
from convlens.transfer.targets import Targets

COMPETITION = "comp1"
"""The devkit's name of the classification task; it asks to rename files to comp2 if other images were trained on."""


def submission_scores(
    features: Float[Tensor, "n d"], targets: Targets, submission: Submission, probe: str, C: float, config: ProbeConfig
) -> Float[Tensor, "m classes"]:
    """Return the scores of a probe that is fitted to the submission's training images.

    Args:
        features: a layer's features of all images.
        targets: classes of all images; those of the submission's images are not read.
        submission: images to fit to and images to score.
        probe: name of the probe.
        C: its regularization constant.
        config: normalization of the features.

    Returns:
        Scores by which the images are ranked for each class; of a softmax the logarithms of the probabilities.
    """
    train, rows = submission.train, submission.rows
    used = train.new_tensor(sorted({*train.tolist(), *rows.tolist()}))
    normalized = NormalizedFeatures(features, used, config.normalize, train, len(train))
    fitted = fit_probe(probe, normalized.design(train), targets.for_probe(probe, train), C)
    scores = fitted.scores(normalized.inputs(rows, train))
    return scores.log_softmax(1) if probe == "softmax" else scores


def write_submission(
    folder: Path, submission: Submission, class_names: Sequence[str], scores: Float[Tensor, "m classes"]
) -> list[Path]:
    """Write ``comp1_cls_<list>_<class>.txt`` for each class: a line with the image's identifier and score.

    Args:
        folder: folder of the files; earlier ones are removed.
        submission: the images.
        class_names: names of the classes.
        scores: scores of the images for each class.

    Returns:
        The files.
    """
    for earlier in folder.glob(f"{COMPETITION}_cls_*.txt"):
        remove_own(earlier)
    paths = []
    for name, column in zip(class_names, scores.T.tolist(), strict=True):
        lines = (f"{image} {score:.9g}\n" for image, score in zip(submission.images, column, strict=True))
        paths.append(folder / f"{COMPETITION}_cls_{submission.part}_{name}.txt")
        write_bytes(paths[-1], name_bytes("".join(lines)))
    return paths


def submit(
    folder: Path,
    read: Callable[[str], Float[Tensor, "n d"]],
    table: ScoreTable,
    dataset: TransferDataset,
    config: ProbeConfig,
) -> list[Path]:
    """Fit the chosen layer and probe to all of a submission's training images and write its files.

    Args:
        folder: folder of the files.
        read: returns a layer's features of all images.
        table: scores of the fits, of which `ScoreTable.chosen` names layer and probe, and the first fold has its C.
        dataset: the images, with a submission.
        config: settings of the fits.
    """
    assert dataset.submission is not None
    chosen = table.chosen()
    C = table.results[chosen][0].C
    scores = submission_scores(read(chosen.layer), dataset.targets, dataset.submission, chosen.probe, C, config)
    return write_submission(folder, dataset.submission, dataset.class_names, scores)
