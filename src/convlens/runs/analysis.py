"""The runner of analyses: open the directory, load the network, compute, write the result, log the answer."""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from convlens.runs.record import command_line
from convlens.runs.run_directory import open_run
from convlens.runs.subject import LoadedNetwork, load_network
from convlens.stats.claims import Claim
from convlens.stats.results import AnalysisResult

log = logging.getLogger(__name__)


def run_analysis(
    cfg: DictConfig,
    overrides: Sequence[str],
    task: str,
    folder: str,
    compute: Callable[[LoadedNetwork, Path], tuple[AnalysisResult, Iterable[str]]],
) -> int:
    """Run an analysis of one network.

    Args:
        cfg: the composed configuration.
        overrides: of the command.
        task: name of the task, for the record of a new directory.
        folder: name of the result's folder below ``results``.
        compute: takes the network and the folder, writes arrays and figures into the folder, and returns the result
            and the lines that state the answer.

    Returns:
        The exit code.
    """
    with open_run(cfg, overrides, task, folder) as run_dir:
        network = load_network(cfg, list(overrides))
        target = run_dir / "results" / folder
        started = time.monotonic()
        result, answer = compute(network, target)
        result.write(target, command_line(overrides), seconds=round(time.monotonic() - started, 1))
    log_answer(result, answer, target)
    return 0


def log_answer(result: AnalysisResult, answer: Iterable[str], folder: Path) -> None:
    """Log the answer in words, a line for each claim, and where the result was written."""
    for line in answer:
        log.info("%s", line)
    for claim in result.claims:
        log.info("%s", claim_line(claim))
    log.info("results in %s", folder)


def claim_line(claim: Claim) -> str:
    """Return one line for a claim: number, text, verdict, estimate and what it was tested on."""
    about = f", {claim.about}" if claim.about else ""
    unit = f" {claim.rule.unit}" if claim.rule.unit else ""
    return f"claim {claim.number} ({claim.statement.text}): {claim.verdict}, {claim.estimate}{unit}{about}"


def write_and_log(
    result: AnalysisResult, folder: Path, overrides: Sequence[str], answer: Iterable[str], **more: Any
) -> None:
    """Write a result that needs no network, such as a comparison of runs, and log its answer."""
    result.write(folder, command_line(overrides), **more)
    log_answer(result, answer, folder)
