"""Training steps of several processes with the dropout and the batch normalization of the whole batch."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.distributed
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from convlens.systems.batch_share import BatchShare

_FACTORS = (F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, torch.dropout, torch.feature_dropout)
"""Functions that multiply each value by a random number."""
_POINTWISE = (F.alpha_dropout, F.feature_alpha_dropout, torch.bernoulli)
"""Other functions of a value and its random number."""
_LIKE = (torch.rand_like, torch.randn_like)
"""Functions that return a tensor of random numbers, given one of its size."""
_FILLS = (Tensor.bernoulli_, Tensor.uniform_, Tensor.normal_, Tensor.exponential_)
"""Functions that fill a tensor with random numbers."""
_SIZED = (torch.rand, torch.randn)
"""Functions that return a tensor of random numbers, given its size."""


class Place(NamedTuple):
    """Place of the images in a tensor: their axis, and the number of its positions that each of them has."""

    axis: int
    each: int


class WholeBatch(TorchFunctionMode):
    """Mode in which each process draws random numbers for the whole batch, and takes those of its own images.

    All processes must have the same random state when they enter it, and have it when they leave. Images are on the
    first axis, or on the second if only that has their number; the first may have several positions for each. Random
    numbers of a tensor without images, such as weights, are the same in all processes. Batch normalization takes mean
    and variance of the whole batch.

    Attributes:
        share: the process's share of the batch.
        fixed: shapes of tensors without images, each with the numbers of own images at which images have it, too.
    """

    def __init__(self, share: BatchShare, fixed: Mapping[tuple[int, ...], Collection[int]] | None = None) -> None:
        super().__init__()
        self.share, self.fixed = share, fixed or {}

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call a function, or what replaces it."""
        options = dict(kwargs or {})
        if func is F.batch_norm and options.get("training"):
            return self._batch_norm(*args, **options)
        if func in _SIZED:
            size = options.pop("size", None) or (args[0] if isinstance(args[0], Sequence) else args)
            place = self.place(size)
            return func(size, **options) if place is None else self._sized(func, size, place, options)
        draws = args and func in (*_FACTORS, *_POINTWISE, *_LIKE, *_FILLS)
        if draws and not isinstance(args[0], nn.Parameter):
            place = self.place(args[0].shape)
            if place is not None:
                return self._divided(func, place, *args, **options)
        return func(*args, **options)

    def place(self, shape: Sequence[int]) -> Place | None:
        """Return where the images are in a tensor of this shape; None if it has no axis of them."""
        rows = self.share.rows
        if rows not in self.fixed.get(tuple(shape), [rows]):
            return None
        if len(shape) < 2:  # a single number, or one for each channel, is no image's
            return Place(0, 1) if len(shape) and shape[0] == rows > 1 else None
        if shape[0] != rows == shape[1]:
            return Place(1, 1)
        return None if shape[0] % rows or not shape[0] else Place(0, shape[0] // rows)

    def _divided(self, func: Callable[..., Any], place: Place, x: Tensor, *args: Any, **options: Any) -> Tensor:
        """Return a function's values for the own images, with the random numbers of the whole batch."""
        inplace = options.pop("inplace", False) or func in _FILLS
        if func in (*_FACTORS, *_POINTWISE):
            args, inplace = args[:2], inplace or (len(args) > 2 and args[2])
        whole = _whole(x, self._size(x.shape, place), place)
        if func in _FACTORS:
            factors = self._own(self._draw(func, whole.fill_(1), *args, **options), place)
            return x.mul_(factors) if inplace else x * factors
        if func in _POINTWISE:  # the other images are zeros
            parts = whole.zero_().unflatten(place.axis, (-1, place.each))
            parts.index_copy_(place.axis, self._index(x), x.unflatten(place.axis, (-1, place.each)))
        values = self._own(self._draw(func, whole, *args, **options), place)
        return x.copy_(values) if inplace else values

    def _sized(self, func: Callable[..., Any], size: Sequence[int], place: Place, options: dict[str, Any]) -> Tensor:
        return self._own(self._draw(func, self._size(size, place), **options), place)

    def _draw(self, func: Callable[..., Any], *args: Any, **options: Any) -> Tensor:
        """Return the random numbers of the whole batch."""
        values: Tensor = func(*args, **options)
        return values

    def _size(self, shape: Sequence[int], place: Place) -> list[int]:
        """Return the size that a tensor of the own images has for the whole batch."""
        return [*shape[: place.axis], self.share.total * place.each, *shape[place.axis + 1 :]]

    def _index(self, x: Tensor) -> Tensor:
        """Return the own images' positions in the whole batch; the last one's for an image that only fills it up."""
        share = self.share
        index = torch.arange(share.rows, device=x.device) * share.world_size + share.rank
        return index.clamp(max=share.total - 1)

    def _own(self, whole: Tensor, place: Place) -> Tensor:
        """Return the own images' part of a tensor of the whole batch."""
        parts = whole.unflatten(place.axis, (-1, place.each)).index_select(place.axis, self._index(whole))
        return parts.flatten(place.axis, place.axis + 1)

    def _batch_norm(
        self,
        x: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = True,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        """Normalize channels by their mean and variance over all processes, and update the running statistics."""
        axes = [0, *range(2, x.dim())]
        shape = [1, -1, *[1] * (x.dim() - 2)]
        values = x if x.dtype == torch.float64 else x.float()
        each = x[0, 0].numel()  # values of a channel in an image
        count = self.share.total * each
        if count == 1:
            raise ValueError("batch normalization of a single value per channel: choose another recipe.batch_size")
        mean: Tensor = _SumOverProcesses.apply(values[: self.share.own].sum(axes)) / count
        centered = values - mean.view(shape)
        variance: Tensor = _SumOverProcesses.apply(centered[: self.share.own].square().sum(axes)) / count
        with torch.no_grad():
            if running_mean is not None:
                running_mean.lerp_(mean.to(running_mean), momentum)
            if running_var is not None:
                running_var.lerp_((variance * (count / (count - 1))).to(running_var), momentum)
        scale = (variance + eps).rsqrt() if weight is None else (variance + eps).rsqrt() * weight
        normalized = centered * scale.view(shape)
        return (normalized if bias is None else normalized + bias.view(shape)).to(x.dtype)


class _SumOverProcesses(torch.autograd.Function):
    """The sum of a tensor over all processes; its gradient is the sum of those of all processes."""

    @staticmethod
    def forward(ctx: object, values: Tensor) -> Tensor:
        total = values.clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: object, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        torch.distributed.all_reduce(total)
        return total


def _whole(x: Tensor, size: Sequence[int], place: Place) -> Tensor:
    """Return an empty tensor whose axes lie in memory as those of ``x``: torch draws random numbers in that order."""
    if torch.compiler.is_compiling():  # compiled code draws by position
        return x.new_empty(size)
    strides = list(torch.empty_like(x, device="meta").stride())  # where torch puts the values of an expanded tensor
    if x.shape[place.axis] == 1:
        strides[place.axis] = max(strides)  # that of an axis of one position says nothing
    order = sorted(range(x.dim()), key=lambda axis: -strides[axis])
    return torch.empty_permuted(size, order, dtype=x.dtype, device=x.device)
