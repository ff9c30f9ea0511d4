"""Backward passes that project single units to the pixels, in the units' receptive fields or through whole images."""

import logging
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from convlens.deconv.forward_cache import ForwardCache, cache_forward
from convlens.deconv.rules import BackwardRules, LrnRule, Rule, Signal, Unpool
from convlens.deconv.window_batching import group_units
from convlens.deconv.window_forward import WindowForward
from convlens.errors import NoReLUError
from convlens.ops.callers_code import one_line
from convlens.ops.input_checks import check_activations, check_choice, check_count, check_same_size
from convlens.ops.layer_access import OUTPUT, check_outputs, evaluating, forward_to
from convlens.ops.log_once import log_once
from convlens.ops.op_table import Pair
from convlens.ops.receptive_field import ReceptiveField, traced_fields
from convlens.ops.window_span import Grid, NotLocalError, OutsideError, crop_windows

log = logging.getLogger(__name__)

_IN_FULL = "whole images are projected instead of windows"
MAX_WINDOWS = 4096
"""Largest number of windows in a batch."""
CACHED_IMAGES = 4
"""Images in a `ForwardCache` per unit of the batch size: they need about the memory of one backward pass."""
MIN_AREA_RATIO = 2.0
"""Whole images are cached if the windows' total area is at least this multiple of theirs (measured)."""
Projected = tuple[list[int], Tensor, list[Pair]]
"""Rows of units, their projections [n, c, h, w], and each projection's top and left in its image."""


@contextmanager
def backward_mode(net: nn.Module) -> Iterator[None]:
    """Set evaluation mode and enable gradients, also within ``torch.no_grad`` or ``torch.inference_mode``."""
    with evaluating(net), torch.inference_mode(False), torch.enable_grad():
        yield


@dataclass
class Projector:
    """Projects units of one layer; the network and the options have been checked.

    Attributes:
        net: the network.
        layer: module path; None is the network's output.
        shape: shape of the layer's output for one image, [c, h, w] or [d].
        rule: as for `convlens.project`, as are ``signal``, ``unpool``, ``lrn`` and ``batch_size``.
        checked: the nonlinearities that a forward pass of the whole network has used.
        field: the window that is computed for each unit; None if whole images are.
    """

    net: nn.Module
    layer: str | None
    shape: torch.Size
    rule: Rule
    signal: str
    unpool: Unpool
    lrn: LrnRule
    batch_size: int
    checked: BackwardRules
    field: ReceptiveField | None

    @staticmethod
    def from_images(
        net: nn.Module,
        images: Float[Tensor, "n c h w"],
        layer: str | None,
        rule: Rule = "deconvnet",
        signal: str = "activation",
        unpool: Unpool = "sum",
        lrn: LrnRule | None = None,
        batch_size: int = 8,
    ) -> "Projector":
        """Check the network, the layer and the options with images of the size to be projected.

        Raises:
            InputError: the layer or an option is unknown.
        """
        checked = BackwardRules("gradient")
        with checked:
            shape = check_outputs(net, images, [layer])[layer]
        check_choice("signal", signal, get_args(Signal))
        batch_size = check_count("batch_size", batch_size)
        check_choice("rule", rule, get_args(Rule))
        lrn = ("adjoint" if rule == "gradient" else "identity") if lrn is None else lrn
        BackwardRules(rule, unpool, lrn)
        field = None
        if layer is not None and len(shape) == 3:
            field = traced_fields(net, images, [layer], overlapping=unpool == "overwrite")[layer]
            if not field.local and max(shape[1:]) > 1:
                log_once(net, log, f"{layer}: {_IN_FULL} (its units depend on the whole image)")
            field = field if field.local else None
        return Projector(net, layer, shape, rule, signal, unpool, lrn, batch_size, checked, field)

    def project(
        self, images: Float[Tensor, "n c h w"], units: Int[Tensor, "units axes"], cache: ForwardCache | None = None
    ) -> Iterator[Projected]:
        """Project units, in batches and in any order.

        Args:
            images: images of the size that was checked.
            units: from `convlens.deconv.units.as_unit_tensor`.
            cache: of a forward pass of the images at least to the layer; without one, one is made where it saves time.
        """
        rest = list(range(len(units)))
        if self.field is not None:
            done = torch.zeros(len(units), dtype=torch.bool)
            for rows, block, own, known in self._image_blocks(images, units, cache):
                for members, projections, corners in self._in_windows(block, own, known):
                    chosen = [rows[member] for member in members]
                    done[chosen] = True
                    yield chosen, projections, corners
            rest = (~done).nonzero().flatten().tolist()
        yield from self._in_whole_images(images, units, rest)

    def _image_blocks(
        self, images: Tensor, units: Tensor, cache: ForwardCache | None
    ) -> Iterator[tuple[list[int], Tensor, Tensor, ForwardCache | None]]:
        """Split units by images; yields rows of units, their images, units that index these, and a cache if it pays."""
        assert self.field is not None
        assert self.layer is not None
        numbers, own = units[:, 0].unique(return_inverse=True)
        sizes = (images.shape[-2], images.shape[-1])
        if cache is not None or window_area(self.field, units[:, 2:], sizes) < MIN_AREA_RATIO * len(numbers):
            yield list(range(len(units))), images, units, cache
            return
        for start in range(0, len(numbers), CACHED_IMAGES * self.batch_size):
            block = images[numbers[start : start + CACHED_IMAGES * self.batch_size]]
            rows = ((own >= start) & (own < start + len(block))).nonzero().flatten()
            inside = torch.cat([own[rows, None] - start, units[rows, 1:]], 1)
            yield rows.tolist(), block, inside, cache_forward(self.net, block, [self.layer])

    def _in_windows(self, images: Tensor, units: Tensor, cache: ForwardCache | None) -> Iterator[Projected]:
        """Project units in windows; units for which that is impossible are left out."""
        if self.field is None:
            return
        sizes = (images.shape[-2], images.shape[-1])
        for members, grid in group_units(self.field, units[:, 2:], sizes):
            try:
                (top, bottom), (left, right) = (span.bounds for span in grid)
            except OutsideError:
                continue
            per_image = max(1, sizes[0] * sizes[1] // ((bottom - top) * (right - left)))
            count = min(self.batch_size * per_image, MAX_WINDOWS)
            for start in range(0, len(members), count):
                chosen = members[start : start + count]
                try:
                    yield chosen, *self._window_batch(images, units[chosen], grid, cache)
                except OutsideError:
                    pass
                except NotLocalError as reason:
                    log_once(self.net, log, f"{self.layer}: {_IN_FULL} ({reason})")
                    self.field = None
                    return

    def _window_batch(
        self, images: Tensor, units: Tensor, grid: Grid, cache: ForwardCache | None
    ) -> tuple[Tensor, list[Pair]]:
        """Return the projections of units whose windows have the same grid, and their corners."""
        positions = units[:, [0, 2, 3]]
        x = crop_windows(images, positions, grid).detach().requires_grad_()
        rules = BackwardRules(self.rule, self.unpool, self.lrn)
        try:
            with rules, (forward := WindowForward(x, grid, positions, cache)):
                output = self._output(x.clone())
            position = forward.unit_positions(output)
        except OutsideError:
            raise
        except Exception as reason:
            # The network's own code may fail on windows in any way; whole images are always possible.
            raise NotLocalError(str(reason)) from reason
        self._check_rectified(rules)
        signal = self._signal_at(output, (torch.arange(len(units)), units[:, 1], *position))
        corners = [(grid[0].begin(y), grid[1].begin(x)) for y, x in units[:, 2:].tolist()]
        return self._gradient(output, x, signal), corners

    def _in_whole_images(self, images: Tensor, units: Tensor, rows: list[int]) -> Iterator[Projected]:
        """Project units with one forward pass per image and one backward pass per unit, batched over images."""
        of_image: dict[int, list[int]] = defaultdict(list)
        for row, image in zip(rows, units[rows, 0].tolist(), strict=True):
            of_image[image].append(row)
        # Images with the same number of units are batched, so that few backward passes are wasted.
        numbers = sorted(of_image, key=lambda image: (-len(of_image[image]), image))
        for start in range(0, len(numbers), self.batch_size):
            batch = numbers[start : start + self.batch_size]
            x = images[batch].detach().clone().requires_grad_()
            rules = BackwardRules(self.rule, self.unpool, self.lrn)
            with rules:
                # A copy, since a network may change its input in place, which a leaf does not allow.
                output = self._output(x.clone())
            check_same_size(output.shape[1:], self.shape, "outputs")
            self._check_rectified(rules)
            for turn in range(len(of_image[batch[0]])):
                chosen = [of_image[image][turn] for image in batch if turn < len(of_image[image])]
                at = (torch.arange(len(chosen)), *units[chosen, 1:].unbind(1))
                last = turn + 1 == len(of_image[batch[0]])
                gradient = self._gradient(output, x, self._signal_at(output, at), keep=not last)
                yield chosen, gradient[: len(chosen)], [(0, 0)] * len(chosen)

    def _gradient(self, output: Tensor, x: Tensor, signal: Tensor, *, keep: bool = False) -> Tensor:
        """Return the gradient at the pixels; ``keep`` says whether another one follows."""
        with one_line(f"{type(self.net).__name__} has no gradient to project along"):
            return torch.autograd.grad(output, x, signal, retain_graph=keep)[0]

    def _signal_at(self, output: Tensor, at: tuple[Tensor, ...]) -> Tensor:
        """Return the backward signal at the layer: zero except at the units."""
        signal = torch.zeros_like(output)
        values = check_activations(output.detach()[at], self.layer)
        signal[at] = values if self.signal == "activation" else 1.0
        return signal

    def _output(self, x: Tensor) -> Tensor:
        """Return the layer's output."""
        outputs: list[Tensor] = []
        forward_to(self.net, x, {self.layer or OUTPUT: outputs.append})
        return outputs[0]

    def _check_rectified(self, rules: BackwardRules) -> None:
        """Raise NoReLUError if a rule other than the gradient has met no ReLU; warn about other nonlinearities."""
        if self.rule != "gradient" and not rules.rectified and (rules.others or not self.checked.rectified):
            found = ", ".join(sorted(self.checked.others))
            found = f"; it uses {found}, for which no such rule is defined" if found else ""
            needs = f"the {self.rule} rule needs one (rule='gradient' works for every network)"
            raise NoReLUError(f"{type(self.net).__name__} has no ReLU below the unit{found}: {needs}")
        if self.rule != "gradient" and rules.others:
            names = ", ".join(sorted(rules.others))
            message = f"{self.layer}: no {self.rule} rule is defined for {names}; its plain gradient is used"
            log_once(self.net, log, message, logging.WARNING)


def window_area(field: ReceptiveField, positions: Int[Tensor, "units 2"], sizes: Pair) -> float:
    """Return the total area of the units' windows inside of the image, in areas of the image."""
    share = torch.ones(len(positions))
    for axis in (0, 1):
        begins = field.start[axis] + positions[:, axis] * field.stride[axis]
        ends = (begins + field.size[axis]).clamp(max=sizes[axis])
        share *= (ends - begins.clamp(min=0)).clamp(min=0) / sizes[axis]
    return float(share.sum())
