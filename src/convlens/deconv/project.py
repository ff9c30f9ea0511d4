"""Projection of single activations down to the pixels (paper, section 2.1)."""

from collections.abc import Sequence
from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor, nn

from convlens.deconv.backward import Projector, going_down
from convlens.deconv.forward_cache import ForwardCache
from convlens.deconv.rules import LrnRule, Rule, Unpool
from convlens.errors import InputError
from convlens.ops.layer_access import like_parameters
from convlens.ops.receptive_field import traced_fields

Seed = Literal["activation", "one"]


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
    way = Projector.from_images(net, images, layer, rule, seed, unpool, lrn, batch_size)
    with going_down(net):
        projections = images.new_zeros(len(units), *images.shape[1:])
        for rows, signals, corners in way.run(images, units):
            for row, signal, corner in zip(rows, signals, corners, strict=True):
                paste(signal, projections[row], corner)
    return projections


class FieldProjector:
    """Projections from one layer, cut to the receptive field of each unit: many times smaller in the first layers.

    The network and its layer are looked at once, for any number of images of one size.

    Args:
        net: as for ``project``.
        images: at least one of those to come, or one like them.
        layer: module path.
        rule: as for ``project``, as all that follows.
        seed: the same.
        unpool: the same.
        lrn: the same.
        batch_size: the same.

    Raises:
        InputError: as ``project``.
    """

    def __init__(
        self,
        net: nn.Module,
        images: Float[Tensor, "n c h w"],
        layer: str,
        *,
        rule: Rule = "deconvnet",
        seed: Seed = "activation",
        unpool: Unpool = "sum",
        lrn: LrnRule | None = None,
        batch_size: int = 8,
    ) -> None:
        images = like_parameters(net, images)
        self.net, self.image_shape = net, images.shape[1:]
        self._way = Projector.from_images(net, images, layer, rule, seed, unpool, lrn, batch_size)
        # A unit competes with more than it sees where the last of overlapping windows wins.
        own = self._way.field if unpool == "sum" else None
        self.field = own or traced_fields(net, images, [layer])[layer]

    def try_out(self, image: Float[Tensor, "1 c h w"]) -> None:
        """Project one unit in the middle, which finds what only shows on the way down.

        Raises:
            InputError: there is no ReLU on the way, or an activation is not finite.
        """
        self(image, [(0, 0, *(n // 2 for n in self._way.shape[1:]))])

    def __call__(
        self, images: Float[Tensor, "n c h w"], units: Sequence[Sequence[int]], recording: ForwardCache | None = None
    ) -> Float[Tensor, "units c fh fw"]:
        """The projections, with zeros where a field hangs over the image.

        Args:
            images: what the network reads.
            units: as for ``project``.
            recording: of these images, if there is one, which saves a forward pass.
        """
        images = like_parameters(self.net, images)
        if images.shape[1:] != self.image_shape:
            raise InputError(f"images of shape {list(images.shape[1:])} after {list(self.image_shape)}: give one size")
        with going_down(self.net):
            fields = images.new_zeros(len(units), images.shape[1], *self.field.size)
            for rows, signals, corners in self._way.run(images, units, recording):
                for row, signal, corner in zip(rows, signals, corners, strict=True):
                    top, left, *_ = self.field.box(*units[row][2:])
                    paste(signal, fields[row], (corner[0] - top, corner[1] - left))
        return fields


def project_fields(
    net: nn.Module, images: Float[Tensor, "n c h w"], layer: str, units: Sequence[Sequence[int]], **options: Any
) -> Float[Tensor, "units c fh fw"]:
    """As ``project``, with its options, but only the receptive field of each unit, with zeros where it hangs over.

    Raises:
        InputError: as ``project``.
    """
    return FieldProjector(net, images, layer, **options)(images, units)


def paste(source: Float[Tensor, "c h w"], target: Float[Tensor, "c h2 w2"], corner: Sequence[int]) -> None:
    """Put ``source`` into ``target`` with its upper left at (top, left); what lies outside of the target is lost."""
    cuts = []
    for axis in (0, 1):
        begin, end = max(corner[axis], 0), min(corner[axis] + source.shape[axis + 1], target.shape[axis + 1])
        if begin >= end:
            return
        cuts += [slice(begin, end), slice(begin - corner[axis], end - corner[axis])]
    target[:, cuts[0], cuts[2]] = source[:, cuts[1], cuts[3]]
