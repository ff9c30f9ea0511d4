"""The connection between processes of one machine: they listen on the loopback interface only."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from lightning.fabric.plugins.environments import SLURMEnvironment
from omegaconf import DictConfig
from torch.distributed import TCPStore

_ADDRESS = "127.0.0.1"
_INTERFACES = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")
_STORE = ("MASTER_ADDR", "MASTER_PORT")


@contextmanager
def loopback(cfg: DictConfig) -> Iterator[None]:
    """Let the processes that a job starts find each other on the loopback interface, if there is one node.

    Torch's own store would listen on all interfaces, and gloo and NCCL on that of the host's name. What the environment
    says (``MASTER_ADDR``, ``MASTER_PORT``, ``GLOO_SOCKET_IFNAME``, ``NCCL_SOCKET_IFNAME``) is kept, and restored
    afterwards.

    Args:
        cfg: the composed configuration; its ``trainer`` says how many processes there are.
    """
    nodes = cfg.trainer.get("num_nodes", 1)
    if nodes > 1 or cfg.trainer.devices == 1:
        yield
        return
    before = {name: os.environ.get(name) for name in (*_INTERFACES, *_STORE)}
    interface = next((name for _, name in socket.if_nameindex() if name.startswith("lo")), None)
    for name in _INTERFACES:
        if interface is not None:
            os.environ.setdefault(name, interface)
    store = None
    if not any(name in os.environ for name in (*_STORE, "LOCAL_RANK")) and not SLURMEnvironment.detect():
        server = socket.create_server((_ADDRESS, 0))
        port = server.getsockname()[1]
        # The process group of this process finds the store by its port, instead of starting one of its own.
        store = TCPStore(
            _ADDRESS, port, is_master=True, wait_for_workers=False, multi_tenant=True, master_listen_fd=server.detach()
        )
        os.environ |= {"MASTER_ADDR": _ADDRESS, "MASTER_PORT": str(port)}
    try:
        yield
    finally:
        del store
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
