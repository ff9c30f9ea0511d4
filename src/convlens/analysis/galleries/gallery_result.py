"""What the report reads of a gallery: its pictures, its numbers, and the claims that its controls decide."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from convlens.analysis.galleries.draw_galleries import GalleryFiles, GalleryJob
from convlens.analysis.galleries.sanity_checks import Controls


def gallery_result(drawn: GalleryFiles, folder: Path, when: str, job: GalleryJob) -> dict[str, Any]:
    """The content of result.json; ``folder`` is where it will be, ``when`` says which images were searched."""
    rules = job.rules
    options = "".join(f", {name} {value}" for name, value in rules.items() if name != "rule" and value is not None)
    which = "For some maps" if job.maps is not None else "For all maps"
    text = (
        f"{which} of each layer ({when}), the {job.k} images that excite the map most: left the activation "
        f"projected down to the pixels (rule {rules.get('rule', 'deconvnet')}{options}), right the image patch in "
        "the unit's receptive field. One gain per layer; grey is zero."
    )
    if drawn.controls:
        text += (
            " A deconvnet can draw recognisable images of anything, so the controls show the same units by the other "
            "rules, another map's unit at the same place, and the same units with the weights in random order."
        )
    return {
        "analysis": "projections",
        "title": "What excites the maps most",
        "reproduces": "Fig 2",
        "order": 30,
        "text": text,
        "numbers": [
            {"name": f"maps of {layer} that no image excites", "value": share, "unit": "%"}
            for layer, share in drawn.dead.items()
        ],
        "figures": [
            *_figures(drawn.sheets, folder, "", when),
            *_figures(drawn.contexts, folder, ": where in the images", when),
            *_figures(drawn.control_sheets, folder, ": controls", when),
        ],
        "tables": _tables(list(drawn.controls.values())),
        "claims": [claim.as_json() for controls in drawn.controls.values() for claim in controls.claims()],
        "seconds": {step: round(seconds, 1) for step, seconds in drawn.seconds.items()},
    }


def _figures(paths: Mapping[str, Path], folder: Path, what: str, when: str) -> list[dict[str, str]]:
    return [
        {"file": str(path.relative_to(folder)), "key": f"{layer}{what}", "caption": f"{layer}{what}, {when}"}
        for layer, path in paths.items()
    ]


def _tables(layers: Sequence[Controls]) -> list[dict[str, Any]]:
    if not layers:
        return []
    grouping = {
        "title": "Claim 5: the nine projections of a map are of one kind. Area under the ROC curve of telling two "
        "projections of one map from two of different maps by their likeness (greatest cosine over small shifts); "
        "0.5 is chance, in brackets 95 % over maps",
        "columns": [
            "layer", "claim", "beyond random", "maps", "projections", "random weights", "difference", "patches",
        ],
        "rows": [
            [
                c.layer, c.claim_5, c.claim_5_learned,
                c.maps, str(c.grouping), str(c.grouping_random), str(c.grouping_gain), str(c.patches),
            ]
            for c in layers
        ],
    }  # fmt: skip
    places = {
        "title": "Does a projection depend on the map? Mean likeness of two projections of one map, and of a "
        "projection to that of another map's unit at the same place of the same image (1: the same picture)",
        "columns": ["layer", "same map, other images", "other map, same place"],
        "rows": [[c.layer, str(c.within), str(c.same_place)] for c in layers],
    }
    clarity = {
        "title": "Claim 3: the deconvnet is clearer than the gradient. Gini coefficient (sparsity) and edge coherence, "
        "and deconvnet less gradient over the same units",
        "columns": [
            "layer",
            "claim",
            *(f"{what}, {rule}" for what in ("Gini", "coherence") for rule in ("deconvnet", "gradient", "guided")),
            "Gini, difference",
            "coherence, difference",
        ],
        "rows": [
            [
                c.layer,
                c.claim_3,
                *(f"{e.value:.3f}" for values in (c.sparsity, c.coherence) for e in values.values()),
                str(c.sparsity_gain),
                str(c.coherence_gain),
            ]
            for c in layers
        ],
    }
    return [grouping, places, clarity]
