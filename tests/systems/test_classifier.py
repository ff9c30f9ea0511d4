import copy
import functools
import math
import shutil

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from torch import nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import OneCycleLR, ReduceLROnPlateau, StepLR
from torch.utils.data import DataLoader, TensorDataset

from convlens.runs.training import checkpoints
from convlens.systems import Classifier

CLASSES, EPOCHS, BATCH = 7, 4, 8
SGD = functools.partial(torch.optim.SGD, lr=0.2, momentum=0.9, weight_decay=1e-3)


def small_net(dropout: float = 0.0) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten(), nn.Dropout(dropout),
        nn.Linear(64, CLASSES),
    )  # fmt: skip


def batches(count: int, seed: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(count, 3, 8, 8, generator=generator)
    labels = torch.randint(CLASSES, (count,), generator=generator)
    return [(images[i : i + BATCH], labels[i : i + BATCH]) for i in range(0, count, BATCH)]


def loader(data: list[tuple[torch.Tensor, torch.Tensor]]) -> DataLoader:
    return DataLoader(TensorDataset(*(torch.cat(parts) for parts in zip(*data, strict=True))), BATCH)


TRAIN, VAL = batches(36, 1), batches(20, 2)  # 5 steps an epoch, the last of a smaller batch


class Watch(Callback):
    """What each step used and each epoch logged."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.rms: list[float] = []
        self.logged: list[dict[str, float]] = []

    def on_train_batch_start(self, trainer, pl_module, *args):
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    def on_train_batch_end(self, trainer, pl_module, *args):
        convs = [m.weight for m in pl_module.net.modules() if isinstance(m, nn.Conv2d)]
        self.rms.append(max(float(w.detach().double().square().mean((1, 2, 3)).sqrt().max()) for w in convs))

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch:
            self.on_fit_end(trainer, pl_module)

    def on_fit_end(self, trainer, pl_module):
        self.logged.append({name: float(value) for name, value in trainer.logged_metrics.items()})


def fit(system: Classifier, tmp_path, *, val: bool = True, epochs: int = EPOCHS, **options) -> Watch:
    watch = Watch()
    trainer = L.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=options.pop("logger", False),
        callbacks=[watch, *options.pop("callbacks", [])],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=tmp_path,
        **options,
    )
    trainer.fit(system, loader(TRAIN), loader(VAL) if val else None)
    return watch


@torch.no_grad()
def clip_literally(net: nn.Module, radius: float) -> None:
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            for one in module.weight:
                rms = math.sqrt(float((one.double() ** 2).mean()))
                if rms > radius:
                    one.mul_(radius / rms)


def bare_loop(net: nn.Module, radius: float | None = None) -> list[dict[str, float]]:
    """The same training without a framework."""
    optimizer = SGD(net.parameters())
    rows = []
    for _ in range(EPOCHS):
        losses, wrong, wrong5 = 0.0, 0, 0
        for images, labels in TRAIN:
            optimizer.zero_grad()
            scores = net(images)
            loss = -F.log_softmax(scores, 1)[range(len(labels)), labels].mean()
            loss.backward()
            optimizer.step()
            if radius is not None:
                clip_literally(net, radius)
            losses += loss.item() * len(labels)
            ranks = [int((row > row[label]).sum()) for row, label in zip(scores, labels, strict=True)]
            wrong += sum(rank >= 1 for rank in ranks)
            wrong5 += sum(rank >= 5 for rank in ranks)
        rows.append(
            {"train/loss": losses / 36, "train/top1_error": 100 * wrong / 36, "train/top5_error": 100 * wrong5 / 36}
        )
    return rows


@pytest.mark.parametrize("radius", [None, 0.15])
def test_training_is_the_bare_loop(tmp_path, radius):
    net = small_net()
    expected = copy.deepcopy(net)
    watch = fit(Classifier(net, SGD, max_filter_rms=radius), tmp_path)
    rows = bare_loop(expected, radius)
    for ours, theirs in zip(net.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
    for epoch, (logged, row) in enumerate(zip(watch.logged, rows, strict=True), 1):
        assert logged["epoch"] == epoch
        assert {name: logged[name] for name in row} == pytest.approx(row, rel=1e-4)


def test_no_filter_is_above_the_limit_after_any_step(tmp_path):
    """The paper's section 3; biases and the classifier are left alone."""
    net = small_net()
    free = max(fit(Classifier(copy.deepcopy(net), SGD), tmp_path).rms)
    net[0].weight.data.mul_(10)
    watch = fit(Classifier(net, SGD, max_filter_rms=0.1), tmp_path)
    assert free > 0.15  # it would have gone beyond
    assert len(watch.rms) == EPOCHS * 5
    assert max(watch.rms) == pytest.approx(0.1, rel=1e-5)


def test_validation_weighs_images_not_batches(tmp_path):
    net = small_net()
    watch = fit(Classifier(net, SGD), tmp_path)
    images, labels = (torch.cat(parts) for parts in zip(*VAL, strict=True))
    with torch.no_grad():
        scores = net.eval()(images)
    assert watch.logged[-1]["val/loss"] == pytest.approx(float(F.cross_entropy(scores, labels)), rel=1e-5)
    wrong = sum(int(row.argmax()) != int(label) for row, label in zip(scores, labels, strict=True))
    assert watch.logged[-1]["val/top1_error"] == pytest.approx(100 * wrong / 20)
    there = sorted(set(labels.tolist()))
    by_class = [float((scores[labels == one].argmax(1) == one).float().mean()) for one in there]
    assert len(set(labels.bincount().tolist())) > 1  # so that the mean over classes is another than over images
    assert watch.logged[-1]["val/mean_class_accuracy"] == pytest.approx(100 * sum(by_class) / len(there))
    assert "train/mean_class_accuracy" not in watch.logged[-1]


# ---- several views of an image ----------------------------------------------------------------------------------


class Table(nn.Module):
    """Looks the scores of a view up by the value of its first pixel."""

    def __init__(self, scores: torch.Tensor) -> None:
        super().__init__()
        self.scores = nn.Parameter(scores)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.scores[images[:, 0, 0, 0].long()]


def views(numbers: list[list[int]]) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.float)[:, :, None, None, None].expand(-1, -1, 3, 2, 2)


def test_views_are_averaged_as_probabilities():
    # The softmax of (log 3, 0) is (3/4, 1/4), of (log 1/9, 0) it is (1/10, 9/10); their mean is (0.425, 0.575).
    scores = torch.tensor([[math.log(3), 0.0], [math.log(1 / 9), 0.0]])
    system = Classifier(Table(scores), SGD)
    out = system(views([[0, 1], [0, 0]])).exp()
    torch.testing.assert_close(out, torch.tensor([[0.425, 0.575], [0.75, 0.25]]))


def test_the_mean_of_probabilities_is_not_the_probability_of_mean_scores():
    # One view is very sure of class 0, nine lean to class 1: mean scores give class 0, mean probabilities class 1.
    scores = torch.tensor([[30.0, 0.0], [0.0, 1.0]])
    system = Classifier(Table(scores), SGD)
    out = system(views([[0] + [1] * 9])).exp()[0]
    assert scores[[0] + [1] * 9].mean(0).argmax() == 0
    assert out.tolist() == pytest.approx([(1 + 9 / (1 + math.e)) / 10, 9 * math.e / (1 + math.e) / 10], rel=1e-5)
    assert out.argmax() == 1


def test_ten_crops_of_one_image_count_once(tmp_path):
    torch.manual_seed(3)
    net, images, labels = small_net(), torch.randn(5, 10, 3, 8, 8), torch.arange(5)
    system = Classifier(net, SGD)
    test = DataLoader(TensorDataset(images, labels), 2)
    trainer = L.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, default_root_dir=tmp_path)
    found = trainer.test(system, test, verbose=False)[0]
    with torch.no_grad():
        mean = torch.stack([torch.stack([net(view[None])[0].softmax(0) for view in image]).mean(0) for image in images])
    order = mean.argsort(1, descending=True)
    ranks = [order[i].tolist().index(i) for i in range(5)]
    assert found == pytest.approx(
        {
            "test/loss": -float(mean[range(5), range(5)].log().mean()),
            "test/top1_error": 20.0 * sum(rank >= 1 for rank in ranks),
            "test/top5_error": 20.0 * sum(rank >= 5 for rank in ranks),
            "test/mean_class_accuracy": 20.0 * sum(rank == 0 for rank in ranks),  # five images, five classes
        },
        rel=1e-5,
    )
    predicted = system.predictions()
    assert predicted[0].tolist() == list(range(5))
    assert predicted[1].tolist() == labels.tolist()
    assert predicted[2].tolist() == order[:, :5].tolist()
    assert predicted[3] == pytest.approx(mean.numpy(), rel=1e-5)
    trainer.test(system, test, verbose=False)
    assert len(system.predictions()[0]) == 5  # those of the last test alone


def test_a_class_that_no_view_believes_in_has_a_finite_loss_and_keeps_its_rank():
    scores = torch.tensor([[0.0, -300.0, -200.0]])  # exp(-200) is 0 in single precision
    out = Classifier(Table(scores), SGD)(views([[0, 0]]))
    assert out.tolist()[0] == pytest.approx([0, -300, -200], abs=1e-4)


# ---- schedules --------------------------------------------------------------------------------------------------


def test_a_schedule_of_steps_moves_at_each_step_and_knows_the_length_of_the_run(tmp_path):
    one_cycle = functools.partial(OneCycleLR, max_lr=0.1)
    watch = fit(Classifier(small_net(), SGD, one_cycle), tmp_path)
    optimizer = SGD(small_net().parameters())
    schedule = OneCycleLR(optimizer, max_lr=0.1, total_steps=EPOCHS * 5)
    expected = []
    for step in range(EPOCHS * 5):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if step < EPOCHS * 5 - 1:
            schedule.step()
    assert watch.rates == pytest.approx(expected)
    assert max(watch.rates) == pytest.approx(0.1, rel=0.01)
    assert watch.rates[-1] < 1e-5


def test_a_schedule_of_epochs_moves_once_an_epoch(tmp_path):
    watch = fit(Classifier(small_net(), SGD, functools.partial(StepLR, step_size=2, gamma=0.5)), tmp_path)
    assert watch.rates == pytest.approx([0.2] * 10 + [0.1] * 10)
    assert [row["lr"] for row in watch.logged] == pytest.approx([0.2, 0.2, 0.1, 0.1])  # the rate the epoch used


class Told(Classifier):
    """Its validation error in each epoch is given."""

    errors_to_report: tuple[float, ...] = (50.0, 40.0, 40.0, 40.0, 30.0, 30.0)

    def validation_step(self, batch, batch_idx):
        self.log("val/top1_error", self.errors_to_report[self.current_epoch])


def test_the_plateau_schedule_watches_the_validation_error(tmp_path):
    # No better than 40 in epochs 3 and 4: with a patience of 1 the rate falls after the 4th.
    plateau = functools.partial(ReduceLROnPlateau, factor=0.1, patience=1)
    watch = fit(Told(small_net(), SGD, plateau), tmp_path, epochs=6)
    assert watch.rates[::5] == pytest.approx([0.2, 0.2, 0.2, 0.2, 0.02, 0.02])


def test_the_plateau_schedule_stands_still_without_validation_images(tmp_path):
    plateau = functools.partial(ReduceLROnPlateau, factor=0.1, patience=0)
    watch = fit(Classifier(small_net(), SGD, plateau), tmp_path, val=False)
    assert set(watch.rates) == {0.2}


# ---- randomness and checkpoints ---------------------------------------------------------------------------------


def weights(net: nn.Module) -> torch.Tensor:
    return nn.utils.parameters_to_vector(net.parameters()).detach()


def trained(tmp_path, seed: int, disturb: bool = False) -> torch.Tensor:
    class Disturb(Callback):
        def on_train_epoch_end(self, trainer, pl_module):
            torch.rand(disturb * (3 + trainer.current_epoch))

    net = small_net(dropout=0.5)
    torch.manual_seed(11 + disturb)
    fit(Classifier(net, SGD, seed=seed), tmp_path, callbacks=[Disturb()])
    return weights(net)


def test_dropout_depends_on_the_seed_and_the_epoch_alone(tmp_path):
    assert torch.equal(trained(tmp_path, 0), trained(tmp_path, 0, disturb=True))
    assert not torch.equal(trained(tmp_path, 0), trained(tmp_path, 1))


def test_the_epochs_have_different_random_numbers(tmp_path):
    drawn = []

    class Draw(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            if batch_idx == 0:
                drawn.append(torch.random.get_rng_state())

    for seed in (0, 1):
        fit(Classifier(small_net(), SGD, seed=seed), tmp_path, callbacks=[Draw()])
    assert len({tuple(state.tolist()) for state in drawn}) == 2 * EPOCHS


def primitives_only(value) -> bool:
    if isinstance(value, dict):
        return type(value).__module__ in ("builtins", "collections") and all(
            primitives_only(k) and primitives_only(v) for k, v in value.items()
        )
    if isinstance(value, list | tuple):
        return all(map(primitives_only, value))
    return value is None or type(value) in (torch.Tensor, int, float, str, bool)


class WorseAndWorse(Told):
    """After a good first epoch: a schedule that forgets it takes the third for an improvement."""

    errors_to_report = (10.0, 30.0, 20.0, 25.0)


SCHEDULES = {
    "none": None,
    "plateau": functools.partial(ReduceLROnPlateau, factor=0.1, patience=0),
    "steps": functools.partial(OneCycleLR, max_lr=0.1),
    "epochs": functools.partial(StepLR, step_size=3, gamma=0.5),
}


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_checkpoint_holds_tensors_and_primitives_and_continues_the_run(tmp_path, schedule):
    """Bit for bit, though the first trainer is gone and the second starts from other random numbers."""
    last = tmp_path / "checkpoints" / "last.ckpt"

    def run(*callbacks: Callback, **options) -> torch.Tensor:
        net = small_net(dropout=0.5)
        kind = WorseAndWorse if schedule == "plateau" else Classifier
        system = kind(net, SGD, SCHEDULES[schedule], max_filter_rms=0.2)
        trainer = L.Trainer(
            accelerator="cpu",
            max_epochs=EPOCHS,
            logger=False,
            callbacks=[*callbacks, *checkpoints(tmp_path)],
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            default_root_dir=tmp_path,
        )
        trainer.fit(system, loader(TRAIN), loader(VAL), weights_only=True, **options)
        return weights(net)

    class Killed(Callback):
        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            if (trainer.current_epoch, batch_idx) == (2, 2):
                raise RuntimeError("killed")

    whole, continued = Watch(), Watch()
    expected = run(whole)
    shutil.rmtree(last.parent)
    with pytest.raises(RuntimeError, match="killed"):
        run(Killed())
    content = torch.load(last, weights_only=True)
    assert content["epoch"] == 1
    assert primitives_only(content)
    nets = [key for key in content["state_dict"] if not key.startswith("errors.")]
    assert nets == [f"net.{key}" for key in small_net().state_dict()]

    torch.manual_seed(99)
    assert torch.equal(run(continued, ckpt_path=last), expected)
    assert continued.rates == whole.rates[10:]
    assert continued.logged[-1] == whole.logged[-1]


def test_the_memory_layout_changes_no_score():
    images = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(1)
    plain = Classifier(small_net(), SGD)
    torch.manual_seed(1)
    last = Classifier(small_net(), SGD, channels_last=True)
    kernels = [p for p in last.net.parameters() if p.dim() == 4]
    assert kernels
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in kernels)
    assert torch.allclose(last(images), plain(images), atol=1e-5)


def test_a_compiled_network_keeps_the_names_of_its_weights():
    net = small_net()
    names = set(net.state_dict())
    assert set(Classifier(net, SGD, compile=True).net.state_dict()) == names


def test_the_epochs_loss_is_weighted_by_images_and_a_nan_is_not_hidden():
    metric = Classifier(small_net(), SGD).metrics["val_split"]["loss"]
    metric.update(torch.tensor(2.0), 3)
    metric.update(torch.tensor(6.0), 1)
    assert metric.compute() == 3.0
    metric.update(torch.tensor(math.nan), 2)
    assert metric.compute().isnan()
