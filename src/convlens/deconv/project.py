"""Projection of single activations down to the pixels (paper, section 2.1)."""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from convlens.deconv.layers import check_outputs, evaluating, forward_to, like_parameters
from convlens.deconv.rules import DownwardRules, LrnRule, Rule, Unpool
from convlens.errors import InputError

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
    batch_size: int = 32,
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
    whole = DownwardRules("gradient")
    with whole:
        shape = check_outputs(net, images, [layer])[layer]
    _check_units(units, len(images), shape, layer)
    if seed not in ("activation", "one"):
        raise InputError(f"seed={seed!r} is unknown: choose activation (the paper's) or one")
    lrn = lrn or ("adjoint" if rule == "gradient" else "identity")
    parts = [images.new_zeros(0, *images.shape[1:])]
    with evaluating(net), torch.inference_mode(False), torch.enable_grad():
        for start in range(0, len(units), batch_size):
            chunk = torch.as_tensor([tuple(unit) for unit in units[start : start + batch_size]])
            x = images[chunk[:, 0].to(images.device)].detach().clone().requires_grad_()
            rules = DownwardRules(rule, unpool, lrn)
            with rules:
                # A copy, since a network may begin by changing its input in place, which a leaf does not allow.
                output = _output(net, x.clone(), layer)
            if rule != "gradient" and not rules.rectified and (rules.others or not whole.rectified):
                raise InputError(_no_relu(rule, whole, net))
            parts.append(_down(output, x, chunk, seed))
    return torch.cat(parts)


def _output(net: nn.Module, x: Tensor, layer: str | None) -> Tensor:
    if layer is None:
        return net(x)
    kept: list[Tensor] = []
    forward_to(net, x, {layer: kept.append})
    return kept[0]


def _down(output: Tensor, x: Tensor, units: Tensor, seed: Seed) -> Tensor:
    """Signal at the pixels for a batch in which row i holds the image of unit i."""
    places = (torch.arange(len(units)), *units[:, 1:].unbind(1))
    signal = torch.zeros_like(output)
    signal[places] = output.detach()[places] if seed == "activation" else 1.0
    return torch.autograd.grad(output, x, signal)[0]


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
