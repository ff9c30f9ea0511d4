"""Projection of single activations down to the pixels (paper, section 2.1)."""

import logging
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from convlens.deconv.geometry import Pair
from convlens.deconv.layers import check_outputs, evaluating, forward_to, like_parameters
from convlens.deconv.receptive import ReceptiveField, receptive_field, receptive_fields
from convlens.deconv.rules import DownwardRules, LrnRule, Rule, Unpool
from convlens.deconv.windows import FixedPlace, NotLocalError, Span, WindowPass
from convlens.errors import InputError

log = logging.getLogger(__name__)

Seed = Literal["activation", "one"]
MOST_WINDOWS = 4096
Signals = tuple[list[int], Tensor, list[Pair]]
"""Rows of units, their signals at the pixels, and where in the image the upper left of each signal is."""


def project(
    net: nn.Module,
    images: Float[Tensor, "n c h w"],
    layer: str | None,
    units: Sequence[Sequence[int]],
    *,
    rule: Rule = "deconvnet",
    seed: Seed = "activation",
    unpool: Unpool = "sum",
    lrn: LrnRule | None = None,
    batch_size: int = 8,
) -> Float[Tensor, "units c h w"]:
    """Project one activation at a time to pixel space, all others in its layer set to zero.

    The last filtering is not rectified, so projections have both signs. In units of activation times weights; no
    bias enters on the way down. The network is left as it was: mode, hooks, gradients and weights.

    Args:
        net: any network whose nonlinearity is the ReLU, as module, function or method.
        images: what the network reads, preprocessed as it wants.
        layer: module path; None is the network's output.
        units: (image, map, y, x) each, or (image, unit) where the layer gives a vector.
        rule: ``deconvnet`` rectifies the signal on the way down, ``gradient`` masks it by the forward ReLU (the plain
            gradient), ``guided`` does both.
        seed: the signal starts from the unit's own activation (paper), or from one.
        unpool: values that meet at a switch are summed (the adjoint of pooling) or the last window's stays.
        lrn: contrast normalisation on the way down is left out (``identity``; ECCV text of the paper) or the true
            ``adjoint``. None is the rule's own: adjoint for the gradient, identity for the others.
        batch_size: how many units are computed at once; bounds the memory.

    Returns:
        One image-sized projection per unit, zero outside its receptive field.

    Raises:
        InputError: unknown layer or option, a unit out of range, or a network without a ReLU on the unit's way.
    """
    images = like_parameters(net, images)
    job = _Job.of(net, images, layer, units, rule, seed, unpool, lrn, batch_size)
    with _working(net):
        projections = images.new_zeros(len(units), *images.shape[1:])
        for rows, signals, corners in job.run():
            for row, signal, corner in zip(rows, signals, corners, strict=True):
                paste(signal, projections[row], corner)
    return projections


def project_fields(
    net: nn.Module,
    images: Float[Tensor, "n c h w"],
    layer: str,
    units: Sequence[Sequence[int]],
    *,
    rule: Rule = "deconvnet",
    seed: Seed = "activation",
    unpool: Unpool = "sum",
    lrn: LrnRule | None = None,
    batch_size: int = 8,
) -> Float[Tensor, "units c fh fw"]:
    """As ``project``, but only the receptive field of each unit, with zeros where it hangs over the image.

    Many times smaller than whole images for units of the first layers.

    Raises:
        InputError: as ``project``.
    """
    images = like_parameters(net, images)
    job = _Job.of(net, images, layer, units, rule, seed, unpool, lrn, batch_size)
    shown = receptive_field(net, layer, (images.shape[-2], images.shape[-1]))
    with _working(net):
        fields = images.new_zeros(len(units), images.shape[1], *shown.size)
        for rows, signals, corners in job.run():
            for row, signal, corner in zip(rows, signals, corners, strict=True):
                top, left, *_ = shown.box(*units[row][2:])
                paste(signal, fields[row], (corner[0] - top, corner[1] - left))
    return fields


@contextmanager
def _working(net: nn.Module) -> Iterator[None]:
    with evaluating(net), torch.inference_mode(False), torch.enable_grad():
        yield


def paste(source: Float[Tensor, "c h w"], target: Float[Tensor, "c h2 w2"], corner: Sequence[int]) -> None:
    """Put ``source`` into ``target`` with its upper left at (top, left); what lies outside of the target is lost."""
    cuts = []
    for axis in (0, 1):
        begin, end = max(corner[axis], 0), min(corner[axis] + source.shape[axis + 1], target.shape[axis + 1])
        if begin >= end:
            return
        cuts += [slice(begin, end), slice(begin - corner[axis], end - corner[axis])]
    target[:, cuts[0], cuts[2]] = source[:, cuts[1], cuts[3]]


@dataclass
class _Job:
    """Units to project; ``field`` is the window that is computed for each, None where whole images are."""

    net: nn.Module
    images: Tensor
    layer: str | None
    units: Int[Tensor, "units axes"]
    rule: Rule
    seed: str
    unpool: Unpool
    lrn: LrnRule
    batch_size: int
    others: DownwardRules
    field: ReceptiveField | None

    @staticmethod
    def of(
        net: nn.Module,
        images: Tensor,
        layer: str | None,
        units: Sequence[Sequence[int]],
        rule: Rule,
        seed: str,
        unpool: Unpool,
        lrn: LrnRule | None,
        batch_size: int,
    ) -> "_Job":
        """The checked job."""
        whole = DownwardRules("gradient")
        with whole:
            shape = check_outputs(net, images, [layer])[layer]
        _check_units(units, len(images), shape, layer)
        if seed not in ("activation", "one"):
            raise InputError(f"seed={seed!r} is unknown: choose activation (the paper's) or one")
        lrn = lrn or ("adjoint" if rule == "gradient" else "identity")
        DownwardRules(rule, unpool, lrn)
        field = None
        if layer is not None and len(shape) == 3 and units:
            size = (images.shape[-2], images.shape[-1])
            field = receptive_fields(net, [layer], size, overlapping=unpool == "overwrite")[layer]
            field = field if field.local else None
        numbers = torch.as_tensor([tuple(unit) for unit in units], dtype=torch.int64).reshape(
            len(units), 1 + len(shape)
        )
        return _Job(net, images, layer, numbers, rule, seed, unpool, lrn, batch_size, whole, field)

    def run(self) -> Iterator[Signals]:
        """The units' signals, in any order."""
        if self.field is not None and len(self.units):
            try:
                yield from self._windows(self.field)
                return
            except NotLocalError as reason:
                log.info("%s: whole images are projected instead of windows (%s)", self.layer, reason)
        yield from self._whole()

    def _windows(self, field: ReceptiveField) -> Iterator[Signals]:
        sizes = (self.images.shape[-2], self.images.shape[-1])
        groups: dict[FixedPlace, list[int]] = defaultdict(list)
        for row, (_, _, *place) in enumerate(self.units.tolist()):
            groups[_fixed(field, place, sizes)].append(row)
        for fixed, rows in groups.items():
            rows_span, columns_span = spans = tuple(
                Span(field.start[axis], field.size[axis], field.stride[axis], sizes[axis], fixed[axis])
                for axis in (0, 1)
            )
            height, width = (high - low for low, high in (span.held for span in spans))
            at_once = min(self.batch_size * max(1, sizes[0] * sizes[1] // (height * width)), MOST_WINDOWS)
            for start in range(0, len(rows), at_once):
                chosen = rows[start : start + at_once]
                units = self.units[chosen]
                corners = [(rows_span.begin(y), columns_span.begin(x)) for y, x in units[:, 2:].tolist()]
                windows = [
                    self.images[image, :, top : top + height, left : left + width]
                    for image, (top, left) in zip(units[:, 0].tolist(), corners, strict=True)
                ]
                x = torch.stack(windows).detach().requires_grad_()
                rules = DownwardRules(self.rule, self.unpool, self.lrn)
                try:
                    with rules, (attempt := WindowPass(x, (rows_span, columns_span))):
                        output = self._output(x.clone())
                    place = attempt.unit_in(output)
                except Exception as reason:
                    # Whatever a network's own code makes of windows, it can be run on whole images.
                    raise NotLocalError(str(reason)) from reason
                self._check_rectified(rules)
                signal = self._seeded(output, (torch.arange(len(units)), units[:, 1], *place))
                yield chosen, torch.autograd.grad(output, x, signal)[0], corners

    def _whole(self) -> Iterator[Signals]:
        """Each image goes up once; its units come down one after the other, with those of the other images."""
        of_image: dict[int, list[int]] = defaultdict(list)
        for row, image in enumerate(self.units[:, 0].tolist()):
            of_image[image].append(row)
        # Images with as many units each go together, so that few ride along idle.
        images = sorted(of_image, key=lambda image: (-len(of_image[image]), image))
        for start in range(0, len(images), self.batch_size):
            batch = images[start : start + self.batch_size]
            x = self.images[batch].detach().clone().requires_grad_()
            rules = DownwardRules(self.rule, self.unpool, self.lrn)
            with rules:
                # A copy, since a network may begin by changing its input in place, which a leaf does not allow.
                output = self._output(x.clone())
            self._check_rectified(rules)
            for turn in range(len(of_image[batch[0]])):
                chosen = [of_image[image][turn] for image in batch if turn < len(of_image[image])]
                places = (torch.arange(len(chosen)), *self.units[chosen, 1:].unbind(1))
                last = turn + 1 == len(of_image[batch[0]])
                down = torch.autograd.grad(output, x, self._seeded(output, places), retain_graph=not last)[0]
                yield chosen, down[: len(chosen)], [(0, 0)] * len(chosen)

    def _seeded(self, output: Tensor, places: tuple[Any, ...]) -> Tensor:
        """The signal at the layer: zero but for the units."""
        signal = torch.zeros_like(output)
        signal[places] = output.detach()[places] if self.seed == "activation" else 1.0
        return signal

    def _output(self, x: Tensor) -> Tensor:
        if self.layer is None:
            return self.net(x)
        kept: list[Tensor] = []
        forward_to(self.net, x, {self.layer: kept.append})
        return kept[0]

    def _check_rectified(self, rules: DownwardRules) -> None:
        if self.rule != "gradient" and not rules.rectified and (rules.others or not self.others.rectified):
            raise InputError(_no_relu(self.rule, self.others, self.net))


def _fixed(field: ReceptiveField, place: Sequence[int], sizes: Pair) -> FixedPlace:
    """The place along each axis where the unit's window hangs over the image, None where it lies inside."""
    begins = [field.start[axis] + place[axis] * field.stride[axis] for axis in (0, 1)]
    inside = [begin >= 0 and begin + field.size[axis] <= sizes[axis] for axis, begin in enumerate(begins)]
    return None if inside[0] else place[0], None if inside[1] else place[1]


def _no_relu(rule: Rule, met: DownwardRules, net: nn.Module) -> str:
    found = f"; it uses {', '.join(sorted(met.others))}, for which no such rule is defined" if met.others else ""
    return (
        f"{type(net).__name__} has no ReLU on the unit's way{found}: "
        f"the {rule} rule needs one (rule='gradient' works for every network)"
    )


def _check_units(units: Sequence[Sequence[int]], images: int, shape: torch.Size, layer: str | None) -> None:
    limits = (images, *shape)
    names = ("image", "map", "y", "x") if len(shape) == 3 else ("image", "unit")
    where = f"layer {layer!r}" if layer else "the network's output"
    for unit in units:
        if len(unit) != len(limits):
            raise InputError(f"unit {tuple(unit)} of {where}: give ({', '.join(names)})")
        for value, limit, name in zip(unit, limits, names, strict=True):
            if not 0 <= value < limit:
                raise InputError(f"unit {tuple(unit)} of {where}: {name} {value} is outside 0..{limit - 1}")
