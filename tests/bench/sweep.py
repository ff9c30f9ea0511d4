"""Time of a sweep of forty finished jobs, and overhead of Lightning's strategy for several processes with one."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import lightning as L
from hydra import compose, initialize_config_dir

from convlens.runs.compose import register_resolvers
from convlens.runs.conf_files import conf_dir
from convlens.runs.lightning_logging import quiet_lightning
from convlens.runs.naming import job_name
from convlens.runs.record import recorded
from convlens.systems import Classifier
from tests.bench.timing import in_a_process, row
from tests.bench.training_step import Data, InTurn, network, sgd

JOBS, MOST = 40, 10.0
GIVEN = ["experiment=ablation", "model=alexnet", "ablation=none"]


def finished(root: Path) -> None:
    """Make the directories that the sweep would leave."""
    register_resolvers()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        for seed in range(JOBS):
            name = job_name([*GIVEN, f"seed={seed}"], "zfnet", "parts")
            cfg = compose("config", [*GIVEN, f"seed={seed}", f"job_name={name}", f"run_dir={root / name}"])
            with recorded(root / name, cfg, "train", "convlens"):
                (root / name / "metrics.json").write_text("{}")


def resume() -> float:
    """Return the seconds that the command takes; the median of three."""
    with tempfile.TemporaryDirectory() as folder:
        finished(Path(folder))
        command = [sys.executable, "-m", "convlens.cli.main", "-m", *GIVEN, f"seed=range(0,{JOBS})"]
        times = []
        for _ in range(3):
            start = time.perf_counter()
            done = subprocess.run(
                [*command, f"output_root={folder}"], capture_output=True, text=True, check=True, env=os.environ
            )
            times.append(time.perf_counter() - start)
            assert f"{JOBS} jobs: {JOBS} skipped" in done.stdout, done
    return statistics.median(times)


def steps() -> list[float]:
    """Return the CPU time of a step relative to a bare loop, with the strategies for several processes and for one."""
    quiet_lightning()
    found = []
    for strategy in ("ddp", "auto"):
        batches = InTurn()
        quiet = {"enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
        trainer = L.Trainer(accelerator="cpu", devices=1, strategy=strategy, max_epochs=1, logger=False, **quiet)
        trainer.fit(Classifier(network(), sgd), datamodule=Data(batches))
        ratios = [ours / bare for ours, bare in zip(batches.ours, batches.reference, strict=True)]
        found.append(statistics.median(ratios[5:]))
    return found


def run() -> list[dict]:
    """Return two rows of the table."""
    note = f"ours is the command, the reference the {MOST:g} seconds it may take"
    rows = [row(f"a finished sweep of {JOBS} jobs", resume(), MOST, 1.0, note, less_is_better=True)]
    note = "each as a multiple of a bare loop's step, in turn; gloo, CPU time of one thread"
    return [*rows, row("a step under DDP, one process", *in_a_process(__name__), 1.05, note, less_is_better=True)]


if __name__ == "__main__":
    print(json.dumps(steps()))
