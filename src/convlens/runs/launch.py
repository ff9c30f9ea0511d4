"""Several processes for an analysis, as many as ``trainer.devices`` and ``trainer.num_nodes`` say."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

import torch.distributed
from lightning.fabric import Fabric
from omegaconf import DictConfig
from torch import nn

from convlens.errors import InputError


class Processes:
    """Starts the other processes, which run the same command, and brings them together.

    Attributes:
        process: number of this process, and how many there are.
    """

    def __init__(self, cfg: DictConfig) -> None:
        devices, nodes = cfg.trainer.devices, cfg.trainer.get("num_nodes", 1)
        alone = devices == 1 and nodes == 1
        self._fabric = Fabric(
            accelerator=cfg.trainer.accelerator, devices=devices, num_nodes=nodes, strategy="auto" if alone else "ddp"
        )
        self.process = (0, 1)

    def __enter__(self) -> "Processes":
        """Start them."""
        self._fabric.launch()
        self.process = (self._fabric.global_rank, self._fabric.world_size)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Part them; those that are well wait for each other first."""
        if torch.distributed.is_initialized():
            if error is None:
                self.together()
            torch.distributed.destroy_process_group()

    @contextmanager
    def of_one_mind(self) -> Iterator[None]:
        """Where another process stopped, this one stops without a word of its own: the other has said why.

        Raises:
            InputError: another process stopped.
        """
        try:
            yield
        except RuntimeError as error:
            if self.process[1] > 1 and any(word in str(error) for word in ("gloo", "Connection", "NCCL")):
                raise InputError("another process stopped, for the reason that it gives") from error
            raise

    def place(self, net: nn.Module) -> nn.Module:
        """The network on the device of this process."""
        return net.to(self._fabric.device)

    def together(self) -> None:
        """Wait for all."""
        self._fabric.barrier()
