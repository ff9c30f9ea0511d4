"""The training of a classifier, from the first epoch or from a checkpoint, and the test that ends it."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import LambdaCallback
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig
from torch import nn

from convlens.callbacks.at_epochs import AtEpochs
from convlens.callbacks.checkpoints import BestCheckpoint, EpochCheckpoint, StepCheckpoint, WholeCheckpoints
from convlens.callbacks.progress import RunProgress
from convlens.data import ImageData, ShardedData
from convlens.errors import InputError
from convlens.io.json_files import write_json
from convlens.io.locks import check_parts
from convlens.io.rank import is_rank_zero
from convlens.nets.weights import load_weights, read_checkpoint
from convlens.ops.layer_access import check_outputs
from convlens.runs.evaluation import evaluate_best
from convlens.runs.foreign_results import check_results
from convlens.runs.init_weights import PretrainedInit, load_pretrained
from convlens.runs.lightning_logging import quiet_lightning
from convlens.runs.loopback import loopback
from convlens.runs.mended_checkpoints import mend_checkpoints
from convlens.runs.record import check_same, command_line, is_finished, recorded
from convlens.runs.replacement import discard, set_aside
from convlens.runs.run_config import flat, plain
from convlens.runs.subject import build_data_and_net, instantiate, save_mean_image
from convlens.systems import Classifier

log = logging.getLogger(__name__)
OUTPUTS = ("checkpoints", "results/test", "results/train_eval")
DRAWINGS = ("results/projections", "results/evolution", "results/filters")
"""The folders of a run that a training and its callbacks write to."""


def train(cfg: DictConfig, overrides: Sequence[str]) -> None:
    """Train a classifier, test its best epoch and write ``metrics.json``.

    Raises:
        InputError: settings do not work together; this is found before anything is written or removed.
    """
    quiet_lightning()
    run_dir = Path(cfg.run_dir)
    if cfg.checkpoint_every is not None and "root" not in cfg.data:
        raise InputError("checkpoint_every is for data=shards, which resume within an epoch: leave it null for others")
    with deterministic(), loopback(cfg):
        data, net, pretrained = build(cfg)
        check_devices(cfg, data)
        begin = partial(begin_in, run_dir, cfg, data)
        classes = {"num_classes": data.num_classes, "class_names": list(data.class_names)}
        with recorded(run_dir, cfg, "train", command_line(overrides), begin=begin, about=classes) as needed:
            if not needed:
                log.info("%s was finished meanwhile: reused", run_dir)
                return
            writes = is_rank_zero()  # before Lightning, at the end, takes the number of processes from the environment
            metrics = fit_and_test(cfg, run_dir, data, net, pretrained)
            if writes:
                write_json(run_dir / "metrics.json", metrics)
    log.info(
        "test top-1 error %.2f %%, top-5 error %.2f %%; results in %s",
        metrics["test/top1_error"],
        metrics["test/top5_error"],
        run_dir,
    )


@contextmanager
def deterministic() -> Iterator[None]:
    """Use deterministic algorithms of torch; warn where there is none."""
    before = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warn_only)


def begin_in(run_dir: Path, cfg: DictConfig, data: ImageData | ShardedData) -> bool:
    """Return whether there is anything to train, while no other process works in the directory.

    Damaged checkpoints are mended, after all checks. With ``force``, an earlier run's files are set aside; they are
    removed after the first step of the new one.

    Raises:
        InputError: the directory holds a run with other settings, or another process works on an analysis of the run
            that would be replaced.
    """
    if cfg.force:
        data.setup("fit")
        if is_rank_zero():
            check_parts(run_dir)
            check_results(run_dir, *OUTPUTS, *(DRAWINGS if cfg.callbacks else ()))
            set_aside(run_dir)
        return True
    if is_rank_zero():
        check_same(run_dir, cfg)
        check_results(run_dir, *OUTPUTS, *(DRAWINGS if cfg.callbacks else ()))
    if is_finished(run_dir):
        return False
    if is_rank_zero():
        mend_checkpoints(run_dir)
    return True


def build(cfg: DictConfig) -> tuple[ImageData | ShardedData, nn.Module, PretrainedInit]:
    """Build the data and the network with the weights that the training starts from.

    Raises:
        InputError: the network does not fit the data, or the weights do not fit the network.
    """
    L.seed_everything(cfg.seed, workers=True, verbose=False)
    data, net = build_data_and_net(cfg)
    pretrained = load_pretrained(cfg, net, data.num_classes)
    if cfg.model.weights:
        load_weights(net, Path(cfg.model.weights).expanduser())
    check_scores(net, data)
    return data, net, pretrained


def check_devices(cfg: DictConfig, data: ImageData | ShardedData) -> None:
    """Check that each process will have images, before any other process starts.

    Raises:
        InputError: there are more processes than images.
    """
    devices = cfg.trainer.devices
    per_node = devices if isinstance(devices, int) else len(devices) if not isinstance(devices, str) else 1
    count = per_node * cfg.trainer.get("num_nodes", 1)
    if count <= 1:
        return
    if isinstance(data, ImageData):
        counts = {name: len(split.rows) for name, split in data.splits().items()}
    else:
        counts = dict(data.metadata["counts"])
    split, images = min(((name, number) for name, number in counts.items() if number), key=lambda item: item[1])
    if images < count:
        raise InputError(f"{count} processes for {images} {split} images: use at most {images} devices")


def check_scores(net: nn.Module, data: ImageData | ShardedData) -> None:
    """Check that the network takes the images and has a score for each class.

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
    cfg: DictConfig, run_dir: Path, data: ImageData | ShardedData, net: nn.Module, pretrained: PretrainedInit
) -> dict[str, float | int | None]:
    """Train from the last checkpoint, if any, and test the best epoch; loggers are closed after errors too."""
    data.setup("fit")
    if cfg.data.mean == "train" and is_rank_zero():
        save_mean_image(run_dir, data)
    system: Classifier = instantiate(cfg.system, net=net, backbone=pretrained.loaded)
    if pretrained.message:
        log.info("%s", pretrained.message)
    callbacks = _callbacks(cfg, run_dir)
    loggers: list[Logger] = [instantiate(node) for node in cfg.logger.values()]
    failed = True
    try:
        trainer: L.Trainer = instantiate(
            cfg.trainer, callbacks=callbacks, logger=loggers, default_root_dir=str(run_dir)
        )
        trainer.strategy.checkpoint_io = WholeCheckpoints()
        for logger in loggers:
            logger.log_hyperparams(flat(plain(cfg)))
        last = run_dir / "checkpoints" / "last.ckpt"
        resumed = last.exists()
        if resumed:
            log.info("continuing %s %s", run_dir, progress_of(read_checkpoint(last)))
        trainer.fit(system, datamodule=data, ckpt_path=str(last) if resumed else None, weights_only=True)
        metrics = evaluate_best(trainer, system, data, run_dir)
        for logger in loggers:
            if hasattr(logger, "log_summary"):
                logger.log_summary(metrics)
        failed = False
    finally:
        close(loggers, failed)
    return metrics


def _callbacks(cfg: DictConfig, run_dir: Path) -> list[L.Callback]:
    """Return the callbacks of the configuration, with those for progress and checkpoints."""
    callbacks: list[L.Callback] = [instantiate(node) for node in cfg.callbacks.values()]
    for callback in callbacks:
        if isinstance(callback, AtEpochs):
            callback.epochs_of(cfg.trainer.max_epochs)  # raises for epochs outside of the run
    if is_rank_zero():
        callbacks.append(LambdaCallback(on_train_batch_end=partial(_discard_earlier, run_dir)))
    return [*callbacks, RunProgress(), *checkpoints(run_dir, cfg.checkpoint_every)]


def _discard_earlier(run_dir: Path, *arguments: object) -> None:
    """Remove the files of the run that was replaced, after the first batch; looked for once in an epoch."""
    if arguments[-1] == 0:
        discard(run_dir)


def checkpoints(run_dir: Path, every: int | None = None) -> list[L.Callback]:
    """Return callbacks that write the best and the last epoch, and with ``every`` also after so many steps.

    Each is a callback of its own, since Lightning's ``save_last`` writes only when the best epoch is written.
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


def progress_of(checkpoint: Mapping[str, Any]) -> str:
    """Return in words where a training continues from a checkpoint."""
    epoch = checkpoint["epoch"] + 1
    progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
    if progress["is_last_batch"]:
        return f"from epoch {epoch + 1}"
    return f"within epoch {epoch}, after {progress['current']['ready']} batches"


def close(loggers: Sequence[Logger], failed: bool) -> None:
    """Finish each logger, so that the next run of a sweep starts a new one, and report whether the run failed."""
    for logger in loggers:
        logger.finalize("failed" if failed else "success")
        if hasattr(logger, "finish"):
            logger.finish(failed)
