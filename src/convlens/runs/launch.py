"""Processes of an analysis: start as many as ``trainer.devices`` and ``trainer.num_nodes`` say, and stop together."""

import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType

import torch.distributed
from lightning.fabric import Fabric
from omegaconf import DictConfig
from torch import nn

from convlens.errors import InputError
from convlens.runs.loopback import loopback


class Processes:
    """Context manager that starts the other processes of a job, each of which runs the same command.

    Args:
        cfg: the composed configuration; its ``trainer`` says how many processes there are and on which devices.

    Attributes:
        rank: number of this process, from 0.
        world_size: number of processes.
    """

    def __init__(self, cfg: DictConfig) -> None:
        devices, nodes = cfg.trainer.devices, cfg.trainer.get("num_nodes", 1)
        single = devices == 1 and nodes == 1
        self._fabric = Fabric(
            accelerator=cfg.trainer.accelerator, devices=devices, num_nodes=nodes, strategy="auto" if single else "ddp"
        )
        self.rank, self.world_size = 0, 1
        self._cfg, self._connection = cfg, ExitStack()

    def __enter__(self) -> "Processes":
        """Start the other processes."""
        self._connection.enter_context(loopback(self._cfg))
        self._fabric.launch()
        self.rank, self.world_size = self._fabric.global_rank, self._fabric.world_size
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Wait for the other processes, unless there was an error, and close the connection to them."""
        with self._connection:
            if torch.distributed.is_initialized():
                if error is None:
                    self.barrier()
                torch.distributed.destroy_process_group()

    @contextmanager
    def stop_together(self) -> Iterator[None]:
        """Stop quietly when another process has stopped: that one has printed the reason.

        Raises:
            InputError: the communication with another process broke off.
        """
        try:
            yield
        except RuntimeError as error:
            if self.world_size > 1 and _is_of_communication(error):
                raise InputError("another process stopped, for the reason that it gives") from error
            raise

    def place(self, net: nn.Module) -> nn.Module:
        """Move a network to the device of this process."""
        return net.to(self._fabric.device)

    def barrier(self) -> None:
        """Wait until all processes are here."""
        self._fabric.barrier()


def _is_of_communication(error: BaseException) -> bool:
    """Return whether an error was raised in a collective operation, of whose backends not all have error types."""
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    return any(str(frame.f_globals.get("__name__")).startswith("torch.distributed") for frame in frames)
