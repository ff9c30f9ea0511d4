"""The training of a classifier, from the first epoch or from where it stopped."""

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from omegaconf import DictConfig
from torch import nn

from convlens.callbacks.at_epochs import AtEpochs
from convlens.callbacks.checkpoints import BestCheckpoint, EpochCheckpoint, StepCheckpoint, WholeCheckpoints
from convlens.callbacks.progress import RunProgress
from convlens.data import ImageData, ShardedData
from convlens.errors import InputError
from convlens.io.atomic import first_process, write_json
from convlens.nets.weights import load_weights
from convlens.ops.layer_access import check_outputs
from convlens.runs.evaluation import test
from convlens.runs.init_weights import PretrainedInit, begin
from convlens.runs.lightning_logging import quiet_lightning
from convlens.runs.record import check_same, clear, command_line, flat, plain, recorded, status
from convlens.runs.subject import build_data_and_net, instantiate, save_mean_image
from convlens.runs.typed_settings import check_number
from convlens.systems import Classifier

log = logging.getLogger(__name__)


def train(cfg: DictConfig, overrides: list[str]) -> None:
    """Train, test the best epoch, write ``metrics.json``."""
    quiet_lightning()
    run_dir = Path(cfg.run_dir)
    check_number("checkpoint_every", cfg.checkpoint_every, 1, optional=True)
    if cfg.checkpoint_every is not None and not isinstance(cfg.data.get("root"), str):
        raise InputError("checkpoint_every is for data=shards, whose order is taken up again: others go on by epochs")
    # Before anything is written: settings that do not work must not touch a finished run.
    data, net, beginning = build(cfg)
    check_devices(cfg, data)
    begins = partial(begin_in, run_dir, cfg, data)
    with recorded(run_dir, cfg, "train", command_line(overrides), begin=begins) as needed:
        if not needed:
            log.info("%s was finished meanwhile: reused", run_dir)
            return
        metrics = fit_and_test(cfg, run_dir, data, net, beginning)
        if first_process():
            write_json(run_dir / "metrics.json", metrics)
    log.info(
        "test top-1 error %.2f %%, top-5 error %.2f %%; results in %s",
        metrics["test/top1_error"],
        metrics["test/top5_error"],
        run_dir,
    )


def begin_in(run_dir: Path, cfg: DictConfig, data: ImageData | ShardedData) -> bool:
    """When no other process works in the directory: whether there is anything to train. What is done anew is removed.

    Raises:
        InputError: it holds a run with other settings by now.
    """
    if cfg.force:
        data.setup("fit")  # images that cannot be read must not cost a finished run
        if first_process():
            clear(run_dir)
        return True
    if first_process():
        check_same(run_dir, cfg)
    return status(run_dir) != "finished"


def build(cfg: DictConfig) -> tuple[ImageData | ShardedData, nn.Module, PretrainedInit]:
    """Data and network, with the weights the run begins from, and where these came from."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    if not isinstance(cfg.seed, int) or not 0 <= cfg.seed < 2**32:
        raise InputError(f"seed={cfg.seed}: give a whole number from 0 to 4294967295")
    L.seed_everything(cfg.seed, workers=True, verbose=False)
    data, net = build_data_and_net(cfg)
    beginning = begin(cfg, net, data.num_classes)
    if cfg.model.weights:
        load_weights(net, Path(cfg.model.weights).expanduser())
    check_scores(net, data)
    return data, net, beginning


def check_devices(cfg: DictConfig, data: ImageData | ShardedData) -> None:
    """Make sure, before any other process starts, that each will have images.

    Raises:
        InputError: there are more processes than images, or a number is none.
    """
    for name in ("num_nodes", "accumulate_grad_batches"):
        if name in cfg.trainer:
            check_number(f"trainer.{name}", cfg.trainer[name], 1)
    devices = cfg.trainer.devices
    if isinstance(devices, int) and devices != -1:
        check_number("trainer.devices", devices, 1)
    several = len(devices) if isinstance(devices, Sequence) and not isinstance(devices, str) else devices
    count = several * cfg.trainer.get("num_nodes", 1) if isinstance(several, int) else 1
    if count > 1:
        if isinstance(data, ShardedData):
            counts = data.about["counts"]
        else:
            counts = {name: len(chosen.rows) for name, chosen in data.chosen().items()}
        split, images = min(((name, one) for name, one in counts.items() if one), key=lambda item: item[1])
        if images < count:
            raise InputError(f"{count} processes for {images} {split} images: use at most {images} devices")


def check_scores(net: nn.Module, data: ImageData | ShardedData) -> None:
    """Make sure that the network takes the images and has a score for each class.

    Raises:
        InputError: it does not.
    """
    images = torch.zeros(1, 3, data.image_size, data.image_size)
    scores = check_outputs(net, images, [None])[None]
    if len(scores) != 1 or scores[0] < data.num_classes:
        raise InputError(
            f"{type(net).__name__} gives {scores[0]} values for an image and the data have {data.num_classes} classes: "
            f"build it with that many outputs (model.net.num_classes={data.num_classes}, if it has that setting)"
        )


def fit_and_test(
    cfg: DictConfig, run_dir: Path, data: ImageData | ShardedData, net: nn.Module, beginning: PretrainedInit
) -> dict[str, Any]:
    """The work itself; loggers are closed whatever happens."""
    data.setup("fit")
    if isinstance(data, ImageData) and cfg.data.mean == "train" and first_process():
        save_mean_image(run_dir, data)
    system: Classifier = instantiate(cfg.system, net=net, backbone=beginning.loaded)
    if beginning.said:
        log.info("%s", beginning.said)
    callbacks = [instantiate(node) for node in cfg.callbacks.values() if "_target_" in node]
    for callback in callbacks:
        if isinstance(callback, AtEpochs):
            callback.epochs_of(cfg.trainer.max_epochs)
    loggers = [instantiate(node) for node in cfg.logger.values()]
    failed = True
    try:
        trainer = instantiate(
            cfg.trainer,
            callbacks=[*callbacks, RunProgress(), *checkpoints(run_dir, cfg.checkpoint_every)],
            logger=loggers,
            default_root_dir=str(run_dir),
        )
        trainer.strategy.checkpoint_io = WholeCheckpoints()
        for logger in loggers:
            logger.log_hyperparams(flat(plain(cfg)))
        last = run_dir / "checkpoints" / "last.ckpt"
        resumed = last.exists()
        if resumed:
            log.info("continuing %s %s", run_dir, place_of(torch.load(last, weights_only=True)))
        trainer.fit(system, datamodule=data, ckpt_path=str(last) if resumed else None, weights_only=True)
        metrics = test(trainer, system, data, run_dir)
        for logger in loggers:
            if hasattr(logger, "log_summary"):
                logger.log_summary(metrics)
        failed = False
    finally:
        close(loggers, failed)
    return metrics


def checkpoints(run_dir: Path, every: int | None = None) -> list[L.Callback]:
    """The best and the last epoch, and the last also within an epoch, ``every`` so many steps.

    Each has a callback of its own, since Lightning's ``save_last`` follows the best only.
    """
    shared: dict[str, Any] = {
        "dirpath": run_dir / "checkpoints",
        "enable_version_counter": False,
        "save_on_train_epoch_end": True,
        "auto_insert_metric_name": False,
    }
    best = BestCheckpoint(monitor="val/top1_error", mode="min", filename="best", **shared)
    last = EpochCheckpoint(monitor=None, filename="last", **shared)
    if every is None:
        return [best, last]
    return [best, last, StepCheckpoint(every, **shared)]


def place_of(checkpoint: dict[str, Any]) -> str:
    """Where a training goes on, in words."""
    epoch = checkpoint["epoch"] + 1
    progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
    if progress["is_last_batch"]:
        return f"from epoch {epoch + 1}"
    return f"within epoch {epoch}, after {progress['current']['ready']} batches"


def close(loggers: list[Any], failed: bool) -> None:
    """Finish each logger, so that the next run of a sweep begins a new one, and say whether the run failed."""
    for logger in loggers:
        logger.finalize("failed" if failed else "success")
        if hasattr(logger, "finish"):
            logger.finish(failed)
