"""Selection of images for an analysis, and the network's class and class name for each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torchvision
from jaxtyping import Float
from torch import Tensor

from convlens.data import ImageData
from convlens.errors import InputError
from convlens.ops.layer_access import check_outputs, evaluating, like_parameters
from convlens.ops.tensor_repr import summary
from convlens.runs.subject import LoadedNetwork
from convlens.runs.typed_settings import Count, Positive


@dataclass(frozen=True)
class SelectedImage:
    """An image selected for an analysis.

    Attributes:
        index: index of the image in its split.
        image: the image as network input.
        label: its class in the data.
        target: the network's class whose probability is analyzed.
        predicted: the network's class with the greatest output.
    """

    index: int
    image: Float[Tensor, "3 c c"]
    label: int
    target: int
    predicted: int

    __repr__ = summary


@dataclass(frozen=True)
class ImageSelection:
    """Settings that select images of a split, and a class of the network for each.

    Attributes:
        split: split of the data.
        images: maximum number of images.
        label: select images of this class only, by name or index; None selects all classes.
        target: analyse the image's own class (``label``) or the class with the greatest output (``predicted``).
        class_map: the network's class for each class of the data; None if both number their classes alike.
        only_correct: select only images whose target is the predicted class.
    """

    split: str
    images: Positive
    label: str | int | None
    target: Literal["label", "predicted"]
    class_map: Sequence[Count] | None
    only_correct: bool


@torch.no_grad()
def select_images(network: LoadedNetwork, selection: ImageSelection) -> list[SelectedImage]:
    """Select the first images of a split that meet the conditions; a split's order mixes the classes.

    Raises:
        InputError: the class is unknown, data and network have different classes, or no image meets the conditions.
    """
    data, net = network.data, network.net
    check_outputs(net, next(iter(data.plain_dataloader(selection.split, 1)))[0], [None])
    targets = network_classes(network, selection.class_map) if selection.target == "label" else None
    only_label = class_index(data, selection.label)
    selected: list[SelectedImage] = []
    index, candidates = -1, 0
    with evaluating(net):
        for images, labels in data.plain_dataloader(selection.split):
            predictions = net(like_parameters(net, images)).argmax(1).tolist()
            for image, label, predicted in zip(images, labels.tolist(), predictions, strict=True):
                index += 1
                if only_label is not None and label != only_label:
                    continue
                candidates += 1
                target = predicted if targets is None else targets[label]
                if target == predicted or not selection.only_correct:
                    selected.append(SelectedImage(index, image.clone(), label, target, predicted))
                if len(selected) == selection.images:
                    return selected
    if not selected:
        of_class = "" if only_label is None else f" of {data.class_names[only_label]!r}"
        raise InputError(
            f"{network.name} predicts none of the {candidates} {selection.split} images{of_class} correctly: "
            "choose another task.label, or task.only_correct=false"
        )
    return selected


def class_index(data: ImageData, label: str | int | None) -> int | None:
    """Return the index of a class that is given by its name or index; None for None.

    Raises:
        InputError: the data have no such class.
    """
    names = list(data.class_names)
    if label is None:
        return None
    if str(label) in names:
        return names.index(str(label))
    if isinstance(label, int) and 0 <= label < len(names):
        return label
    known = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    raise InputError(f"task.label={label} is no class of the data: give a name or 0 to {len(names) - 1} ({known})")


def count_classes(network: LoadedNetwork) -> int:
    """Return the number of the network's classes, by a forward pass."""
    size = network.data.image_size
    with evaluating(network.net), torch.no_grad():
        return network.net(like_parameters(network.net, torch.zeros(1, 3, size, size))).shape[-1]


def network_classes(network: LoadedNetwork, class_map: Sequence[int] | None) -> list[int]:
    """Return the network's class for each class of the data.

    Raises:
        InputError: the class map does not fit, or is missing where network and data have different numbers of classes.
    """
    count, names = count_classes(network), network.data.class_names
    if class_map is not None:
        if len(class_map) != len(names) or not all(0 <= output < count for output in class_map):
            raise InputError(
                f"task.class_map has {len(class_map)} numbers for {len(names)} classes of the data: give the network's "
                f"class, 0 to {count - 1}, for each of {', '.join(names[:3])}, ..."
            )
        return list(class_map)
    if count != len(names):
        raise InputError(
            f"{network.name} has {count} classes and the data have {len(names)}: map them with task.class_map=[...], "
            "or analyse the predicted class with task.target=predicted"
        )
    return list(range(count))


def class_namer(network: LoadedNetwork, class_map: Sequence[int] | None) -> Callable[[int], str]:
    """Return a function from class index to class name, using the weights' categories if known.

    Names come from the data if the network has the same classes, else from torchvision's weights of that name, else
    from the class map; a class without a name is called ``class <index>``.
    """
    names = network.data.class_names
    if class_map is None and count_classes(network) == len(names):
        return names.__getitem__
    categories: Sequence[str] = []
    if network.name in torchvision.models.list_models():
        weights = list(torchvision.models.get_model_weights(network.name))
        categories = weights[0].meta.get("categories", []) if weights else []
    mapped = dict(zip(class_map or [], names, strict=False))
    return lambda index: categories[index] if index < len(categories) else mapped.get(index, f"class {index}")
