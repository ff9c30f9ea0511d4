"""Which images a task looks at, and which class of the network is the true one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torchvision
from jaxtyping import Float
from torch import Tensor

from convlens.deconv.layers import check_outputs, evaluating, like_parameters
from convlens.errors import InputError
from convlens.runs import Subject
from convlens.tasks.settings import check_number


@dataclass(frozen=True)
class Looked:
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
class Choice:
    """Which images are looked at.

    Attributes:
        split: of the data.
        images: how many.
        label: of this class (name or number) only; None takes all classes.
        target: ``label`` asks for the image's own class, ``predicted`` for the one that the network gives.
        outputs: the network's class for each class of the data; None where they are numbered alike.
        correct: leave out images that the network gets wrong (where ``target`` is ``label``).
    """

    split: str
    images: int
    label: str | int | None = None
    target: str = "label"
    outputs: Sequence[int] | None = None
    correct: bool = True

    def __post_init__(self) -> None:
        if self.target not in ("label", "predicted"):
            raise InputError(f"task.target={self.target!r}: choose label or predicted")
        check_number("task.images", self.images, 1)
        for output in self.outputs or ():
            check_number("task.outputs", output, 0)


def class_count(subject: Subject) -> int:
    """How many classes the network tells apart."""
    size = subject.data.image_size
    with evaluating(subject.net), torch.no_grad():
        return subject.net(like_parameters(subject.net, torch.zeros(1, 3, size, size))).shape[-1]


def network_classes(subject: Subject, choice: Choice) -> list[int]:
    """The network's class for each class of the data.

    Raises:
        InputError: they do not correspond, or a number is out of range.
    """
    count, classes = class_count(subject), subject.data.num_classes
    if choice.outputs is not None:
        if len(choice.outputs) != classes or not all(0 <= output < count for output in choice.outputs):
            raise InputError(
                f"task.outputs has {len(choice.outputs)} numbers for {classes} classes of the data: give for each "
                f"class, in the order {', '.join(subject.data.class_names[:3])}, ..., the network's, 0 to {count - 1}"
            )
        return list(choice.outputs)
    if count != classes:
        raise InputError(
            f"{subject.name} tells {count} classes apart and the data have {classes}: say which belong together with "
            "task.outputs=[...], or look at what the network predicts with task.target=predicted"
        )
    return list(range(classes))


def class_namer(subject: Subject, outputs: Sequence[int] | None) -> Callable[[int], str]:
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
def look(subject: Subject, choice: Choice) -> list[Looked]:
    """The first images of a split that fit, which is an order spread over the classes.

    Raises:
        InputError: there is no such class, or no image fits.
    """
    data = subject.data
    check_outputs(subject.net, next(iter(data.plain_dataloader(choice.split, 1)))[0], [None])
    own = network_classes(subject, choice) if choice.target == "label" else None
    wanted = label_number(subject, choice.label)
    found: list[Looked] = []
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
                if target == predicted or not choice.correct:
                    found.append(Looked(index - 1, image.clone(), label, target, predicted))
                if len(found) == choice.images:
                    return found
    if not found:
        of = "" if wanted is None else f" of {data.class_names[wanted]!r}"
        raise InputError(
            f"none of the {seen} {choice.split} images{of} is predicted right by {subject.name}: "
            "choose another task.label, or task.correct=false"
        )
    return found


def label_number(subject: Subject, label: str | int | None) -> int | None:
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
