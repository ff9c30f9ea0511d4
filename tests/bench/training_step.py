"""A training step of ``Classifier`` under Lightning, the default callbacks waiting, against a bare PyTorch loop."""

import itertools
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path

import lightning as L
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from convlens.nets import zfnet
from convlens.systems import Classifier
from convlens.tasks.dispatch import quiet_lightning
from convlens.tasks.main import conf_dir, register_resolvers
from tests.bench.timing import row

STEPS, ROUNDS, BATCH, SIZE, WIDTH = 16, 6, 64, 64, 0.5


class Clock(L.Callback):
    """Notes when each step ends."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_batch_end(self, *args: object, **kwargs: object) -> None:
        """Note the time."""
        self.ends.append(time.perf_counter())


def network() -> nn.Module:
    """The same start for both."""
    torch.manual_seed(0)
    return zfnet(12, input_size=SIZE, width=WIDTH, init="he")


def waiting(folder: Path) -> list[L.Callback]:
    """The callbacks of a usual run, with all their epochs past the one that is timed."""
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = compose("config", [f"run_dir={folder}", "job_name=bench"])
    return [instantiate(node, epochs=[1000]) for node in cfg.callbacks.values()]


def lightning_steps(batches: DataLoader, folder: Path) -> list[float]:
    """Seconds from the end of each step to the end of the next."""
    clock = Clock()
    system = Classifier(network(), partial(torch.optim.SGD, lr=1e-3, momentum=0.9))
    trainer = L.Trainer(
        max_epochs=1000,
        max_steps=STEPS,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
        callbacks=[*waiting(folder), clock],
    )
    trainer.fit(system, train_dataloaders=batches)
    return gaps(clock.ends)


def bare_steps(batches: DataLoader) -> list[float]:
    """The same work, written by hand."""
    net = network().train()
    optimizer = torch.optim.SGD(net.parameters(), lr=1e-3, momentum=0.9)
    ends = []
    for images, labels in batches:
        loss = F.cross_entropy(net(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        ends.append(time.perf_counter())
    return gaps(ends)


def gaps(ends: list[float]) -> list[float]:
    """Times between neighbours."""
    return [later - earlier for earlier, later in itertools.pairwise(ends)]


def run() -> list[dict]:
    """One row: medians over all steps of all rounds."""
    register_resolvers()
    quiet_lightning()
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(STEPS, BATCH, 3, SIZE, SIZE, generator=generator)
    labels = torch.randint(12, (STEPS, BATCH), generator=generator)
    batches = DataLoader(list(zip(images, labels, strict=True)), batch_size=None)
    ours: list[float] = []
    reference: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(ROUNDS + 1):
            here, there = lightning_steps(batches, Path(folder)), bare_steps(batches)
            if number:
                ours += here
                reference += there
    note = f"zfnet, {SIZE} px, width {WIDTH}, batch {BATCH}, median of {len(ours)} steps"
    times = statistics.median(ours), statistics.median(reference)
    return [row("training step under Lightning", *times, 1.03, note, less_is_better=True)]
