"""Projections of single activations to pixel space (paper, section 2.1)."""

import warnings
from collections.abc import Sequence
from typing import TypedDict, Unpack

from jaxtyping import Float
from torch import Tensor, nn

from convlens.deconv.backward import Projector, backward_mode
from convlens.deconv.forward_cache import ForwardCache
from convlens.deconv.rules import LrnRule, Rule, Signal, Unpool
from convlens.deconv.units import Units, as_unit_tensor
from convlens.ops.input_checks import check_same_size
from convlens.ops.layer_access import network_input
from convlens.ops.receptive_field import traced_fields


class ProjectOptions(TypedDict, total=False):
    """Options of `project`, where their meaning and defaults are documented."""

    rule: Rule
    signal: Signal
    unpool: Unpool
    lrn: LrnRule | None
    batch_size: int


def project(
    net: nn.Module,
    images: Float[Tensor, "n c h w"],
    layer: str | None,
    units: Units,
    *,
    rule: Rule = "deconvnet",
    signal: Signal = "activation",
    unpool: Unpool = "sum",
    lrn: LrnRule | None = None,
    batch_size: int = 8,
    seed: Signal | None = None,
) -> Float[Tensor, "units c h w"]:
    """Project single activations to pixel space, with all other activations of the layer set to zero.

    The last filtering is not rectified, so that projections have both signs. Their unit is that of activations times
    weights; biases have no influence. Mode, hooks, gradients and weights of the network are unchanged.

    Args:
        net: any network with ReLUs (modules, functions or methods).
        images: preprocessed images.
        layer: module path; None is the network's output.
        units: (image, map, y, x) for each unit, or (image, unit) if the layer returns vectors: a sequence, an array or
            a tensor of integers.
        rule: backward pass of ReLUs: ``deconvnet`` rectifies the signal, ``gradient`` masks it by the forward ReLU (the
            plain gradient), ``guided`` does both.
        signal: start of the backward pass: the unit's own ``activation`` (paper) or ``one``.
        unpool: values that meet at a switch are summed (``sum``, the adjoint of pooling), or the last window's stays
            (``overwrite``); ``centre`` uses no switches: each value goes to the centre of its window (a control).
        lrn: backward pass of contrast normalization: ``identity`` (ECCV text of the paper) or the ``adjoint``. None is
            ``adjoint`` for the gradient and ``identity`` for the other rules.
        batch_size: number of images whose backward passes run at once; bounds the memory.
        seed: deprecated name of ``signal``.

    Returns:
        A projection of the size of the images for each unit, zero outside of its receptive field.

    Raises:
        InputError: unknown layer or option, a unit out of range, or a network without a ReLU below the unit.
    """
    if seed is not None:
        warnings.warn("project(seed=...) is deprecated: use signal=...", DeprecationWarning, stacklevel=2)
        signal = seed
    images = network_input(net, images)
    projector = Projector.from_images(net, images, layer, rule, signal, unpool, lrn, batch_size)
    numbers = as_unit_tensor(units, len(images), projector.shape, layer)
    with backward_mode(net):
        projections = images.new_zeros(len(numbers), *images.shape[1:])
        for rows, found, corners in projector.project(images, numbers):
            for row, projection, corner in zip(rows, found, corners, strict=True):
                paste(projection, projections[row], corner)
    return projections


class FieldProjector:
    """Projections from one layer, cropped to each unit's receptive field, which is much smaller in the first layers.

    The network and its layer are checked once, for any number of images of one size.

    Args:
        net: as for `project`.
        images: at least one image of the size to be projected.
        layer: module path.
        rule: as for `project`.
        signal: as for `project`.
        unpool: as for `project`.
        lrn: as for `project`.
        batch_size: as for `project`.

    Attributes:
        field: the layer's receptive field.

    Raises:
        InputError: as `project`.
    """

    def __init__(
        self,
        net: nn.Module,
        images: Float[Tensor, "n c h w"],
        layer: str,
        *,
        rule: Rule = "deconvnet",
        signal: Signal = "activation",
        unpool: Unpool = "sum",
        lrn: LrnRule | None = None,
        batch_size: int = 8,
    ) -> None:
        images = network_input(net, images)
        self.net, self.layer, self.image_shape = net, layer, images.shape[1:]
        self._projector = Projector.from_images(net, images, layer, rule, signal, unpool, lrn, batch_size)
        # With unpool="overwrite" the computed window exceeds the receptive field.
        own = self._projector.field if unpool != "overwrite" else None
        self.field = own or traced_fields(net, images, [layer])[layer]

    def try_out(self, image: Float[Tensor, "1 c h w"]) -> None:
        """Project a unit in the middle of the layer, which detects the errors of the backward pass.

        Raises:
            InputError: there is no ReLU below the layer, or an activation is not finite.
        """
        self(image, [(0, 0, *(n // 2 for n in self._projector.shape[1:]))])

    def __call__(
        self, images: Float[Tensor, "n c h w"], units: Units, cache: ForwardCache | None = None
    ) -> Float[Tensor, "units c fh fw"]:
        """Return the projections of units, with zeros where a receptive field exceeds the image.

        Args:
            images: preprocessed images.
            units: as for `project`.
            cache: of a forward pass of these images, which saves one here.

        Raises:
            InputError: the images have another size than those that were checked, or a unit is out of range.
        """
        images = network_input(self.net, images)
        check_same_size(images.shape[1:], self.image_shape)
        numbers = as_unit_tensor(units, len(images), self._projector.shape, self.layer)
        positions = numbers[:, 2:].tolist()
        with backward_mode(self.net):
            fields = images.new_zeros(len(numbers), images.shape[1], *self.field.size)
            for rows, found, corners in self._projector.project(images, numbers, cache):
                for row, projection, corner in zip(rows, found, corners, strict=True):
                    top, left, *_ = self.field.box(*positions[row])
                    paste(projection, fields[row], (corner[0] - top, corner[1] - left))
        return fields


def project_fields(
    net: nn.Module,
    images: Float[Tensor, "n c h w"],
    layer: str,
    units: Units,
    **options: Unpack[ProjectOptions],
) -> Float[Tensor, "units c fh fw"]:
    """Project units as `project` does, but return only their receptive fields, with zeros outside of the image.

    Args:
        net: as for `project`.
        images: preprocessed images.
        layer: module path.
        units: as for `project`.
        options: keywords of `project`.

    Raises:
        InputError: as `project`.
    """
    return FieldProjector(net, images, layer, **options)(images, units)


def paste(source: Float[Tensor, "c h w"], target: Float[Tensor, "c h2 w2"], corner: Sequence[int]) -> None:
    """Copy ``source`` into ``target`` with its corner at (top, left), cropped to the target."""
    slices = []
    for axis in (0, 1):
        begin, end = max(corner[axis], 0), min(corner[axis] + source.shape[axis + 1], target.shape[axis + 1])
        if begin >= end:
            return
        slices += [slice(begin, end), slice(begin - corner[axis], end - corner[axis])]
    target[:, slices[0], slices[2]] = source[:, slices[1], slices[3]]
