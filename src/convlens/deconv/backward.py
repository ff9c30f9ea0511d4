"""How single units are sent down to the pixels: in the windows that they see, or through whole images."""

import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from convlens.deconv.forward_cache import ForwardCache, record
from convlens.deconv.rules import BackwardRules, LrnRule, Rule, Unpool
from convlens.deconv.window_batching import groups
from convlens.deconv.window_forward import WindowForward
from convlens.errors import InputError, NoReLUError
from convlens.ops.layer_access import check_outputs, evaluating, forward_to
from convlens.ops.log_once import log_once
from convlens.ops.op_table import Pair
from convlens.ops.receptive_field import ReceptiveField, traced_fields
from convlens.ops.window_span import Grid, NotLocalError, OutsideError, windows_of

log = logging.getLogger(__name__)

_IN_FULL = "whole images are projected instead of windows"
MOST_WINDOWS = 4096
RECORDED = 4
"""A recording of so many images takes about the memory of one image with all that its way down needs."""
WORTH = 2.0
"""Whole images are recorded for windows of so many times their area: it is not only the convolutions that cost."""
Signals = tuple[list[int], Tensor, list[Pair]]
"""Rows of units, their signals at the pixels, and where in the image the upper left of each signal is."""


@contextmanager
def going_down(net: nn.Module) -> Iterator[None]:
    """Evaluation mode and gradients, whatever the caller is in."""
    with evaluating(net), torch.inference_mode(False), torch.enable_grad():
        yield


@dataclass
class Projector:
    """Projections from one layer, checked once; ``field`` is the window that is computed for each unit.

    It is None where whole images are; ``shape`` is that of the layer's output for one image.
    """

    net: nn.Module
    layer: str | None
    shape: torch.Size
    rule: Rule
    seed: str
    unpool: Unpool
    lrn: LrnRule
    batch_size: int
    others: BackwardRules
    field: ReceptiveField | None

    @staticmethod
    def from_images(
        net: nn.Module,
        images: Tensor,
        layer: str | None,
        rule: Rule,
        seed: str,
        unpool: Unpool,
        lrn: LrnRule | None,
        batch_size: int,
    ) -> "Projector":
        """The checked way, for images such as these."""
        whole = BackwardRules("gradient")
        with whole:
            shape = check_outputs(net, images, [layer])[layer]
        if seed not in ("activation", "one"):
            raise InputError(f"seed={seed!r} is unknown: choose activation (the paper's) or one")
        if batch_size < 1:
            raise InputError(f"batch_size={batch_size}: give at least 1")
        lrn = lrn or ("adjoint" if rule == "gradient" else "identity")
        BackwardRules(rule, unpool, lrn)
        field = None
        if layer is not None and len(shape) == 3:
            field = traced_fields(net, images, [layer], overlapping=unpool == "overwrite")[layer]
            if not field.local and max(shape[1:]) > 1:
                log_once(net, log, f"{layer}: {_IN_FULL} (its units see all of the image)")
            field = field if field.local else None
        return Projector(net, layer, shape, rule, seed, unpool, lrn, batch_size, whole, field)

    def run(
        self, images: Tensor, units: Sequence[Sequence[int]], recording: ForwardCache | None = None
    ) -> Iterator[Signals]:
        """The units' signals, in any order.

        Args:
            images: as large as those that were checked.
            units: as ``project`` takes them.
            recording: of a pass over the images at least as far as the layer; without one, one is made where it pays.
        """
        _check_units(units, len(images), self.shape, self.layer)
        numbers = torch.tensor([tuple(unit) for unit in units], dtype=torch.int64)
        numbers = numbers.reshape(len(units), 1 + len(self.shape))
        left = list(range(len(units)))
        if self.field is not None:
            done = torch.zeros(len(units), dtype=torch.bool)
            for rows, block, own, known in self._blocks(images, numbers, recording):
                for members, signals, corners in self._windows(block, own, known):
                    chosen = [rows[member] for member in members]
                    done[chosen] = True
                    yield chosen, signals, corners
            left = (~done).nonzero().flatten().tolist()
        yield from self._whole(images, numbers, left)

    def _blocks(
        self, images: Tensor, units: Tensor, recording: ForwardCache | None
    ) -> Iterator[tuple[list[int], Tensor, Tensor, ForwardCache | None]]:
        """Rows of units, their images, the units in these, and a recording where it saves more than it costs."""
        assert self.field is not None
        assert self.layer is not None
        numbers, own = units[:, 0].unique(return_inverse=True)
        sizes = (images.shape[-2], images.shape[-1])
        if recording is not None or area(self.field, units[:, 2:], sizes) < WORTH * len(numbers):
            yield list(range(len(units))), images, units, recording
            return
        for start in range(0, len(numbers), RECORDED * self.batch_size):
            block = images[numbers[start : start + RECORDED * self.batch_size]]
            rows = ((own >= start) & (own < start + len(block))).nonzero().flatten()
            inside = torch.cat([own[rows, None] - start, units[rows, 1:]], 1)
            yield rows.tolist(), block, inside, record(self.net, block, [self.layer])

    def _windows(self, images: Tensor, units: Tensor, recording: ForwardCache | None) -> Iterator[Signals]:
        """Signals in windows; units for which there is none are left out."""
        if self.field is None:
            return
        sizes = (images.shape[-2], images.shape[-1])
        for members, grid in groups(self.field, units[:, 2:], sizes):
            try:
                (top, bottom), (left, right) = (span.held for span in grid)
            except OutsideError:
                continue
            at_once = min(
                self.batch_size * max(1, sizes[0] * sizes[1] // ((bottom - top) * (right - left))), MOST_WINDOWS
            )
            for start in range(0, len(members), at_once):
                chosen = members[start : start + at_once]
                try:
                    yield chosen, *self._window_batch(images, units[chosen], grid, recording)
                except OutsideError:
                    pass
                except NotLocalError as reason:
                    log_once(self.net, log, f"{self.layer}: {_IN_FULL} ({reason})")
                    self.field = None
                    return

    def _window_batch(
        self, images: Tensor, units: Tensor, grid: Grid, recording: ForwardCache | None
    ) -> tuple[Tensor, list[Pair]]:
        places = units[:, [0, 2, 3]]
        x = windows_of(images, places, grid).detach().requires_grad_()
        rules = BackwardRules(self.rule, self.unpool, self.lrn)
        try:
            with rules, (attempt := WindowForward(x, grid, places, recording)):
                output = self._output(x.clone())
            place = attempt.units_in(output)
        except OutsideError:
            raise
        except Exception as reason:
            # Whatever a network's own code makes of windows, it can be run on whole images.
            raise NotLocalError(str(reason)) from reason
        self._check_rectified(rules)
        signal = self._seeded(output, (torch.arange(len(units)), units[:, 1], *place))
        corners = [(grid[0].begin(y), grid[1].begin(x)) for y, x in units[:, 2:].tolist()]
        return torch.autograd.grad(output, x, signal)[0], corners

    def _whole(self, images: Tensor, units: Tensor, rows: list[int]) -> Iterator[Signals]:
        """Each image goes up once; its units come down one after the other, with those of the other images."""
        of_image: dict[int, list[int]] = defaultdict(list)
        for row, image in zip(rows, units[rows, 0].tolist(), strict=True):
            of_image[image].append(row)
        # Images with as many units each go together, so that few ride along idle.
        numbers = sorted(of_image, key=lambda image: (-len(of_image[image]), image))
        for start in range(0, len(numbers), self.batch_size):
            batch = numbers[start : start + self.batch_size]
            x = images[batch].detach().clone().requires_grad_()
            rules = BackwardRules(self.rule, self.unpool, self.lrn)
            with rules:
                # A copy, since a network may begin by changing its input in place, which a leaf does not allow.
                output = self._output(x.clone())
            self._check_rectified(rules)
            for turn in range(len(of_image[batch[0]])):
                chosen = [of_image[image][turn] for image in batch if turn < len(of_image[image])]
                places = (torch.arange(len(chosen)), *units[chosen, 1:].unbind(1))
                last = turn + 1 == len(of_image[batch[0]])
                down = torch.autograd.grad(output, x, self._seeded(output, places), retain_graph=not last)[0]
                yield chosen, down[: len(chosen)], [(0, 0)] * len(chosen)

    def _seeded(self, output: Tensor, places: tuple[Any, ...]) -> Tensor:
        """The signal at the layer: zero but for the units."""
        signal = torch.zeros_like(output)
        values = output.detach()[places]
        if not bool(values.isfinite().all()):
            where = f"layer {self.layer!r}" if self.layer else "the network's output"
            raise InputError(f"{where} has an activation that is NaN or infinite: has the network diverged?")
        signal[places] = values if self.seed == "activation" else 1.0
        return signal

    def _output(self, x: Tensor) -> Tensor:
        if self.layer is None:
            return self.net(x)
        kept: list[Tensor] = []
        forward_to(self.net, x, {self.layer: kept.append})
        return kept[0]

    def _check_rectified(self, rules: BackwardRules) -> None:
        if self.rule != "gradient" and not rules.rectified and (rules.others or not self.others.rectified):
            raise NoReLUError(_no_relu(self.rule, self.others, self.net))
        if self.rule != "gradient" and rules.others:
            names = ", ".join(sorted(rules.others))
            message = f"{self.layer}: no {self.rule} rule is defined for {names}, which the gradient passes"
            log_once(self.net, log, message, logging.WARNING)


def area(field: ReceptiveField, places: Int[Tensor, "units 2"], sizes: Pair) -> float:
    """The windows of all units together, in areas of the image."""
    share = torch.ones(len(places))
    for axis in (0, 1):
        begins = field.start[axis] + places[:, axis] * field.stride[axis]
        ends = (begins + field.size[axis]).clamp(max=sizes[axis])
        share *= (ends - begins.clamp(min=0)).clamp(min=0) / sizes[axis]
    return float(share.sum())


def _no_relu(rule: Rule, met: BackwardRules, net: nn.Module) -> str:
    found = f"; it uses {', '.join(sorted(met.others))}, for which no such rule is defined" if met.others else ""
    needs = f"the {rule} rule needs one (rule='gradient' works for every network)"
    return f"{type(net).__name__} has no ReLU on the unit's way{found}: {needs}"


def _check_units(units: Sequence[Sequence[int]], images: int, shape: torch.Size, layer: str | None) -> None:
    limits = (images, *shape)
    names = ("image", "map", "y", "x") if len(shape) == 3 else ("image", "unit")
    where = f"layer {layer!r}" if layer else "the network's output"
    for unit in units:
        if not isinstance(unit, Sequence) or len(unit) != len(limits) or not all(isinstance(v, int) for v in unit):
            raise InputError(f"unit {unit} of {where}: give ({', '.join(names)})")
        for value, limit, name in zip(unit, limits, names, strict=True):
            if not 0 <= value < limit:
                raise InputError(f"unit {tuple(unit)} of {where}: {name} {value} is outside 0..{limit - 1}")
