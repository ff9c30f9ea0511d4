"""LightningModule that trains a classifier: loss, errors, optimizer, learning rate schedule, mean over test views."""

import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import lightning as L
import numpy as np
import torch
from jaxtyping import Float, Int64
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from torchmetrics import MeanMetric

from convlens.errors import InputError
from convlens.metrics import MeanClassAccuracy, TopKError
from convlens.nets import renormalize_filters
from convlens.systems.backbone import freeze, parameter_groups
from convlens.systems.batch_share import batch_share
from convlens.systems.mid_epoch_state import MidEpochState
from convlens.systems.random_draws import whole_batch
from convlens.systems.whole_batch import WholeBatch


class _TestBatch(NamedTuple):
    """Indices, labels, the five best classes and the probabilities of a batch's images."""

    indices: Int64[Tensor, " n"]
    labels: Int64[Tensor, " n"]
    best: Int64[Tensor, "n k"]
    probabilities: Float[Tensor, "n classes"]


class Classifier(L.LightningModule):
    """Cross-entropy training with errors and accuracy in percent; views of an image are averaged by softmax.

    Logs the loss, top-1 and top-5 error of each split, and of all but ``train`` the mean class accuracy, as
    ``split/name``. Split ``train_eval`` holds training images that are evaluated as the test images are.

    Batches are ``(images, labels)`` or ``(images, labels, indices)``; images are [n, c, h, w] or, for testing on
    several views, [n, views, c, h, w]. The random numbers of an epoch (dropout) depend on the seed and the epoch alone,
    not on the number of processes that share the images, and checkpoints within an epoch hold them and its metrics: a
    resumed run ends with the numbers of an uninterrupted one.

    Args:
        net: the network.
        optimizer: makes the optimizer from the parameters.
        scheduler: makes the learning rate schedule from the optimizer; ``total_steps`` is given if it takes it, and a
            plateau schedule watches the validation error. None keeps the learning rate.
        max_filter_rms: conv filters whose RMS exceeds this are scaled back after each step (Sec. 3); None for none.
        seed: seed of the run.
        backbone: names of pretrained parameters; the others are new.
        backbone_lr_scale: factor of the backbone's learning rate; 0 freezes it and its batch normalization statistics.
        compile: whether to compile the network at its first use (``torch.compile``).
        channels_last: whether weights and images are laid out with the channels last.
    """

    def __init__(
        self,
        net: nn.Module,
        optimizer: Callable[..., torch.optim.Optimizer],
        scheduler: Callable[..., LRScheduler] | None = None,
        *,
        max_filter_rms: float | None = None,
        seed: int = 0,
        backbone: Sequence[str] = (),
        backbone_lr_scale: float = 1.0,
        compile: bool = False,
        channels_last: bool = False,
    ) -> None:
        super().__init__()
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        self.net = net.to(memory_format=self.layout) if channels_last else net
        if compile:
            net.compile()  # in place, which keeps the names of weights
        self.backbone, self.backbone_lr_scale = tuple(backbone), backbone_lr_scale
        if not backbone_lr_scale:
            freeze(net, self.backbone)
        self.make_optimizer, self.make_scheduler = optimizer, scheduler
        self.max_filter_rms, self.seed = max_filter_rms, seed
        self._epoch_scheduler: LRScheduler | None = None
        self._restored_scheduler: dict[str, Any] | None = None
        self._mid_epoch = MidEpochState()
        self._resumed = False
        self._whole_batch: WholeBatch | None = None
        self.eval_split = "test"
        self._tested: list[_TestBatch] = []
        self.metrics = nn.ModuleDict()
        for split in ("train", "val", "test", "train_eval"):
            metrics: dict[str, nn.Module] = {f"top{k}_error": TopKError(k) for k in (1, 5)}
            metrics["loss"] = MeanMetric(nan_strategy=math.nan)  # a NaN loss makes the mean NaN
            if split != "train":
                metrics["mean_class_accuracy"] = MeanClassAccuracy()
            self.metrics[f"{split}_split"] = nn.ModuleDict(metrics)  # ModuleDict has an attribute named train

    def forward(self, images: Tensor) -> Tensor:
        """Return class scores [n, classes]; for several views [n, views, c, h, w], the log of the mean softmax."""
        if images.dim() == 4:
            return self.net(images.contiguous(memory_format=self.layout))
        scores = self.net(images.flatten(0, 1).contiguous(memory_format=self.layout)).unflatten(0, images.shape[:2])
        # Log of the mean probability, computed so that probabilities that underflow do not make the loss infinite.
        return scores.log_softmax(2).logsumexp(1) - math.log(images.shape[1])

    def on_train_batch_start(self, batch: Sequence[Tensor], batch_idx: int) -> None:
        """Seed the epoch's random numbers, or restore them in the middle of an epoch.

        This cannot happen at the start of the epoch: iterators of loaders draw a number, after it in a resumed run's
        first epoch.
        """
        self._resumed = self._mid_epoch.ranks is not None and batch_idx > 0
        if batch_idx == 0:
            torch.manual_seed(((self.seed + 1) * 1_000_003 + self.current_epoch) * 1_009)
        elif self._resumed:
            self._mid_epoch.restore(self.metrics["train_split"], self.global_rank)
        self._mid_epoch.ranks = None

    def _step(
        self, batch: Sequence[Tensor], batch_idx: int, split: str, counted: int | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the mean loss and the scores, and update the metrics with the first ``counted`` images."""
        images, labels = batch[0], batch[1]
        scores = self(images)
        loss = F.cross_entropy(scores, labels)
        shown, labels = scores.detach()[:counted], labels[:counted]
        for name, metric in self.metrics[f"{split}_split"].items():  # type: ignore[operator]
            if name == "loss":
                metric.update(loss.detach(), len(labels))
            else:
                metric.update(shown, labels)
            # Lightning keeps the metric: logging it again at each step would take time and change nothing.
            if batch_idx == 0 or self._resumed:
                in_bar = (split, name) == ("val", "top1_error")
                self.log(f"{split}/{name}", metric, on_step=False, on_epoch=True, prog_bar=in_bar)
        return loss, scores

    def training_step(self, batch: Sequence[Tensor], batch_idx: int) -> Tensor:
        """Return the loss of a batch, weighted by its share in a step of accumulated batches."""
        share = batch_share(self.trainer, batch_idx, len(batch[1]))
        if share.world_size == 1:
            return self._step(batch, batch_idx, "train")[0] * share.weight
        batch = [part[: share.rows] for part in batch]
        if self._whole_batch is None:
            images = batch[0].contiguous(memory_format=self.layout)
            self._whole_batch = whole_batch(share, self.net, images)
        self._whole_batch.share = share
        with self._whole_batch:
            return self._step(batch, batch_idx, "train", share.own)[0] * share.weight

    def validation_step(self, batch: Sequence[Tensor], batch_idx: int) -> None:
        """Update the metrics with a batch."""
        self._step(batch, batch_idx, "val")

    def test_step(self, batch: Sequence[Tensor], batch_idx: int) -> None:
        """Update the metrics with a batch, over all its views, and keep its predictions."""
        scores = self._step(batch, batch_idx, self.eval_split)[1]
        best = scores.topk(min(5, scores.shape[1]), dim=1).indices  # also if all probabilities underflow to 0
        indices = self._indices(batch)
        self._tested.append(_TestBatch(indices, batch[1].cpu(), best.cpu(), scores.softmax(1).cpu()))

    def _indices(self, batch: Sequence[Tensor]) -> Int64[Tensor, " n"]:
        """Return the images' indices: those of the batch, or every ``world_size``-th one from this rank's on."""
        if len(batch) > 2:
            return batch[2].cpu()
        before = sum(len(tested.labels) for tested in self._tested)
        return torch.arange(before, before + len(batch[1])) * self.trainer.world_size + self.trainer.global_rank

    def on_test_start(self) -> None:
        """Discard the predictions of an earlier test."""
        self._tested = []

    def predictions(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return the predictions of the last test, sorted by image; with several ranks, all of them must call this.

        Returns:
            Indices [n], labels [n], the five best classes [n, 5], best first, and probabilities [n, classes].
        """
        arrays = [torch.cat(parts) for parts in zip(*self._tested, strict=True)]
        world_size = self.trainer.world_size
        if world_size > 1:
            gathered: list[list[Tensor]] = [[] for _ in range(world_size)]
            torch.distributed.all_gather_object(gathered, arrays)
            arrays = [torch.cat(parts) for parts in zip(*gathered, strict=True)]
        order = arrays[0].argsort(stable=True)
        indices, labels, best, probabilities = (array[order] for array in arrays)
        return indices.numpy(), labels.numpy(), best.numpy(), probabilities.float().numpy()

    def on_train_epoch_end(self) -> None:
        """Log the 1-based epoch, which is the axis of every chart, and the learning rate; step a per-epoch schedule.

        Lightning would step the schedule after the epoch's checkpoint is written, so that a run resumed from it would
        miss a step.
        """
        self.log("epoch", float(self.current_epoch + 1))
        self.log("lr", self.trainer.optimizers[0].param_groups[0]["lr"])
        if isinstance(self._epoch_scheduler, ReduceLROnPlateau):
            if "val/top1_error" in self.trainer.callback_metrics:
                self._epoch_scheduler.step(self.trainer.callback_metrics["val/top1_error"])
        elif self._epoch_scheduler is not None:
            self._epoch_scheduler.step()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the per-epoch schedule's state, the backbone's parameter names and the state within the epoch."""
        checkpoint["backbone"] = list(self.backbone)
        checkpoint["within_epoch"] = self._mid_epoch.gather(self.metrics["train_split"], self.trainer.world_size)
        if self._epoch_scheduler is not None:
            checkpoint["epoch_scheduler"] = self._epoch_scheduler.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Read the per-epoch schedule's state and the state within the epoch."""
        self._restored_scheduler = checkpoint.get("epoch_scheduler")
        self._mid_epoch = MidEpochState(checkpoint.get("within_epoch"))

    def on_fit_start(self) -> None:
        """Restore the per-epoch schedule of a resumed run."""
        if self._epoch_scheduler is not None and self._restored_scheduler is not None:
            self._epoch_scheduler.load_state_dict(self._restored_scheduler)

    def on_validation_epoch_end(self) -> None:
        """Log the 1-based epoch."""
        self.log("epoch", float(self.current_epoch + 1))

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, with the backbone's share of the learning rate, then scale back the filters that grew too large."""
        groups = self.trainer.optimizers[0].param_groups
        rates = [group["lr"] for group in groups]
        # During the step only: schedules read and set the learning rate of the new layers.
        for group in groups:
            group["lr"] *= group.get("lr_scale", 1)
        try:
            super().optimizer_step(*args, **kwargs)
        finally:
            for group, rate in zip(groups, rates, strict=True):
                group["lr"] = rate
        if self.max_filter_rms is not None:
            renormalize_filters(self.net, self.max_filter_rms)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return the optimizer and a schedule that counts steps; this module steps per-epoch schedules itself.

        Raises:
            InputError: the optimizer or the schedule cannot be made from its settings.
        """
        make, place = self.make_scheduler, "recipe.optimizer"
        counts_steps = make is not None and "total_steps" in inspect.signature(make).parameters
        steps = {"total_steps": int(self.trainer.estimated_stepping_batches)} if counts_steps else {}
        try:
            optimizer = self.make_optimizer(parameter_groups(self.net, self.backbone, self.backbone_lr_scale))
            if make is None:
                return optimizer
            place = "recipe.scheduler"
            scheduler = make(optimizer, **steps)
        except (TypeError, ValueError) as error:
            raise InputError(f"{place} cannot be made from its settings: {error}") from error
        if counts_steps:
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
        self._epoch_scheduler = scheduler
        return optimizer
