"""Images and networks whose right answers are known: classes that one part decides, and networks made by hand."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convlens.data.synthetic.creatures import PART_NAMES
from convlens.data.synthetic.dataset import render_scene

SIDE = 48
RED, GREEN, BLUE = (torch.eye(3)[k] for k in range(3))
EYES = [PART_NAMES.index("left_eye"), PART_NAMES.index("right_eye")]
NOSE = PART_NAMES.index("nose")


@dataclass(frozen=True)
class PaintedImages:
    """Built-in creatures in weak grey, with eyes, noses and backgrounds in pure colours of known strength.

    Attributes:
        images: values from -1 to 1 [n, 3, side, side].
        targets: class 0 or 1: whether the eyes are red (0) or green (1).
        parts: by name of the part, its mask in each image.
        objects: masks of the creatures.
    """

    images: Tensor
    targets: list[int]
    parts: dict[str, list[Tensor]]
    objects: list[Tensor]


def painted_images(
    count: int, *, eyes: bool = True, body: bool = False, background: bool = False, texture: bool = False
) -> PaintedImages:
    """Draw creatures that have eyes and nose; the class is the colour of the eyes, of the body or of the background.

    With ``texture`` a colourless noise covers the image, so that its edges name nothing.
    """
    noise = torch.Generator().manual_seed(0)
    images, targets, objects = [], [], []
    parts: dict[str, list[Tensor]] = {"eyes": [], "nose": []}
    index = 0
    while len(images) < count:
        scene = render_scene(index, seed=3, size=SIDE)
        index += 1
        eye, nose = scene.masks[EYES].any(0), scene.masks[NOSE]
        if eye.sum() < 12 or nose.sum() < 8:
            continue
        target = len(images) % 2
        colour = (RED, GREEN)[target][:, None, None]
        grey = scene.image.float().mean(0, keepdim=True).expand(3, -1, -1) / 255 * 0.1
        if texture:
            grey = torch.rand(1, SIDE, SIDE, generator=noise).expand(3, -1, -1)
        image = torch.where(nose, BLUE[:, None, None], grey)
        if eyes:
            image = torch.where(eye, colour, image)
        if body:
            image = torch.where(scene.object_mask & ~nose, colour, image)
        if background:
            image = torch.where(scene.object_mask, image, colour)
        images.append(image)
        targets.append(target)
        parts["eyes"].append(eye)
        parts["nose"].append(nose)
        objects.append(scene.object_mask)
    return PaintedImages(torch.stack(images), targets, parts, objects)


def pixel_detector(*weights: Tensor, bias: float = -0.3) -> nn.Conv2d:
    """A 1x1 convolution with one map for each direction in colour space."""
    layer = nn.Conv2d(3, len(weights), 1)
    with torch.no_grad():
        layer.weight.copy_(torch.stack(weights)[:, :, None, None])
        layer.bias.fill_(bias)
    return layer


OTHERS = torch.ones(3)
ONLY_RED, ONLY_GREEN, ONLY_BLUE = (2 * colour - OTHERS for colour in (RED, GREEN, BLUE))
"""Directions that answer to pure colours and not to grey."""


class ColourNet(nn.Module):
    """Class scores are the share of red and of green pixels; ``layer`` holds the maps red, green and blue."""

    def __init__(self, gain: float = 600.0) -> None:
        super().__init__()
        self.conv, self.relu = pixel_detector(ONLY_RED, ONLY_GREEN, ONLY_BLUE), nn.ReLU()
        self.layer, self.gain = nn.Identity(), gain

    def forward(self, x: Tensor) -> Tensor:
        maps = self.layer(self.relu(self.conv(x)))
        return self.gain * maps[:, :2].mean((2, 3))


class NoseLoudNet(ColourNet):
    """The map of the nose is the strongest one, and the class depends on the eyes."""

    def forward(self, x: Tensor) -> Tensor:
        maps = self.relu(self.conv(x)) * torch.tensor([1.0, 1.0, 9.0]).view(1, 3, 1, 1)
        return self.gain * self.layer(maps)[:, :2].mean((2, 3))


def reader(maps: list[list[tuple[int, int, float]]]) -> nn.Conv2d:
    """A 17x17 convolution that reads single points: for each map (channel, columns to the right, weight)."""
    layer = nn.Conv2d(3, len(maps), 17, padding=8, bias=False)
    with torch.no_grad():
        layer.weight.fill_(0)
        for number, points in enumerate(maps):
            for channel, right, weight in points:
                layer.weight[number, channel, 8, 8 + right] += weight
    return layer


class ReadingNet(nn.Module):
    """Map 0 reads blue to its left, map 1 blue to its right."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu = pixel_detector(ONLY_RED, ONLY_GREEN, ONLY_BLUE), nn.ReLU()
        self.mix, self.relu2, self.layer = reader(self.points()), nn.ReLU(), nn.Identity()

    def points(self) -> list[list[tuple[int, int, float]]]:
        return [[(2, -7, 1.0)], [(2, 7, 1.0)]]

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(self.relu2(self.mix(self.relu(self.conv(x))))).mean((2, 3))


class CancellingNet(ReadingNet):
    """As `ReadingNet`, with two equal paths to the right that cancel in map 0, but not in its projection.

    The deconvnet rectifies the signal of each path on its own, so that the path of negative weight vanishes and the
    other one stays: the projection shows what the map does not depend on.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv = pixel_detector(OTHERS, OTHERS, ONLY_BLUE)

    def points(self) -> list[list[tuple[int, int, float]]]:
        return [[(2, -7, 0.1), (0, 7, 40.0), (1, 7, -40.0)], [(2, -7, 1.0)]]


class PooledNet(nn.Module):
    """Invariant to translation by construction: fine edges, then the mean over all positions."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        torch.manual_seed(0)
        nn.init.normal_(self.first.weight)
        self.top = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return 20 * self.top(F.relu(self.first(x)).mean((2, 3)))


class PixelCodeNet(nn.Module):
    """Its first layer is the mean colour, and its top layer codes the position of each pixel at random."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.top = nn.AdaptiveAvgPool2d(1), nn.Linear(3 * SIDE * SIDE, 64, bias=False)
        torch.manual_seed(1)
        nn.init.normal_(self.top.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.top(x.flatten(1)) + 0 * self.first(x).sum()


class ArrangementNet(nn.Module):
    """Scores of the directions in which coloured pixels lie about their own centre; blind to translation and scale.

    With ``radial`` it is blind to rotation instead, and reads how far they lie from the centre of the image.
    """

    def __init__(self, radial: bool = False) -> None:
        super().__init__()
        self.first, self.radial = nn.Identity(), radial
        self.top = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        weight = F.relu(self.first(x)[:, :2].sum(1) - 0.5)
        mass = weight.sum((1, 2)) + 1e-6
        axis = torch.linspace(-1, 1, x.shape[-1])
        y, x_ = (weight * axis[:, None]).sum((1, 2)) / mass, (weight * axis[None]).sum((1, 2)) / mass
        if self.radial:
            return self.top(torch.stack([12 * (y**2 + x_**2), torch.full_like(y, 0.5)], 1))
        down, right = axis[:, None] - y[:, None, None], axis[None] - x_[:, None, None]
        vertical, horizontal = (weight * down**2).sum((1, 2)) / mass, (weight * right**2).sum((1, 2)) / mass
        balance = (horizontal - vertical) / (horizontal + vertical + 1e-6)
        return self.top(torch.stack([4 * balance, -4 * balance], 1))


class SignCodeNet(nn.Module):
    """``part`` answers alike to a covered part in every image; ``code`` answers by position at random."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.part = pixel_detector(ONLY_RED, ONLY_GREEN, ONLY_BLUE, bias=0.0), nn.Identity()
        self.code = nn.Linear(3 * SIDE * SIDE, 64, bias=False)
        torch.manual_seed(2)
        nn.init.normal_(self.code.weight)

    def forward(self, x: Tensor) -> Tensor:
        code = self.code(x.flatten(1))
        # some of the position code, so that covered parts do not agree in all dimensions
        self.part(torch.cat([F.relu(self.conv(x)).mean((2, 3)).repeat(1, 8), code[:, :12]], 1))
        return code
