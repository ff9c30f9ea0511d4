"""Rules of the claims: one statistic, its level and the smallest effect of interest, declared beforehand."""

from collections.abc import Mapping
from dataclasses import dataclass

MIN_UNITS = 6
"""Fewer images, maps or classes decide nothing: if all of five agree, a sign test has p = 0.06."""
MIN_RUNS = 3
"""Fewer training runs a side decide nothing."""
IMAGES, MAPS, CLASSES, RUNS = "images", "maps", "classes", "training runs"


@dataclass(frozen=True)
class Rule:
    """The rule of one claim.

    Attributes:
        statistic: the primary statistic, whose estimate decides.
        over: its units, over which the interval is taken.
        smallest_effect: the smallest effect of interest: an interval that lies this close to ``null`` is no effect.
        level: what the statistic must exceed.
        null: the statistic's value where there is no effect.
        unit: unit of the statistic, such as ``points``; empty for a ratio or a share.
        command: what runs it.
        needs: what data or networks it needs beside a run; empty for none.
        controlled: whether the verdict takes in the same statistic of a network with randomized weights.
        fewest: number of units below which nothing is decided; 0 is that of all rules. Rules of several estimates need
            more: of skewed null data, fewer units would decide more than 7 %.
    """

    statistic: str
    over: str
    smallest_effect: float
    level: float = 0.0
    null: float = 0.0
    unit: str = ""
    command: str = ""
    needs: str = ""
    controlled: bool = False
    fewest: int = 0

    @property
    def min_units(self) -> int:
        """Number of units below which nothing is decided; of training runs, a side."""
        return self.fewest or (MIN_RUNS if self.over == RUNS else MIN_UNITS)


PROJECT, OCCLUDE, INVARIANCE = (f"convlens task={task} run=DIR" for task in ("project", "occlude", "invariance"))
DIAGNOSE = "convlens task=diagnose task.run_dirs=[A0,A1,A2,B0,B1,B2]"
ABLATION = "convlens -m experiment=ablation seed=0,1,2"
TRANSFER = "convlens task=transfer run=DIR data=caltech101 data.source.root=DIR"
VOC = (
    "convlens task=transfer run=DIR data=voc data.source.root=DIR task.images_per_class=[null] task.folds=[0] "
    "task.probes=[softmax,sigmoid]"
)
TRAIN = "convlens model=zfnet trainer.max_epochs=20"

RULES: Mapping[int, Rule] = {
    1: Rule(
        "rank correlation of the projection's energy under the occluder and the drop of the map's activation, minus "
        "that for another map's projection; and minus that for the image's edges",
        IMAGES, 0.05, command=OCCLUDE, controlled=True,
    ),
    2: Rule(
        "relative drop of the activation at the tenth of positions with the strongest projection less that at the "
        "weakest half, minus the same for another map's projection; and the drop itself",
        IMAGES, 0.05, command=OCCLUDE, controlled=True,
    ),
    3: Rule(
        "edge coherence of the deconvnet's projection minus that of the gradient; and its sparsity (Gini); and its "
        "faithfulness (claim 1's correlation), which may be 0.05 lower",
        IMAGES, 0.02, command=OCCLUDE,
    ),
    4: Rule(
        "1 minus the correlation of a map's projections in two images, window on window: of what the deconvnet uses in "
        "its projection, only the switches differ; layers above a max pooling",
        MAPS, 0.05, level=0.05, command=PROJECT, needs="a network with max pooling",
    ),
    5: Rule(
        "AUC of the similarity of projections within a map against across maps, minus the same for phase-randomized "
        "copies of the projections; layers above the first",
        MAPS, 0.02, level=0.02, command=PROJECT, controlled=True,
    ),
    6: Rule(
        "mean similarity of a map's nine projections minus that of their image patches, of unit length and aligned; "
        "layers above the first",
        MAPS, 0.05, command=PROJECT, controlled=True,
    ),
    7: Rule(
        "slope over the depth of the layer, from 0 to 1, of the share of pairs of a map's nine strongest images that "
        "show the same class",
        IMAGES, 0.02, command=PROJECT, needs="images of several classes", controlled=True,
    ),
    8: Rule(
        "rank correlation of a layer's depth with the share of the training after which a map's activations on fixed "
        "images stay at a correlation of 0.95 or above with their final ones; at least 20 maps that training changed",
        MAPS, 0.1, command=TRAIN, needs="a training run with callbacks.evolution, of three epochs or more",
    ),
    9: Rule(
        "change (1 - similarity) of a map's projection between drawn epochs where another image became the strongest, "
        "minus the change had the former image been kept; layers above the first",
        MAPS, 0.05, command=TRAIN, needs="a training run with callbacks.evolution, of three drawn epochs or more",
    ),
    10: Rule(
        "distance to the original after a small change, divided by the distance of different images: first layer "
        "minus top layer, mean over the kinds of transformation",
        IMAGES, 0.05, command=INVARIANCE, controlled=True,
    ),
    11: Rule(
        "R2 of a line through distance against magnitude, top layer minus first layer, mean of translation and scale",
        IMAGES, 0.05, command=INVARIANCE, controlled=True,
    ),
    12: Rule(
        "change of the true class's probability over equal displacements, rotation minus translation; and minus scale",
        IMAGES, 0.02, command=INVARIANCE, controlled=True,
    ),
    13: Rule(
        "probability at quarter turns minus that between them, classes with a rotational symmetry minus the others; "
        "and that of the classes with a symmetry",
        IMAGES, 0.02, command=f"{INVARIANCE} task.symmetric=[CLASS]",
        needs="classes with a rotational symmetry", controlled=True,
    ),
    14: Rule(
        "share of the filters' power at middle frequencies (1/6 to 1/3 cycles per pixel), small minus large kernel, "
        "the large one cropped to the small one's size; and share of dead filters, large minus small",
        RUNS, 0.02, command=DIAGNOSE, needs="three training runs a side",
    ),
    15: Rule(
        "log of the power at the coarse network's stride over its background in projections of the second layer, "
        "coarse minus fine stride, equal windows; and that of the coarse network; and, where images are larger "
        "than the input, the first layer's change under shifts that are exact for neither stride, coarse minus fine",
        RUNS, 0.1, command=DIAGNOSE, needs="three training runs a side",
    ),
    16: Rule(
        "log of the strongest filter's RMS over the median, without clipping minus with it",
        RUNS, 0.1, command="convlens experiment=filter_clipping", needs="three training runs a side",
    ),
    17: Rule(
        "drop of the true class's probability, inside minus outside of the object",
        IMAGES, 0.02, command=OCCLUDE, needs="boxes or masks of objects", controlled=True,
    ),
    18: Rule(
        "1 minus the correlation of the maps of activation and probability",
        IMAGES, 0.05, level=0.1, command=OCCLUDE,
    ),
    19: Rule(
        "Delta of random regions over that of parts at the lower layer (three-valued signs); and this ratio minus "
        "that at the upper layer, above 0",
        IMAGES, 0.03, level=1.0, null=1.0, command="convlens task=correspond run=DIR",
        needs="positions of parts", controlled=True,
    ),
    20: Rule(
        "top-1 error of AlexNet minus that of ZFNet on the same images",
        RUNS, 0.5, unit="points", command="convlens task=compare task.run_dirs=[A0,A1,A2,Z0,Z1,Z2]",
        needs="three training runs of both networks",
    ),
    21: Rule(
        "rise of the top-1 error without layers 3, 4, 6, 7 minus the rises without 3, 4 and without 6, 7; and the "
        "first rise",
        RUNS, 0.5, unit="points", command=ABLATION, needs="the runs of an ablation study",
    ),
    22: Rule(
        "a quarter of the top-1 error, minus its rise without layers 6, 7; and minus its change with 2048 or 8192 "
        "units",
        RUNS, 0.5, unit="points", command=ABLATION, needs="the runs of an ablation study",
    ),
    23: Rule(
        "top-1 error minus that with 512, 1024, 512 maps in layers 3 to 5; and growth of the gap between training and "
        "test images with 8192 units beside them",
        RUNS, 0.5, unit="points", command=ABLATION, needs="the runs of an ablation study",
    ),
    24: Rule(
        "score of pretrained features minus that of networks trained on the images alone, at the largest number of "
        "images per class; and, where it was tried, that with a tenth of the images minus the same with all, above 0",
        CLASSES, 2.0, level=10.0, unit="points", command=f"{TRANSFER} +task.baselines.scratch=DIR",
        needs="a second data set, and a network trained on it alone", fewest=12,
    ),
    25: Rule(
        "smallest step of the score from a layer to the next one; all steps must be above 0",
        CLASSES, 0.5, unit="points", command=TRANSFER, needs="a second data set", fewest=20,
    ),
    26: Rule(
        "average precision of sigmoid heads minus that of the softmax, at the softmax's best layer on training images",
        CLASSES, 0.5, unit="points", command=VOC, needs="images of several classes", fewest=12,
    ),
}  # fmt: skip
"""By number of the claim."""
