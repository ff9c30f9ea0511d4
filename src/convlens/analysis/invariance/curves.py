"""Invariance curves: distances of features and probabilities under transformations of the image (Fig 5)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, SupportsIndex, get_args

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from convlens.analysis.invariance.transforms import IDENTITY, KINDS, Border, transform
from convlens.analysis.target_class import check_targets
from convlens.errors import InputError
from convlens.ops.callers_code import check_function
from convlens.ops.input_checks import (
    LARGEST,
    check_activations,
    check_choice,
    check_count,
    check_layers,
    check_list,
    check_network,
    check_numbers,
    check_same_size,
)
from convlens.ops.layer_access import OUTPUT, check_outputs, evaluating, forward_to, joined, preprocessed
from convlens.ops.tensor_repr import summary

Distance = Literal["raw", "relative", "unit"]
DISTANCES: tuple[Distance, ...] = get_args(Distance)


@dataclass(frozen=True)
class Invariance:
    """Distances and outputs of n images under t values of one transformation (section 4.1).

    Attributes:
        kind: ``translation`` (pixels downwards), ``scale`` (factor) or ``rotation`` (degrees counterclockwise).
        values: value of each transformation.
        distance: by layer and kind of distance, the Euclidean distance between the features of the original and of the
            transformed image: ``raw``; ``relative``, divided by the norm of the original's features; ``unit``, between
            features of unit length (at most the square root of 2 for rectified features). The paper does not say which
            one it draws.
        pair_distance: by layer, the root mean square distance between the features of two different originals, a scale
            for the raw distances; NaN for a single image.
        probability: softmax probability of each image's target.
        label: the class with the greatest output.
        clean_probability: ``probability`` of the originals.
        clean_label: ``label`` of the originals.
    """

    kind: str
    values: Float[np.ndarray, " t"]
    distance: dict[str, dict[str, Float[Tensor, "n t"]]]
    pair_distance: dict[str, float]
    probability: Float[Tensor, "n t"]
    label: Int[Tensor, "n t"]
    clean_probability: Float[Tensor, " n"]
    clean_label: Int[Tensor, " n"]

    __repr__ = summary

    @property
    def identity(self) -> float:
        """The value that leaves the image as it is."""
        return IDENTITY[self.kind]


def invariance(
    net: nn.Module,
    images: Sequence[Float[Tensor, "c h w"]] | Float[Tensor, "n c h w"],
    targets: Sequence[SupportsIndex] | Int[Tensor, " n"] | Int[np.ndarray, " n"],
    layers: Sequence[str],
    kind: str,
    values: Float[np.ndarray, " t"],
    *,
    border: Border = "black",
    black: float | Float[Tensor, "c h w"] = 0.0,
    size: int | None = None,
    preprocess: Callable[[Tensor], Tensor] = lambda pixels: pixels,
    batch_size: int = 32,
    on_progress: Callable[[int], object] = lambda count: None,
) -> Invariance:
    """Transform each image by each value and compare features and outputs with the original's (Fig 5).

    Args:
        net: any network whose output is logits [n, classes].
        images: the images before ``preprocess``; with ``border="source"`` larger than the network's input.
        targets: class of each image whose probability is recorded.
        layers: names of layers.
        kind: ``translation`` (pixels downwards), ``scale`` (factor) or ``rotation`` (degrees counterclockwise).
        values: value of each transformation.
        border: content of pixels from outside the image, see ``convlens.analysis.invariance.transforms.transform``.
        black: value of black pixels, in the units of ``images``.
        size: side of the transformed images in pixels; None is the shorter side of the image.
        preprocess: converts transformed images to network input.
        batch_size: number of transformed images in one forward pass.
        on_progress: called with the number of transformed images done since the last call.

    Raises:
        InputError: another number of targets than images or none, a target out of range, images that the network cannot
            read, a wrong layer, or as ``transform``.
    """
    check_network(net)
    if check_list("images", images) != check_list("targets", targets) or not len(images):
        raise InputError(f"{len(images)} images with {len(targets)} targets: give a target for each, at least one")
    layers, batch_size = check_layers(layers), check_count("batch_size", batch_size)
    check_choice("kind", kind, KINDS)
    numbers = check_numbers("values", values, largest=LARGEST)
    preprocess, on_progress = check_function("preprocess", preprocess), check_function("on_progress", on_progress)

    def network_input(image: Tensor, some: Sequence[float]) -> Tensor:
        return preprocessed(net, preprocess, transform(image, kind, some, border=border, black=black, size=size))

    first = network_input(images[0], identity := [IDENTITY[kind]])
    shapes = check_outputs(net, first, [None, *layers])
    classes = check_targets(shapes[None], targets)
    features, logits = _FeatureDistances(net, layers), []
    with evaluating(net), torch.no_grad():
        for image in images:
            check_same_size((original := network_input(image, identity)).shape[1:], first.shape[1:])
            rows = [features.set_original(original)]
            for start in range(0, len(numbers), batch_size):
                some = numbers[start : start + batch_size]
                rows.append(features.compare(network_input(image, some)))
                on_progress(len(some))
            logits.append(check_activations(joined(rows).cpu(), None))
    return _collect(kind, np.array(numbers, np.float64), features, torch.stack(logits), classes)


def _collect(
    kind: str,
    values: Float[np.ndarray, " t"],
    features: "_FeatureDistances",
    logits: Float[Tensor, "n t+1 classes"],
    targets: Int[Tensor, " n"],
) -> Invariance:
    """Build the result from the logits of each original and its transformed images."""
    probability = logits.softmax(2)[torch.arange(len(logits)), :, targets]
    return Invariance(
        kind,
        values,
        features.distances(),
        {layer: distance.value() for layer, distance in features.pair_distance.items()},
        probability[:, 1:],
        logits[:, 1:].argmax(2),
        probability[:, 0],
        logits[:, 0].argmax(1),
    )


class _PairDistance:
    """Root mean square distance of all pairs of vectors, by running sums."""

    def __init__(self) -> None:
        self.count, self.total, self.squares = 0, torch.zeros((), dtype=torch.float64), 0.0

    def add(self, vector: Float[Tensor, " d"]) -> None:
        """Add one vector."""
        self.count += 1
        self.total = self.total + vector
        self.squares += float(vector.square().sum())

    def value(self) -> float:
        """Return the distance: its mean square over pairs is twice the variance, summed over dimensions."""
        if self.count < 2:
            return float("nan")
        variance = (self.squares - float(self.total.square().sum()) / self.count) / (self.count - 1)
        return float(max(0.0, 2 * variance) ** 0.5)


class _FeatureDistances:
    """Distances between the features of originals and of their transformed images, in several layers."""

    def __init__(self, net: nn.Module, layers: Sequence[str]) -> None:
        self.net, self.layers = net, layers
        self.original: dict[str, Tensor] = {}
        self.rows: dict[str, dict[str, list[list[Tensor]]]] = {
            layer: {distance: [] for distance in DISTANCES} for layer in layers
        }
        self.pair_distance = {layer: _PairDistance() for layer in layers}

    def set_original(self, image: Float[Tensor, "1 c h w"]) -> Float[Tensor, "1 classes"]:
        """Run the network on the next original; return its output."""

        def keep(layer: str, features: Tensor) -> None:
            self.original[layer] = features[0].clone()
            self.pair_distance[layer].add(features[0].cpu().double())
            for rows in self.rows[layer].values():
                rows.append([])

        return self._run(image, keep)

    def compare(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n classes"]:
        """Run the network on transformed images of the current original; return their outputs."""

        def measure(layer: str, features: Tensor) -> None:
            original = self.original[layer]
            norm = original.norm()
            raw = (features - original).norm(dim=1)
            norms = features.norm(dim=1, keepdim=True)
            unit = features / norms.clamp(min=1e-30) - original / norm.clamp(min=1e-30)
            relative = torch.where(norm > 0, raw / norm, float("nan"))
            for name, distance in zip(DISTANCES, (raw, relative, unit.norm(dim=1)), strict=True):
                self.rows[layer][name][-1].append(distance)

        return self._run(images, measure)

    def distances(self) -> dict[str, dict[str, Float[Tensor, "n t"]]]:
        """Return the distances by layer and kind of distance."""
        return {
            layer: {name: torch.stack([torch.cat(row) for row in rows]).cpu() for name, rows in by_name.items()}
            for layer, by_name in self.rows.items()
        }

    def _run(self, images: Tensor, consume: Callable[[str, Tensor], None]) -> Tensor:
        """Run the network; features are consumed at once, before an in-place operation may change them."""
        consumers = {layer: lambda output, layer=layer: consume(layer, output.flatten(1)) for layer in self.layers}
        outputs: list[Tensor] = []
        forward_to(self.net, images, {**consumers, OUTPUT: outputs.append})
        return outputs[0]
