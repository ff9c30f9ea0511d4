"""Training of a classifier; the network is known by its interface only: images in, class scores out."""

import inspect
import math
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import ReduceLROnPlateau

from convlens.errors import InputError
from convlens.metrics import MeanClassAccuracy, TopKError, WeightedMean
from convlens.nets import renormalize_filters
from convlens.systems.mid_epoch_state import MidEpochState, share_of_step


class Classifier(L.LightningModule):
    """Cross-entropy training with errors and accuracy in percent; ten-crop images are averaged by softmax.

    What is logged of each split: the loss, top-1 and top-5 error; of val and test also the mean over the classes of
    their accuracy. A test is of the test images, or, where ``tested`` is ``seen``, of images that were trained on.

    Batches are ``(images, labels)``, or these and the images' numbers; images are [n, c, h, w] or, for testing on
    several views, [n, views, c, h, w].
    The random numbers of an epoch (dropout) depend on the seed and the epoch alone, and checkpoints within an epoch
    keep them and its measures: a run that was killed and continued ends with the numbers of one that was not.

    Args:
        net: the network.
        optimizer: makes the optimiser from the parameters.
        scheduler: makes the learning rate schedule from the optimiser; ``total_steps`` is filled in where it is asked
            for, a plateau schedule watches the validation error.
        max_filter_rms: conv filters whose RMS exceeds this are scaled back after each step (paper, section 3).
        seed: of the run.
        backbone: names of the parameters that were trained before; the others are new.
        backbone_lr_scale: what the learning rate of the backbone is multiplied by; 0 freezes it, with the statistics
            of its batch normalisation.
        compile: whether the network is compiled when it is first used (``torch.compile``).
        channels_last: whether weights and images are laid out with the channels last.
    """

    def __init__(
        self,
        net: nn.Module,
        optimizer: Callable[[Any], torch.optim.Optimizer],
        scheduler: Callable[..., Any] | None = None,
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
            net.compile()  # in place: names of weights stay
        self.backbone, self.backbone_lr_scale = tuple(backbone), backbone_lr_scale
        if not backbone_lr_scale:
            freeze(net, self.backbone)
        self.make_optimizer, self.make_scheduler = optimizer, scheduler
        self.max_filter_rms, self.seed = max_filter_rms, seed
        self._epoch_scheduler: Any = None
        self._restored_scheduler: dict[str, Any] | None = None
        self._within = MidEpochState()
        self._resumed = False
        self.tested = "test"
        self._predicted: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
        self.measures = nn.ModuleDict()
        for split in ("train", "val", "test", "seen"):
            measures: dict[str, nn.Module] = {f"top{k}_error": TopKError(k) for k in (1, 5)}
            measures["loss"] = WeightedMean()
            if split != "train":
                measures["mean_class_accuracy"] = MeanClassAccuracy()
            self.measures[f"{split}_split"] = nn.ModuleDict(measures)  # a module's own name is train

    def forward(self, images: Tensor) -> Tensor:
        """Class scores [n, classes]; for several views [n, views, c, h, w], log of the mean softmax."""
        if images.dim() == 4:
            return self.net(images.contiguous(memory_format=self.layout))
        scores = self.net(images.flatten(0, 1).contiguous(memory_format=self.layout)).unflatten(0, images.shape[:2])
        # Not the log of a mean: a probability that underflows in all views would make the loss infinite.
        return scores.log_softmax(2).logsumexp(1) - math.log(images.shape[1])

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Make the epoch's random numbers a function of the seed and the epoch.

        Not at the epoch's start: iterators of loaders draw a number, in a continued run's first epoch after that.
        """
        self._resumed = self._within.kept is not None and batch_idx > 0
        if batch_idx == 0:
            torch.manual_seed(((self.seed + 1) * 1_000_003 + self.current_epoch) * 1_009 + self.global_rank)
        elif self._resumed:
            self._within.restore(self.measures["train_split"], self.global_rank)
        self._within.kept = None

    def _step(self, batch: Sequence[Tensor], batch_idx: int, split: str) -> tuple[Tensor, Tensor]:
        images, labels = batch[0], batch[1]
        scores = self(images)
        loss = F.cross_entropy(scores, labels)
        for name, metric in self.measures[f"{split}_split"].items():  # type: ignore[operator]
            if name == "loss":
                metric.update(loss.detach(), len(labels))
            else:
                metric.update(scores.detach(), labels)
            # Lightning keeps the metric itself: to name it again at each step would change nothing and take time.
            if batch_idx == 0 or self._resumed:
                in_bar = (split, name) == ("val", "top1_error")
                self.log(f"{split}/{name}", metric, on_step=False, on_epoch=True, prog_bar=in_bar)
        return loss, scores

    def training_step(self, batch: Sequence[Tensor], batch_idx: int) -> Tensor:
        """Loss of a batch, by its share in the step of the optimiser where several batches make one."""
        return self._step(batch, batch_idx, "train")[0] * share_of_step(self.trainer, batch_idx, len(batch[1]))

    def validation_step(self, batch: Sequence[Tensor], batch_idx: int) -> None:
        """Loss and errors of a batch."""
        self._step(batch, batch_idx, "val")

    def test_step(self, batch: Sequence[Tensor], batch_idx: int) -> None:
        """Loss and errors of a batch, over all its views."""
        scores = self._step(batch, batch_idx, self.tested)[1]
        best = scores.topk(min(5, scores.shape[1]), dim=1).indices  # where probabilities are all zero, too
        self._predicted.append((self._numbers(batch), batch[1].cpu(), best.cpu(), scores.softmax(1).cpu()))

    def _numbers(self, batch: Sequence[Tensor]) -> Tensor:
        """The images' numbers: what the batch says, or every so-manieth from this process's own on."""
        if len(batch) > 2:
            return batch[2].cpu()
        before = sum(len(labels) for _, labels, _, _ in self._predicted)
        return torch.arange(before, before + len(batch[1])) * self.trainer.world_size + self.trainer.global_rank

    def on_test_start(self) -> None:
        """Forget the predictions of an earlier test."""
        self._predicted = []

    def predictions(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Of the last test, by the number of the image: numbers [n], labels [n], the five best classes [n, 5], best
        first, and probabilities [n, classes].

        With several processes, each of which tested some of the images, all of them have to call this.
        """
        found = [torch.cat(parts) for parts in zip(*self._predicted, strict=True)]
        count = self.trainer.world_size
        if count > 1:
            shares: list[Any] = [None] * count
            torch.distributed.all_gather_object(shares, found)
            found = [torch.cat(parts) for parts in zip(*shares, strict=True)]
        order = found[0].argsort(stable=True)
        numbers, labels, best, probabilities = (part[order] for part in found)
        return numbers.numpy(), labels.numpy(), best.numpy(), probabilities.float().numpy()

    def on_train_epoch_end(self) -> None:
        """Log the 1-based epoch, which is the axis of every chart, and the learning rate; step a per-epoch schedule.

        Lightning steps such schedules after the epoch's checkpoint is written, so that a run continued from it would
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
        """Keep the per-epoch schedule's state, which parameters are the backbone, and within an epoch what it did."""
        checkpoint["backbone"] = list(self.backbone)
        checkpoint["within_epoch"] = self._within.gathered(self.measures["train_split"], self.trainer.world_size)
        if self._epoch_scheduler is not None:
            checkpoint["epoch_scheduler"] = self._epoch_scheduler.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the per-epoch schedule up again, and what was done of an epoch."""
        self._restored_scheduler = checkpoint.get("epoch_scheduler")
        self._within = MidEpochState(checkpoint.get("within_epoch"))

    def on_fit_start(self) -> None:
        """Put a continued run's schedule where it was."""
        if self._epoch_scheduler is not None and self._restored_scheduler is not None:
            self._epoch_scheduler.load_state_dict(self._restored_scheduler)

    def on_validation_epoch_end(self) -> None:
        """Log the 1-based epoch."""
        self.log("epoch", float(self.current_epoch + 1))

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, the backbone by its share of the learning rate, then scale back the filters that grew too large."""
        groups = self.trainer.optimizers[0].param_groups
        rates = [group["lr"] for group in groups]
        # Around the step only: what schedules read and set is the rate of the new layers.
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
        """Optimiser and schedule; schedules that count steps are Lightning's to step, per-epoch ones ours."""
        try:
            optimizer = self.make_optimizer(self._parameters_to_train())
        except (TypeError, ValueError) as error:
            raise InputError(f"the optimizer cannot be made from its settings: {error}") from error
        if self.make_scheduler is None:
            return optimizer
        counts_steps = "total_steps" in inspect.signature(self.make_scheduler).parameters
        given = {"total_steps": int(self.trainer.estimated_stepping_batches)} if counts_steps else {}
        scheduler = self.make_scheduler(optimizer, **given)
        if counts_steps:
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
        self._epoch_scheduler = scheduler
        return optimizer

    def _parameters_to_train(self) -> Iterator[nn.Parameter] | list[dict[str, Any]]:
        """All parameters; or two groups, the new ones and the backbone with its share of the learning rate."""
        if self.backbone_lr_scale == 1:
            return self.net.parameters()
        named = dict(self.net.named_parameters())
        new = [p for name, p in named.items() if name not in self.backbone]
        groups: list[dict[str, Any]] = [{"params": new, "lr_scale": 1.0}]
        if self.backbone_lr_scale:
            trained = [p for name, p in named.items() if name in self.backbone]
            groups.append({"params": trained, "lr_scale": self.backbone_lr_scale})
        return groups


def freeze(net: nn.Module, names: Collection[str]) -> None:
    """Parameters of these names are not trained, and modules of batch normalisation that hold them not updated."""
    for name, parameter in net.named_parameters():
        if name in names:
            parameter.requires_grad_(False)
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and not any(
            p.requires_grad for p in module.parameters()
        ):
            module.eval()
