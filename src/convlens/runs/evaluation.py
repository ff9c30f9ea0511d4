"""The test that ends a training: of the best epoch, on images it has not seen and on as many that it has."""

from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import nn

from convlens.data import ImageData, ShardedData
from convlens.figures.png import write_arrays
from convlens.nets.weights import load_weights
from convlens.runs.subject import checkpoint_path
from convlens.systems import Classifier


def test(trainer: L.Trainer, system: Classifier, data: ImageData | ShardedData, run_dir: Path) -> dict[str, Any]:
    """Test the best epoch, keep its predictions in ``results/test`` and ``seen``, and gather the run's numbers.

    ``seen/...`` are the same measures on training images, as many as there are test images, seen the same way.
    """
    best = checkpoint_path(run_dir)
    stored = torch.load(best, weights_only=True, map_location="cpu")
    load_weights(system.net, best)
    numbers: dict[str, Any] = {}
    tested: dict[str, tuple[str, int | None]] = {"seen": ("train", data.count("test")), "test": ("test", None)}
    for split, images in tested.items():
        system.tested, data.tested = split, images
        results = trainer.test(system, datamodule=data, verbose=False)[0]
        numbers |= {key: value for key, value in results.items() if key.startswith(f"{split}/")}
        predicted = system.predictions()
        if trainer.is_global_zero:
            keep(run_dir / "results" / split, split, data, *predicted)
    return numbers | {
        "val/top1_error": validation_error(stored),
        "best_epoch": stored["epoch"] + 1,
        "epochs": trainer.max_epochs,
        **parameters(system.net),
    }


def keep(
    folder: Path, split: str, data: ImageData | ShardedData, numbers: np.ndarray, labels: np.ndarray,
    best: np.ndarray, probabilities: np.ndarray,
) -> None:  # fmt: skip
    """Write ``predictions.npz`` (names, labels, best classes) and, of the test, ``probabilities.npz`` (float16)."""
    own = "train" if split == "seen" else split
    names = np.array([data.image_id(own, index) for index in numbers.tolist()])
    write_arrays(folder / "predictions.npz", {"labels": labels, "top5": best, "images": names})
    if split == "test":  # to be averaged with those of other networks
        write_arrays(folder / "probabilities.npz", {"probabilities": probabilities.astype(np.float16)})


def parameters(net: nn.Module) -> dict[str, int]:
    """How many parameters there are, and how many of them in convolutions."""
    convolutions = [module for module in net.modules() if isinstance(module, nn.modules.conv._ConvNd)]
    inside = {id(p): p.numel() for module in convolutions for p in module.parameters()}
    return {"parameters": sum(p.numel() for p in net.parameters()), "conv_parameters": sum(inside.values())}


def validation_error(stored: dict[str, Any]) -> float | None:
    """The top-1 error by which a checkpoint is the best; None where there were no validation images."""
    scores = [state["best_model_score"] for state in stored["callbacks"].values() if "best_model_score" in state]
    return next((float(score) for score in scores if score is not None), None)
