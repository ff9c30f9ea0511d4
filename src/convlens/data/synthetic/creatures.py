"""The classes of the built-in images: parts of each creature, and how to draw one.

Creature coordinates: the body spans about [-1, 1] in both directions, x to the viewer's right, y down. The creature
faces the viewer, so that its own left eye and ear have positive x.
"""

from typing import NamedTuple

import numpy as np

from convlens.data.synthetic.drawings import EARS, EYES, MOUTHS, NOSES, Palette, draw
from convlens.data.synthetic.shapes import (
    ANGLES,
    Affine,
    Blob,
    Point,
    Shape,
    Texture,
    outline,
    outline_of,
    place,
    stretched_radii,
)

PART_NAMES = ("body", "left_ear", "right_ear", "left_eye", "right_eye", "nose", "mouth")
BODY, LEFT_EAR, RIGHT_EAR, LEFT_EYE, RIGHT_EYE, NOSE, MOUTH = range(len(PART_NAMES))


class Creature(NamedTuple):
    """Parts of a class: names of drawings and their positions on the body."""

    body: str
    size: Point  # half-width and half-height of the body
    texture: str  # "plain" is none
    ears: str
    eyes: str
    eye_at: Point  # of the left eye
    nose: str
    nose_y: float
    mouth: str
    mouth_y: float
    muzzle: Point | None = None  # half-sizes of a light patch around nose and mouth


CREATURES = {
    "bear": Creature(
        "box", (1.0, 0.95), "plain", "round", "dot", (0.42, -0.28), "oval", 0.16, "smile", 0.5, (0.5, 0.45)
    ),
    "bug": Creature("circle", (1.0, 0.92), "stripes", "antenna", "compound", (0.55, -0.3), "ball", 0.12, "grin", 0.42),
    "bull": Creature("snout", (0.86, 1.05), "blotches", "horn", "sleepy", (0.5, -0.36), "pad", 0.48, "flat", 0.86),
    "cat": Creature("circle", (1.08, 0.88), "stripes", "pointed", "slit", (0.46, -0.16), "wedge", 0.2, "double", 0.42),
    "dog": Creature("pear", (0.95, 1.0), "blotches", "floppy", "round", (0.36, -0.35), "oval", 0.12, "tongue", 0.42),
    "dragon": Creature(
        "hexagon", (0.95, 1.08), "scales", "fin", "angry", (0.42, -0.32), "nostrils", 0.3, "zigzag", 0.62
    ),
    "frog": Creature("box", (1.22, 0.78), "spots", "none", "bulging", (0.66, -0.72), "nostrils", -0.12, "wide", 0.3),
    "mouse": Creature("chin", (0.92, 0.95), "plain", "huge", "dot", (0.36, -0.2), "ball", 0.46, "teeth", 0.68),
    "owl": Creature("egg", (0.88, 1.15), "scales", "tuft", "ringed", (0.4, -0.38), "beak", 0.08, "frown", 0.64),
    "pig": Creature("circle", (1.0, 1.0), "plain", "flap", "dot", (0.34, -0.36), "snout", 0.14, "smile", 0.58),
    "rabbit": Creature("egg", (0.85, 0.85), "spots", "long", "round", (0.4, -0.2), "wedge", 0.16, "teeth", 0.4),
    "zebra": Creature("snout", (0.66, 1.25), "stripes", "leaf", "lashed", (0.46, -0.5), "pad", 0.8, "flat", 1.16),
}
_WAVES = np.stack([wave(k * ANGLES) for k in (2, 3, 4) for wave in (np.cos, np.sin)])
EARS_IN_FRONT = ("floppy", "flap")


def _body(rng: np.random.Generator, creature: Creature, colours: Palette, dome: Point) -> Shape:
    """Return the body with its texture, with a small random change of its outline."""
    waves = (rng.uniform(-0.014, 0.014, 6) @ _WAVES) + 1
    radii = stretched_radii(creature.body, *creature.size) * waves
    texture = None
    if creature.texture != "plain":
        period, lean, phase = rng.random(3).tolist()
        texture = Texture(creature.texture, colours.second, 0.46 + 0.12 * period, 0.5 * (lean - 0.5), phase)
    return Blob(BODY, outline_of(radii), Affine(1, 0, 0, 1), colours.body, 0.1, dome, texture)


def _face(rng: np.random.Generator, creature: Creature, colours: Palette) -> list[Shape]:
    """Return muzzle, mouth, nose and eyes, shifted together by a random gaze direction."""
    look_x, look_y, lift, spread, bend, gaze_x, gaze_y = (
        rng.uniform(-1, 1, 7) * (0.1, 0.06, 0.03, 0.03, 0.25, 1, 1)
    ).tolist()
    eyes, nose, mouth = rng.uniform(0.92, 1.15, 3).tolist()
    nose_y, mouth_y = creature.nose_y + look_y + lift, creature.mouth_y + look_y + lift
    shapes: list[Shape] = []
    if creature.muzzle:
        patch = place(look_x, (nose_y + mouth_y) / 2, *creature.muzzle)
        shapes.append(Blob(BODY, outline("circle"), patch, colours.inner, 0.03))
    shapes += draw(MOUTHS[creature.mouth], MOUTH, place(look_x, mouth_y, mouth, mouth * (1 + bend)), colours)
    shapes += draw(NOSES[creature.nose], NOSE, place(look_x, nose_y, nose, nose), colours)
    for part, side in ((LEFT_EYE, 1), (RIGHT_EYE, -1)):
        x, y = look_x + side * (creature.eye_at[0] + spread), look_y + creature.eye_at[1]
        frame = Affine(side * eyes, 0, 0, eyes, x, y)
        shapes += draw(EYES[creature.eyes], part, frame, colours, (side * gaze_x, gaze_y))
    return shapes


def draw_creature(rng: np.random.Generator, creature: Creature, colours: Palette, dome: Point) -> list[Shape]:
    """Return the shapes of a creature from back to front, in creature coordinates.

    Args:
        rng: source of the random choices.
        creature: parts of the class.
        colours: colours of the creature.
        dome: strength of the body's shading along x and y.
    """
    ears: list[Shape] = []
    for part, side in ((LEFT_EAR, 1), (RIGHT_EAR, -1)):
        x, y, tilt = (rng.uniform(-1, 1, 3) * (0.04, 0.04, 0.1)).tolist()
        frame = Affine(side, 0, 0, 1).then(place(x, y, 1, 1, tilt))
        ears += draw(EARS[creature.ears], part, frame, colours)
    body, face = [_body(rng, creature, colours, dome)], _face(rng, creature, colours)
    return body + ears + face if creature.ears in EARS_IN_FRONT else ears + body + face
