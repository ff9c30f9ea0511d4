"""How much features and outputs change when the image is moved, enlarged or turned (paper, section 4.1 and Fig 5)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from convlens.analysis.invariance.transforms import Border, transform
from convlens.errors import InputError
from convlens.ops.layer_access import check_outputs, evaluating, like_parameters

FORMS = ("raw", "relative", "unit")


@dataclass(frozen=True)
class Invariance:
    """What one transformation does to images.

    Attributes:
        kind: ``translation`` (pixels down), ``scale`` (factor) or ``rotation`` (degrees).
        values: by how much.
        distance: for each layer the Euclidean distance between the features of the original and of the transformed
            image, as they are (``raw``), over the norm of the original's (``relative``) and of both at unit length
            (``unit``, at most the square root of 2 for rectified features); the paper does not say which it draws.
        apart: for each layer the root mean square distance between the features of two different originals, to which
            the raw distances may be compared; NaN for a single image.
        probability: of each image's target.
        label: the class with the greatest output.
        clean_probability: of the originals.
        clean_label: likewise.
    """

    kind: str
    values: Float[np.ndarray, " t"]
    distance: dict[str, dict[str, Float[Tensor, "n t"]]]
    apart: dict[str, float]
    probability: Float[Tensor, "n t"]
    label: Int[Tensor, "n t"]
    clean_probability: Float[Tensor, " n"]
    clean_label: Int[Tensor, " n"]

    @property
    def identity(self) -> float:
        """The amount that changes nothing."""
        return 1.0 if self.kind == "scale" else 0.0


def invariance(
    net: nn.Module,
    images: Sequence[Float[Tensor, "c h w"]] | Float[Tensor, "n c h w"],
    targets: Sequence[int],
    layers: Sequence[str],
    kind: str,
    values: Float[np.ndarray, " t"],
    *,
    border: Border = "black",
    black: float | Float[Tensor, "c h w"] = 0.0,
    size: int | None = None,
    preprocess: Callable[[Tensor], Tensor] = lambda pixels: pixels,
    batch_size: int = 32,
    step: Callable[[int], Any] = lambda count: None,
) -> Invariance:
    """Transform each image by each amount, and compare what the layers give.

    Args:
        net: any network whose output is logits [n, classes].
        images: before ``preprocess``; with ``border="source"`` larger than what the network reads.
        targets: the class of each image whose probability is asked for.
        layers: module paths.
        kind: see ``transform``, as for border, black and size.
        values: by how much.
        border: what comes in from outside.
        black: in the units of ``images``.
        size: side of what the network is given.
        preprocess: what is done to transformed images before the network reads them.
        batch_size: how many transformed images go through the network at once.
        step: told, as the work goes on, how many transformed images are done.

    Raises:
        InputError: no image, a target out of range, images that the network cannot read, or as ``transform``.
    """
    if not len(images) or len(images) != len(targets):
        raise InputError(f"{len(images)} images with {len(targets)} targets: give a target for each, at least one")
    still = np.array([1.0 if kind == "scale" else 0.0])
    first = transform(images[0], kind, still, border=border, black=black, size=size)
    shapes = check_outputs(net, like_parameters(net, preprocess(first)), [None, *layers])
    classes = shapes[None][0] if len(shapes[None]) == 1 else 0
    for target in targets:
        if not 0 <= target < classes:
            raise InputError(f"label {target} is out of range: the network has the classes 0 to {classes - 1}")
    moments = {layer: _Moments() for layer in layers}
    found: dict[str, dict[str, list[Tensor]]] = {layer: {form: [] for form in FORMS} for layer in layers}
    outputs = []
    with evaluating(net), torch.no_grad():
        for image in images:
            seen = _Seen(net, layers)
            original = transform(image, kind, still, border=border, black=black, size=size)
            output = [seen.keep(like_parameters(net, preprocess(original)), moments)]
            for start in range(0, len(values), batch_size):
                some = transform(image, kind, values[start : start + batch_size], border=border, black=black, size=size)
                output.append(seen.compare(like_parameters(net, preprocess(some))))
                step(len(some))
            outputs.append(torch.cat(output).cpu())
            for layer, forms in seen.distances().items():
                for form, distance in forms.items():
                    found[layer][form].append(distance)
    logits = torch.stack(outputs)
    probability = logits.softmax(2)[torch.arange(len(images)), :, torch.tensor(list(targets))]
    return Invariance(
        kind,
        np.asarray(values, dtype=np.float64),
        {layer: {form: torch.stack(rows) for form, rows in forms.items()} for layer, forms in found.items()},
        {layer: moment.apart() for layer, moment in moments.items()},
        probability[:, 1:],
        logits[:, 1:].argmax(2),
        probability[:, 0],
        logits[:, 0].argmax(1),
    )


class _Moments:
    """Sums of features over images, from which their mean distance follows without keeping them."""

    def __init__(self) -> None:
        self.count, self.total, self.squares = 0, torch.zeros((), dtype=torch.float64), 0.0

    def add(self, features: Float[Tensor, " d"]) -> None:
        self.count += 1
        self.total = self.total + features
        self.squares += float(features.square().sum())

    def apart(self) -> float:
        """Of all pairs, the root of the mean of the squared distances: twice the variance, summed over dimensions."""
        if self.count < 2:
            return float("nan")
        variance = (self.squares - float(self.total.square().sum()) / self.count) / (self.count - 1)
        return float(max(0.0, 2 * variance) ** 0.5)


class _Seen:
    """The original's features of all layers, and the distances of others' to them."""

    def __init__(self, net: nn.Module, layers: Sequence[str]) -> None:
        self.net, self.layers = net, layers
        self.features: dict[str, Tensor] = {}
        self.found: dict[str, list[tuple[Tensor, Tensor]]] = {layer: [] for layer in layers}

    def _run(self, images: Tensor, take: Callable[[str, Tensor], None]) -> Tensor:
        """One pass; features are taken at once, before an operation in place may change them."""
        handles = [
            self.net.get_submodule(layer).register_forward_hook(
                lambda module, args, output, layer=layer: take(layer, output.flatten(1))
            )
            for layer in self.layers
        ]
        try:
            return self.net(images)
        finally:
            for handle in handles:
                handle.remove()

    def keep(self, original: Tensor, moments: Mapping[str, _Moments]) -> Tensor:
        """The original."""

        def take(layer: str, features: Tensor) -> None:
            self.features[layer] = features[0].clone()
            moments[layer].add(features[0].cpu().double())

        return self._run(original, take)

    def compare(self, images: Tensor) -> Tensor:
        """Some transformed images."""

        def take(layer: str, features: Tensor) -> None:
            own = self.features[layer]
            lengths = features.norm(dim=1, keepdim=True)
            at_unit_length = features / lengths.clamp(min=1e-30) - own / own.norm().clamp(min=1e-30)
            self.found[layer].append(((features - own).norm(dim=1), at_unit_length.norm(dim=1)))

        return self._run(images, take)

    def distances(self) -> dict[str, dict[str, Tensor]]:
        """All three forms."""
        result = {}
        for layer, parts in self.found.items():
            raw, unit = (torch.cat(column).cpu() for column in zip(*parts, strict=True))
            own = float(self.features[layer].norm())
            result[layer] = {
                "raw": raw,
                "relative": raw / own if own else torch.full_like(raw, float("nan")),
                "unit": unit,
            }
        return result
