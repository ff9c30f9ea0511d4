import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.loggers import Logger
from torch import Tensor

from convlens.data import ImageData, PartsImages
from convlens.nets.convnet import ConvNet
from convlens.nets.spec import LayerSpec
from convlens.systems import Classifier

SIZE = 24
TABLE = (
    LayerSpec("conv1", 6, kernel=5, stride=2, padding=1, pool=True, ceil_pool=True),
    LayerSpec("conv2", 8, kernel=3, padding=1),
    LayerSpec("fc6", 8),
)
DEAD = 3
"""A map of conv2 that no image activates."""


class Sketchbook(Logger):
    """Keeps all that it is given, in order."""

    name, version = "sketchbook", ""

    def __init__(self) -> None:
        super().__init__()
        self.entries: list[tuple[str, Any]] = []

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        pass

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.entries.append(("metrics", dict(metrics)))

    def log_image(self, key: str, images: list[Any], step: int | None = None, **kwargs: Any) -> None:
        self.entries.append((key, {"images": images, **kwargs}))

    def log_table(self, key: str, columns: list[str], data: list[list[Any]], step: int | None = None) -> None:
        self.entries.append((key, {"columns": columns, "data": data}))

    def under(self, key: str) -> list[tuple[float, Any]]:
        """Everything of a key, with the epoch that was said last before."""
        epoch, found = 0.0, []
        for name, entry in self.entries:
            if name == "metrics":
                epoch = entry.get("epoch", epoch)
            elif name == key:
                found.append((epoch, entry))
        return found


@dataclass(frozen=True)
class Run:
    folder: Path
    net: ConvNet
    data: ImageData
    trainer: L.Trainer
    sketches: Sketchbook
    dead: int = DEAD

    def net_before(self) -> ConvNet:
        """The network before its training."""
        return tiny_net().eval()

    def net_of(self, epoch: int) -> ConvNet:
        """The network as it was, from its snapshot."""
        net = tiny_net()
        state = torch.load(self.folder / "checkpoints" / f"epoch_{epoch:03d}.ckpt", weights_only=True)["state_dict"]
        net.load_state_dict({key.removeprefix("net."): v for key, v in state.items() if key.startswith("net.")})
        return net.eval()

    @torch.no_grad()
    def peaks(self, epoch: int, layer: str, split: str, limit: int | None = None) -> Tensor:
        """Greatest value of each map in each image [n, maps] by the network of an epoch, one image at a time."""
        net, dataset = self.net_of(epoch), self.data.dataset(split, "centre", limit)
        rows = []
        for index in range(len(dataset)):
            x = dataset[index][0][None]
            for name in net.steps[: net.steps.index(layer) + 1]:
                x = net.get_submodule(name)(x)
            rows.append(x[0].flatten(1).max(1).values)
        return torch.stack(rows)


def tiny_net() -> ConvNet:
    torch.manual_seed(0)
    net = ConvNet(TABLE, num_classes=12, input_size=SIZE, dropout=0.5, init="he")
    with torch.no_grad():
        net.get_submodule("conv2.filter").bias[DEAD] = -1e4
    return net


@pytest.fixture(scope="session")
def train(tmp_path_factory):
    """Trains the tiny network with callbacks and loggers."""
    cache = tmp_path_factory.mktemp("cache")

    def run(callbacks=(), *, epochs: int = 4, loggers=(), folder: Path | None = None, **options) -> Run:
        folder = folder or tmp_path_factory.mktemp("run")
        data = ImageData(
            PartsImages(train=60, test=12), cache_dir=cache, image_size=SIZE, batch_size=16, std=64.0, val_share=0.2
        )
        net, sketches = tiny_net(), Sketchbook()
        system = Classifier(net, functools.partial(torch.optim.SGD, lr=0.05, momentum=0.9))
        trainer = L.Trainer(
            accelerator="cpu",
            max_epochs=epochs,
            logger=[sketches, *(make(folder) for make in loggers)],
            callbacks=list(callbacks),
            default_root_dir=folder,
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=any(isinstance(c, L.pytorch.callbacks.Checkpoint) for c in callbacks),
            num_sanity_val_steps=2,
            **options,
        )
        trainer.fit(system, datamodule=data)
        return Run(folder, net, data, trainer, sketches)

    return run
