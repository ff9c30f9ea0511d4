"""The paper's claims by number: text, place in the paper, and the outcome that refutes each."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Statement:
    """A claim of the paper.

    Attributes:
        text: the claim.
        place: section, figure or table of the paper.
        refuted_if: the outcome that refutes the claim.
    """

    text: str
    place: str
    refuted_if: str


STATEMENTS: Mapping[int, Statement] = {
    1: Statement(
        "projections show what truly excites the map", "section 4.2, Fig 7",
        "the map's activation drops no more where its projection is strong than where another map's is",
    ),
    2: Statement(
        "occluding the projected structure strongly reduces the map's activation", "section 4.2, Fig 7",
        "the drop is no larger where the projection is strong than where it is weak, or where another map's is strong",
    ),
    3: Statement(
        "the deconvnet is clearer than the gradient", "ECCV, footnote 1",
        "its projections are less sparse, their edges less coherent, or they predict the drop less well",
    ),
    4: Statement(
        "projections are specific to the image, because of the switches of max pooling", "section 2.1",
        "with the switches of another image the projection is the same",
    ),
    5: Statement(
        "the nine projections of a map are of one kind", "section 4, Fig 2",
        "two projections of one map are no more alike than two of different maps",
    ),
    6: Statement(
        "the projections of a map vary less than the image patches that excite it", "section 4, Fig 2",
        "the projections are no more alike than the patches",
    ),
    7: Statement(
        "higher layers are more specific to classes", "section 4, Fig 2",
        "the strongest images of a map are no purer in class in higher layers",
    ),
    8: Statement(
        "lower layers converge within a few epochs, upper layers late", "section 4, Fig 4",
        "upper layers reach their final state no later than lower ones",
    ),
    9: Statement(
        "sudden jumps of a projection during training come from a change of the strongest image", "section 4, Fig 4",
        "projections would change as much between the same epochs if the strongest image stayed",
    ),
    10: Statement(
        "small transformations change the first layer dramatically and the top layer little", "section 4.1, Fig 5",
        "the top layer's relative change is as large as the first layer's",
    ),
    11: Statement(
        "the top layer changes nearly linearly with translation and scale", "section 4.1, Fig 5",
        "a line fits the top layer's distance no better than the first layer's",
    ),
    12: Statement(
        "the output is stable to translation and scaling, but not to rotation", "section 4.1, Fig 5",
        "rotation changes the output no more than translation and scaling do",
    ),
    13: Statement(
        "rotation is harmless where the object has a symmetry", "section 4.1, Fig 5",
        "quarter turns are no better than turns between them, or no more so than for classes without a symmetry",
    ),
    14: Statement(
        "7x7 filters at stride 2 cure AlexNet's lack of middle frequencies and its dead filters", "section 4.1, Fig 6",
        "the share of middle frequencies or of dead filters is no better",
    ),
    15: Statement(
        "a large stride in the first layer causes aliasing in the second", "section 4.1, Fig 6",
        "the larger stride shows no more power at its frequency",
    ),
    16: Statement(
        "clipping the RMS of filters stops single ones from dominating", "section 3, Fig 6 a",
        "the strongest filter is no further above the median without it",
    ),
    17: Statement(
        "the model localises the object and does not use its surroundings only", "section 4.2, Fig 7",
        "covering a place inside of the object costs no more than one outside",
    ),
    18: Statement(
        "the strongest map and the class can be sensitive to different places", "Fig 7",
        "the two maps agree: their correlation is above 0.9",
    ),
    19: Statement(
        "parts correspond at layer 5, less at layer 7", "section 4.3, Table 1",
        "covering the same part changes layer 5 no more consistently than covering random places",
    ),
    20: Statement(
        "7x7 filters at stride 2 make the network better than AlexNet", "section 5.1, Table 3",
        "its error on the same images is higher",
    ),
    21: Statement(
        "depth matters more than any of its sections", "section 5.1, Table 3",
        "removing both sections costs no more than the sum of removing each, or nothing",
    ),
    22: Statement(
        "the dense layers hold most parameters, yet their removal and width matter little", "section 5.1, Table 3",
        "one of them changes the error by more than a quarter, or they do not hold most parameters",
    ),
    23: Statement(
        "wider middle layers help, and wider dense layers beside them overfit", "section 5.1, Table 3",
        "there is no gain, or the gap between training and test images does not grow",
    ),
    24: Statement(
        "pretrained features beat training on the small set alone by far, with few images", "section 5.2, Fig 9",
        "they are less than 10 points better than the control",
    ),
    25: Statement(
        "features get steadily more discriminative with depth", "section 5.3, Table 7",
        "the score falls from some layer to the next one",
    ),
    26: Statement(
        "one class for each image does not fit PASCAL VOC, whose images show several", "section 5.2, Table 6",
        "heads that can say several classes are no better",
    ),
}  # fmt: skip
