"""What each operation does on the way down: the deconvnet as a set of rules at function level.

Paper, section 2.1, and ECCV text footnote 1; the rules of the neighbouring methods from Simonyan et al. 2013
(gradient) and Springenberg et al. 2014 (guided). Functions are intercepted rather than modules, so that functional,
in-place and shared ReLUs, skip connections and concatenations come out right.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from convlens.errors import InputError
from convlens.nets.lrn import lrn

Rule = Literal["deconvnet", "gradient", "guided"]
Unpool = Literal["sum", "overwrite"]
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
_POOL_ARGUMENTS = ("input", "kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")
_ADAPTIVE_POOL = {F.adaptive_max_pool2d, F.adaptive_max_pool2d_with_indices}
_LRN = {F.local_response_norm, lrn}
# Nonlinearities for which no deconvnet rule has been defined anywhere; named when a network has nothing else.
_OTHERS = {
    F.relu6: "relu6", F.hardtanh: "hardtanh", F.hardtanh_: "hardtanh", F.silu: "silu", F.gelu: "gelu",
    F.elu: "elu", F.selu: "selu", F.leaky_relu: "leaky_relu", F.leaky_relu_: "leaky_relu", F.prelu: "prelu",
    torch.prelu: "prelu", F.hardswish: "hardswish", F.mish: "mish", F.softplus: "softplus",
    torch.sigmoid: "sigmoid", Tensor.sigmoid: "sigmoid", torch.tanh: "tanh", Tensor.tanh: "tanh",
}  # fmt: skip


class _Rectify(torch.autograd.Function):
    """ReLU on the way up; on the way down the signal itself is rectified (and masked too, if guided)."""

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
    """The given value on the way up, the signal unchanged on the way down."""

    @staticmethod
    def forward(ctx, x: Tensor, value: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        return value.view_as(value)

    @staticmethod
    def backward(ctx, signal: Tensor):  # type: ignore[no-untyped-def]
        return signal, None


class _OverwritingPool(torch.autograd.Function):
    """Max pooling whose unpooling puts values back at the switches, the last window in raster order winning."""

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
    """Put each value [..., ho, wo] back at its switch in maps of ``size``; of several at one place the last stays.

    ``F.max_unpool2d`` leaves the order open; here the order is that of the windows, on every device.
    """
    values, places = signal.flatten(-2), switches.flatten(-2)
    order = torch.arange(values.shape[-1], device=signal.device).expand_as(places)
    winner = torch.full((*places.shape[:-1], size[0] * size[1]), -1, device=signal.device, dtype=order.dtype)
    winner = winner.scatter_reduce(-1, places, order, reduce="amax")
    return torch.where(winner >= 0, values.gather(-1, winner.clamp(min=0)), 0).unflatten(-1, size)


def _argument(args: tuple[Any, ...], kwargs: dict[str, Any], place: int, name: str, default: Any = None) -> Any:
    return args[place] if len(args) > place else kwargs.get(name, default)


class BackwardRules(TorchFunctionMode):
    """While active, forward passes are recorded so that their backward pass follows the rules.

    Values on the way up are unchanged. ``rectified`` counts the ReLUs that were intercepted and ``others`` the
    nonlinearities that have no rule.
    """

    def __init__(self, rule: Rule = "deconvnet", unpool: Unpool = "sum", lrn: LrnRule = "identity") -> None:
        super().__init__()
        for name, value, known in (
            ("rule", rule, ("deconvnet", "gradient", "guided")),
            ("unpool", unpool, ("sum", "overwrite")),
            ("lrn", lrn, ("identity", "adjoint")),
        ):
            if value not in known:
                raise InputError(f"{name}={value!r} is unknown: choose {', '.join(known)}")
        self.rule, self.unpool, self.lrn = rule, unpool, lrn
        self.rectified = 0
        self.others: Counter[str] = Counter()

    def __torch_function__(self, func: Callable, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Replace a rectification, a pooling or a normalisation by its ruled twin; leave all else alone."""
        kwargs = kwargs or {}
        in_place = self._rectification(func, args, kwargs)
        if in_place is not None:
            return self._rectify(func, args, kwargs, in_place)
        if (func in _POOL or func in _ADAPTIVE_POOL) and self.unpool == "overwrite":
            return self._pool(func, args, kwargs)
        if func in _LRN and self.lrn == "identity":
            x = _argument(args, kwargs, 0, "input" if func is F.local_response_norm else "x")
            with torch.no_grad():
                value = func(*args, **kwargs)
            return _Identity.apply(x, value)
        if func in _OTHERS:
            bounds = _argument(args, kwargs, 1, "min_val"), _argument(args, kwargs, 2, "max_val")
            # nn.ReLU6 is written as a hardtanh; it is named as the user knows it.
            self.others["relu6" if _OTHERS[func] == "hardtanh" and bounds == (0, 6) else _OTHERS[func]] += 1
        return func(*args, **kwargs)

    @staticmethod
    def _rectification(func: Callable, args: Any, kwargs: Any) -> bool | None:
        """Whether the call is a ReLU done in place (True), a ReLU (False), or something else (None)."""
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

    def _rectify(self, func: Callable, args: Any, kwargs: Any, in_place: bool) -> Any:
        x = _argument(args, kwargs, 0, "input")
        self.rectified += 1
        if self.rule == "gradient":
            return func(*args, **kwargs)
        y = _Rectify.apply(x, self.rule == "guided")
        return x.copy_(y) if in_place else y

    @staticmethod
    def _pool(func: Callable, args: Any, kwargs: Any) -> Any:
        twin, names = (
            (F.adaptive_max_pool2d_with_indices, ("input", "output_size", "return_indices"))
            if func in _ADAPTIVE_POOL
            else (F.max_pool2d_with_indices, _POOL_ARGUMENTS)
        )
        given = dict(zip(names, args, strict=False)) | kwargs
        x = given.pop("input")
        both = given.pop("return_indices", False) or func is twin
        y, switches = _OverwritingPool.apply(x, lambda maps: twin(maps, **given))
        return (y, switches) if both else y


def _is_zero(value: Any) -> bool:
    constant = isinstance(value, int | float) or (isinstance(value, Tensor) and value.numel() == 1)
    return constant and bool(value == 0)
