"""Time that projections at the paper's eight epochs add to a training run with default settings."""

import json
import statistics
import tempfile
from functools import partial
from time import process_time
from types import SimpleNamespace
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch.nn import functional as F

from convlens.runs.compose import register_resolvers
from convlens.runs.conf_files import conf_dir
from tests.bench.timing import in_a_process, row

STEPS, TIMES = 12, 3
EPOCHS_DRAWN = 8


def measure() -> list[float]:
    """Return the CPU seconds of a run with eight galleries, and of its training steps alone."""
    register_resolvers()
    with tempfile.TemporaryDirectory() as folder:
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            cfg = compose("config", [f"run_dir={folder}", "job_name=bench", f"cache_dir={folder}/cache"])
        data = instantiate(cfg.data)
        torch.manual_seed(0)
        net = instantiate(cfg.model.net, num_classes=data.num_classes)
        optimizer = torch.optim.SGD(net.parameters(), lr=1e-4)
        steps: list[float] = []
        loader = data.train_dataloader()
        for images, labels in loader:
            start = process_time()
            loss = F.cross_entropy(net.train()(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            steps.append(process_time() - start)
            if len(steps) == STEPS:
                break
        callback = instantiate(cfg.callbacks.projections)
        trainer: Any = SimpleNamespace(datamodule=data, loggers=[], default_root_dir=folder, global_step=0)
        act = partial(callback.act, trainer, SimpleNamespace(net=net.eval()))
        drawn = []
        for epoch in range(TIMES):
            start = process_time()
            act(epoch)
            drawn.append(process_time() - start)
        run = statistics.median(steps[2:]) * len(loader) * cfg.trainer.max_epochs
    return [run + EPOCHS_DRAWN * statistics.median(drawn), run]


def run() -> list[dict]:
    """Return one row."""
    note = "zfnet on parts, 64 px, 10 epochs of 3600 images; 8 times 16 maps of 5 layers over 400; CPU, one thread"
    return [row("run with projections at 8 epochs", *in_a_process(__name__), 1.10, note, less_is_better=True)]


if __name__ == "__main__":
    print(json.dumps(measure()))
