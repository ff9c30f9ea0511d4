"""Time of a training step: ``Classifier`` under Lightning with idle default callbacks against a bare PyTorch loop."""

import json
import statistics
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from time import process_time

import lightning as L
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from convlens.nets import zfnet
from convlens.runs.compose import register_resolvers
from convlens.runs.conf_files import conf_dir
from convlens.runs.lightning_logging import quiet_lightning
from convlens.systems import Classifier
from tests.bench.timing import in_a_process, row

STEPS, WARM_UP, BATCH, SIZE, WIDTH = 80, 5, 64, 64, 0.5


def network() -> nn.Module:
    """Return the network with the same weights for both."""
    torch.manual_seed(0)
    return zfnet(12, input_size=SIZE, width=WIDTH, init="he").train()


def sgd(parameters: Iterator[nn.Parameter]) -> torch.optim.Optimizer:
    """Return the same optimizer for both."""
    return torch.optim.SGD(parameters, lr=1e-3, momentum=0.9)


class InTurn:
    """Batches for Lightning; between two of its steps, the bare loop trains on the same batch."""

    def __init__(self) -> None:
        self.net = network()
        self.optimizer = sgd(self.net.parameters())
        self.ours: list[float] = []
        self.reference: list[float] = []

    def __len__(self) -> int:
        return STEPS

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        generator = torch.Generator().manual_seed(0)
        for _ in tqdm(range(STEPS), "training steps", leave=False, disable=None):
            images = torch.randn(BATCH, 3, SIZE, SIZE, generator=generator)
            labels = torch.randint(12, (BATCH,), generator=generator)
            start = process_time()
            self.bare_step(images, labels)
            middle = process_time()
            yield images, labels
            self.reference.append(middle - start)
            self.ours.append(process_time() - middle)

    def bare_step(self, images: Tensor, labels: Tensor) -> None:
        """Train on a batch as in a loop written by hand."""
        loss = F.cross_entropy(self.net(images), labels)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


class Data(L.LightningDataModule):
    """A data module of the batches, with the methods that drawing callbacks need."""

    def __init__(self, batches: InTurn) -> None:
        super().__init__()
        self.batches = batches

    def train_dataloader(self) -> InTurn:
        return self.batches

    def dataset(self, split: str) -> InTurn:
        return self.batches

    plain_dataloader = dataset


def usual(folder: Path) -> dict[str, list]:
    """Return the default callbacks, with epochs after the timed one, and the default logger."""
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        cfg = compose("config", [f"run_dir={folder}", "job_name=bench"])
    return {
        "callbacks": [instantiate(node, epochs=[1000]) for node in cfg.callbacks.values()],
        "logger": [instantiate(node) for node in cfg.logger.values()],
    }


def time_steps() -> list[float]:
    """Return the median CPU seconds of a step, ours and the bare one."""
    register_resolvers()
    quiet_lightning()
    batches = InTurn()
    with tempfile.TemporaryDirectory() as folder:
        trainer = partial(L.Trainer, **usual(Path(folder)), default_root_dir=folder, accelerator="cpu")
        quiet = {"enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
        system = Classifier(network(), sgd)
        trainer(max_epochs=1000, max_steps=STEPS, **quiet).fit(system, datamodule=Data(batches))
    return [statistics.median(times[WARM_UP:]) for times in (batches.ours, batches.reference)]


def run() -> list[dict]:
    """Return one row."""
    note = f"zfnet, {SIZE} px, width {WIDTH}, batch {BATCH}, median of {STEPS - WARM_UP} steps; CPU time of one thread"
    return [row("training step under Lightning", *in_a_process(__name__), 1.03, note, less_is_better=True)]


if __name__ == "__main__":
    print(json.dumps(time_steps()))
