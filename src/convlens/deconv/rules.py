"""Backward rules of ReLU (deconvnet, gradient, guided), max pooling (switches, overlapping windows) and contrast norm.

Paper, section 2.1, and footnote 1 of the ECCV text; Simonyan et al. 2013 (gradient) and Springenberg et al. 2014
(guided). Functions are intercepted instead of modules, so that functional, in-place and shared ReLUs, skip connections
and concatenations are handled.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from convlens.nets.lrn import lrn
from convlens.ops.input_checks import check_choice
from convlens.ops.op_table import Args, Kwargs, Pair, arguments, pair

Rule = Literal["deconvnet", "gradient", "guided"]
Signal = Literal["activation", "one"]
Unpool = Literal["sum", "overwrite", "centre"]
LrnRule = Literal["identity", "adjoint"]

_RELU = {F.relu, torch.relu, Tensor.relu}
_RELU_IN_PLACE = {F.relu_, torch.relu_, Tensor.relu_}
_CLAMP = {torch.clamp, Tensor.clamp, torch.clip, Tensor.clip}
_CLAMP_IN_PLACE = {torch.clamp_, Tensor.clamp_, torch.clip_, Tensor.clip_}
_CLAMP_MIN = {torch.clamp_min, Tensor.clamp_min}
_CLAMP_MIN_IN_PLACE = {torch.clamp_min_, Tensor.clamp_min_}
_THRESHOLD = {F.threshold, torch.threshold}
_THRESHOLD_IN_PLACE = {torch.threshold_}
_POOL = {F.max_pool2d, torch.max_pool2d, F.max_pool2d_with_indices}
_ADAPTIVE_POOL = {F.adaptive_max_pool2d, F.adaptive_max_pool2d_with_indices}
_LRN = {F.local_response_norm, lrn}
# Nonlinearities without a deconvnet rule, for messages.
_OTHERS = {
    F.relu6: "relu6", F.hardtanh: "hardtanh", F.hardtanh_: "hardtanh", F.silu: "silu", F.gelu: "gelu",
    F.elu: "elu", F.selu: "selu", F.leaky_relu: "leaky_relu", F.leaky_relu_: "leaky_relu", F.prelu: "prelu",
    torch.prelu: "prelu", F.hardswish: "hardswish", F.mish: "mish", F.softplus: "softplus",
    torch.sigmoid: "sigmoid", Tensor.sigmoid: "sigmoid", torch.tanh: "tanh", Tensor.tanh: "tanh",
}  # fmt: skip


class _Rectify(torch.autograd.Function):
    """ReLU whose backward pass rectifies the signal and, if guided, masks it by the forward ReLU."""

    @staticmethod
    def forward(ctx, x: Tensor, guided: bool) -> Tensor:  # type: ignore[no-untyped-def]
        y = x.clamp(min=0)
        ctx.guided = guided
        if guided:
            ctx.save_for_backward(y > 0)
        return y

    @staticmethod
    def backward(ctx, signal: Tensor):  # type: ignore[no-untyped-def]
        signal = signal.clamp(min=0)
        return (signal * ctx.saved_tensors[0] if ctx.guided else signal), None


class _Identity(torch.autograd.Function):
    """Returns the given value in the forward pass; the backward pass is the identity."""

    @staticmethod
    def forward(ctx, x: Tensor, value: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        return value.view_as(value)

    @staticmethod
    def backward(ctx, signal: Tensor):  # type: ignore[no-untyped-def]
        return signal, None


class _OverwritingPool(torch.autograd.Function):
    """Max pooling whose backward pass puts each value at its switch; the last window in raster order wins."""

    @staticmethod
    def forward(ctx, x: Tensor, pool: Callable[[Tensor], tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:  # type: ignore[no-untyped-def]
        y, switches = pool(x)
        ctx.save_for_backward(switches)
        ctx.mark_non_differentiable(switches)
        ctx.size = x.shape[-2:]
        return y, switches

    @staticmethod
    def backward(ctx, signal: Tensor, _: Tensor):  # type: ignore[no-untyped-def]
        return unpool_overwrite(signal, ctx.saved_tensors[0], ctx.size), None


def unpool_overwrite(signal: Tensor, switches: Tensor, size: tuple[int, int]) -> Tensor:
    """Unpool by overwriting: the last of several values at the same switch stays, on every device.

    ``F.max_unpool2d`` leaves the order undefined.

    Args:
        signal: values of the pooled maps, [..., ho, wo].
        switches: their positions in the flattened maps, as ``F.max_pool2d`` returns them.
        size: height and width of the maps, (h, w).

    Returns:
        The unpooled maps, [..., h, w].
    """
    values, positions = signal.flatten(-2), switches.flatten(-2)
    order = torch.arange(values.shape[-1], device=signal.device).expand_as(positions)
    winner = torch.full((*positions.shape[:-1], size[0] * size[1]), -1, device=signal.device, dtype=order.dtype)
    winner = winner.scatter_reduce(-1, positions, order, reduce="amax")
    return torch.where(winner >= 0, values.gather(-1, winner.clamp(min=0)), 0).unflatten(-1, size)


def _argument(args: Args, kwargs: Kwargs, position: int, name: str, default: object = None) -> Any:
    """Return an argument given by position or name."""
    return args[position] if len(args) > position else kwargs.get(name, default)


class BackwardRules(TorchFunctionMode):
    """Mode in which forward passes are recorded such that their backward pass follows the rules.

    The values of the forward pass are unchanged.

    Args:
        rule: of ReLUs; ``deconvnet`` rectifies the backward signal, ``gradient`` masks it by the forward ReLU,
            ``guided`` does both.
        unpool: of max pooling; ``sum`` adds values at the same switch, ``overwrite`` keeps the last, ``centre`` uses no
            switches: each value goes to the centre of its window.
        lrn: of contrast normalization; ``identity`` or the ``adjoint``.

    Attributes:
        rectified: number of ReLUs that were intercepted.
        others: number of calls of each nonlinearity without a rule, by name.

    Raises:
        InputError: a rule is unknown.
    """

    def __init__(self, rule: Rule = "deconvnet", unpool: Unpool = "sum", lrn: LrnRule = "identity") -> None:
        super().__init__()
        for name, value, choices in (("rule", rule, Rule), ("unpool", unpool, Unpool), ("lrn", lrn, LrnRule)):
            check_choice(name, value, get_args(choices))
        self.rule, self.unpool, self.lrn = rule, unpool, lrn
        self.rectified = 0
        self.others: Counter[str] = Counter()

    def __torch_function__(
        self, func: Callable, types: Sequence[type], args: Args = (), kwargs: Kwargs | None = None
    ) -> object:
        """Run an operation; ReLU, pooling and normalization get the backward pass of the rules."""
        kwargs = kwargs or {}
        in_place = self._rectification(func, args, kwargs)
        if in_place is not None:
            return self._rectify(func, args, kwargs, in_place)
        if (func in _POOL or func in _ADAPTIVE_POOL) and self.unpool != "sum":
            return self._pool(func, args, kwargs)
        if func in _LRN and self.lrn == "identity":
            x = _argument(args, kwargs, 0, "input" if func is F.local_response_norm else "x")
            with torch.no_grad():
                value = func(*args, **kwargs)
            return _Identity.apply(x, value)
        if func in _OTHERS:
            bounds = _argument(args, kwargs, 1, "min_val"), _argument(args, kwargs, 2, "max_val")
            # nn.ReLU6 calls hardtanh.
            self.others["relu6" if _OTHERS[func] == "hardtanh" and bounds == (0, 6) else _OTHERS[func]] += 1
        return func(*args, **kwargs)

    @staticmethod
    def _rectification(func: Callable, args: Args, kwargs: Kwargs) -> bool | None:
        """Return True if the call is a ReLU in place, False if it is another ReLU, None if it is none."""
        if func in _RELU:
            return func is F.relu and bool(_argument(args, kwargs, 1, "inplace", False))
        if func in _RELU_IN_PLACE:
            return True
        if func in _CLAMP or func in _CLAMP_IN_PLACE:
            low, high = _argument(args, kwargs, 1, "min"), _argument(args, kwargs, 2, "max")
            return (func in _CLAMP_IN_PLACE) if _is_zero(low) and high is None else None
        if func in _CLAMP_MIN or func in _CLAMP_MIN_IN_PLACE:
            return (func in _CLAMP_MIN_IN_PLACE) if _is_zero(_argument(args, kwargs, 1, "min")) else None
        if func in _THRESHOLD or func in _THRESHOLD_IN_PLACE:
            level, value = _argument(args, kwargs, 1, "threshold"), _argument(args, kwargs, 2, "value")
            in_place = func in _THRESHOLD_IN_PLACE or bool(_argument(args, kwargs, 3, "inplace", False))
            return in_place if _is_zero(level) and _is_zero(value) else None
        return None

    def _rectify(self, func: Callable, args: Args, kwargs: Kwargs, in_place: bool) -> object:
        """Run a ReLU with the backward pass of the rule."""
        x = _argument(args, kwargs, 0, "input")
        self.rectified += 1
        if self.rule == "gradient":
            return func(*args, **kwargs)
        y = _Rectify.apply(x, self.rule == "guided")
        return x.copy_(y) if in_place else y

    def _pool(self, func: Callable, args: Args, kwargs: Kwargs) -> object:
        """Run a max pooling whose unpooling overwrites or uses no switches."""
        adaptive = func in _ADAPTIVE_POOL
        with_indices = F.adaptive_max_pool2d_with_indices if adaptive else F.max_pool2d_with_indices
        given = arguments("adaptive_max_pool2d" if adaptive else "max_pool2d", args, kwargs)
        x = given.pop("input")
        both = given.pop("return_indices", False) or func is with_indices
        if self.unpool == "overwrite":
            y, switches = _OverwritingPool.apply(x, lambda maps: with_indices(maps, **given))
        else:
            with torch.no_grad():
                y, switches = with_indices(x, **given)
            y = _Identity.apply(_at_centres(x, given, (y.shape[-2], y.shape[-1])), y)
        return (y, switches) if both else y


def _at_centres(x: Tensor, given: Kwargs, counts: Pair) -> Tensor:
    """Return the maps' values at the centres of pooling windows, [..., ho, wo]; zero where a centre is in the padding.

    The backward pass of this selection puts a value at the centre of its window.
    """
    for axis, count in zip((-2, -1), counts, strict=True):
        size, number = x.shape[axis], torch.arange(count, device=x.device)
        if "output_size" in given:  # adaptive: windows share out the map
            centres = (number * size // count + -(-(number + 1) * size // count) - 1) // 2
        else:
            kernel, stride, padding, dilation = (
                pair(value)[axis]
                for value in (
                    given["kernel_size"],
                    given.get("stride") or given["kernel_size"],
                    given.get("padding") or 0,
                    given.get("dilation") or 1,
                )
            )
            centres = number * stride - padding + dilation * ((kernel - 1) // 2)
        inside = (centres >= 0) & (centres < size)
        x = x.index_select(axis, centres.clamp(0, size - 1)) * inside.to(x.dtype).unsqueeze(-1 if axis == -2 else 0)
    return x


def _is_zero(value: object) -> bool:
    """Return whether a value is the number zero or a tensor that holds one."""
    constant = isinstance(value, int | float) or (isinstance(value, Tensor) and value.numel() == 1)
    return constant and bool(value == 0)
