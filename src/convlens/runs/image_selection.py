"""Which images a task looks at, and which class of the network is the true one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torchvision
from jaxtyping import Float
from torch import Tensor

from convlens.errors import InputError
from convlens.ops.layer_access import check_outputs, evaluating, like_parameters
from convlens.runs.subject import LoadedNetwork
from convlens.runs.typed_settings import Count, Positive


@dataclass(frozen=True)
class SelectedImage:
    """An image that is looked at.

    Attributes:
        index: its place in the split.
        image: as the network reads it.
        label: its class in the data.
        target: the class of the network that is asked for.
        predicted: the class that the network gives.
    """

    index: int
    image: Float[Tensor, "3 c c"]
    label: int
    target: int
    predicted: int


@dataclass(frozen=True)
class ImageSelection:
    """Settings of an analysis that selects images of a split and a class of the network for each.

    Attributes:
        split: of the data.
        images: how many.
        label: images of this class only, by name or number; None takes all classes.
        target: ``label`` asks for the image's own class, ``predicted`` for the one that the network gives.
        class_map: the network's class for each class of the data; None where they are numbered alike.
        only_correct: leave out images that the network gets wrong (where ``target`` is ``label``).
    """

    split: str
    images: Positive
    label: str | int | None
    target: Literal["label", "predicted"]
    class_map: Sequence[Count] | None
    only_correct: bool


def class_count(subject: LoadedNetwork) -> int:
    """How many classes the network tells apart."""
    size = subject.data.image_size
    with evaluating(subject.net), torch.no_grad():
        return subject.net(like_parameters(subject.net, torch.zeros(1, 3, size, size))).shape[-1]


def network_classes(subject: LoadedNetwork, choice: ImageSelection) -> list[int]:
    """The network's class for each class of the data.

    Raises:
        InputError: they do not correspond, or a number is out of range.
    """
    count, classes = class_count(subject), subject.data.num_classes
    if choice.class_map is not None:
        if len(choice.class_map) != classes or not all(0 <= output < count for output in choice.class_map):
            raise InputError(
                f"task.class_map has {len(choice.class_map)} numbers for {classes} classes of the data: give for each "
                f"class, in the order {', '.join(subject.data.class_names[:3])}, ..., the network's, 0 to {count - 1}"
            )
        return list(choice.class_map)
    if count != classes:
        raise InputError(
            f"{subject.name} tells {count} classes apart and the data have {classes}: say which belong together with "
            "task.class_map=[...], or look at what the network predicts with task.target=predicted"
        )
    return list(range(classes))


def class_namer(subject: LoadedNetwork, outputs: Sequence[int] | None) -> Callable[[int], str]:
    """What names one of the network's classes: of torchvision's lists where the network is one of theirs."""
    names = subject.data.class_names
    if outputs is None and class_count(subject) == len(names):
        return names.__getitem__
    categories: list[str] = []
    if subject.name in torchvision.models.list_models():
        weights = list(torchvision.models.get_model_weights(subject.name))
        categories = weights[0].meta.get("categories", []) if weights else []
    own = dict(zip(outputs or [], names, strict=False))
    return lambda number: categories[number] if number < len(categories) else own.get(number, f"class {number}")


@torch.no_grad()
def select_images(subject: LoadedNetwork, choice: ImageSelection) -> list[SelectedImage]:
    """The first images of a split that fit, which is an order spread over the classes.

    Raises:
        InputError: there is no such class, or no image fits.
    """
    data = subject.data
    check_outputs(subject.net, next(iter(data.plain_dataloader(choice.split, 1)))[0], [None])
    own = network_classes(subject, choice) if choice.target == "label" else None
    wanted = label_number(subject, choice.label)
    found: list[SelectedImage] = []
    seen, index = 0, 0
    with evaluating(subject.net):
        for images, labels in data.plain_dataloader(choice.split):
            predictions = subject.net(like_parameters(subject.net, images)).argmax(1).tolist()
            for image, label, predicted in zip(images, labels.tolist(), predictions, strict=True):
                index += 1
                if wanted is not None and label != wanted:
                    continue
                seen += 1
                target = predicted if own is None else own[label]
                if target == predicted or not choice.only_correct:
                    found.append(SelectedImage(index - 1, image.clone(), label, target, predicted))
                if len(found) == choice.images:
                    return found
    if not found:
        of = "" if wanted is None else f" of {data.class_names[wanted]!r}"
        raise InputError(
            f"none of the {seen} {choice.split} images{of} is predicted right by {subject.name}: "
            "choose another task.label, or task.only_correct=false"
        )
    return found


def label_number(subject: LoadedNetwork, label: str | int | None) -> int | None:
    """The number of a class that is given by its name or number; None for none.

    Raises:
        InputError: the data have no such class.
    """
    names = list(subject.data.class_names)
    if label is None:
        return None
    if str(label) in names:
        return names.index(str(label))
    if isinstance(label, int) and 0 <= label < len(names):
        return label
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    raise InputError(f"task.label={label!r} is no class of the data: give a name or 0 to {len(names) - 1} ({shown})")
